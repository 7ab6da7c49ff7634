//! A similarity well: vectors that can be asked what is like them.

mod calibrate;
mod index;
mod search;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::error::DsrError;
use crate::ids::Ids;
use crate::neurons::Drive;
use crate::random::Random;
use crate::rows::{NEURONS_MAX, Precision, Rows, UNOWNED};
use crate::simd::Level;

use index::Index;
pub use search::{Explanation, Match, Scratch};

/// The longest vector.
pub const DIMS_MAX: usize = 4_096;
/// The most results of one answer.
pub const K_MAX: usize = 16_384;
/// The most entries of one well.
pub const ROWS_MAX: usize = 1 << 30;
/// From so many entries on a well is indexed: below, comparing with every one is as fast.
pub const EXACT_ROWS: usize = 1_024;

/// How to make a [`Well`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Numbers of every vector, 1 to [`DIMS_MAX`].
    pub dims: usize,
    /// How vectors are kept.
    pub precision: Precision,
    /// Recall of the ten nearest that indexed answers aim at, .5 to .999. The well measures on its own entries how
    /// many winners and candidates that takes.
    pub recall: f32,
    /// Never index: every answer compares with every entry.
    pub exact: bool,
    /// Keep a moment with every entry, for [`Well::expire`]; four bytes each.
    pub expiring: bool,
    /// The seed of all that is drawn: the same operations with the same seed make the same well, on any machine.
    pub seed: u64,
    /// Use no vector instructions beyond what every target has. Answers are the same, later.
    pub portable: bool,
}

impl Options {
    /// The defaults for vectors of that many numbers: 8-bit rows, recall .95, entries stay.
    pub fn new(dims: usize) -> Self {
        Self {
            dims,
            precision: Precision::Bytes,
            recall: 0.95,
            exact: false,
            expiring: false,
            seed: 1,
            portable: false,
        }
    }

    fn check(&self) -> Result<(), DsrError> {
        if self.dims == 0 || self.dims > DIMS_MAX {
            return Err(DsrError::Setting {
                what: "dims",
                found: self.dims as u64,
                least: 1,
                most: DIMS_MAX as u64,
            });
        }
        if !(0.5..=0.999).contains(&self.recall) {
            return Err(DsrError::Setting {
                what: "recall, in thousandths,",
                found: (self.recall * 1000.0).clamp(0.0, 1e9) as u64,
                least: 500,
                most: 999,
            });
        }
        Ok(())
    }
}

/// How much one indexed search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Neurons whose members are scanned: the `w` of the winner code.
    pub winners: usize,
    /// Candidates that are compared exactly, for ten results; more results take more in proportion.
    pub refine: usize,
}

/// What a well holds and has learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries.
    pub entries: usize,
    /// Bytes held, room for growth included.
    pub bytes: usize,
    /// Neurons that compete; 0: answers are exact.
    pub neurons: usize,
    /// What a search looks at; 0 while answers are exact.
    pub winners: usize,
    /// Candidates that a search compares; 0 while answers are exact.
    pub refine: usize,
    /// The most entries that one neuron owns, over the mean.
    pub imbalance: f32,
    /// Recall of the ten nearest that the last calibration measured; 1 while answers are exact.
    pub recall: f32,
}

/// Vectors under ids; what they are compared by is the cosine.
///
/// While a well has fewer than [`EXACT_ROWS`] entries, or was told to, it compares a query with every one. From then
/// on neurons compete for the query and only the winners' members are looked at: see the crate's page. Mutations take
/// `&mut self`, searches `&self` with a [`Scratch`] of their own, so any number may run side by side.
#[derive(Clone, Debug)]
pub struct Well {
    options: Options,
    level: Level,
    rows: Rows,
    ids: Ids,
    index: Option<Index>,
    /// The next row to be shown to the neurons again.
    cursor: u32,
    random: Random,
    unit: Vec<f32>,
    drive: Drive,
}

impl Well {
    /// An empty well.
    ///
    /// # Errors
    /// [`DsrError::Setting`] when an option is out of range.
    pub fn new(options: Options) -> Result<Self, DsrError> {
        options.check()?;
        Ok(Self {
            level: Level::detect(options.portable),
            rows: Rows::new(options.dims, options.precision, options.expiring),
            ids: Ids::new(options.seed),
            index: None,
            cursor: 0,
            random: Random::new(options.seed),
            unit: Vec::new(),
            drive: Drive::default(),
            options,
        })
    }

    /// The options that it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the id is there.
    pub fn contains(&self, id: u64) -> bool {
        self.row(id).is_some()
    }

    fn row(&self, id: u64) -> Option<u32> {
        self.ids.get(id, |row| self.rows.id(row))
    }

    /// Adds a vector, or replaces the one of that id; whether it was there.
    ///
    /// Costs one competition, three more for old entries that are shown to the neurons again, and now and then the
    /// split of one neuron's members.
    ///
    /// # Errors
    /// [`DsrError::Dimension`], [`DsrError::NotFinite`], [`DsrError::NoDirection`] for a vector that cannot be
    /// compared; [`DsrError::Budget`] at [`ROWS_MAX`].
    pub fn insert(&mut self, id: u64, vector: &[f32]) -> Result<bool, DsrError> {
        self.insert_at(id, vector, 0)
    }

    /// The same with the entry's moment, in the caller's units; [`Options::expiring`] keeps it.
    ///
    /// # Errors
    /// As [`Well::insert`].
    pub fn insert_at(&mut self, id: u64, vector: &[f32], moment: u32) -> Result<bool, DsrError> {
        let mut unit = std::mem::take(&mut self.unit);
        let checked = direction(vector, self.options.dims, &mut unit);
        let done = checked.and_then(|()| self.insert_unit(id, &unit, moment));
        self.unit = unit;
        done
    }

    fn insert_unit(&mut self, id: u64, unit: &[f32], moment: u32) -> Result<bool, DsrError> {
        let old = self.row(id);
        let row = match old {
            Some(row) => {
                self.disown(row);
                self.rows.write(row, unit);
                self.rows.set_moment(row, moment);
                row
            }
            None if self.rows.len() >= ROWS_MAX => {
                return Err(DsrError::Budget {
                    bytes_max: self.bytes() as u64,
                });
            }
            None => {
                let row = self.rows.push(id, unit, moment);
                self.ids.insert(id, row, |row| self.rows.id(row));
                row
            }
        };
        match &self.index {
            Some(_) => self.learn_row(row),
            None if !self.options.exact && self.rows.len() >= EXACT_ROWS => self.rebuild(),
            None => {}
        }
        Ok(old.is_some())
    }

    /// Removes an entry; whether it was there. Its place, its code and its id are free at once.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(row) = self.ids.remove(id, |row| self.rows.id(row)) else {
            return false;
        };
        let neuron = self.rows.neuron(row);
        self.disown(row);
        self.rows.clear(row);
        if self.rows.len() < EXACT_ROWS / 2 && self.index.is_some() {
            self.index = None;
            let rows: Vec<u32> = self.rows.all().collect();
            for row in rows {
                self.rows.set_neuron(row, UNOWNED);
            }
        } else if neuron != UNOWNED {
            self.shrink(neuron);
        }
        true
    }

    /// The entry's vector as it is kept: of unit length, rounded to the well's precision.
    pub fn get(&self, id: u64) -> Option<Vec<f32>> {
        let row = self.row(id)?;
        let mut unit = Vec::new();
        self.rows.read(row, &mut unit);
        Some(unit)
    }

    /// The moment of an entry; `None` when it is not there or the well keeps none.
    pub fn moment(&self, id: u64) -> Option<u32> {
        let row = self.row(id)?;
        self.options.expiring.then(|| self.rows.moment(row))
    }

    /// Sets the moment of an entry: it was used. Whether it is there.
    pub fn touch(&mut self, id: u64, moment: u32) -> bool {
        let row = self.row(id);
        if let Some(row) = row {
            self.rows.set_moment(row, moment);
        }
        row.is_some()
    }

    /// Removes up to `most` entries whose moment lies before `before`, looking at up to `most` places from where the
    /// last call stopped; how many went. Searches do not see such entries when they are told `before` themselves.
    pub fn expire(&mut self, before: u32, most: usize) -> usize {
        if !self.options.expiring {
            return 0;
        }
        let places = self.rows.places();
        let mut gone = 0;
        for _ in 0..most.min(places) {
            let row = self.cursor;
            self.cursor = (self.cursor + 1) % places as u32;
            if self.rows.holds(row) && self.rows.moment(row) < before {
                let id = self.rows.id(row);
                gone += usize::from(self.remove(id));
            }
        }
        gone
    }

    /// Removes the `count` entries with the least moments, lower ids first among equals, and gives their room back:
    /// what stays moves together. Time grows with the entries.
    pub(crate) fn shed(&mut self, count: usize) -> usize {
        let mut oldest: Vec<(u32, u64)> = self
            .rows
            .all()
            .map(|row| (self.rows.moment(row), self.rows.id(row)))
            .collect();
        let count = count.min(oldest.len());
        if count > 0 {
            oldest.select_nth_unstable(count - 1);
        }
        for (_, id) in &oldest[..count] {
            self.remove(*id);
        }
        self.compact();
        count
    }

    /// Moves all entries to the lowest rows of a new store, in the order of their rows.
    fn compact(&mut self) {
        let mut rows = Rows::new(
            self.options.dims,
            self.options.precision,
            self.options.expiring,
        );
        let mut ids = Ids::new(self.options.seed);
        let mut moved = vec![0u32; self.rows.places()];
        let mut unit = Vec::new();
        for row in self.rows.all() {
            self.rows.read(row, &mut unit);
            let id = self.rows.id(row);
            let place = rows.push(id, &unit, self.rows.moment(row));
            rows.set_neuron(place, self.rows.neuron(row));
            ids.insert(id, place, |row| rows.id(row));
            moved[row as usize] = place;
        }
        if let Some(index) = &mut self.index {
            for list in &mut index.lists {
                list.rename(&moved);
            }
        }
        self.rows = rows;
        self.ids = ids;
        self.cursor = 0;
    }

    /// Ids of all entries, in no order.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.rows.all().map(|row| self.rows.id(row))
    }

    /// Bytes held, room for growth included; not the scratch of searches.
    pub fn bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, Index::bytes);
        self.rows.bytes() + self.ids.bytes() + index + size_of::<Self>()
    }

    /// Bytes that one more insert may add to what [`Well::bytes`] says.
    pub(crate) fn growth(&self) -> usize {
        let index = match &self.index {
            Some(index) => index.growth(self.options.dims),
            None if self.options.exact || self.len() + 1 < EXACT_ROWS => 0,
            None => index::first_bytes(self.options.dims),
        };
        self.rows.growth() + self.ids.growth() + index
    }

    /// What it holds.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            entries: self.len(),
            bytes: self.bytes(),
            recall: 1.0,
            imbalance: 1.0,
            ..Stats::default()
        };
        if let Some(index) = &self.index {
            stats.neurons = index.alive;
            let effort = index.effort_now(self.len());
            stats.winners = effort.winners;
            stats.refine = effort.refine;
            stats.recall = index.recall;
            let longest = index
                .lists
                .iter()
                .map(crate::scan::List::len)
                .max()
                .unwrap_or(0);
            stats.imbalance = longest as f32 * index.alive as f32 / self.len().max(1) as f32;
        }
        stats
    }
}

/// Checks a vector and scales it to unit length.
pub(crate) fn direction(vector: &[f32], dims: usize, unit: &mut Vec<f32>) -> Result<(), DsrError> {
    if vector.len() != dims {
        return Err(DsrError::Dimension {
            found: vector.len(),
            wanted: dims,
        });
    }
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(DsrError::NotFinite { at });
    }
    // In 64 bits: squares of the greatest and of the least 32-bit numbers still have a sum.
    let norm = vector
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    if norm < f64::from(f32::MIN_POSITIVE) {
        return Err(DsrError::NoDirection);
    }
    unit.clear();
    unit.extend(vector.iter().map(|x| (f64::from(*x) / norm) as f32));
    Ok(())
}

/// Neurons for that many entries: the work of the competition and of the scan grow alike, as the square root.
fn neurons_for(entries: usize) -> usize {
    ((2.2 * (entries as f64).sqrt()) as usize).clamp(32, NEURONS_MAX - 1)
}
