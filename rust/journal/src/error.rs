//! Why a journal cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// Somebody else has the journal open.
    #[error("{} is locked: another process uses this journal; stop that one first", path.display())]
    InUse { path: PathBuf },
    /// Bytes that were acknowledged are damaged. Nothing was changed.
    #[error("{} is damaged at byte {offset}: {what}; restore the directory from a copy, or move it away to start empty", path.display())]
    Corrupt {
        path: PathBuf,
        offset: u64,
        what: &'static str,
    },
    /// The journal of another layer, or of a later version of the format.
    #[error("{} is no journal of this layer and version: {what}; give each layer a directory of its own", path.display())]
    Foreign { path: PathBuf, what: &'static str },
    /// A record that the layer does not take back.
    #[error("{} holds a record at byte {offset} that does not decode: {text}; restore the directory from a copy, or move it away to start empty", path.display())]
    Refused {
        path: PathBuf,
        offset: u64,
        text: String,
    },
    /// A record of no bytes, or of more than the format allows.
    #[error("a record of {0} bytes: 1 to 16777216 are allowed")]
    RecordLength(usize),
    /// An earlier write failed, and nobody knows how much of it is on disk.
    #[error("an earlier write failed; open the journal again to go on from what is on disk")]
    Failed,
}

impl JournalError {
    /// Whether the disk, a quota or a limit leaves no room: it works again when there is some.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::Io { error, .. } if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}
