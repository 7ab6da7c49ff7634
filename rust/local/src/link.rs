//! One connected socket: who waits for it, and how bytes leave it.
//!
//! It is registered for reading only. A Unix socket that is registered for writing as well wakes its owner each time the
//! other side takes bytes, which doubles the wake-ups of a round trip; so writing is tried first, and waited for, through a
//! second descriptor, only when the socket is full.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

/// Both ends of a connected socket that does not block. Needs a tokio runtime.
pub(crate) fn ends(stream: UnixStream) -> io::Result<(Reading, Writing)> {
    let stream = Arc::new(stream);
    let reading = register(Arc::clone(&stream), Interest::READABLE)?;
    Ok((Reading(reading), Writing::new(stream)))
}

/// A socket that others connect to.
#[derive(Debug)]
pub(crate) struct Listening(AsyncFd<Arc<UnixListener>>);

impl Listening {
    /// Needs a tokio runtime.
    pub(crate) fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self(register(Arc::new(listener), Interest::READABLE)?))
    }

    /// The next connection; it does not block. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let mut ready = self.0.readable().await?;
            match rustix::net::accept_with(ready.get_inner(), flags) {
                Ok(stream) => return Ok(stream.into()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
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
