//! Puts a file or a tree into the store.

pub(crate) mod builder;
mod file;
pub(crate) mod pipeline;
mod scan;
mod walk;

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hypermesh_id::{BlockId, Root};

use crate::limits::COMMIT_BYTES;
use crate::manifest::{RootManifest, Totals, encode_root};
use crate::store::Appended;
use crate::{Observer, RootInfo, Store, StoreError};
use pipeline::{Added, Stage};

/// How to put.
#[derive(Clone, Copy, Debug)]
pub struct PutOptions {
    /// Pins the root, so that `gc` keeps it.
    pub pin: bool,
    /// A directory that is passed over, like what is neither file, directory nor symlink: the keys of who puts.
    pub leave_out: Option<DirectoryId>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            pin: true,
            leave_out: None,
        }
    }
}

/// A directory whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryId {
    device: u64,
    inode: u64,
}

impl DirectoryId {
    /// That of a path, symlinks followed.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let stat = rustix::fs::stat(path).map_err(|error| walk::failed("look at", path, error))?;
        Ok(Self::of_stat(&stat))
    }

    pub(crate) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// What was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    pub root: Root,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Sum of the files' sizes.
    pub content_bytes: u64,
    /// Blocks that were not here.
    pub new_blocks: u64,
    /// Their bytes, uncompressed.
    pub new_content_bytes: u64,
    /// What they take on disk.
    pub new_stored_bytes: u64,
    /// Sockets, devices, pipes, and files that do not tell their size, which were left out. Names
    /// the first thousand.
    pub skipped: Vec<PathBuf>,
    /// How many were left out.
    pub skipped_count: u64,
    /// Files and directories whose set-uid, set-gid or sticky bits were left out.
    pub special_modes: u64,
}

impl Store {
    /// Puts the file or directory at `path` in. Everything is durable when this returns.
    ///
    /// Symlinks are kept as they are (but one at `path` itself is followed), hard links become files
    /// of their own, and neither owners nor times are kept. A put that was interrupted starts again
    /// and stores only what is not here yet.
    pub fn put(
        &self,
        path: &Path,
        options: PutOptions,
        observer: &dyn Observer,
    ) -> Result<PutReport, StoreError> {
        // Until the root is recorded nothing tells gc that these blocks are wanted.
        let _lease = self.lease();
        let expected = scan::count(path, observer)?;
        let keeper = Keeper {
            store: self,
            unsynced: AtomicU64::new(0),
        };
        let mut report = pipeline::run(&keeper, |pipeline| {
            walk::put(self, pipeline, path, options.leave_out, expected, observer)
        })?;
        let manifest = RootManifest {
            mode: report.mode,
            target: report.target,
            totals: report.totals,
        };
        let block =
            encode_root(&manifest).ok_or(StoreError::Internal("a symlink became a root"))?;
        let id = BlockId::of(&block);
        report.added.add(self.append_manifest(id, &block)?);
        let root = Root(id);
        let source = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let source = source.as_os_str().as_bytes().to_vec();
        self.record_root(
            &root,
            RootInfo {
                complete: true,
                pin: options.pin,
                source,
            },
        )?;
        let Totals {
            files,
            directories,
            symlinks,
            content_bytes,
        } = report.totals;
        Ok(PutReport {
            root,
            files,
            directories,
            symlinks,
            content_bytes,
            new_blocks: report.added.blocks,
            new_content_bytes: report.added.raw_bytes,
            new_stored_bytes: report.added.record_bytes,
            skipped: report.skipped,
            skipped_count: report.skipped_count,
            special_modes: report.special_modes,
        })
    }

    /// Stores one manifest block.
    fn append_manifest(&self, id: BlockId, block: &[u8]) -> Result<Added, StoreError> {
        if self.intact_many(&[id]) == [true] {
            return Ok(Added::default());
        }
        Ok(self.inner.store(&[(id, block)])?.into())
    }
}

impl Added {
    pub(crate) fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.raw_bytes += other.raw_bytes;
        self.record_bytes += other.record_bytes;
    }
}

impl From<Appended> for Added {
    fn from(done: Appended) -> Self {
        Self {
            blocks: done.blocks,
            raw_bytes: done.raw_bytes,
            record_bytes: done.record_bytes,
        }
    }
}

/// The workers' end of a put: compresses and appends what is not here.
struct Keeper<'a> {
    store: &'a Store,
    unsynced: AtomicU64,
}

impl Stage for Keeper<'_> {
    fn keep(
        &self,
        buffer: &[u8],
        cuts: &[Range<usize>],
        ids: &[BlockId],
    ) -> Result<Added, StoreError> {
        let here = self.store.intact_many(ids);
        let blocks: Vec<(BlockId, &[u8])> = cuts
            .iter()
            .zip(ids)
            .zip(here)
            .filter(|(_, here)| !here)
            .map(|((cut, id), _)| (*id, &buffer[cut.clone()]))
            .collect();
        if blocks.is_empty() {
            return Ok(Added::default());
        }
        let added = Added::from(self.store.inner.store(&blocks)?);
        let unsynced = self
            .unsynced
            .fetch_add(added.record_bytes, Ordering::Relaxed)
            + added.record_bytes;
        // Bounds what a power cut costs, and how much dirty memory the last sync waits for.
        if unsynced >= COMMIT_BYTES && self.unsynced.swap(0, Ordering::Relaxed) >= COMMIT_BYTES {
            self.store.sync()?;
        }
        self.store.inner.save_many_sketches()?;
        Ok(added)
    }
}
