//! A cache that drops what is worth least of its room, or what is least recent, whichever order it is told.

use super::entries::{Entries, Entry, List};
use super::index::NONE;
use super::reuse::{self, Reuse};
use super::{Answer, CacheOptions, Key, Order, mixed};

/// Objects that are looked at anew each time, and the candidates that are kept from last time.
const FRESH: usize = 64;
const KEPT: usize = 48;
/// Objects that go one after the other before more are looked at.
const READY: usize = 4;
/// Gone objects that are remembered for each that is held, and in any case.
const GONE_EACH: usize = 4;
const GONE_MIN: usize = 256;
/// Objects that reuse is learned from; where there are more it is every second one, every fourth, and so on.
const WATCHED_MAX: usize = 16_384;
/// No sample is smaller than one key in 2^32: a sample is told by 32 bits.
const WATCH_SHIFT_MAX: u32 = 32;
/// Requests of a period of learning.
const PERIOD: std::ops::RangeInclusive<u64> = 512..=65_536;

/// Holds objects, remembers gone ones, and learns from both.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    options: CacheOptions,
    order: Order,
    entries: Entries,
    /// Slots of what is held, in no order: samples are drawn from it.
    held: Vec<u32>,
    recent: List,
    gone: List,
    bytes: u64,
    now: u64,
    random: u64,
    candidates: Vec<u32>,
    /// The next to go, the least last, as they were at a request.
    ready: Vec<(f32, u32)>,
    ready_at: u64,
    scratch: Vec<(f32, u32)>,
    reuse: Reuse,
    watched: Vec<u32>,
    watch_shift: u32,
    learn_at: u64,
}

impl Worth {
    /// An empty cache.
    pub(super) fn new(options: CacheOptions) -> Self {
        Self {
            options,
            order: Order::Worth,
            entries: Entries::new(options.seed),
            held: Vec::new(),
            recent: List::new(),
            gone: List::new(),
            bytes: 0,
            now: 0,
            random: mixed(options.seed) | 1,
            candidates: Vec::new(),
            ready: Vec::new(),
            ready_at: 0,
            scratch: Vec::new(),
            reuse: Reuse::new(),
            watched: Vec::new(),
            watch_shift: 0,
            learn_at: *PERIOD.start(),
        }
    }

    /// By what is chosen from now on.
    pub(super) fn set_order(&mut self, order: Order) {
        self.order = order;
    }

    /// Gone objects that are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.gone.len
    }

    fn random(&mut self) -> u64 {
        // Xorshift (Marsaglia 2003): samples need no more.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn hold(&mut self, slot: u32) {
        let place = self.held.len() as u32;
        let entry = self.entries.get_mut(slot);
        entry.held = place;
        self.bytes += entry.bytes;
        self.held.push(slot);
        self.recent.push(&mut self.entries, slot);
    }

    /// Takes an object out of what is held; it is in no list after that.
    fn let_go(&mut self, slot: u32) {
        let entry = self.entries.get_mut(slot);
        let place = std::mem::replace(&mut entry.held, NONE) as usize;
        self.bytes -= entry.bytes;
        self.held.swap_remove(place);
        if let Some(moved) = self.held.get(place) {
            self.entries.get_mut(*moved).held = place as u32;
        }
        self.recent.take(&mut self.entries, slot);
    }

    fn forget(&mut self, slot: u32) {
        self.unwatch(slot);
        self.entries.free(slot);
    }

    /// The one to drop.
    fn least(&mut self) -> Option<u32> {
        let oldest = self.recent.oldest()?;
        if self.order == Order::Recency {
            return Some(oldest);
        }
        // The newest place is that of the object that room is made for.
        let newest = self.held[self.held.len() - 1];
        let mut least = self.weighed(oldest);
        let own = self.weighed(newest);
        if own.0 < least.0 {
            least = own;
        }
        let next = match self.next_ready() {
            Some(ready) => Some(ready),
            None => {
                self.look_around();
                self.next_ready()
            }
        };
        if let Some(ready) = next {
            if ready.0 < least.0 {
                return Some(ready.1);
            }
            self.ready.push(ready);
        }
        Some(least.1)
    }

    /// What a held object is worth for each byte.
    fn weighed(&self, slot: u32) -> (f32, u32) {
        let entry = self.entries.get(slot);
        let worth = self.reuse.worth(entry.class, self.now - entry.last);
        (worth / entry.bytes.max(1) as f32, slot)
    }

    /// The least of those that were looked at last and are as they were.
    fn next_ready(&mut self) -> Option<(f32, u32)> {
        while let Some((worth, slot)) = self.ready.pop() {
            let entry = self.entries.get(slot);
            if entry.held != NONE && entry.last <= self.ready_at {
                return Some((worth, slot));
            }
        }
        None
    }

    /// Looks at objects drawn from all and at the candidates of last time; the few that are worth least are the next to go.
    fn look_around(&mut self) {
        let mut found = std::mem::take(&mut self.scratch);
        found.clear();
        for slot in &self.candidates {
            if self.entries.get(*slot).held != NONE {
                found.push(self.weighed(*slot));
            }
        }
        for _ in 0..FRESH {
            let place = self.random() % self.held.len() as u64;
            found.push(self.weighed(self.held[place as usize]));
        }
        if found.len() > KEPT {
            found.select_nth_unstable_by(KEPT, |a, b| a.0.total_cmp(&b.0));
            found.truncate(KEPT);
        }
        self.candidates.clear();
        self.candidates.extend(found.iter().map(|(_, slot)| *slot));
        if found.len() > READY {
            found.select_nth_unstable_by(READY, |a, b| a.0.total_cmp(&b.0));
            found.truncate(READY);
        }
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        self.ready.clear();
        self.ready.extend(&found);
        self.ready_at = self.now;
        self.scratch = found;
    }

    /// Drops until the budget holds. Answers whether `kept` is still there.
    fn make_room(&mut self, kept: u32, dropped: &mut Vec<Key>) -> bool {
        let mut there = true;
        while self.bytes > self.options.bytes_max || self.held.len() > self.options.objects_max {
            let Some(slot) = self.least() else { break };
            self.let_go(slot);
            self.gone.push(&mut self.entries, slot);
            if slot == kept {
                there = false;
            } else {
                dropped.push(self.entries.get(slot).key);
            }
        }
        while self.gone.len > self.held.len() * GONE_EACH + GONE_MIN {
            let Some(oldest) = self.gone.oldest() else {
                break;
            };
            self.gone.take(&mut self.entries, oldest);
            self.forget(oldest);
        }
        there
    }

    fn samples(&self, key: Key, shift: u32) -> bool {
        super::samples(key, self.options.seed, shift)
    }

    fn watch(&mut self, slot: u32) {
        if !self.samples(self.entries.get(slot).key, self.watch_shift) {
            return;
        }
        self.entries.get_mut(slot).watched = self.watched.len() as u32;
        self.watched.push(slot);
        while self.watched.len() > WATCHED_MAX {
            if self.watch_shift == WATCH_SHIFT_MAX {
                // Keys that were chosen to be in every sample: enough is learned from those that are.
                self.unwatch(slot);
                return;
            }
            self.watch_shift += 1;
            for at in (0..self.watched.len()).rev() {
                let slot = self.watched[at];
                if !self.samples(self.entries.get(slot).key, self.watch_shift) {
                    self.unwatch(slot);
                }
            }
        }
    }

    fn unwatch(&mut self, slot: u32) {
        let entry = self.entries.get_mut(slot);
        if entry.watched == NONE {
            return;
        }
        let place = std::mem::replace(&mut entry.watched, NONE) as usize;
        self.reuse.waited(entry.class, entry.last, self.now);
        self.watched.swap_remove(place);
        if let Some(moved) = self.watched.get(place) {
            self.entries.get_mut(*moved).watched = place as u32;
        }
    }

    fn learn(&mut self) {
        for slot in &self.watched {
            let entry = self.entries.get(*slot);
            self.reuse.waited(entry.class, entry.last, self.now);
        }
        self.reuse.learn(self.now);
        let period = (self.held.len() as u64).clamp(*PERIOD.start(), *PERIOD.end());
        self.learn_at = self.now + period;
    }

    /// Notes the request of a known object.
    fn note(&mut self, slot: u32) {
        let now = self.now;
        let entry = self.entries.get_mut(slot);
        let waited = now - entry.last;
        if entry.watched != NONE {
            self.reuse.asked(entry.class, entry.last, now);
        }
        entry.class = match entry.class {
            // Its wait was not between two requests.
            reuse::AHEAD => reuse::class(entry.count.saturating_add(1).min(2), waited),
            _ => reuse::class(entry.count.saturating_add(1), waited),
        };
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }

    /// An object that is not held gets an entry, or the one that it had.
    fn enter(&mut self, key: Key, bytes: u64, ahead: bool) -> u32 {
        let slot = match self.entries.find(key) {
            Some(slot) => {
                self.gone.take(&mut self.entries, slot);
                if ahead {
                    self.unwatch(slot);
                } else {
                    self.note(slot);
                }
                slot
            }
            None => {
                let mut entry = Entry::new(key, bytes, self.now);
                entry.count = u8::from(!ahead);
                let slot = self.entries.add(entry);
                if !ahead {
                    self.watch(slot);
                }
                slot
            }
        };
        let entry = self.entries.get_mut(slot);
        entry.bytes = bytes;
        if ahead {
            (entry.class, entry.last) = (reuse::AHEAD, self.now);
            self.watch(slot);
        }
        slot
    }

    pub(super) fn request(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> Answer {
        self.now += 1;
        if self.now >= self.learn_at {
            self.learn();
        }
        let mut found = self.entries.find(key);
        if let Some(slot) = found
            && self.entries.get(slot).held != NONE
            && self.entries.get(slot).bytes != bytes
        {
            self.let_go(slot);
            self.forget(slot);
            found = None;
        }
        let hit = found.filter(|slot| self.entries.get(*slot).held != NONE);
        if let Some(slot) = hit {
            self.note(slot);
            self.recent.take(&mut self.entries, slot);
            self.recent.push(&mut self.entries, slot);
            return Answer::Hit;
        }
        if bytes > self.options.bytes_max {
            return Answer::Refused;
        }
        let slot = self.enter(key, bytes, false);
        self.hold(slot);
        match self.make_room(slot, dropped) {
            true => Answer::Admitted,
            false => Answer::Refused,
        }
    }

    pub(super) fn put_ahead(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> bool {
        if self.contains(key) {
            return true;
        }
        if bytes > self.options.bytes_max {
            return false;
        }
        let slot = self.enter(key, bytes, true);
        self.hold(slot);
        self.make_room(slot, dropped)
    }

    pub(super) fn remove(&mut self, key: Key) -> bool {
        let Some(slot) = self.entries.find(key) else {
            return false;
        };
        let held = self.entries.get(slot).held != NONE;
        if held {
            self.let_go(slot);
        } else {
            self.gone.take(&mut self.entries, slot);
        }
        self.forget(slot);
        held
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        let found = self.entries.find(key);
        found.is_some_and(|slot| self.entries.get(slot).held != NONE)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}
