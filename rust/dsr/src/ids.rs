//! Finds an id's row: an open-addressed table of row numbers, four bytes a place.

use crate::random::mix;

const EMPTY: u32 = u32::MAX;

/// Row numbers, placed by the hash of the id that the row holds. The ids themselves stay in the rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    places: Vec<u32>,
    count: usize,
    seed: u64,
}

impl Ids {
    /// The seed keeps who chooses the ids from choosing their places.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            places: Vec::new(),
            count: 0,
            seed,
        }
    }

    /// Places, used or not.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Makes an empty table of that many places, a power of two or none.
    pub(crate) fn reserve(&mut self, places: usize) {
        self.places = vec![EMPTY; places];
        self.count = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.places.len() * size_of::<u32>()
    }

    /// Bytes that one more id may add.
    pub(crate) fn growth(&self) -> usize {
        let full = (self.count + 1) * 8 > self.places.len() * 7;
        if full {
            self.places.len().max(16) * size_of::<u32>()
        } else {
            0
        }
    }

    fn home(&self, id: u64) -> usize {
        mix(id ^ self.seed) as usize & (self.places.len() - 1)
    }

    /// Where the id's row number stands, or the empty place where the search ended.
    fn place(&self, id: u64, id_of: impl Fn(u32) -> u64) -> usize {
        let mut at = self.home(id);
        while self.places[at] != EMPTY && id_of(self.places[at]) != id {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }

    pub(crate) fn get(&self, id: u64, id_of: impl Fn(u32) -> u64) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let row = self.places[self.place(id, id_of)];
        (row != EMPTY).then_some(row)
    }

    /// Adds an id that is not there.
    pub(crate) fn insert(&mut self, id: u64, row: u32, id_of: impl Fn(u32) -> u64 + Copy) {
        // At most seven eighths are used.
        if (self.count + 1) * 8 > self.places.len() * 7 {
            let wider = (self.places.len() * 2).max(16);
            let old = std::mem::replace(&mut self.places, vec![EMPTY; wider]);
            for row in old.into_iter().filter(|row| *row != EMPTY) {
                let at = self.place(id_of(row), id_of);
                self.places[at] = row;
            }
        }
        let at = self.place(id, id_of);
        self.places[at] = row;
        self.count += 1;
    }

    /// Removes an id and closes the gap, so that no search ends too early.
    pub(crate) fn remove(&mut self, id: u64, id_of: impl Fn(u32) -> u64 + Copy) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mask = self.places.len() - 1;
        let mut gap = self.place(id, id_of);
        let row = self.places[gap];
        if row == EMPTY {
            return None;
        }
        self.count -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.places[at] == EMPTY {
                break;
            }
            let home = self.home(id_of(self.places[at]));
            // May move back when its home is not between the gap and where it stands.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.places[gap] = self.places[at];
                gap = at;
            }
        }
        self.places[gap] = EMPTY;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::HashMap;

    #[test]
    fn it_answers_as_a_map_does() {
        let mut random = Random::new(8);
        let mut ids = Ids::new(77);
        let mut rows: Vec<u64> = Vec::new();
        let mut map = HashMap::new();
        for _ in 0..20_000 {
            let id = random.below(500) as u64;
            if random.below(2) == 0 {
                if map.contains_key(&id) {
                    continue;
                }
                let row = rows.len() as u32;
                rows.push(id);
                ids.insert(id, row, |row| rows[row as usize]);
                map.insert(id, row);
            } else {
                assert_eq!(ids.remove(id, |row| rows[row as usize]), map.remove(&id));
            }
            let other = random.below(500) as u64;
            assert_eq!(
                ids.get(other, |row| rows[row as usize]),
                map.get(&other).copied()
            );
        }
    }
}
