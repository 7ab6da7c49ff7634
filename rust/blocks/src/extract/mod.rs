//! Writes a tree out: beside its destination first, in its place when all of it is there.

mod place;

use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hypermesh_id::Root;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

use crate::limits::TREE_DEPTH_MAX;
use crate::manifest::{ContentRef, DirectoryEntry, ManifestError, Target, Totals};
use crate::tree::{Arrivals, Part, Reader, invalid, too_deep};
use crate::{Observer, Phase, Progress, Store, StoreError};
use place::Place;

/// Bytes written between two looks at the observer.
const BYTES_PER_REPORT: u64 = 4 * 1024 * 1024;
const ITEMS_PER_REPORT: u64 = 64;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractReport {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Sum of the files' sizes.
    pub content_bytes: u64,
}

impl Store {
    /// Writes what a root names to `destination`, which must not exist.
    ///
    /// Nothing is written outside of a hidden directory beside the destination until the last step,
    /// a rename; on any error what was written is removed. Every block is verified on its way out, and `gc`
    /// waits until the last one is.
    /// The data is handed to the operating system, not forced to the disk.
    pub fn extract(
        &self,
        root: &Root,
        destination: &Path,
        observer: &dyn Observer,
    ) -> Result<ExtractReport, StoreError> {
        extract(self.reader(), root, destination, observer)
    }

    /// As [`Store::extract`], of a tree that is still arriving: writes what is here and waits for the
    /// rest. The last step waits until all of it has come and is kept; when that fails, the error names
    /// a missing block and nothing is left.
    pub fn extract_arriving(
        &self,
        root: &Root,
        destination: &Path,
        observer: &dyn Observer,
        arrivals: &dyn Arrivals,
    ) -> Result<ExtractReport, StoreError> {
        let reader = Reader {
            store: self,
            arrivals: Some(arrivals),
        };
        extract(reader, root, destination, observer)
    }
}

fn extract(
    reader: Reader<'_>,
    root: &Root,
    destination: &Path,
    observer: &dyn Observer,
) -> Result<ExtractReport, StoreError> {
    // What is written out may be pinned by nobody.
    let _lease = reader.store.lease();
    let place = Place::beside(destination)?;
    let manifest = reader.root_manifest(root)?;
    let mut job = Job {
        reader,
        observer,
        root: *root,
        totals: manifest.totals,
        done: ExtractReport::default(),
        looked: (0, 0),
        path: destination.to_path_buf(),
        top: None,
    };
    let top = DirectoryEntry {
        name: Vec::new(),
        mode: manifest.mode,
        target: manifest.target,
    };
    job.entry(place.handle(), place::CONTENT.as_bytes(), &top, 0)?;
    job.report()?;
    if let Some(arrivals) = reader.arrivals
        && !arrivals.completed()
    {
        return Err(StoreError::Missing(root.0));
    }
    place.finish(destination)?;
    if let Some((handle, mode)) = job.top {
        rustix::fs::fchmod(&handle, mode)
            .map_err(|error| StoreError::io("set the mode of", destination, error.into()))?;
    }
    Ok(job.done)
}

struct Job<'a> {
    reader: Reader<'a>,
    observer: &'a dyn Observer,
    root: Root,
    totals: Totals,
    done: ExtractReport,
    /// Bytes and items at the last look at the observer.
    looked: (u64, u64),
    /// Where the walk is, for errors.
    path: PathBuf,
    /// The top directory, if it gets its mode after the rename.
    top: Option<(OwnedFd, Mode)>,
}

impl Job<'_> {
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &DirectoryEntry,
        depth: usize,
    ) -> Result<(), StoreError> {
        let os_name = OsStr::from_bytes(name);
        let mode = Mode::from_raw_mode(entry.mode.into());
        match &entry.target {
            Target::File(content) => {
                self.done.files += 1;
                self.done.content_bytes = self.done.content_bytes.saturating_add(content.size);
                self.check_totals()?;
                self.file(parent, os_name, content, mode)
            }
            Target::Directory(content) => {
                self.done.directories += 1;
                self.check_totals()?;
                self.directory(parent, os_name, content, mode, depth)
            }
            Target::Symlink(text) => {
                self.done.symlinks += 1;
                self.check_totals()?;
                rustix::fs::symlinkat(OsStr::from_bytes(text), parent, os_name)
                    .map_err(|error| self.failed("make the link", parent, os_name, error))
            }
        }?;
        self.look()
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        content: &ContentRef,
        mode: Mode,
        depth: usize,
    ) -> Result<(), StoreError> {
        if depth > TREE_DEPTH_MAX {
            return Err(too_deep());
        }
        rustix::fs::mkdirat(parent, name, Mode::RWXU)
            .map_err(|error| self.failed("make", parent, name, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle: OwnedFd = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(|error| self.failed("open", parent, name, error))?;
        let reader = self.reader;
        let _ = reader.directory_entries(content, &mut |entry| {
            self.path.push(OsStr::from_bytes(&entry.name));
            self.entry(handle.as_fd(), &entry.name, &entry, depth + 1)?;
            self.path.pop();
            Ok(ControlFlow::Continue(()))
        })?;
        // A directory that its owner may not write to cannot be moved to another parent.
        if depth == 0 && !mode.contains(Mode::WUSR) {
            self.top = Some((handle, mode));
            return Ok(());
        }
        // Last: a directory that may not be written to could not be filled.
        rustix::fs::fchmod(&handle, mode)
            .map_err(|error| self.failed("set the mode of", parent, name, error))
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        content: &ContentRef,
        mode: Mode,
    ) -> Result<(), StoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("make", parent, name, error))?;
        let file = File::from(handle);
        let (reader, before) = (self.reader, self.done.content_bytes - content.size);
        let mut ends_in_hole = false;
        let _ = reader.file_parts(content, 0, content.size, &mut |part| {
            match part {
                Part::Data(at, bytes) => {
                    ends_in_hole = false;
                    file.write_all_at(&bytes, at)
                        .map_err(|error| StoreError::io("write", &self.path, error))?;
                    self.look_at(before + at + bytes.len() as u64)?;
                }
                Part::Hole(..) => ends_in_hole = true,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if ends_in_hole {
            file.set_len(content.size)
                .map_err(|error| StoreError::io("write", &self.path, error))?;
        }
        rustix::fs::fchmod(&file, mode)
            .map_err(|error| self.failed("set the mode of", parent, name, error))
    }

    /// A root announces its totals; a tree that holds more is refused, so that a few blocks cannot
    /// fill a disk unannounced.
    fn check_totals(&self) -> Result<(), StoreError> {
        let (done, totals) = (&self.done, &self.totals);
        if done.files > totals.files
            || done.directories > totals.directories
            || done.symlinks > totals.symlinks
            || done.content_bytes > totals.content_bytes
        {
            let error = ManifestError("the tree holds more than the root announces");
            return Err(invalid(self.root.0)(error));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        self.look_at(self.done.content_bytes)
    }

    fn look_at(&mut self, bytes: u64) -> Result<(), StoreError> {
        let items = self.items();
        if bytes.saturating_sub(self.looked.0) < BYTES_PER_REPORT
            && items - self.looked.1 < ITEMS_PER_REPORT
        {
            return Ok(());
        }
        self.looked = (bytes, items);
        self.report_at(bytes)
    }

    fn report(&self) -> Result<(), StoreError> {
        self.report_at(self.done.content_bytes)
    }

    fn report_at(&self, bytes_done: u64) -> Result<(), StoreError> {
        if self.observer.cancelled() {
            return Err(StoreError::Cancelled);
        }
        let Totals {
            files,
            directories,
            symlinks,
            content_bytes,
        } = self.totals;
        self.observer.progress(&Progress {
            phase: Phase::Extract,
            bytes_done,
            bytes_total: content_bytes,
            items_done: self.items(),
            items_total: files.saturating_add(directories).saturating_add(symlinks),
        });
        Ok(())
    }

    fn items(&self) -> u64 {
        self.done.files + self.done.directories + self.done.symlinks
    }

    fn failed(
        &self,
        what: &'static str,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        error: Errno,
    ) -> StoreError {
        if error == Errno::EXIST
            && let Some(first) = same_file(parent, name)
        {
            let directory = self.path.parent().unwrap_or(&self.path);
            return StoreError::Collision {
                directory: directory.as_os_str().as_bytes().to_vec(),
                first,
                second: name.as_bytes().to_vec(),
            };
        }
        StoreError::io(what, &self.path, error.into())
    }
}

/// The other name that a file system takes for this one: it folds case or Unicode forms.
fn same_file(parent: BorrowedFd<'_>, name: &OsStr) -> Option<Vec<u8>> {
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let mut names = Dir::read_from(parent).ok()?;
    names.find_map(|entry| {
        let entry = entry.ok()?;
        let other = entry.file_name();
        let stat = rustix::fs::statat(parent, other, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (stat.st_ino == found.st_ino).then(|| other.to_bytes().to_vec())
    })
}
