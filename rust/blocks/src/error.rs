//! Errors of the store.

use std::io;
use std::path::{Path, PathBuf};

use hypermesh_id::{BlockId, Root};

/// What went wrong, to what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process uses the directory.
    #[error("the store in {0} is in use by another process; stop that one first")]
    Locked(PathBuf),
    /// The directory was written by a newer version.
    #[error(
        "the store in {dir} has format {found}, this program knows up to {known}; use the newer program"
    )]
    Format {
        dir: PathBuf,
        found: u64,
        known: u64,
    },
    /// The operating system failed a call.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space left to {what} {path}; free some, or run gc", path = .path.display())]
    NoSpace { what: &'static str, path: PathBuf },
    /// The store's own limit is reached.
    #[error(
        "the store holds {used} of its quota of {limit} bytes; raise the quota, or unpin roots and run gc"
    )]
    Quota { used: u64, limit: u64 },
    /// A block is not in this store.
    #[error("block {0} is not in this store; get its root from a peer that has it")]
    Missing(BlockId),
    /// Stored bytes are not what was stored. The block counts as absent from now on.
    #[error(
        "block {block} is damaged in segment {segment} at {offset}: {reason}; run fsck --repair, or get its root again"
    )]
    Corrupt {
        block: BlockId,
        segment: u32,
        offset: u32,
        reason: &'static str,
    },
    /// A manifest breaks the rules; nothing of it is used.
    #[error("block {block} is not a valid manifest: {reason}")]
    Manifest { block: BlockId, reason: String },
    /// The store does not know the root.
    #[error("root {0} is not known here")]
    UnknownRoot(Root),
    /// The tree has no such path.
    #[error("the tree has no '{}'", String::from_utf8_lossy(.0))]
    NotFound(Vec<u8>),
    /// The path is of the wrong kind for the call.
    #[error("'{}' is not a {expected}", String::from_utf8_lossy(.path))]
    WrongKind {
        path: Vec<u8>,
        expected: &'static str,
    },
    /// Something is in the way at the destination.
    #[error("{path} is already there; choose another destination or move it away", path = .path.display())]
    Exists { path: PathBuf },
    /// Two names of the tree are one on the destination's file system.
    #[error(
        "in '{}', the names '{}' and '{}' are the same on this file system; extract to one that tells them apart",
        String::from_utf8_lossy(.directory), String::from_utf8_lossy(.first), String::from_utf8_lossy(.second)
    )]
    Collision {
        directory: Vec<u8>,
        first: Vec<u8>,
        second: Vec<u8>,
    },
    /// A file kept changing while it was read.
    #[error("{path} changes while it is read; put it when nothing writes to it", path = .path.display())]
    Changed { path: PathBuf },
    /// What was to be put cannot be represented.
    #[error("{path} cannot be stored: {reason}", path = .path.display())]
    Unsupported { path: PathBuf, reason: String },
    /// Writes since the last commit were lost because the disk failed; nothing acknowledged is gone.
    #[error(
        "the disk lost what was written since the last commit; check the disk, then run this again"
    )]
    LostWrites,
    /// The metadata database failed.
    #[error("the metadata database {path} failed: {reason}", path = .path.display())]
    Metadata { path: PathBuf, reason: String },
    /// The metadata database is lost or damaged; the blocks are not touched by that.
    #[error(
        "the metadata database {path} cannot be used ({reason}); the blocks are in the segments beside it: with the node stopped, `hypermesh fsck --rebuild` makes it anew from them", path = .path.display()
    )]
    MetadataDamaged { path: PathBuf, reason: String },
    /// The memory index refused an entry.
    #[error("the block index in memory refused: {0}")]
    Index(String),
    /// A limit that protects this machine would be exceeded.
    #[error("{what} exceeds the limit of {limit}")]
    Limit { what: &'static str, limit: u64 },
    /// A pinned root cannot be followed, so what is unused cannot be told from what is used.
    #[error(
        "pinned root {root} has a block that is missing or damaged ({block}); run fsck --repair, or unpin it, then gc again"
    )]
    PinnedDamaged { root: Root, block: BlockId },
    /// The observer asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A helper thread ended without an answer.
    #[error("a worker thread failed; please report this: {0}")]
    Internal(&'static str),
}

impl StoreError {
    /// An error of the operating system, sorted: a full disk is its own kind.
    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if is_full(&source) {
            return Self::NoSpace { what, path };
        }
        Self::Io { what, path, source }
    }
}

/// Whether the error says that no more bytes fit: disk, disk quota, or file size limit.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Why a block was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The bytes are not those of the id: whoever sent them is wrong, this store is fine.
    #[error("the bytes are not those of block {block}: {reason}")]
    Mismatch {
        block: BlockId,
        reason: &'static str,
    },
    /// A delta against a block that is not here, or not any more: ask for the block again, whole.
    #[error("block {block} came as a delta against {base}, which is not here")]
    NoBase { block: BlockId, base: BlockId },
    /// This store could not take them.
    #[error(transparent)]
    Store(#[from] StoreError),
}
