//! Walks a tree in the order of names and assembles its manifests.
//!
//! Reading runs ahead of hashing: what is read becomes a queue of steps, and a step is taken when
//! the chunks it needs have their names.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hypermesh_id::BlockId;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::DirectoryId;
use super::builder::{DirectoryBuilder, IndexBuilder};
use super::file::{self, Read};
use super::pipeline::{Added, Pipeline};
use crate::limits::{
    MODE_MASK, NAME_BYTES_MAX, SKIPPED_NAMED_MAX, TARGET_BYTES_MAX, TREE_DEPTH_MAX,
};
use crate::manifest::{ContentRef, DirectoryEntry, IndexEntry, IndexKind, Target, Totals};
use crate::{Observer, Phase, Progress, Store, StoreError};

/// Steps that wait for hashes; holes and empty files cost no chunk memory, but a step each.
const STEPS_MAX: usize = 1 << 15;
/// Items between two looks at the observer.
const ITEMS_PER_REPORT: u64 = 64;

/// What a walk found and built.
pub(crate) struct Walked {
    pub(crate) mode: u16,
    pub(crate) target: Target,
    pub(crate) totals: Totals,
    pub(crate) added: Added,
    pub(crate) skipped: Vec<PathBuf>,
    pub(crate) skipped_count: u64,
    pub(crate) special_modes: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    EnterDirectory,
    LeaveDirectory {
        name: Vec<u8>,
        mode: u16,
    },
    Symlink {
        name: Vec<u8>,
        text: Vec<u8>,
    },
    Chunk,
    Hole(u64),
    EndFile {
        name: Vec<u8>,
        mode: u16,
    },
    /// The file changed while it was read: its parts so far are dropped.
    DropFile,
}

pub(crate) struct Walk<'a> {
    store: &'a Store,
    pub(crate) pipeline: &'a mut Pipeline,
    observer: &'a dyn Observer,
    steps: VecDeque<Step>,
    /// Directories that the reading is in.
    depth: usize,
    /// Directories that the assembling is in.
    directories: Vec<DirectoryBuilder>,
    file: IndexBuilder,
    top: Option<(u16, Target)>,
    totals: Totals,
    pub(crate) bytes_read: u64,
    /// Bytes and items that a look ahead counted.
    expected: (u64, u64),
    items: u64,
    added: Added,
    skipped: Vec<PathBuf>,
    skipped_count: u64,
    leave_out: Option<DirectoryId>,
    special_modes: u64,
}

pub(crate) fn put(
    store: &Store,
    pipeline: &mut Pipeline,
    path: &Path,
    leave_out: Option<DirectoryId>,
    expected: (u64, u64),
    observer: &dyn Observer,
) -> Result<Walked, StoreError> {
    let mut walk = Walk {
        store,
        pipeline,
        observer,
        steps: VecDeque::new(),
        depth: 0,
        directories: Vec::new(),
        file: IndexBuilder::new(IndexKind::File),
        top: None,
        totals: Totals::default(),
        bytes_read: 0,
        expected,
        items: 0,
        added: Added::default(),
        skipped: Vec::new(),
        skipped_count: 0,
        leave_out,
        special_modes: 0,
    };
    walk.top(path)?;
    walk.take_steps(true)?;
    walk.report()?;
    let (mode, target) = walk
        .top
        .ok_or(StoreError::Internal("a put came to no end"))?;
    walk.added.add(walk.pipeline.added());
    Ok(Walked {
        mode,
        target,
        totals: walk.totals,
        added: walk.added,
        skipped: walk.skipped,
        skipped_count: walk.skipped_count,
        special_modes: walk.special_modes,
    })
}

fn unsupported(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Unsupported {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

pub(crate) fn failed(what: &'static str, path: &Path, error: Errno) -> StoreError {
    StoreError::io(what, path, error.into())
}

impl Walk<'_> {
    fn top(&mut self, path: &Path) -> Result<(), StoreError> {
        let stat = rustix::fs::stat(path).map_err(|error| failed("look at", path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let handle = rustix::fs::openat(CWD, path, flags, Mode::empty())
                    .map_err(|error| failed("open", path, error))?;
                self.directory(handle, &mut path.to_path_buf(), Vec::new())
            }
            FileType::RegularFile => {
                // A symlink at the top is followed; what it leads to is opened once and checked.
                let resolved = path
                    .canonicalize()
                    .map_err(|error| StoreError::io("resolve", path, error))?;
                self.regular(CWD, resolved.as_os_str(), &resolved, Vec::new())
            }
            _ => Err(unsupported(path, "it is neither a file nor a directory")),
        }
    }

    fn directory(
        &mut self,
        handle: OwnedFd,
        path: &mut PathBuf,
        name: Vec<u8>,
    ) -> Result<(), StoreError> {
        if self.depth >= TREE_DEPTH_MAX {
            return Err(unsupported(
                path,
                format!("it is nested deeper than {TREE_DEPTH_MAX}"),
            ));
        }
        let stat = rustix::fs::fstat(&handle).map_err(|error| failed("look at", path, error))?;
        self.step(Step::EnterDirectory)?;
        self.depth += 1;
        for child in names(&handle, path)? {
            path.push(OsStr::from_bytes(&child));
            self.child(&handle, path, child)?;
            path.pop();
        }
        self.depth -= 1;
        let mode = self.permissions(&stat);
        self.step(Step::LeaveDirectory { name, mode })
    }

    fn child(
        &mut self,
        parent: &OwnedFd,
        path: &mut PathBuf,
        name: Vec<u8>,
    ) -> Result<(), StoreError> {
        let os_name = OsStr::from_bytes(&name);
        if name.len() > NAME_BYTES_MAX {
            return Err(unsupported(path, "its name is too long"));
        }
        let stat = match rustix::fs::statat(parent, os_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was listed: as if it had gone a moment earlier.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("look at", path, error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if self.leave_out == Some(DirectoryId::of_stat(&stat)) => {
                self.skip(path);
                Ok(())
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(parent, os_name, flags, Mode::empty()) {
                    Ok(handle) => self.directory(handle, path, name),
                    Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(failed("open", path, error)),
                }
            }
            FileType::RegularFile => {
                let os_name = os_name.to_os_string();
                self.regular(parent, &os_name, path, name)
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(parent, os_name, Vec::new())
                    .map_err(|error| failed("read the link", path, error))?
                    .into_bytes();
                if text.is_empty() || text.len() > TARGET_BYTES_MAX {
                    return Err(unsupported(path, "its link text has a wrong length"));
                }
                self.step(Step::Symlink { name, text })
            }
            _ => {
                self.skip(path);
                Ok(())
            }
        }
    }

    fn skip(&mut self, path: &Path) {
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_NAMED_MAX {
            self.skipped.push(path.to_path_buf());
        }
    }

    /// The bits that are kept; counts where others were set.
    fn permissions(&mut self, stat: &Stat) -> u16 {
        let mode = (stat.st_mode & 0o7777) as u16;
        self.special_modes += u64::from(mode & !MODE_MASK != 0);
        mode & MODE_MASK
    }

    fn regular(
        &mut self,
        parent: impl std::os::fd::AsFd,
        os_name: &OsStr,
        path: &Path,
        name: Vec<u8>,
    ) -> Result<(), StoreError> {
        for _ in 0..=crate::limits::CHANGED_RETRIES_MAX {
            match file::read(self, parent.as_fd(), os_name, path)? {
                Read::Whole(stat) => {
                    let mode = self.permissions(&stat);
                    return self.step(Step::EndFile { name, mode });
                }
                Read::Sizeless if !name.is_empty() => {
                    self.skip(path);
                    return self.step(Step::DropFile);
                }
                Read::Sizeless => {
                    return Err(unsupported(
                        path,
                        "it says that it is empty and is not; put a copy of it",
                    ));
                }
                Read::Gone if !name.is_empty() => return self.step(Step::DropFile),
                Read::Gone => return Err(failed("open", path, Errno::NOENT)),
                Read::Changed => self.step(Step::DropFile)?,
            }
        }
        Err(StoreError::Changed {
            path: path.to_path_buf(),
        })
    }

    /// Queues the step of an item and takes those that can be taken.
    pub(crate) fn step(&mut self, step: Step) -> Result<(), StoreError> {
        self.items += 1;
        if self.items.is_multiple_of(ITEMS_PER_REPORT) {
            self.report()?;
        }
        self.queue(step);
        self.drain()
    }

    /// Queues a step. Holes that follow each other become one.
    pub(crate) fn queue(&mut self, step: Step) {
        if let (Step::Hole(more), Some(Step::Hole(size))) = (&step, self.steps.back_mut()) {
            *size += more;
            return;
        }
        self.steps.push_back(step);
    }

    /// Takes the steps that can be taken, and waits when too many wait.
    pub(crate) fn drain(&mut self) -> Result<(), StoreError> {
        self.take_steps(self.steps.len() >= STEPS_MAX)
    }

    /// Tells the observer how far the reading is.
    pub(crate) fn report(&self) -> Result<(), StoreError> {
        if self.observer.cancelled() {
            return Err(StoreError::Cancelled);
        }
        let items_done = self.totals.files + self.totals.directories + self.totals.symlinks;
        self.observer.progress(&Progress {
            phase: Phase::Store,
            bytes_done: self.bytes_read,
            bytes_total: self.expected.0.max(self.bytes_read),
            items_done,
            items_total: self.expected.1.max(items_done),
        });
        Ok(())
    }

    /// Takes the steps whose chunks are named; with `wait`, all of them.
    pub(crate) fn take_steps(&mut self, wait: bool) -> Result<(), StoreError> {
        while let Some(step) = self.steps.pop_front() {
            if matches!(step, Step::Chunk) {
                match self.pipeline.pop(wait)? {
                    Some(piece) => {
                        let size = piece.length.into();
                        let part = IndexEntry {
                            size,
                            block_len: piece.length,
                            id: piece.id,
                        };
                        self.part(part)?;
                    }
                    None if wait => return Err(StoreError::Internal("a chunk was lost")),
                    None => {
                        self.steps.push_front(step);
                        return Ok(());
                    }
                }
                continue;
            }
            self.take(step)?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Chunk => Ok(()),
            Step::Hole(size) => self.part(IndexEntry::hole(size)),
            Step::DropFile => {
                self.file = IndexBuilder::new(IndexKind::File);
                Ok(())
            }
            Step::EnterDirectory => {
                self.directories.push(DirectoryBuilder::new());
                Ok(())
            }
            Step::LeaveDirectory { name, mode } => {
                let directory = self.directories.pop();
                let directory = directory.ok_or(StoreError::Internal("a directory was lost"))?;
                let content = directory.finish(&mut emit(self.store, &mut self.added))?;
                self.totals.directories += 1;
                self.entry(DirectoryEntry {
                    name,
                    mode,
                    target: Target::Directory(content),
                })
            }
            Step::Symlink { name, text } => {
                self.totals.symlinks += 1;
                self.entry(DirectoryEntry {
                    name,
                    mode: MODE_MASK,
                    target: Target::Symlink(text),
                })
            }
            Step::EndFile { name, mode } => {
                let file = std::mem::replace(&mut self.file, IndexBuilder::new(IndexKind::File));
                let content = file
                    .finish(&mut emit(self.store, &mut self.added))?
                    .unwrap_or(ContentRef::EMPTY);
                self.totals.files += 1;
                self.totals.content_bytes += content.size;
                self.entry(DirectoryEntry {
                    name,
                    mode,
                    target: Target::File(content),
                })
            }
        }
    }

    fn part(&mut self, part: IndexEntry) -> Result<(), StoreError> {
        self.file.push(part, &mut emit(self.store, &mut self.added))
    }

    /// Adds to the directory that is open, or ends the walk.
    fn entry(&mut self, entry: DirectoryEntry) -> Result<(), StoreError> {
        match self.directories.last_mut() {
            Some(directory) => directory.push(entry, &mut emit(self.store, &mut self.added)),
            None => {
                self.top = Some((entry.mode, entry.target));
                Ok(())
            }
        }
    }
}

fn emit<'a>(
    store: &'a Store,
    added: &'a mut Added,
) -> impl FnMut(BlockId, Vec<u8>) -> Result<(), StoreError> + 'a {
    move |id, block| {
        added.add(store.append_manifest(id, &block)?);
        Ok(())
    }
}

/// The names in a directory, in the order of their bytes.
fn names(handle: &OwnedFd, path: &Path) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(handle).map_err(|error| failed("list", path, error))? {
        let entry = entry.map_err(|error| failed("list", path, error))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}
