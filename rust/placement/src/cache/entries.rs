//! Objects in slots, and lists through them.

use super::Key;
use super::index::{Index, NONE};

/// One object, held or only remembered.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) bytes: u64,
    /// Number of the request that it was last asked for, or put ahead, by.
    pub(super) last: u64,
    /// Its class of reuse: see `reuse.rs`.
    pub(super) class: u8,
    /// Requests so far, up to 255.
    pub(super) count: u8,
    /// Its place among the held objects; `NONE` when it is only remembered.
    pub(super) held: u32,
    /// Its place among the watched objects; `NONE` when nothing is learned from it.
    pub(super) watched: u32,
    before: u32,
    after: u32,
}

impl Entry {
    pub(super) fn new(key: Key, bytes: u64, last: u64) -> Self {
        Self {
            key,
            bytes,
            last,
            class: 0,
            count: 0,
            held: NONE,
            watched: NONE,
            before: NONE,
            after: NONE,
        }
    }
}

/// A list through the slots, the newest first. An entry is in one list at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
    pub(super) len: usize,
}

impl List {
    pub(super) const fn new() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    /// The oldest.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    pub(super) fn push(&mut self, entries: &mut Entries, slot: u32) {
        let first = self.first;
        let entry = &mut entries.slots[slot as usize];
        (entry.before, entry.after) = (NONE, first);
        match first {
            NONE => self.last = slot,
            first => entries.slots[first as usize].before = slot,
        }
        self.first = slot;
        self.len += 1;
    }

    pub(super) fn take(&mut self, entries: &mut Entries, slot: u32) {
        let Entry { before, after, .. } = entries.slots[slot as usize];
        match before {
            NONE => self.first = after,
            before => entries.slots[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => entries.slots[after as usize].before = before,
        }
        self.len -= 1;
    }
}

/// The entries, by slot and by key.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    slots: Vec<Entry>,
    free: Vec<u32>,
    index: Index,
}

impl Entries {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: Index::new(seed),
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<u32> {
        self.index.get(key)
    }

    pub(super) fn get(&self, slot: u32) -> &Entry {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.slots[slot as usize]
    }

    /// A slot for a new key.
    pub(super) fn add(&mut self, entry: Entry) -> u32 {
        let key = entry.key;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(key, slot);
        slot
    }

    /// Forgets an entry that is in no list.
    pub(super) fn free(&mut self, slot: u32) {
        self.index.remove(self.slots[slot as usize].key);
        self.free.push(slot);
    }
}
