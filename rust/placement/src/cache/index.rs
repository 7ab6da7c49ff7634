//! From a key to its slot: open addressing with linear probing, without tombstones.

use super::{Key, mixed};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

const CELLS_MIN: usize = 16;

/// Cells hold a key and its slot; the seed keeps a peer from choosing keys that all have one home.
#[derive(Clone, Debug)]
pub(super) struct Index {
    cells: Vec<(Key, u32)>,
    len: usize,
    seed: u64,
}

impl Index {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            cells: vec![(0, NONE); CELLS_MIN],
            len: 0,
            seed,
        }
    }

    fn home(&self, key: Key) -> usize {
        mixed(key ^ self.seed) as usize & (self.cells.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }

    /// The cell of a key, or the empty one where it would be: at most half of all cells are taken.
    fn cell(&self, key: Key) -> usize {
        let mut at = self.home(key);
        while self.cells[at].1 != NONE && self.cells[at].0 != key {
            at = self.next(at);
        }
        at
    }

    pub(super) fn get(&self, key: Key) -> Option<u32> {
        let slot = self.cells[self.cell(key)].1;
        (slot != NONE).then_some(slot)
    }

    pub(super) fn insert(&mut self, key: Key, slot: u32) {
        if (self.len + 1) * 2 > self.cells.len() {
            let doubled = vec![(0, NONE); self.cells.len() * 2];
            let old = std::mem::replace(&mut self.cells, doubled);
            for (key, slot) in old.into_iter().filter(|(_, slot)| *slot != NONE) {
                let at = self.cell(key);
                self.cells[at] = (key, slot);
            }
        }
        let at = self.cell(key);
        self.len += usize::from(self.cells[at].1 == NONE);
        self.cells[at] = (key, slot);
    }

    /// Takes a key out and moves later ones of its run back, so that no run is ever cut.
    pub(super) fn remove(&mut self, key: Key) {
        let mut hole = self.cell(key);
        if self.cells[hole].1 == NONE {
            return;
        }
        self.len -= 1;
        let mut at = self.next(hole);
        while self.cells[at].1 != NONE {
            let home = self.home(self.cells[at].0);
            let last = self.cells.len() - 1;
            // The distance from its home to here, and to the hole: it may move when the hole is not before its home.
            if at.wrapping_sub(home) & last >= at.wrapping_sub(hole) & last {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.cells[hole] = (0, NONE);
    }
}
