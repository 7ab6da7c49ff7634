//! What a thread that drives a connection waits for: bytes, room, or its bell.
//!
//! An epoll set that lives as long as the connection: unlike `poll`, which enters every descriptor's queue anew, a wait then
//! costs no more than a read that blocks. The socket is watched for edges: whoever takes the news reads until a read comes
//! back short, or remembers that more may be there. The end has no edge of its own when it comes with the last bytes, so
//! who has heard of it reads on to it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

const SOCKET: u64 = 0;
const BELL: u64 = 1;

#[derive(Debug)]
pub(crate) struct Wait {
    set: OwnedFd,
    bell: OwnedFd,
}

/// What the wait is over for. Neither: the time is up, or the socket has room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    /// Bytes, the end or an error are there.
    pub(crate) readable: bool,
    /// The other side says no more; what it said may still be there. It is told once.
    pub(crate) is_last: bool,
    pub(crate) rung: bool,
}

impl Wait {
    /// For bytes of that socket, and the bell.
    pub(crate) fn new(stream: &UnixStream) -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&set, stream, EventData::new_u64(SOCKET), of_socket(false))?;
        epoll::add(&set, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Self { set, bell })
    }

    /// Watches for room to write as well, or no longer.
    pub(crate) fn watch_room(&self, stream: &UnixStream, room: bool) -> io::Result<()> {
        Ok(epoll::modify(
            &self.set,
            stream,
            EventData::new_u64(SOCKET),
            of_socket(room),
        )?)
    }

    /// Ends the wait of the thread that waits, or the next one.
    pub(crate) fn ring(&self) {
        // It fails only when the counter is full: then it is rung already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits for one of them, not longer than until then. For one thread at a time.
    pub(crate) fn wait(&self, until: Option<Instant>) -> io::Result<Woken> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A wait beyond what the kernel can represent is one without end.
        let left = left.and_then(|left| left.try_into().ok());
        let mut room = [const { MaybeUninit::<Event>::uninit() }; 2];
        let events = match epoll::wait(&self.set, &mut room, left.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        };
        let mut woken = Woken::default();
        for event in events.iter() {
            if event.data.u64() == BELL {
                woken.rung = true;
                // Emptied; nobody else reads it.
                let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            } else {
                let last = EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR;
                let flags = event.flags;
                woken.is_last |= flags.intersects(last);
                woken.readable |= flags.intersects(EventFlags::IN | last);
            }
        }
        Ok(woken)
    }
}

fn of_socket(room: bool) -> EventFlags {
    let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    flags.set(EventFlags::OUT, room);
    flags
}
