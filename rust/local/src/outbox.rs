//! Frames on their way out of one connection.
//!
//! Whoever has a frame appends it; all that is there goes out with one write. Mostly the connection's driver writes, once
//! per turn; a caller that is alone on its connection writes at once, which saves it a turn of the driver. The queue is
//! bounded by [`OUTBOX_BYTES`]: who may wait, waits for room; a driver reads no more requests while it is full.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use mfn_wire::{Header, Tlv, WireError};
use tokio::sync::Notify;

use crate::link::Writing;

/// Bytes that wait before senders are held up. One frame more may follow.
pub(crate) const OUTBOX_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    closed: bool,
    /// Somebody left a frame to the driver, and nobody has taken it since.
    rung: bool,
    /// Who drives, once it has waited for the bell.
    driver: Option<Waker>,
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
    /// Bytes in the queue, for a look without the lock.
    waiting: AtomicUsize,
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
            output: Mutex::default(),
            drained: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut queue = self.queue();
        if queue.closed {
            return Ok(false);
        }
        let was_empty = queue.bytes.is_empty();
        mfn_wire::encode(header, tlv, body, &mut queue.bytes)?;
        self.waiting.store(queue.bytes.len(), Ordering::Relaxed);
        Ok(was_empty)
    }

    /// Writes what is there, as far as the socket takes it.
    pub(crate) fn flush(&self) -> io::Result<Flushed> {
        self.write(&mut self.output.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, output: &mut Output) -> io::Result<Flushed> {
        loop {
            let is_last = output.written == output.bytes.len();
            if is_last {
                output.bytes.clear();
                output.written = 0;
                self.take(&mut output.bytes);
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

    /// Waits until a frame may be appended. `false`: the connection has ended.
    pub(crate) async fn room(&self) -> bool {
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
                if queue.bytes.len() < OUTBOX_BYTES {
                    return true;
                }
            }
            drained.await;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= OUTBOX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().bytes.is_empty()
    }

    /// Moves everything into the empty buffer; the buffer's room is used for what comes next.
    fn take(&self, buffer: &mut Vec<u8>) {
        let mut queue = self.queue();
        queue.rung = false;
        if queue.bytes.is_empty() {
            return;
        }
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::swap(&mut queue.bytes, buffer);
        drop(queue);
        if buffer.len() >= OUTBOX_BYTES {
            // Only then does anybody wait for room.
            self.drained.notify_waiters();
        }
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
        self.waiting.store(0, Ordering::Relaxed);
        queue.bytes = Vec::new();
        queue.driver = None;
        drop(queue);
        self.drained.notify_waiters();
    }
}
