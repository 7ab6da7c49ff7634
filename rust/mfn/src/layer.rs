//! What a layer is to its host.

use mfn_local::{Failure, Reply};
use mfn_wire::Service;

/// What the host knows of the journal and a layer's statistics name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFacts {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Snapshots since it was opened.
    pub snapshots: u64,
}

/// State that changes by requests. The same requests in the same order give the same state: time comes with them.
pub trait Layer: Sized + Send + 'static {
    /// Whose methods these are.
    const SERVICE: Service;
    /// The methods that change it.
    const CHANGES: &'static [u16];
    /// The method that asks for a snapshot, which is the host's.
    const SNAPSHOT: u16;

    /// An empty one, with the least budget.
    fn empty() -> Self;

    /// Applies a change; `time` is in Unix nanoseconds. After an error nothing has changed.
    fn change(&mut self, method: u16, time: u64, body: &[u8]) -> Result<Reply, Failure>;

    /// Answers a question. No answer depends on what was asked before.
    fn ask(
        &mut self,
        method: u16,
        time: u64,
        body: &[u8],
        journal: JournalFacts,
    ) -> Result<Reply, Failure>;

    /// What all its pools together may take.
    fn bytes_max(&self) -> u64;

    /// Sets that; what does not fit any more is forgotten.
    fn set_bytes_max(&mut self, bytes_max: u64);

    /// The whole state.
    fn snapshot(&self) -> Vec<u8>;

    /// The state of a snapshot; the text says what is wrong with the bytes.
    fn restore(bytes: &[u8]) -> Result<Self, String>;

    /// Bytes held, about.
    fn bytes(&self) -> u64;

    /// What it holds: vectors, or streams and series.
    fn entries(&self) -> u64;
}
