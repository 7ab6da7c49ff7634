//! Frames on their way out of one connection.
//!
//! Whoever has a frame appends it; the connection's driver takes all that is there and writes it with one call. The
//! queue is bounded by [`OUTBOX_BYTES`]: who may wait, waits for room; a driver reads no more requests while it is full.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mfn_wire::{Header, Tlv, WireError};
use tokio::sync::Notify;

/// Bytes that wait before senders are held up. One frame more may follow.
pub(crate) const OUTBOX_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// The driver's bell: something to write.
    filled: Notify,
    /// The senders' bell: room again, or closed.
    drained: Notify,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame. After the end of the connection it is dropped: nobody is there to read it.
    pub(crate) fn push(
        &self,
        header: &Header,
        tlv: &[Tlv<'_>],
        body: &[u8],
    ) -> Result<(), WireError> {
        let mut queue = self.queue();
        if queue.closed {
            return Ok(());
        }
        let was_empty = queue.bytes.is_empty();
        mfn_wire::encode(header, tlv, body, &mut queue.bytes)?;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
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
        self.queue().bytes.len() >= OUTBOX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().bytes.is_empty()
    }

    /// Moves everything into the empty buffer; the buffer's room is used for what comes next.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) {
        let mut queue = self.queue();
        if queue.bytes.is_empty() {
            return;
        }
        std::mem::swap(&mut queue.bytes, buffer);
        drop(queue);
        self.drained.notify_waiters();
    }

    /// Waits for something to write.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// No more frames: the connection has ended.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.bytes = Vec::new();
        drop(queue);
        self.drained.notify_waiters();
    }
}
