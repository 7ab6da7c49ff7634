//! Watching and stopping long work.

/// What a long call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Counting what is to be put.
    Scan,
    /// Reading a tree into the store.
    Store,
    /// Writing a tree out of the store.
    Extract,
    /// Finding out which blocks are in use.
    Mark,
    /// Removing the others.
    Sweep,
    /// Reading every block again.
    Check,
}

impl Phase {
    /// The word of the local wire's `Progress.phase`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Store => "store",
            Self::Extract => "extract",
            Self::Mark => "mark",
            Self::Sweep => "sweep",
            Self::Check => "check",
        }
    }
}

/// How far a long call is. A total of 0 is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    pub bytes_done: u64,
    pub bytes_total: u64,
    /// Files, directories and symlinks; blocks in `Mark`, `Sweep` and `Check`.
    pub items_done: u64,
    pub items_total: u64,
}

/// Watches a long call, and may stop it. Called from the thread that made the call and from its
/// helpers; must return quickly.
pub trait Observer: Sync {
    /// The call came further.
    fn progress(&self, progress: &Progress);
    /// Whether to stop. The call then ends with [`crate::StoreError::Cancelled`] and leaves the
    /// store consistent.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing, stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore;

impl Observer for Ignore {
    fn progress(&self, _progress: &Progress) {}
}
