//! The past of a stream as it was, bounded: where it repeats, and what is due again.

use crate::contexts::prev_power_of_two;
use crate::symbols::NO_HANDLE;

/// How far ahead a symbol that keeps time is expected.
const DUE: usize = 4096;

/// One event: its symbol, and the place of the next event of the same lane (1 + position; 0 when there is none yet).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) handle: u32,
    pub(crate) next: u32,
}

/// A ring of events, where each pair of symbols last stood, and who is due when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct History {
    pub(crate) ring: Vec<Event>,
    /// 1 + position of the last event after each context, by the context's key; 0 for none.
    pub(crate) seen: Vec<u32>,
    pub(crate) due: Vec<u32>,
    /// Positions given so far; wraps after 2^32 - 1 events, when everything here is forgotten.
    pub(crate) events: u32,
    pub(crate) ring_max: usize,
}

impl History {
    pub(crate) const BYTES_EACH: usize = size_of::<Event>() + size_of::<u32>();
    pub(crate) const BYTES_MIN: usize = DUE * size_of::<u32>() + 256 * Self::BYTES_EACH;

    pub(crate) fn new(ring_max: usize) -> Self {
        Self {
            ring: vec![Event::default(); 256],
            seen: vec![0; 256],
            due: vec![NO_HANDLE; DUE],
            events: 0,
            ring_max: prev_power_of_two(ring_max.clamp(256, 1 << 28)),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ring.len() * Self::BYTES_EACH + self.due.len() * size_of::<u32>()
    }

    /// The event at a place (1 + position), unless it is none or too long ago.
    pub(crate) fn at(&self, place: u32) -> Option<&Event> {
        let age = self.events.checked_sub(place.checked_sub(1)?)?;
        (age >= 1 && age as usize <= self.ring.len())
            .then(|| &self.ring[(place - 1) as usize & (self.ring.len() - 1)])
    }

    /// Writes down an event; `before` is the place of the lane's previous one. Returns its place.
    pub(crate) fn push(&mut self, handle: u32, before: u32) -> u32 {
        if self.events as usize == self.ring.len() && self.ring.len() < self.ring_max {
            let more = self.ring.len();
            self.ring.reserve_exact(more);
            self.seen.reserve_exact(more);
            self.ring.resize(more * 2, Event::default());
            // A key's place is its low bits: what was at one place is now at it or at its twin.
            self.seen.extend_from_within(..);
        }
        if self.events == u32::MAX - 1 {
            self.ring.fill(Event::default());
            self.seen.fill(0);
            self.events = 0;
        }
        let mask = self.ring.len() - 1;
        self.ring[self.events as usize & mask] = Event { handle, next: 0 };
        self.events += 1;
        let place = self.events;
        if self.at(before).is_some() {
            self.ring[(before - 1) as usize & mask].next = place;
        }
        place
    }

    /// Where this context stood before, and from now on stands.
    pub(crate) fn swap(&mut self, key: u64, place: u32) -> u32 {
        let at = key as usize & (self.seen.len() - 1);
        std::mem::replace(&mut self.seen[at], place)
    }

    /// Who is due at an event.
    pub(crate) fn due(&self, event: u32) -> u32 {
        self.due[event as usize % DUE]
    }

    /// Event `event` has come; `handle` is expected again after `gap` events, when that is known.
    pub(crate) fn expect(&mut self, event: u32, handle: u32, gap: Option<u32>) {
        self.due[event as usize % DUE] = NO_HANDLE;
        if let Some(gap) = gap.filter(|gap| (1..DUE as u32).contains(gap)) {
            self.due[event.wrapping_add(gap) as usize % DUE] = handle;
        }
    }
}
