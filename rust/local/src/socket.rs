//! Binding, locking and checking of sockets.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::thread::{Pid, sched_getaffinity};

use crate::error::LocalError;
use crate::link::{Listening, Probe};
use crate::run_dir;

/// Who is at the other end, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    pub uid: u32,
    pub gid: u32,
    /// 0 when the process is in a PID namespace that this one does not see, such as another container.
    pub pid: u32,
}

/// Which users may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PeerPolicy {
    /// The user that runs this process, and root.
    #[default]
    SameUser,
    /// These as well.
    AlsoUsers(Vec<u32>),
}

impl PeerPolicy {
    /// Whether that user may connect.
    pub fn allows(&self, uid: u32) -> bool {
        let same = uid == rustix::process::geteuid().as_raw() || uid == 0;
        match self {
            Self::SameUser => same,
            Self::AlsoUsers(users) => same || users.contains(&uid),
        }
    }
}

/// Asks the kernel who is at the other end.
#[expect(unsafe_code, reason = "rustix has no form for a process id of 0")]
pub(crate) fn credentials(stream: impl AsFd) -> io::Result<PeerCredentials> {
    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let size = size_of::<libc::ucred>();
    let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as the borrow; the kernel writes at most `length` bytes, which `found` has,
    // and any bytes are a `ucred`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(length) != Ok(size) {
        // What was not written would pass for root.
        return Err(io::Error::other("the kernel tells less than it should"));
    }
    Ok(PeerCredentials {
        uid: found.uid,
        gid: found.gid,
        pid: u32::try_from(found.pid).unwrap_or_default(),
    })
}

/// Refuses a server that runs as somebody else.
pub(crate) fn check_server(stream: impl AsFd, path: &Path) -> Result<(), LocalError> {
    let server = credentials(stream).map_err(|source| LocalError::Io {
        what: "ask who serves",
        path: path.to_path_buf(),
        source,
    })?;
    if PeerPolicy::SameUser.allows(server.uid) {
        return Ok(());
    }
    let reason = format!("it is served by user {}, not by us", server.uid);
    Err(LocalError::Unsafe {
        path: path.to_path_buf(),
        reason,
    })
}

/// Whether both sides may run on one and the same processor only, as in a container that has one. `false` when that cannot
/// be told.
pub(crate) fn share_processor(probe: &Probe) -> bool {
    let theirs = probe.credentials().ok().and_then(|peer| {
        let process = Pid::from_raw(peer.pid.cast_signed())?;
        sched_getaffinity(Some(process)).ok()
    });
    match (sched_getaffinity(None), theirs) {
        (Ok(ours), Some(theirs)) => ours.count() == 1 && ours == theirs,
        _ => false,
    }
}

/// A bound socket. Dropped, its file is removed; the lock goes last.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: Listening,
    path: PathBuf,
    _lock: File,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // A socket that stays behind is replaced at the next start; nothing is lost.
        let _ = fs::remove_file(&self.path);
    }
}

/// Longest path that fits a `sockaddr_un` with its closing zero.
const PATH_BYTES_MAX: usize = 107;

/// Refuses a path that the kernel would cut or refuse with a riddle.
pub(crate) fn check_path(path: &Path) -> Result<(), LocalError> {
    if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
        return Err(LocalError::PathTooLong {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

/// A connected socket that does not block from then on. Blocks while the server's queue is full; `WouldBlock` when
/// that takes longer than the timeout.
pub(crate) fn open(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Connecting waits as long as a send would.
    let timeout = timeout.clamp(Duration::from_millis(1), Duration::from_secs(3_600));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    rustix::net::connect(socket.as_fd(), &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Binds the socket: directory closed to others, `<path>.lock` held, a stale socket replaced.
pub(crate) fn bind(path: &Path) -> Result<Bound, LocalError> {
    check_path(path)?;
    let io = |what| {
        move |source| LocalError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    };
    if let Some(parent) = path.parent() {
        run_dir::ensure(parent)?;
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(&lock_path)
        .map_err(io("lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(LocalError::InUse {
                path: path.to_path_buf(),
            });
        }
        Err(error) => return Err(io("lock")(error.into())),
    }
    match fs::symlink_metadata(path) {
        // We hold the lock, so whoever bound it is gone.
        Ok(there)
            if there.file_type().is_socket()
                && there.uid() == rustix::process::geteuid().as_raw() =>
        {
            fs::remove_file(path).map_err(io("replace"))?;
        }
        Ok(_) => {
            let reason = "something that is no socket of ours is there; move it away".into();
            return Err(LocalError::Unsafe {
                path: path.to_path_buf(),
                reason,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at")(error)),
    }
    let listener = UnixListener::bind(path)
        .and_then(Listening::new)
        .map_err(io("bind"))?;
    let bound = Bound {
        listener,
        path: path.to_path_buf(),
        _lock: lock,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io("close to others"))?;
    Ok(bound)
}
