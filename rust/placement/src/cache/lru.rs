//! Least recently used goes first: what every other policy is measured against, and the one to fall back on.

use super::entries::{Entries, Entry, List};
use super::{Answer, CacheError, CacheOptions, Key, Policy};

/// Drops the object that nobody asked for longest.
#[derive(Clone, Debug)]
pub struct Lru {
    options: CacheOptions,
    entries: Entries,
    list: List,
    bytes: u64,
}

impl Lru {
    /// An empty cache.
    pub fn new(options: CacheOptions) -> Result<Self, CacheError> {
        Ok(Self {
            options: options.check()?,
            entries: Entries::new(options.seed),
            list: List::new(),
            bytes: 0,
        })
    }

    /// Makes room for `bytes` more, which are no more than the budget.
    fn make_room(&mut self, bytes: u64, dropped: &mut Vec<Key>) {
        let free = self.options.bytes_max - bytes;
        while self.bytes > free || self.list.len >= self.options.objects_max {
            let Some(oldest) = self.list.oldest() else {
                return;
            };
            dropped.push(self.entries.get(oldest).key);
            self.forget(oldest);
        }
    }

    fn forget(&mut self, slot: u32) {
        self.bytes -= self.entries.get(slot).bytes;
        self.list.take(&mut self.entries, slot);
        self.entries.free(slot);
    }
}

impl Policy for Lru {
    fn request(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> Answer {
        if let Some(slot) = self.entries.find(key) {
            if self.entries.get(slot).bytes == bytes {
                self.list.take(&mut self.entries, slot);
                self.list.push(&mut self.entries, slot);
                return Answer::Hit;
            }
            self.forget(slot);
        }
        if bytes > self.options.bytes_max {
            return Answer::Refused;
        }
        self.make_room(bytes, dropped);
        let slot = self.entries.add(Entry::new(key, bytes, 0));
        self.list.push(&mut self.entries, slot);
        self.bytes += bytes;
        Answer::Admitted
    }

    fn put_ahead(&mut self, key: Key, bytes: u64, dropped: &mut Vec<Key>) -> bool {
        self.contains(key) || self.request(key, bytes, dropped) == Answer::Admitted
    }

    fn remove(&mut self, key: Key) -> bool {
        let found = self.entries.find(key);
        if let Some(slot) = found {
            self.forget(slot);
        }
        found.is_some()
    }

    fn contains(&self, key: Key) -> bool {
        self.entries.find(key).is_some()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn len(&self) -> usize {
        self.list.len
    }
}
