//! The hidden directory that a tree grows in, and its removal.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::limits::TREE_DEPTH_MAX;

/// Name of the tree inside the hidden directory.
pub(crate) const CONTENT: &str = "content";
/// Names that are tried before the parent counts as unusable.
const ATTEMPTS_MAX: u64 = 64;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Directories of ended processes that one extraction removes at most.
const SWEPT_MAX: usize = 64;
const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of mode 0700 beside a destination, removed with all that is in it when dropped. It is locked while it is in
/// use: one without a lock was left by a process that was killed, and the next extraction to that destination removes it.
#[derive(Debug)]
pub(crate) struct Place {
    parent: OwnedFd,
    name: OsString,
    handle: OwnedFd,
}

impl Place {
    /// Makes one. The destination must not exist, its parent must.
    pub(crate) fn beside(destination: &Path) -> Result<Self, StoreError> {
        let path = destination.to_path_buf();
        let Some(last) = destination.file_name() else {
            return Err(StoreError::Unsupported {
                path,
                reason: "it has no name".into(),
            });
        };
        if destination.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path });
        }
        let above = match destination.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(CWD, above, flags, Mode::empty())
            .map_err(|error| StoreError::io("open", above, error.into()))?;
        let prefix = prefix(last);
        if let Err(error) = sweep(&parent, &prefix) {
            tracing::warn!(directory = %above.display(), %error, "cannot look for unfinished extractions");
        }
        let (name, handle) = make(&parent, &prefix, above)?;
        Ok(Self {
            parent,
            name,
            handle,
        })
    }

    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Moves the tree to its destination, unless something came there meanwhile.
    pub(crate) fn finish(self, destination: &Path) -> Result<(), StoreError> {
        let path = || destination.to_path_buf();
        let last = destination.file_name().unwrap_or_default();
        let moved = rustix::fs::renameat_with(
            &self.handle,
            CONTENT,
            &self.parent,
            last,
            RenameFlags::NOREPLACE,
        );
        match moved {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(StoreError::Exists { path: path() }),
            // A file system without the flag: names are claimed in the ways that never replace.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.claim(last, destination),
            Err(error) => Err(StoreError::io("rename to", destination, error.into())),
        }
    }

    fn claim(&self, last: &OsStr, destination: &Path) -> Result<(), StoreError> {
        let failed = |error: Errno| match error {
            Errno::EXIST => StoreError::Exists {
                path: destination.to_path_buf(),
            },
            error => StoreError::io("rename to", destination, error.into()),
        };
        let stat = rustix::fs::statat(&self.handle, CONTENT, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            rustix::fs::mkdirat(&self.parent, last, Mode::RWXU).map_err(failed)?;
            // Only an empty directory is replaced by this.
            return rustix::fs::renameat(&self.handle, CONTENT, &self.parent, last).map_err(failed);
        }
        rustix::fs::linkat(&self.handle, CONTENT, &self.parent, last, AtFlags::empty())
            .map_err(failed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove(self.parent.as_fd(), &self.name, 0) {
            let name = PathBuf::from(&self.name);
            tracing::warn!(name = %name.display(), %error, "cannot remove an unfinished extraction");
        }
    }
}

/// How the hidden directories of a destination begin.
fn prefix(last: &OsStr) -> Vec<u8> {
    // Short enough for the longest destination name.
    let kept = &last.as_bytes()[..last.len().min(64)];
    [b".", kept, b".hypermesh-"].concat()
}

/// Makes a directory that is ours alone, and locks it.
fn make(parent: &OwnedFd, prefix: &[u8], above: &Path) -> Result<(OsString, OwnedFd), StoreError> {
    let process = std::process::id();
    for _ in 0..ATTEMPTS_MAX {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut name = OsStr::from_bytes(prefix).to_owned();
        name.push(format!("{process}-{number}"));
        let failed = |what| {
            let path = above.join(&name);
            move |error: Errno| StoreError::io(what, &path, error.into())
        };
        match rustix::fs::mkdirat(parent, &name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(failed("make")(error)),
        }
        let handle = match rustix::fs::openat(parent, &name, OPEN, Mode::empty()) {
            Ok(handle) => handle,
            Err(error) => {
                let _ = rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR);
                return Err(failed("open")(error));
            }
        };
        // Where locks are not supported, nobody sweeps either.
        if locked(&handle) == Err(Errno::WOULDBLOCK) {
            // Another extraction sweeps it, between our two steps.
            continue;
        }
        if rustix::fs::fstat(&handle)
            .map_err(failed("look at"))?
            .st_nlink
            > 0
        {
            return Ok((name, handle));
        }
    }
    Err(StoreError::Exists {
        path: above.join(OsStr::from_bytes(prefix)),
    })
}

fn locked(directory: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive)
}

/// Removes what killed processes left for the same destination.
fn sweep(parent: &OwnedFd, prefix: &[u8]) -> Result<(), Errno> {
    let mut left = Vec::new();
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name.strip_prefix(prefix).is_some_and(is_ours) && left.len() < SWEPT_MAX {
            left.push(OsStr::from_bytes(name).to_owned());
        }
    }
    let user = rustix::process::geteuid().as_raw();
    for name in left {
        let Ok(handle) = rustix::fs::openat(parent, &name, OPEN, Mode::empty()) else {
            continue;
        };
        let is_mine = rustix::fs::fstat(&handle).is_ok_and(|stat| stat.st_uid == user);
        // The lock is held until it is gone.
        if is_mine && locked(&handle).is_ok() {
            match remove(parent.as_fd(), &name, 0) {
                Ok(()) => {
                    tracing::info!(name = %name.display(), "removed an unfinished extraction");
                }
                Err(error) => {
                    tracing::warn!(name = %name.display(), %error, "cannot remove an unfinished extraction");
                }
            }
        }
    }
    Ok(())
}

/// `PID-N`: what [`make`] appends.
fn is_ours(rest: &[u8]) -> bool {
    let mut parts = rest.split(|byte| *byte == b'-');
    let is_number = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
}

/// Removes a name and all below it, without ever following a link.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) if depth <= TREE_DEPTH_MAX + 2 => {}
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    }
    let open = || rustix::fs::openat(parent, name, OPEN, Mode::empty());
    let handle = match open() {
        Err(Errno::ACCESS) => {
            // It has its final mode already, which may forbid reading it.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    rustix::fs::fchmod(&handle, Mode::RWXU)?;
    let names: Result<Vec<_>, Errno> = Dir::read_from(&handle)?
        .map(|entry| Ok(entry?.file_name().to_owned()))
        .collect();
    for child in names? {
        let bytes = child.to_bytes();
        if bytes != b"." && bytes != b".." {
            remove(handle.as_fd(), OsStr::from_bytes(bytes), depth + 1)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
