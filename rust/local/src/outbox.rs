//! Frames on their way out of one connection.
//!
//! Whoever has a frame appends it; all that is there goes out with one write. Mostly the connection's driver writes, once
//! per turn; a caller that is alone on its connection writes at once, which saves it a turn of the driver. The queue is
//! bounded by [`OUTBOX_BYTES`]: who may wait, waits for room; a driver reads no more requests while it is full.
//!
//! Events have a lane of their own, bounded alike, that is served after all else and in small portions: a stream that is
//! read slowly delays no reply. What ends a stream stays behind its events.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use mfn_wire::{Header, Tlv, WireError, limits};
use tokio::sync::Notify;

use crate::link::Writing;

/// Bytes that wait before senders are held up. One frame more may follow.
pub(crate) const OUTBOX_BYTES: usize = 1024 * 1024;
/// Bytes of events that go out before the other lane is looked at again; a longer event goes whole.
const EVENT_PORTION: usize = 32 * 1024;
/// The other side may not announce less: what ends a connection must fit.
const FRAME_BYTES_LEAST: u32 = 8 * 1024;

/// Which queue a frame waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Main,
    /// Events, and what must not overtake them.
    Events,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// From `events_start` on.
    events: Vec<u8>,
    events_start: usize,
    closed: bool,
    /// Somebody left a frame to the driver, and nobody has taken it since.
    rung: bool,
    /// Who drives, once it has waited for the bell.
    driver: Option<Waker>,
}

impl Queue {
    fn waiting_events(&self) -> usize {
        self.events.len() - self.events_start
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.waiting_events() == 0
    }

    /// Moves whole frames of events to the end of the buffer, at least one if there is one.
    fn take_events(&mut self, buffer: &mut Vec<u8>) {
        let waiting = self.events.get(self.events_start..).unwrap_or_default();
        let mut end = 0;
        while let Some(rest @ [_, ..]) = waiting.get(end..) {
            // They were encoded here: each has a length.
            let Ok(Some(length)) = mfn_wire::frame_length(rest) else {
                break;
            };
            if end > 0 && end + length > EVENT_PORTION {
                break;
            }
            end += length;
        }
        buffer.extend_from_slice(waiting.get(..end).unwrap_or_default());
        self.events_start += end;
        if self.events_start * 2 >= self.events.len() {
            // At most as many bytes are moved as were taken.
            self.events.drain(..self.events_start);
            self.events_start = 0;
        }
    }
}

/// What is being written.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
}

/// What came of a try to write everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All that was there at the start; who appended later has rung.
    All,
    /// The socket takes nothing now.
    Blocked,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    writing: Writing,
    queue: Mutex<Queue>,
    /// Bytes in the lanes, for a look without the lock.
    waiting: AtomicUsize,
    waiting_events: AtomicUsize,
    /// Longest frame that the other side takes.
    frame_bytes_max: AtomicU32,
    /// Locked before `queue` when both are.
    output: Mutex<Output>,
    /// The senders' bell: room again, or closed.
    drained: Notify,
}

impl Outbox {
    pub(crate) fn new(writing: Writing) -> Self {
        Self {
            writing,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_events: AtomicUsize::new(0),
            frame_bytes_max: AtomicU32::new(limits::FRAME_BYTES_MAX),
            output: Mutex::default(),
            drained: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the other side's HELLO said that it takes; 0: it did not say.
    pub(crate) fn announce(&self, frame_bytes_max: u32) {
        if frame_bytes_max > 0 {
            let least = frame_bytes_max.clamp(FRAME_BYTES_LEAST, limits::FRAME_BYTES_MAX);
            self.frame_bytes_max.store(least, Ordering::Relaxed);
        }
    }

    /// Appends a frame and leaves the writing to the driver. After the end of the connection it is dropped: nobody is
    /// there to read it.
    pub(crate) fn push(
        &self,
        header: &Header,
        tlv: &[Tlv<'_>],
        body: &[u8],
    ) -> Result<(), WireError> {
        if self.append(header, tlv, body)? {
            self.ring();
        }
        Ok(())
    }

    /// The same for an event.
    pub(crate) fn push_event(&self, header: &Header, body: &[u8]) -> Result<(), WireError> {
        if self.append_to(Lane::Events, header, &[], body)? {
            self.ring();
        }
        Ok(())
    }

    /// Appends a frame and writes it at once if nothing hinders. `false`: something is left, and whoever drives must be
    /// told.
    pub(crate) fn push_now(&self, header: &Header, body: &[u8]) -> Result<bool, WireError> {
        self.append(header, &[], body)?;
        // Without the lock, somebody writes and may have looked into the queue before. An error is the driver's to find
        // and to report.
        let done = match self.output.try_lock() {
            Ok(mut output) => self.write(&mut output),
            Err(TryLockError::Poisoned(output)) => self.write(&mut output.into_inner()),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        Ok(matches!(done, Ok(Flushed::All)))
    }

    /// Appends a frame for the next flush. For the driver, whose turn ends with one; who else appends, rings when this says
    /// `true`.
    pub(crate) fn append(
        &self,
        header: &Header,
        tlv: &[Tlv<'_>],
        body: &[u8],
    ) -> Result<bool, WireError> {
        self.append_to(Lane::Main, header, tlv, body)
    }

    /// The same in the lane of one's choice.
    pub(crate) fn append_to(
        &self,
        lane: Lane,
        header: &Header,
        tlv: &[Tlv<'_>],
        body: &[u8],
    ) -> Result<bool, WireError> {
        if body.len() + limits::HEADER_BYTES as usize
            > self.frame_bytes_max.load(Ordering::Relaxed) as usize
        {
            return Err(WireError::TooLarge);
        }
        let mut queue = self.queue();
        if queue.closed {
            return Ok(false);
        }
        let was_empty = queue.is_empty();
        let to = match lane {
            Lane::Main => &mut queue.bytes,
            Lane::Events => &mut queue.events,
        };
        mfn_wire::encode(header, tlv, body, to)?;
        self.count(&queue);
        Ok(was_empty)
    }

    fn count(&self, queue: &Queue) {
        self.waiting.store(queue.bytes.len(), Ordering::Relaxed);
        self.waiting_events
            .store(queue.waiting_events(), Ordering::Relaxed);
    }

    /// Writes what is there, as far as the socket takes it.
    pub(crate) fn flush(&self) -> io::Result<Flushed> {
        self.write(&mut self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, output: &mut Output) -> io::Result<Flushed> {
        loop {
            let mut is_last = false;
            if output.written == output.bytes.len() {
                output.bytes.clear();
                output.written = 0;
                is_last = self.take(&mut output.bytes);
            }
            while let Some(rest @ [_, ..]) = output.bytes.get(output.written..) {
                match self.writing.try_write(rest)? {
                    Some(count) => output.written += count,
                    None => return Ok(Flushed::Blocked),
                }
            }
            if is_last {
                return Ok(Flushed::All);
            }
        }
    }

    /// Waits until the socket takes bytes again. Cancel safe.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.writing.writable().await
    }

    /// Waits until a frame may be appended to that lane. `false`: the connection has ended.
    pub(crate) async fn room(&self, lane: Lane) -> bool {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Registered before the look, so that a bell in between is not missed.
            drained.as_mut().enable();
            {
                let queue = self.queue();
                if queue.closed {
                    return false;
                }
                let waiting = match lane {
                    Lane::Main => queue.bytes.len(),
                    Lane::Events => queue.waiting_events(),
                };
                if waiting < OUTBOX_BYTES {
                    return true;
                }
            }
            drained.await;
        }
    }

    pub(crate) fn is_full(&self, lane: Lane) -> bool {
        let waiting = match lane {
            Lane::Main => &self.waiting,
            Lane::Events => &self.waiting_events,
        };
        waiting.load(Ordering::Relaxed) >= OUTBOX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    /// Moves all but events, and a portion of those, into the empty buffer; the buffer's room is used for what comes next.
    /// `true`: nothing is left.
    fn take(&self, buffer: &mut Vec<u8>) -> bool {
        let mut queue = self.queue();
        queue.rung = false;
        if queue.is_empty() {
            return true;
        }
        let was_full = queue.bytes.len() >= OUTBOX_BYTES || queue.waiting_events() >= OUTBOX_BYTES;
        std::mem::swap(&mut queue.bytes, buffer);
        queue.take_events(buffer);
        self.count(&queue);
        let is_empty = queue.is_empty();
        drop(queue);
        if was_full {
            // Only then does anybody wait for room.
            self.drained.notify_waiters();
        }
        is_empty
    }

    /// Tells the driver that there is something to write.
    pub(crate) fn ring(&self) {
        let mut queue = self.queue();
        queue.rung = true;
        let driver = queue.driver.clone();
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Whether the driver was told since this last said so. For the driver alone: it keeps one waker.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue();
        if std::mem::take(&mut queue.rung) {
            return Poll::Ready(());
        }
        match &mut queue.driver {
            Some(driver) => driver.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// No more frames: the connection has ended, for the other side as well.
    pub(crate) fn close(&self) {
        self.writing.shut_down();
        let mut queue = self.queue();
        queue.closed = true;
        queue.bytes = Vec::new();
        (queue.events, queue.events_start) = (Vec::new(), 0);
        self.count(&queue);
        queue.driver = None;
        drop(queue);
        self.drained.notify_waiters();
    }
}
