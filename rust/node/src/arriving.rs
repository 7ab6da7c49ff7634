//! What a fetch brings, handed to whoever writes it out meanwhile.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hypermesh_blocks::Arrivals;
use hypermesh_id::BlockId;

/// Bytes that are kept at hand. When they are all taken, what comes is read from the store later: the
/// oldest are the ones that are asked for first.
const AT_HAND_BYTES_MAX: usize = 32 << 20;

/// The blocks of one fetch that came a moment ago, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    at_hand: HashMap<BlockId, Bytes>,
    bytes: usize,
    count: u64,
    /// Whether everything came, once it is known.
    end: Option<bool>,
}

impl Arriving {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A verified block that is about to be stored.
    pub(crate) fn offer(&self, id: &BlockId, raw: &Bytes) {
        let mut state = self.state();
        // Whoever would take it is gone.
        if state.end.is_some() || state.bytes + raw.len() > AT_HAND_BYTES_MAX {
            return;
        }
        if state.at_hand.insert(*id, raw.clone()).is_none() {
            state.bytes += raw.len();
        }
    }

    /// What was offered is in the store now.
    pub(crate) fn stored(&self, blocks: u64) {
        self.state().count += blocks;
        self.changed.notify_all();
    }

    /// No more will come. The first word counts.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.state();
        state.end.get_or_insert(complete);
        drop(state);
        self.changed.notify_all();
    }
}

impl Arrivals for Arriving {
    fn count(&self) -> u64 {
        self.state().count
    }

    fn take(&self, id: &BlockId) -> Option<Bytes> {
        let mut state = self.state();
        let block = state.at_hand.remove(id)?;
        state.bytes -= block.len();
        Some(block)
    }

    fn wait(&self, seen: u64) -> bool {
        let more = |state: &mut State| state.count <= seen && state.end.is_none();
        let waited = self.changed.wait_while(self.state(), more);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.count > seen
    }

    fn completed(&self) -> bool {
        let running = |state: &mut State| state.end.is_none();
        let waited = self.changed.wait_while(self.state(), running);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.end == Some(true)
    }
}

/// Says that no more will come when it is dropped before anybody said so: a cancelled fetch says nothing.
pub(crate) struct EndOnDrop<'a>(pub(crate) &'a Arriving);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u8, length: usize) -> (BlockId, Bytes) {
        let raw = Bytes::from(vec![number; length]);
        (BlockId::of(&raw), raw)
    }

    #[test]
    fn what_is_offered_is_taken_once() {
        let arriving = Arriving::default();
        let (id, raw) = block(1, 10);
        arriving.offer(&id, &raw);
        assert_eq!(arriving.take(&id), Some(raw));
        assert_eq!(arriving.take(&id), None);
        assert_eq!(arriving.state().bytes, 0);
    }

    #[test]
    fn what_is_at_hand_is_bounded_and_the_first_stay() {
        let arriving = Arriving::default();
        let all: Vec<_> = (0..100).map(|number| block(number, 1 << 20)).collect();
        all.iter().for_each(|(id, raw)| arriving.offer(id, raw));
        let kept = all.iter().filter(|(id, _)| arriving.take(id).is_some());
        assert_eq!(kept.count(), AT_HAND_BYTES_MAX >> 20);
        assert_eq!(arriving.state().bytes, 0);
        // The same one twice is counted once.
        arriving.offer(&all[0].0, &all[0].1);
        arriving.offer(&all[0].0, &all[0].1);
        assert_eq!(arriving.state().bytes, 1 << 20);
    }

    #[test]
    fn a_dropped_fetch_ends_the_wait() {
        let arriving = Arriving::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (arriving.wait(0), arriving.completed()));
            drop(EndOnDrop(&arriving));
            assert_eq!(waits.join().ok(), Some((false, false)));
        });
        // What came before the end is still looked at.
        arriving.stored(3);
        assert!(arriving.wait(2));
        assert!(!arriving.wait(3));
        arriving.end(true);
        assert!(!arriving.completed());
    }
}
