//! Numbers for symbols: a bounded table that gives each symbol a short handle and forgets the least useful ones.

use crate::grow::{make_room, room};
use crate::hash::mix;

/// No symbol.
pub(crate) const NO_HANDLE: u32 = u32::MAX;
/// Low bits of a handle are the place of its record, high bits the record's generation: a handle that was kept
/// after its symbol was forgotten does not name the next owner of the place.
const PLACE_BITS: u32 = 24;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// Most records a table may have.
pub(crate) const SYMBOLS_MAX: usize = (1 << PLACE_BITS) - 2;
/// How many records the hand looks at before it forgets the best one that it saw.
const HAND_STEPS: usize = 16;
/// A place of the index that holds nothing.
const EMPTY: u32 = u32::MAX;

/// What is known about one symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) value: u64,
    /// Event number of its last occurrence.
    pub(crate) last: u32,
    /// Events between its last two occurrences; 0 before there were two.
    pub(crate) gap: u32,
    /// Occurrences, saturating.
    pub(crate) count: u16,
    /// How often in a row the gap was the same.
    pub(crate) streak: u8,
    pub(crate) generation: u8,
}

/// Symbols of one stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Symbols {
    pub(crate) index: Vec<u32>,
    pub(crate) records: Vec<Record>,
    pub(crate) hand: usize,
    pub(crate) records_max: usize,
    /// Sum of all counts.
    pub(crate) occurrences: u64,
}

impl Symbols {
    /// Most bytes of one record with its share of the index, which has two to four places for each.
    pub(crate) const BYTES_EACH: usize = size_of::<Record>() + 4 * size_of::<u32>();

    pub(crate) fn new(records_max: usize) -> Self {
        Self {
            index: vec![EMPTY; 64],
            records: Vec::new(),
            hand: 0,
            records_max: records_max.clamp(16, SYMBOLS_MAX),
            occurrences: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.index.len() * size_of::<u32>()
            + room(self.records.len(), self.records_max) * size_of::<Record>()
    }

    /// How many symbols are known.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    fn mask(&self) -> usize {
        self.index.len() - 1
    }

    fn home(&self, value: u64) -> usize {
        mix(value, 1) as usize & self.mask()
    }

    fn handle(&self, place: usize) -> u32 {
        let generation = self.records.get(place).map_or(0, |r| r.generation);
        place as u32 | u32::from(generation) << PLACE_BITS
    }

    /// The handle of a known symbol.
    #[inline]
    pub(crate) fn find(&self, value: u64) -> Option<u32> {
        let mut at = self.home(value);
        loop {
            let place = self.index[at];
            if place == EMPTY {
                return None;
            }
            if self.records[place as usize].value == value {
                return Some(self.handle(place as usize));
            }
            at = (at + 1) & self.mask();
        }
    }

    /// The record of a handle, unless its symbol was forgotten.
    #[inline]
    pub(crate) fn get(&self, handle: u32) -> Option<&Record> {
        let record = self.records.get((handle & PLACE_MASK) as usize)?;
        (u32::from(record.generation) == handle >> PLACE_BITS).then_some(record)
    }

    /// Counts an occurrence and returns the handle; a new symbol takes the place of a little used one when the table
    /// is full.
    pub(crate) fn touch(&mut self, value: u64, now: u32) -> u32 {
        if let Some(handle) = self.find(value) {
            let record = &mut self.records[(handle & PLACE_MASK) as usize];
            let gap = now.wrapping_sub(record.last);
            record.streak = if gap == record.gap {
                record.streak.saturating_add(1)
            } else {
                0
            };
            record.gap = gap;
            record.last = now;
            if record.count < u16::MAX {
                record.count += 1;
                self.occurrences += 1;
            }
            return handle;
        }
        self.occurrences += 1;
        let fresh = Record {
            value,
            last: now,
            gap: 0,
            count: 1,
            streak: 0,
            generation: 0,
        };
        let place = if self.records.len() < self.records_max {
            if (self.records.len() + 1) * 2 > self.index.len() {
                self.grow();
            }
            make_room(&mut self.records, self.records_max);
            self.records.push(fresh);
            self.records.len() - 1
        } else {
            let place = self.victim(now);
            self.unlink(self.records[place].value);
            self.occurrences -= u64::from(self.records[place].count);
            // The last generation of the last place would spell NO_HANDLE; that place is never used.
            let generation = self.records[place].generation.wrapping_add(1);
            self.records[place] = Record {
                generation,
                ..fresh
            };
            place
        };
        let mut at = self.home(value);
        while self.index[at] != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.index[at] = place as u32;
        self.handle(place)
    }

    /// Takes in a record as it was, behind those that are there; false when there is no room or the symbol is known.
    pub(crate) fn restore(&mut self, record: Record) -> bool {
        if self.records.len() == self.records_max || self.find(record.value).is_some() {
            return false;
        }
        if (self.records.len() + 1) * 2 > self.index.len() {
            self.grow();
        }
        self.occurrences += u64::from(record.count);
        make_room(&mut self.records, self.records_max);
        self.records.push(record);
        let mut at = self.home(record.value);
        while self.index[at] != EMPTY {
            at = (at + 1) & self.mask();
        }
        self.index[at] = (self.records.len() - 1) as u32;
        true
    }

    fn grow(&mut self) {
        self.index = vec![EMPTY; self.index.len() * 2];
        for place in 0..self.records.len() {
            let mut at = self.home(self.records[place].value);
            while self.index[at] != EMPTY {
                at = (at + 1) & self.mask();
            }
            self.index[at] = place as u32;
        }
    }

    /// The least useful record among the next ones under the hand: occurrences, halved for every table's length of
    /// silence, then the longer silence.
    fn victim(&mut self, now: u32) -> usize {
        let worth = |record: &Record| {
            let silence = now.wrapping_sub(record.last);
            let halvings = (silence as usize / self.records.len()).min(15);
            (record.count >> halvings, u32::MAX - silence)
        };
        let mut best = self.hand % self.records.len();
        for step in 1..HAND_STEPS {
            let at = (self.hand + step) % self.records.len();
            if worth(&self.records[at]) < worth(&self.records[best]) {
                best = at;
            }
        }
        self.hand = (self.hand + HAND_STEPS) % self.records.len();
        best
    }

    /// Takes a symbol out of the index and closes the gap, so that probes still end at the first empty place.
    fn unlink(&mut self, value: u64) {
        let mut hole = self.home(value);
        loop {
            let place = self.index[hole];
            if place == EMPTY {
                return;
            }
            if self.records[place as usize].value == value {
                break;
            }
            hole = (hole + 1) & self.mask();
        }
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let place = self.index[at];
            if place == EMPTY {
                break;
            }
            let home = self.home(self.records[place as usize].value);
            // The entry may move back only if its home is not between the hole and itself.
            if (at.wrapping_sub(home) & self.mask()) >= (at.wrapping_sub(hole) & self.mask()) {
                self.index[hole] = place;
                hole = at;
            }
        }
        self.index[hole] = EMPTY;
    }
}
