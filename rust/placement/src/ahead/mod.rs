//! What to fetch ahead: [`Ahead`], which asks the predictor what comes next and fetches only what has proven to be used.
//!
//! Predictions are told apart by how likely the predictor calls them, their place among the others, and whether they are
//! of an object that was asked for before. Of each kind it is known how many were asked for before they would have been
//! dropped: while a kind is not fetched, its predictions are only noted and time out. A kind is fetched while the share
//! that is used is proven to be high enough, and while what was fetched in vain stays within the budget of traffic.
//! Nothing is fetched of a stream whose predictions are wrong, and nothing has to be switched off for that.

mod proof;

use std::collections::{BTreeMap, VecDeque};

use mfn_cpe::{CpeError, Stream, StreamOptions};

use crate::cache::Key;
use proof::Proof;

/// Likeliest objects that are looked at after each request.
const ITEMS: usize = 4;
/// Kinds of predictions by probability, place and novelty.
const LIKELY: usize = 10;
const PLACES: usize = 3;
const KINDS: usize = LIKELY * PLACES * 2;
/// Predictions of kinds that are not fetched, and fetched objects, that are waited for at once.
const WAITING_MAX: usize = 1 << 16;
/// Requests without a fetch after fetches of all kinds together proved too often in vain; doubled each time.
const PAUSE: u64 = 4_096;
const PAUSE_DOUBLINGS_MAX: u32 = 8;

/// How to fetch ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AheadOptions {
    /// Memory of the predictor, in its own limits.
    pub stream_bytes_max: usize,
    /// Readers whose places are followed at once.
    pub lanes_max: usize,
    /// The share of what is fetched ahead that has to be used, 0 to 1: what is not proven to reach it is not fetched.
    pub used_min: f64,
    /// What may be fetched in vain, as a share of the bytes that readers asked for and that were not held.
    pub vain_max: f64,
}

impl Default for AheadOptions {
    /// 64 MiB, 64 readers, five of six used, one byte in twenty in vain.
    fn default() -> Self {
        Self {
            stream_bytes_max: 64 << 20,
            lanes_max: 64,
            used_min: 0.85,
            vain_max: 0.05,
        }
    }
}

/// What became of all that was fetched ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AheadCounts {
    /// Objects that were fetched ahead.
    pub fetched: u64,
    /// Of these, asked for while they were held.
    pub used: u64,
    /// Of these, dropped before anybody asked.
    pub vain: u64,
    /// Times that all fetching paused.
    pub pauses: u64,
}

/// Decides what to fetch ahead. The host calls, for each request: [`Ahead::asked`]; [`Ahead::dropped`] for what the cache
/// dropped; [`Ahead::next`]; and [`Ahead::fetched`] for what it fetched of that.
#[derive(Clone, Debug)]
pub struct Ahead {
    options: AheadOptions,
    stream: Stream,
    kinds: Vec<Proof>,
    all: Proof,
    waiting: BTreeMap<Key, Waiting>,
    /// Noted predictions by the request that they time out at.
    noted: VecDeque<(u64, Key)>,
    requests: u64,
    paused_until: u64,
    /// Bytes that readers waited for, that were fetched and used, and in vain, and that are waiting.
    missed: f64,
    used: f64,
    vain: f64,
    pending: f64,
    counts: AheadCounts,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    kind: u8,
    /// The request that a noted one times out at; 0 for one that was fetched.
    until: u64,
    bytes: u64,
}

impl Ahead {
    /// Nothing is known, so nothing is fetched.
    pub fn new(options: AheadOptions) -> Result<Self, CpeError> {
        let share = |name, value: f64| {
            let range = "0 to 1";
            if (0.0..=1.0).contains(&value) {
                return Ok(());
            }
            Err(CpeError::Option { name, value, range })
        };
        share("used_min", options.used_min)?;
        share("vain_max", options.vain_max)?;
        Ok(Self {
            options,
            stream: Stream::new(StreamOptions {
                bytes_max: options.stream_bytes_max,
                lanes_max: options.lanes_max,
                claim_min: 0.0,
            })?,
            kinds: vec![Proof::default(); KINDS],
            all: Proof::default(),
            waiting: BTreeMap::new(),
            noted: VecDeque::new(),
            requests: 0,
            paused_until: 0,
            missed: 0.0,
            used: 0.0,
            vain: 0.0,
            pending: 0.0,
            counts: AheadCounts::default(),
        })
    }

    /// What became of what was fetched.
    pub fn counts(&self) -> AheadCounts {
        self.counts
    }

    /// The proven share of fetched objects that are used: at least this, at most that; (0, 1) while none were fetched.
    pub fn used_share(&self) -> (f64, f64) {
        (self.all.at_least(), self.all.at_most())
    }

    /// A reader asks for an object of so many bytes at `now`, in any unit that is the same for all calls; `held` says
    /// whether the cache had it.
    pub fn asked(&mut self, lane: u32, key: Key, bytes: u64, held: bool, now: u64) {
        self.requests += 1;
        if !held {
            self.missed += bytes as f64;
        }
        self.time_out();
        if let Some(waiting) = self.waiting.remove(&key) {
            let good = waiting.until == 0 || self.requests <= waiting.until;
            self.settle(waiting, good);
        }
        self.stream.observe(lane, key, now);
    }

    /// The cache dropped an object.
    pub fn dropped(&mut self, key: Key) {
        if let Some(waiting) = self.waiting.get(&key).copied()
            && waiting.until == 0
        {
            self.waiting.remove(&key);
            self.settle(waiting, false);
        }
    }

    /// What is worth fetching now for the reader that just asked; `held` says what the cache holds, which is so many
    /// `objects`.
    pub fn next(
        &mut self,
        lane: u32,
        now: u64,
        objects: usize,
        held: impl Fn(Key) -> bool,
    ) -> Vec<Want> {
        let mut wanted = Vec::new();
        let prediction = self.stream.predict(lane, ITEMS, now);
        for (place, item) in prediction.items.iter().enumerate() {
            if held(item.symbol) || self.waiting.len() >= WAITING_MAX {
                continue;
            }
            let kind = kind(item.probability, place, self.stream.knows(item.symbol));
            let waits = self.waiting.contains_key(&item.symbol);
            if self.fetches(kind) {
                wanted.push(Want {
                    key: item.symbol,
                    probability: item.probability,
                    kind,
                });
            } else if !waits && self.noted.len() < WAITING_MAX {
                // It would have been held for about as many requests as the cache has objects.
                let until = self
                    .requests
                    .saturating_add(objects.min(WAITING_MAX) as u64);
                let bytes = 0;
                self.waiting
                    .insert(item.symbol, Waiting { kind, until, bytes });
                self.noted.push_back((until, item.symbol));
            }
        }
        wanted
    }

    /// A wanted object of so many bytes was fetched; `held` says whether the cache took it.
    pub fn fetched(&mut self, want: Want, bytes: u64, held: bool) {
        self.counts.fetched += 1;
        self.pending += bytes as f64;
        let waiting = Waiting {
            kind: want.kind,
            until: 0,
            bytes,
        };
        if held {
            // The one before was not reported as dropped; it was of no use.
            if let Some(before) = self.waiting.insert(want.key, waiting)
                && before.until == 0
            {
                self.settle(before, false);
            }
        } else {
            self.settle(waiting, false);
        }
    }

    /// Whether predictions of a kind are fetched now.
    fn fetches(&self, kind: u8) -> bool {
        let expected = self.pending * (1.0 - self.options.used_min);
        self.requests >= self.paused_until
            && self.kinds[usize::from(kind)].at_least() >= self.options.used_min
            && self.vain + expected <= self.options.vain_max * (self.missed + self.used)
    }

    fn time_out(&mut self) {
        while let Some((until, key)) = self.noted.front().copied()
            && until < self.requests
        {
            self.noted.pop_front();
            // It may have been asked for, fetched, or noted again since then.
            if self
                .waiting
                .get(&key)
                .is_some_and(|waiting| waiting.until == until)
                && let Some(waiting) = self.waiting.remove(&key)
            {
                self.settle(waiting, false);
            }
        }
    }

    fn settle(&mut self, waiting: Waiting, good: bool) {
        self.kinds[usize::from(waiting.kind)].add(good);
        if waiting.until != 0 {
            return;
        }
        let bytes = waiting.bytes as f64;
        self.pending -= bytes;
        if good {
            self.used += bytes;
            self.counts.used += 1;
        } else {
            self.vain += bytes;
            self.counts.vain += 1;
        }
        self.all.add(good);
        if self.all.at_most() < self.options.used_min && self.requests >= self.paused_until {
            let doublings = (self.counts.pauses as u32).min(PAUSE_DOUBLINGS_MAX);
            self.paused_until = self.requests + (PAUSE << doublings);
            self.counts.pauses += 1;
            self.all = Proof::default();
        }
    }
}

/// An object to fetch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Want {
    /// The object.
    pub key: Key,
    /// How likely the predictor calls it as the very next one.
    pub probability: f32,
    kind: u8,
}

/// The kind of a prediction: finer where it is likely.
fn kind(probability: f32, place: usize, known: bool) -> u8 {
    const EDGES: [f32; LIKELY - 1] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 0.95];
    let likely = EDGES.iter().filter(|edge| probability >= **edge).count();
    let place = place.min(PLACES - 1);
    ((likely * PLACES + place) * 2 + usize::from(known)) as u8
}
