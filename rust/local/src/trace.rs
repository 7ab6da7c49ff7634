//! Which trace a call belongs to, so that the logs of several processes can be put together.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ids as W3C Trace Context has them: one of the whole trace, one of the call in it. Zeros: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// Whoever handles a call of this trace should record it.
    pub sampled: bool,
}

impl Trace {
    /// A new trace, not sampled.
    pub fn root() -> Self {
        let mut trace_id = [0; 16];
        let (high, low) = trace_id.split_at_mut(8);
        high.copy_from_slice(&next_id());
        low.copy_from_slice(&next_id());
        Self {
            trace_id,
            span_id: next_id(),
            sampled: false,
        }
    }

    /// A call in this trace; in a new one, if this is none.
    #[must_use]
    pub fn child(&self) -> Self {
        if self.trace_id == [0; 16] {
            return Self {
                sampled: self.sampled,
                ..Self::root()
            };
        }
        Self {
            span_id: next_id(),
            ..*self
        }
    }
}

/// Ids in hex, as logs show them.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An id that no other process has, as far as chance goes, and never zeros. Not secret: it names, it protects nothing.
fn next_id() -> [u8; 8] {
    random().max(1).to_be_bytes()
}

/// Any number, equally likely.
pub(crate) fn random() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The standard library seeds its hashers from the operating system.
    let seed = *SEED.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // A bijection of the counter, so that no id of one process comes twice (Steele et al., SplitMix, OOPSLA 2014).
    let mut id = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stays_in_its_trace() {
        let root = Trace {
            sampled: true,
            ..Trace::root()
        };
        let child = root.child();
        assert_eq!((child.trace_id, child.sampled), (root.trace_id, true));
        assert_ne!(child.span_id, root.span_id);
        assert_ne!(Trace::default().child().trace_id, [0; 16]);
        assert_ne!(Trace::root().trace_id, Trace::root().trace_id);
        assert_eq!(Hex(&[0, 0xab]).to_string(), "00ab");
    }
}
