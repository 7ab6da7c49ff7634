//! Keys as numbers and back: callers name things by bytes, the layers by `u64`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{Reader, put_bytes, put_u64};
use crate::share::KEY_BYTES_MAX;

/// About what a key takes besides its bytes, which are kept once: two places in trees, two counts, a number.
const KEY_OVERHEAD: u64 = 96;
/// Keys that one [`Interner::oldest`] gives: one in so many.
const OLDEST_SHARE: usize = 8;

/// Numbers by key and keys by number. A number is never given again, so an old one cannot mean a new key.
///
/// Ordered trees: no choice of keys makes them slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interner {
    numbers: BTreeMap<Arc<[u8]>, u64>,
    keys: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    bytes: u64,
}

impl Interner {
    pub(crate) fn get(&self, key: &[u8]) -> Option<u64> {
        self.numbers.get(key).copied()
    }

    /// The number that the key has, or would get.
    pub(crate) fn peek(&self, key: &[u8]) -> u64 {
        self.get(key).unwrap_or(self.next)
    }

    /// The number of the key, which is kept from now on.
    pub(crate) fn insert(&mut self, key: &[u8]) -> u64 {
        if let Some(number) = self.get(key) {
            return number;
        }
        let number = self.next;
        let key: Arc<[u8]> = key.into();
        self.bytes += cost(&key);
        self.numbers.insert(Arc::clone(&key), number);
        self.keys.insert(number, key);
        self.next += 1;
        number
    }

    pub(crate) fn key(&self, number: u64) -> Option<&[u8]> {
        self.keys.get(&number).map(|key| &**key)
    }

    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let Some(key) = self.keys.remove(&number) else {
            return false;
        };
        self.bytes -= cost(&key);
        self.numbers.remove(&key);
        true
    }

    /// Forgets the keys whose number is not wanted.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(u64) -> bool) {
        let unwanted: Vec<u64> = self.keys.keys().copied().filter(|n| !wanted(*n)).collect();
        for number in unwanted {
            self.remove(number);
        }
    }

    /// The eighth of the numbers that was given first; one at least, if there is any.
    pub(crate) fn oldest(&self) -> Vec<u64> {
        let count = self.keys.len().div_ceil(OLDEST_SHARE);
        self.keys.keys().copied().take(count).collect()
    }

    /// All numbers, the one that was given first before the others.
    pub(crate) fn all(&self) -> impl Iterator<Item = u64> {
        self.keys.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.next);
        put_u64(out, self.keys.len() as u64);
        for (number, key) in &self.keys {
            put_u64(out, *number);
            put_bytes(out, key);
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, String> {
        let mut interner = Self::default();
        let next = from.u64()?;
        let count = from.u64()?;
        for _ in 0..count {
            interner.next = from.u64()?;
            let key = from.bytes()?;
            let fits = (1..=KEY_BYTES_MAX).contains(&key.len());
            let new = interner.get(key).is_none() && !interner.keys.contains_key(&interner.next);
            if !fits || !new || interner.next >= next {
                return Err("a key of the snapshot is not one that was written".into());
            }
            interner.insert(key);
        }
        interner.next = next;
        Ok(interner)
    }
}

fn cost(key: &[u8]) -> u64 {
    key.len() as u64 + KEY_OVERHEAD
}
