//! One connected socket: who waits for it, and how bytes leave it.
//!
//! It is registered for reading only. A Unix socket that is registered for writing as well wakes its owner each time the
//! other side takes bytes, which doubles the wake-ups of a round trip; so writing is tried first, and waited for, through a
//! second descriptor, only when the socket is full.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::socket::{PeerCredentials, credentials};

/// The reading end, for one task.
#[derive(Debug)]
pub(crate) struct Reading(AsyncFd<Arc<UnixStream>>);

impl Reading {
    /// Reads some bytes; 0 at the end. Cancel safe.
    pub(crate) async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            // Cheaper than a wait that several tasks could share.
            let mut ready = std::future::poll_fn(|context| self.0.poll_read_ready(context)).await?;
            match try_read(ready.get_inner(), room)? {
                Some(count) => {
                    if count > 0 && count < room.len() {
                        // All that was there is taken; what comes next rings again.
                        ready.clear_ready();
                    }
                    return Ok(count);
                }
                None => ready.clear_ready(),
            }
        }
    }
}

/// Reads what is there now, 0 at the end. `None`: nothing is.
pub(crate) fn try_read(mut stream: &UnixStream, room: &mut [u8]) -> io::Result<Option<usize>> {
    now(|| stream.read(room))
}

/// `None` when it would block. A signal does not count.
fn now(mut work: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match work() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The writing end, for all who have something to say.
#[derive(Debug)]
pub(crate) struct Writing(Arc<UnixStream>);

impl Writing {
    /// Of a socket that does not block.
    pub(crate) fn new(stream: Arc<UnixStream>) -> Self {
        Self(stream)
    }

    /// Questions to the kernel about the same socket.
    pub(crate) fn probe(&self) -> Probe {
        Probe(Arc::clone(&self.0))
    }

    /// Writes what fits now. `None`: nothing does.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        now(|| self.0.as_ref().write(bytes))
    }

    /// Ends both directions: the other side reads what was written, then the end. Whoever still holds the outbox, such as
    /// work that outlives its call, would else keep the socket open.
    pub(crate) fn shut_down(&self) {
        // It fails only when the other side is gone.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Waits until something fits. Cancel safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        // The same descriptor cannot be registered twice.
        let second = register(Arc::new(self.0.try_clone()?), Interest::WRITABLE)?;
        second.writable().await?.retain_ready();
        Ok(())
    }
}

/// Asks the kernel about a socket; reads and writes nothing.
#[derive(Debug)]
pub(crate) struct Probe(Arc<UnixStream>);

impl Probe {
    /// Whether the other side has closed it.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        matches!(poll(&mut polled, Some(&now)), Ok(1..)) && polled[0].revents().intersects(gone)
    }

    /// Who is at the other end.
    pub(crate) fn credentials(&self) -> io::Result<PeerCredentials> {
        credentials(&self.0)
    }
}

/// Both ends of a connected socket that does not block. Needs a tokio runtime.
pub(crate) fn ends(stream: UnixStream) -> io::Result<(Reading, Writing)> {
    let stream = Arc::new(stream);
    let reading = register(Arc::clone(&stream), Interest::READABLE)?;
    Ok((Reading(reading), Writing::new(stream)))
}

/// A socket that others connect to.
#[derive(Debug)]
pub(crate) struct Listening {
    socket: AsyncFd<Arc<UnixListener>>,
    /// A descriptor to give up when there is no other, so that who connects can be told.
    reserve: Mutex<Option<OwnedFd>>,
}

impl Listening {
    /// Needs a tokio runtime.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            reserve: Mutex::new(reserve(&listener)),
            socket: register(Arc::new(listener), Interest::READABLE)?,
        })
    }

    /// The next connection; it does not block. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let mut ready = self.socket.readable().await?;
            match accept_now(ready.get_inner()) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                other => return Ok(other?),
            }
        }
    }

    /// Gives up the reserve to accept one connection, for a short word; then it is closed and the reserve taken back.
    /// `false`: there is no reserve, or it was not enough.
    pub(crate) fn with_reserve(&self, tell: impl FnOnce(UnixStream)) -> bool {
        let mut kept = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.take().is_none() {
            *kept = reserve(self.socket.get_ref());
            return false;
        }
        let accepted = accept_now(self.socket.get_ref());
        let told = accepted.is_ok();
        if let Ok(stream) = accepted {
            tell(stream);
        }
        *kept = reserve(self.socket.get_ref());
        told
    }
}

fn accept_now(listener: &UnixListener) -> Result<UnixStream, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::accept_with(listener, flags).map(UnixStream::from)
}

/// Any descriptor will do.
fn reserve(listener: &UnixListener) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(listener, 0).ok()
}

/// For the two kinds of sockets of this module only.
#[expect(
    unsafe_code,
    reason = "tokio has no safe way to register an owned socket for one direction"
)]
fn register<T: AsRawFd>(socket: Arc<T>, interest: Interest) -> io::Result<AsyncFd<Arc<T>>> {
    // SAFETY: a socket of the standard library; its descriptor is open and stays the same one for as long as the `Arc`,
    // which the result holds: nothing takes it out of there.
    unsafe { Ok(AsyncFd::register_with_interest(socket, interest)?) }
}
