//! Keeps sketches under a budget and finds the relatives of a block.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use super::sketch::{SKETCH_BYTES, Sketch, expected_gain, resemblance};
use super::table::Buckets;
use super::{mix, snapshot};

/// Newest entries that are looked at per neuron. Bounds a query: 12 chains of 64.
const CHAIN_MAX: usize = 64;
/// Most entries; their numbers are 32 bits wide and one is kept for "none".
const ENTRIES_MAX: usize = 1 << 30;
/// Room for so many entries is made at first.
const ENTRIES_FIRST: usize = 256;
/// Bytes that an id's way to its entry takes, at the map's worst load.
const MAP_ENTRY_BYTES: usize = 2 * (32 + 4 + 4);

/// How to make a reservoir.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most bytes that it takes. When it is full, the entry that was not used for longest goes.
    pub bytes_max: u64,
    /// The encoder's seed: written into snapshots, so that codes of two seeds never mix. Also spreads
    /// the buckets.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            seed: 0,
        }
    }
}

/// A relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub id: [u8; 32],
    /// Estimated, see [`resemblance`].
    pub resemblance: f32,
    /// What a delta against it is expected to save, see [`expected_gain`].
    pub gain: f32,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub entries: u64,
    /// What the budget leaves room for.
    pub entries_max: u64,
    /// Memory held now.
    pub bytes: u64,
    /// Entries that gave way to others.
    pub evicted: u64,
}

/// Sketches by id, and by what they have in common.
///
/// A query looks at the newest 64 entries of each of 12 buckets, however many there are. A relative
/// whose resemblance is `j` in 32-byte windows is missed with probability `(1 - j)^12`: one in 4,000 at
/// one half. One thread at a time may change it; any number may ask.
#[derive(Clone, Debug)]
pub struct Reservoir {
    options: Options,
    entries: Vec<Entry>,
    /// Numbers of entries that are free.
    free: Vec<u32>,
    by_id: HashMap<[u8; 32], u32, Seeded>,
    buckets: Buckets,
    /// Where the hand of the clock stands.
    hand: usize,
    evicted: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    id: [u8; 32],
    sketch: Sketch,
    /// Used since the hand passed.
    used: bool,
    live: bool,
}

impl Reservoir {
    /// An empty one. A budget for less than 256 entries is taken as one for 256.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            entries: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::with_hasher(Seeded(options.seed)),
            buckets: Buckets::new(options.seed),
            hand: 0,
            evicted: 0,
        }
    }

    /// Keeps a sketch under an id, in the place of what was kept under it. Answers the id that had
    /// to go for it.
    pub fn insert(&mut self, id: [u8; 32], sketch: Sketch) -> Option<[u8; 32]> {
        self.remove(&id);
        let evicted = (self.by_id.len() >= self.entries_max()).then(|| self.evict());
        let fresh = Entry {
            id,
            sketch,
            used: false,
            live: true,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.entries[number as usize] = fresh;
                number
            }
            None => {
                self.make_room();
                self.entries.push(fresh);
                self.entries.len() as u32 - 1
            }
        };
        self.buckets.link(number, &sketch.long_codes());
        self.by_id.insert(id, number);
        evicted.flatten()
    }

    /// Forgets an id; whether it was there.
    pub fn remove(&mut self, id: &[u8; 32]) -> bool {
        let Some(number) = self.by_id.remove(id) else {
            return false;
        };
        let entry = &mut self.entries[number as usize];
        entry.live = false;
        self.buckets.unlink(number, &entry.sketch.long_codes());
        self.free.push(number);
        true
    }

    /// The sketch that is kept under an id.
    pub fn get(&self, id: &[u8; 32]) -> Option<Sketch> {
        let number = *self.by_id.get(id)?;
        Some(self.entries[number as usize].sketch)
    }

    /// Says that an id was of use: it outlives those that were not.
    pub fn touch(&mut self, id: &[u8; 32]) {
        if let Some(number) = self.by_id.get(id) {
            self.entries[*number as usize].used = true;
        }
    }

    /// All relatives of at least this estimated resemblance, the nearest first.
    pub fn similar(&self, sketch: &Sketch, resemblance: f32) -> Vec<Hit> {
        let mut hits = self.relatives(sketch);
        hits.retain(|hit| hit.resemblance >= resemblance);
        sort_by(&mut hits, |hit| hit.resemblance);
        hits
    }

    /// The `count` nearest relatives, the nearest first.
    pub fn top(&self, sketch: &Sketch, count: usize) -> Vec<Hit> {
        let mut hits = self.relatives(sketch);
        sort_by(&mut hits, |hit| hit.resemblance);
        hits.truncate(count);
        hits
    }

    /// The `count` best bases for a delta of which at least this gain is expected, the best first.
    pub fn bases(&self, sketch: &Sketch, gain: f32, count: usize) -> Vec<Hit> {
        let mut hits = self.relatives(sketch);
        hits.retain(|hit| hit.gain >= gain);
        sort_by(&mut hits, |hit| hit.gain);
        hits.truncate(count);
        hits
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Calls `visit` for each entry.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8; 32], &Sketch)) {
        for entry in self.entries.iter().filter(|entry| entry.live) {
            visit(&entry.id, &entry.sketch);
        }
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        Stats {
            entries: self.by_id.len() as u64,
            entries_max: self.entries_max() as u64,
            bytes: (self.entries.capacity() * ENTRY_BYTES) as u64,
            evicted: self.evicted,
        }
    }

    /// All entries as bytes, with a checksum. The same entries put in the same way give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut rows = snapshot::Writer::new(self.options.seed, self.len());
        self.for_each(&mut |id, sketch| rows.row(id, sketch));
        rows.finish()
    }

    /// Reads what [`Reservoir::to_bytes`] wrote with the same seed. Of more entries than the budget
    /// allows, the later ones stay.
    pub fn from_bytes(bytes: &[u8], options: Options) -> Result<Self, snapshot::SnapshotError> {
        let rows = snapshot::Reader::new(bytes, options.seed)?;
        let mut reservoir = Self::new(options);
        for (id, sketch) in rows {
            reservoir.insert(id, sketch);
        }
        Ok(reservoir)
    }

    /// Entries that share a winner with a sketch, each once, in no order.
    fn relatives(&self, sketch: &Sketch) -> Vec<Hit> {
        let mut numbers = Vec::with_capacity(CHAIN_MAX);
        let codes = sketch.long_codes();
        self.buckets
            .visit(&codes, CHAIN_MAX, &mut |number| numbers.push(number));
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .map(|number| {
                let entry = &self.entries[number as usize];
                Hit {
                    id: entry.id,
                    resemblance: resemblance(&entry.sketch, sketch),
                    gain: expected_gain(&entry.sketch, sketch),
                }
            })
            .filter(|hit| hit.resemblance > 0.0)
            .collect()
    }

    fn entries_max(&self) -> usize {
        let most = self.options.bytes_max / ENTRY_BYTES as u64;
        usize::try_from(most).map_or(ENTRIES_MAX, |most| most.clamp(ENTRIES_FIRST, ENTRIES_MAX))
    }

    fn make_room(&mut self) {
        if self.entries.len() < self.entries.capacity() {
            return;
        }
        let wanted = (self.entries.len() * 2).clamp(ENTRIES_FIRST, self.entries_max());
        self.entries.reserve_exact(wanted - self.entries.len());
        let entries = &self.entries;
        self.buckets.grow(wanted, |number| {
            let entry = entries.get(number as usize)?;
            entry.live.then(|| entry.sketch.long_codes())
        });
    }

    /// Second chance: the hand passes over what was used since it came by last.
    fn evict(&mut self) -> Option<[u8; 32]> {
        for _ in 0..=2 * self.entries.len() {
            self.hand = (self.hand + 1) % self.entries.len().max(1);
            let entry = &mut self.entries[self.hand];
            if entry.live && !std::mem::take(&mut entry.used) {
                let id = entry.id;
                self.remove(&id);
                self.evicted += 1;
                return Some(id);
            }
        }
        None
    }
}

/// Bytes that one entry takes in all its places.
const ENTRY_BYTES: usize =
    size_of::<Entry>() + size_of::<u32>() + MAP_ENTRY_BYTES + Buckets::ENTRY_BYTES;
const _: () = assert!(SKETCH_BYTES <= 96);

/// The largest first; equal ones by id, so that the order is the same on every run.
fn sort_by(hits: &mut [Hit], key: impl Fn(&Hit) -> f32) {
    hits.sort_unstable_by(|a, b| key(b).total_cmp(&key(a)).then(a.id.cmp(&b.id)));
}

/// Hashes ids, which are hashes: whoever chooses them shall not know which ones meet.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(self.0)
    }
}

struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = mix(self.0 ^ u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
