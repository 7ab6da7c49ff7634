//! Gathers what each source proposes and describes every candidate by what all of them say about it.

use crate::contexts::{Contexts, SUCCESSORS_MAX, View};
use crate::features::{
    AT_AGE, AT_AGE_FIRST, AT_AGREE, AT_BURST, AT_HEAD, AT_MATCH, AT_NEAR, AT_NEAR_PLACE, AT_PAIR,
    AT_PERIOD, AT_RANK, AT_STEP, CONTEXTS, FEATURES, NEAR, ORDERS, Row, SILENT, STEPS, UNKNOWN,
    bits, feature, none_feature, steps, successor, tenths,
};
use crate::hash::mix;
use crate::lane::{Lane, MRU};
use crate::panel::{COUNT, Opinion};
use crate::symbols::{NO_HANDLE, Symbols};
use crate::trust::Rate;

/// Most candidates of one prediction.
pub(crate) const CANDIDATES_MAX: usize = 52;
/// Views on successors: contexts, then what is near.
const VIEWS: usize = CONTEXTS + NEAR;
/// Successors that a context proposes although they came once only.
const FRESH: usize = 6;
/// Successors that a near symbol proposes.
const NEAR_PROPOSED: usize = 8;
/// Symbols that recency proposes.
const RECENT_PROPOSED: usize = 12;
/// Places of the small table that finds a candidate by its handle.
const PLACES: usize = 128;
const NO_PLACE: u8 = u8::MAX;
/// Lengths of a repetition that are told apart.
pub(crate) const LENGTHS: usize = 64;
/// Ranks of runs that are told apart: place, length and unit step.
pub(crate) const RUN_RATES: usize = 128;

// Bits of the sources that agree on a candidate.
const AGREE_MATCH: u8 = 16;
const AGREE_STEP: u8 = 32;
const AGREE_STEPS: u8 = 64;
const AGREE_HEAD: u8 = 128;

/// What is known besides the tables when a prediction is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The symbol that the repetition under way expects, the one that is due, or none.
    pub(crate) expected: u32,
    pub(crate) due: u32,
    /// Number of the event to come.
    pub(crate) event: u32,
    /// Share of recent events that nobody proposed.
    pub(crate) novelty: f32,
}

/// Hit rates of the experts that have no counts of their own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) lengths: [Rate; LENGTHS],
    pub(crate) runs: [Rate; RUN_RATES],
    pub(crate) ranks: [Rate; MRU],
    pub(crate) steps: [Rate; STEPS],
}

impl Rates {
    pub(crate) fn new() -> Self {
        Self {
            lengths: [Rate::NEW; LENGTHS],
            runs: [Rate::NEW; RUN_RATES],
            ranks: [Rate::NEW; MRU],
            steps: [Rate::NEW; STEPS],
        }
    }
}

impl Rates {
    /// All rates, in the order of their encoding.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rate> {
        self.lengths
            .iter()
            .chain(&self.runs)
            .chain(&self.ranks)
            .chain(&self.steps)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Rate> {
        let runs = self.runs.iter_mut();
        self.lengths
            .iter_mut()
            .chain(runs)
            .chain(&mut self.ranks)
            .chain(&mut self.steps)
    }
}

/// A symbol that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) value: u64,
    /// None for a value that was never seen, or is forgotten.
    pub(crate) handle: u32,
    last: u32,
    pub(crate) count: u16,
    agree: u8,
    /// How it is found again when its own source learns: the rates' places plus 1.
    pub(crate) run_rate: u8,
    /// 1 + place among the recent symbols.
    pub(crate) rank: u8,
    /// 1 + rank among the steps.
    pub(crate) step: u8,
}

/// What one context says about one candidate: its count and its place in the order of last occurrence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) count: u8,
    rank: u8,
}

impl Mark {
    /// Not a successor: later than all that are.
    const NONE: Mark = Mark {
        count: 0,
        rank: u8::MAX,
    };
}

/// Everything that one prediction is made from.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) candidates: Vec<Candidate>,
    /// One row per candidate, then the row of "none of these".
    pub(crate) rows: Vec<Row>,
    pub(crate) marks: Vec<[Mark; VIEWS]>,
    pub(crate) keys: [Option<u64>; CONTEXTS],
    pub(crate) known: [bool; CONTEXTS],
    pub(crate) step_keys: [Option<u64>; STEPS],
    pub(crate) views: Vec<View>,
    places: [u8; PLACES],
}

impl Evidence {
    pub(crate) fn new() -> Self {
        Self {
            candidates: Vec::with_capacity(CANDIDATES_MAX),
            rows: Vec::with_capacity(CANDIDATES_MAX + 1),
            marks: Vec::with_capacity(CANDIDATES_MAX),
            keys: [None; CONTEXTS],
            known: [false; CONTEXTS],
            step_keys: [None; STEPS],
            views: vec![View::EMPTY; VIEWS + STEPS],
            places: [NO_PLACE; PLACES],
        }
    }

    /// The place of a value among the candidates, or that of "none of these".
    pub(crate) fn place(&self, value: u64) -> usize {
        let found = self
            .candidates
            .iter()
            .position(|candidate| candidate.value == value);
        found.unwrap_or(self.candidates.len())
    }

    /// Fills in everything for the next event of a lane.
    pub(crate) fn gather(
        &mut self,
        lane: &Lane,
        symbols: &Symbols,
        contexts: &Contexts,
        moment: &Moment,
    ) {
        self.candidates.clear();
        self.rows.clear();
        self.marks.clear();
        self.places = [NO_PLACE; PLACES];
        self.keys = context_keys(lane);
        self.step_keys = step_keys(lane);
        let near = (0..NEAR).map(|back| near_key(lane, back));
        let keys = self.keys.into_iter().chain(near).chain(self.step_keys);
        for (view, key) in self.views.iter_mut().zip(keys) {
            view.len = 0;
            view.total = 0;
            view.novel = 0;
            if let Some(key) = key {
                contexts.view(key, view);
            }
        }
        for (known, view) in self.known.iter_mut().zip(&self.views) {
            *known = view.len > 0;
        }
        self.propose(lane, symbols, moment);
        self.mark();
        self.describe(lane, moment.event);
        self.describe_none(lane, moment.novelty);
    }

    /// Candidates, the surest sources first, so that a full list has the best.
    fn propose(&mut self, lane: &Lane, symbols: &Symbols, moment: &Moment) {
        if let Some(at) = self.add_handle(moment.expected, symbols) {
            let length = (lane.match_len as usize).min(LENGTHS - 1);
            self.rows[at][AT_MATCH] = feature(AT_MATCH, length);
            self.candidates[at].agree |= AGREE_MATCH;
        }
        if let Some(at) = self.add_handle(moment.due, symbols) {
            let record = symbols.get(moment.due);
            let streak = record.map_or(0, |record| usize::from(record.streak.min(7)));
            let gap = record.map_or(0, |record| bits(record.gap).min(15));
            self.rows[at][AT_PERIOD] = feature(AT_PERIOD, streak * 16 + gap);
        }
        self.propose_steps(lane, symbols);
        self.propose_runs(lane, symbols);
        for source in (0..CONTEXTS).rev() {
            for rank in 0..usize::from(self.views[source].len) {
                let view = &self.views[source];
                let (handle, count) = (view.next[rank], view.counts[rank]);
                if (count > 1 || rank < FRESH)
                    && let Some(at) = self.add_handle(handle, symbols)
                    && rank == 0
                    && source < ORDERS
                {
                    self.candidates[at].agree |= 1 << source;
                }
            }
        }
        for source in CONTEXTS..VIEWS {
            for rank in 0..usize::from(self.views[source].len).min(NEAR_PROPOSED) {
                if self.views[source].counts[rank] > 1 {
                    self.add_handle(self.views[source].next[rank], symbols);
                }
            }
        }
        for (rank, handle) in lane.mru.iter().enumerate().take(RECENT_PROPOSED) {
            if let Some(at) = self.add_handle(*handle, symbols) {
                self.candidates[at].rank = rank as u8 + 1;
            }
        }
        for (rank, handle) in lane.mru.iter().enumerate().skip(RECENT_PROPOSED) {
            if let Some(at) = self.find(*handle) {
                self.candidates[at].rank = rank as u8 + 1;
            }
        }
    }

    /// The last value plus the three commonest steps after the last steps.
    fn propose_steps(&mut self, lane: &Lane, symbols: &Symbols) {
        // The longest context last named what its source is: the surest goes first.
        for source in (0..STEPS).rev() {
            let mut taken = 0_u32;
            for rank in 0..3 {
                let view = &self.views[VIEWS + source];
                let mut best = None;
                for at in (0..usize::from(view.len)).filter(|at| taken & 1 << at == 0) {
                    if best.is_none_or(|best: usize| view.counts[at] > view.counts[best]) {
                        best = Some(at);
                    }
                }
                let Some(best) = best else { break };
                taken |= 1 << best;
                let step = i64::from(view.next[best] as i32);
                let bucket = tenths(view.counts[best].into(), view.total) * 8 + steps(view.total);
                let Some(at) = self.add_value(lane.value.wrapping_add(step as u64), symbols) else {
                    return;
                };
                self.rows[at][AT_STEP + source] = feature(AT_STEP + source, rank * 80 + bucket);
                if rank == 0 {
                    let agree = if source < 2 { AGREE_STEP } else { AGREE_STEPS };
                    self.candidates[at].agree |= agree;
                    if self.candidates[at].step == 0 {
                        self.candidates[at].step = source as u8 + 1;
                    }
                }
            }
        }
    }

    /// The next value of every run under way.
    fn propose_runs(&mut self, lane: &Lane, symbols: &Symbols) {
        for (rank, head) in lane.heads.iter().enumerate() {
            if head.run == 0 {
                continue;
            }
            let value = head.value.wrapping_add(head.step as u64);
            let Some(at) = self.add_value(value, symbols) else {
                return;
            };
            if self.candidates[at].run_rate == 0 {
                let unit = usize::from(head.step != 1);
                let bucket = (unit * lane.heads.len() + rank) * 8 + steps(head.run);
                self.rows[at][AT_HEAD] = feature(AT_HEAD, bucket);
                self.candidates[at].agree |= AGREE_HEAD;
                self.candidates[at].run_rate = bucket as u8 + 1;
            }
        }
    }

    /// The place of a candidate with this handle.
    #[inline]
    fn find(&self, handle: u32) -> Option<usize> {
        let mut at = home(handle);
        loop {
            match self.places[at] {
                NO_PLACE => return None,
                place if self.candidates[usize::from(place)].handle == handle => {
                    return Some(usize::from(place));
                }
                _ => at = (at + 1) % PLACES,
            }
        }
    }

    fn add_handle(&mut self, handle: u32, symbols: &Symbols) -> Option<usize> {
        if handle == NO_HANDLE {
            return None;
        }
        if let Some(at) = self.find(handle) {
            return Some(at);
        }
        let record = symbols.get(handle)?;
        let at = self.push(Candidate {
            value: record.value,
            handle,
            last: record.last,
            count: record.count,
            agree: 0,
            run_rate: 0,
            rank: 0,
            step: 0,
        })?;
        let mut place = home(handle);
        while self.places[place] != NO_PLACE {
            place = (place + 1) % PLACES;
        }
        self.places[place] = at as u8;
        Some(at)
    }

    fn add_value(&mut self, value: u64, symbols: &Symbols) -> Option<usize> {
        if let Some(handle) = symbols.find(value) {
            return self.add_handle(handle, symbols);
        }
        let unseen =
            |candidate: &Candidate| candidate.handle == NO_HANDLE && candidate.value == value;
        if let Some(at) = self.candidates.iter().position(unseen) {
            return Some(at);
        }
        self.push(Candidate {
            value,
            handle: NO_HANDLE,
            last: 0,
            count: 0,
            agree: 0,
            run_rate: 0,
            rank: 0,
            step: 0,
        })
    }

    fn push(&mut self, candidate: Candidate) -> Option<usize> {
        if self.candidates.len() == CANDIDATES_MAX {
            return None;
        }
        self.candidates.push(candidate);
        self.rows.push([SILENT; FEATURES]);
        self.marks.push([Mark::NONE; VIEWS]);
        Some(self.candidates.len() - 1)
    }

    /// Notes on every candidate what each context says about it.
    fn mark(&mut self) {
        for source in 0..VIEWS {
            for rank in 0..usize::from(self.views[source].len) {
                let view = &self.views[source];
                let (handle, count) = (view.next[rank], view.counts[rank]);
                if let Some(at) = self.find(handle) {
                    self.marks[at][source] = Mark {
                        count,
                        rank: rank as u8,
                    };
                }
            }
        }
    }

    /// What each source says about each candidate.
    fn describe(&mut self, lane: &Lane, event: u32) {
        let burst = steps(lane.burst) * 16;
        let totals: [u16; VIEWS] = std::array::from_fn(|source| self.views[source].total);
        // What one occurrence adds: 200 parts make the whole context, in units of 2^-16.
        let shares: [u32; NEAR] =
            std::array::from_fn(|back| (200 << 16) / u32::from(totals[CONTEXTS + back].max(1)));
        for ((candidate, row), marks) in self.candidates.iter().zip(&mut self.rows).zip(&self.marks)
        {
            for source in 0..CONTEXTS {
                let bucket = if self.known[source] {
                    let mark = marks[source];
                    successor(mark.count.into(), totals[source], mark.rank.into())
                } else {
                    UNKNOWN
                };
                row[source] = feature(source, bucket);
            }
            let [first, _, _, skip, ..] = marks;
            let (count, other) = (steps(first.count.into()), steps(skip.count.into()));
            let seen = candidate.handle != NO_HANDLE;
            let age = bits(event.wrapping_sub(candidate.last)).min(23) * 8;
            let (age, fresh) = if seen {
                (age, steps(candidate.count))
            } else {
                (248, 7)
            };
            row[AT_AGE] = feature(AT_AGE, age + fresh);
            row[AT_AGE_FIRST] = feature(AT_AGE_FIRST, age + count);
            let burst_has =
                usize::from(seen && event.wrapping_sub(candidate.last) <= u32::from(lane.burst));
            let rank = candidate.rank.checked_sub(1).map_or(MRU, usize::from);
            row[AT_RANK] = feature(AT_RANK, rank * 2 + burst_has);
            row[AT_BURST] = feature(AT_BURST, burst + burst_has * 8 + count);
            row[AT_AGREE] = feature(AT_AGREE, usize::from(candidate.agree));
            let latest = |mark: &Mark| usize::from(mark.rank == 0);
            let pair = ((count * 8 + other) * 2 + latest(first)) * 2 + latest(skip);
            row[AT_PAIR] = feature(AT_PAIR, pair);
            describe_near(&marks[CONTEXTS..], &shares, row);
        }
    }

    /// What speaks for a symbol that nobody proposed.
    fn describe_none(&mut self, lane: &Lane, novelty: f32) {
        let highest = (0..ORDERS).rev().find(|order| self.known[*order]);
        let view = &self.views[highest.unwrap_or(0)];
        let place = highest.map_or(0, |order| order + 1);
        let (first, step) = (&self.views[0], &self.views[VIEWS + 1]);
        let mut row = [SILENT; FEATURES];
        row[0] = none_feature(0, place * 8 + steps(view.total));
        row[1] = none_feature(1, place * 10 + tenths(view.novel, view.total));
        row[2] = none_feature(2, lane.match_len.min(31) as usize);
        row[3] = none_feature(3, (novelty * 31.0) as usize);
        row[4] = none_feature(
            4,
            steps(first.total) * 10 + tenths(first.novel, first.total),
        );
        row[5] = none_feature(5, steps(lane.run));
        row[6] = none_feature(6, steps(step.total) * 10 + tenths(step.novel, step.total));
        row[7] = none_feature(7, steps(lane.burst) * 8 + steps(first.total));
        self.rows.push(row);
    }

    /// What the experts of the panel say that are not the ranking.
    pub(crate) fn opinions(&self, lane: &Lane, rates: &Rates, out: &mut [Opinion; COUNT - 2]) {
        for opinion in out.iter_mut() {
            opinion.named.clear();
        }
        let [first, second, third, repetition, stride, runs, recency] = out;
        for (source, opinion) in [first, second, third].into_iter().enumerate() {
            let view = &self.views[source];
            let whole = f32::from(view.total) + f32::from(view.novel);
            for (at, marks) in self.marks.iter().enumerate() {
                let count = marks[source].count;
                if count > 0 {
                    opinion
                        .named
                        .push((at as u8, f32::from(count) / whole.max(1.0)));
                }
            }
        }
        for (at, candidate) in self.candidates.iter().enumerate() {
            let place = at as u8;
            if candidate.agree & AGREE_MATCH != 0 {
                let length = (lane.match_len as usize).min(LENGTHS - 1);
                repetition.named.push((place, rates.lengths[length].get()));
            }
            if let Some(source) = candidate.step.checked_sub(1) {
                stride
                    .named
                    .push((place, rates.steps[usize::from(source)].get()));
            }
            if let Some(run) = candidate.run_rate.checked_sub(1) {
                runs.named.push((place, rates.runs[usize::from(run)].get()));
            }
            if let Some(rank) = candidate.rank.checked_sub(1) {
                recency
                    .named
                    .push((place, rates.ranks[usize::from(rank)].get()));
            }
        }
        for opinion in out {
            // Rates are estimated one by one and may add up to more than all.
            let sum: f32 = opinion
                .named
                .iter()
                .map(|(_, probability)| probability)
                .sum();
            if sum > MOST {
                for (_, probability) in &mut opinion.named {
                    *probability *= MOST / sum;
                }
            }
        }
    }

    /// Tells the rates which candidates were right.
    pub(crate) fn learn_rates(&self, lane: &Lane, rates: &mut Rates, actual: usize) {
        for (at, candidate) in self.candidates.iter().enumerate() {
            let hit = at == actual;
            if candidate.agree & AGREE_MATCH != 0 {
                rates.lengths[(lane.match_len as usize).min(LENGTHS - 1)].learn(hit);
            }
            if let Some(source) = candidate.step.checked_sub(1) {
                rates.steps[usize::from(source)].learn(hit);
            }
            if let Some(run) = candidate.run_rate.checked_sub(1) {
                rates.runs[usize::from(run)].learn(hit);
            }
            if let Some(rank) = candidate.rank.checked_sub(1) {
                rates.ranks[usize::from(rank)].learn(hit);
            }
        }
    }
}

/// Most that one expert may give to what it names.
const MOST: f32 = 0.999;

/// How many near symbols have this candidate after them, which, how surely and how lately.
fn describe_near(marks: &[Mark], shares: &[u32; NEAR], row: &mut Row) {
    // Places in the order of last occurrence, in seven steps.
    const LATELY: [u8; 17] = [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5];
    let (mut sum, mut which, mut rank) = (0_u64, 0_usize, u8::MAX);
    for (back, (mark, share)) in marks.iter().zip(shares).enumerate() {
        sum += u64::from(mark.count) * u64::from(*share);
        which |= usize::from(mark.count > 0) << back;
        rank = rank.min(mark.rank);
    }
    let lately = if rank == u8::MAX {
        6
    } else {
        LATELY[usize::from(rank).min(LATELY.len() - 1)]
    };
    let sum = bits((sum >> 16) as u32).min(15);
    row[AT_NEAR] = feature(AT_NEAR, which.count_ones() as usize * 16 + sum);
    row[AT_NEAR_PLACE] = feature(AT_NEAR_PLACE, which * 8 + usize::from(lately));
}

fn home(handle: u32) -> usize {
    (handle.wrapping_mul(0x9E37_79B1) >> 25) as usize
}

fn context_keys(lane: &Lane) -> [Option<u64>; CONTEXTS] {
    let recent = &lane.recent;
    let mut keys = [None; CONTEXTS];
    let mut key = 0;
    for (order, handle) in recent.iter().enumerate().take(ORDERS) {
        if *handle == NO_HANDLE {
            return keys;
        }
        key = mix(key + 1 + order as u64, u64::from(*handle));
        keys[order] = Some(key);
    }
    keys[ORDERS] = Some(mix(21, u64::from(recent[1])));
    keys
}

/// The key of what comes within the next few events of the symbol so far back.
pub(crate) fn near_key(lane: &Lane, back: usize) -> Option<u64> {
    let handle = lane.recent[back];
    (handle != NO_HANDLE).then(|| mix(51, u64::from(handle)))
}

fn step_keys(lane: &Lane) -> [Option<u64>; STEPS] {
    if lane.events < 2 {
        return [None; STEPS];
    }
    let [last, before] = lane.steps;
    [
        Some(30),
        Some(mix(31, last as u64)),
        Some(mix(mix(32, last as u64), before as u64)),
        Some(mix(mix(33, last as u64), u64::from(lane.run))),
    ]
}

const _: () = assert!(SUCCESSORS_MAX <= 32, "a set of successors is a u32");
