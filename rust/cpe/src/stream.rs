//! One stream of symbols: predict, observe, explain.

use std::collections::BTreeMap;

use crate::contexts::{Contexts, Node, SLOTS_MIN, Slot};
use crate::error::CpeError;
use crate::evidence::{CANDIDATES_MAX, Evidence, Moment, Rates, near_key};
use crate::features::{CONTEXTS, NEAR, ORDERS};
use crate::gaps::Wait;
use crate::grow::{make_room, room};
use crate::hash::mix;
use crate::history::History;
use crate::lane::Lane;
use crate::mixer::Mixer;
use crate::panel::{COUNT, EXPERTS, Expert, Opinion, Panel, Table, regret_bits};
use crate::score::Scores;
use crate::sources::{SOURCES, Source};
use crate::symbols::{NO_HANDLE, Symbols};
use crate::trust::Correction;

/// Most items of one prediction.
pub const ITEMS_MAX: usize = CANDIDATES_MAX;
/// Smallest byte budget of a stream.
pub const STREAM_BYTES_MIN: usize = 256 << 10;
/// Largest byte budget of a stream: handles have 32 bits.
pub const STREAM_BYTES_MAX: usize = 4 << 30;
/// Most lanes of a stream.
pub const LANES_MAX: usize = 4096;
/// Events over which the share of unproposed symbols is averaged.
const NOVELTY_EVENTS: f32 = 32.0;
/// A symbol whose count is at least this share of its budget never leaves the confidence range of the correction.
const CONFIDENCE_EDGE: f32 = 1e-4;

/// A lane with its place in the index.
const LANE_BYTES: usize = size_of::<Lane>() + 32;

/// How to make a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamOptions {
    /// At most so many bytes are held: [`STREAM_BYTES_MIN`] to [`STREAM_BYTES_MAX`]. When tables are full the least
    /// useful contexts and symbols are forgotten; learning never stops.
    pub bytes_max: usize,
    /// Lanes that are followed at once, 1 to [`LANES_MAX`]; the one that was silent longest makes room for a new one.
    pub lanes_max: usize,
    /// A prediction whose first item is less likely than this, 0 to 1, is marked silent.
    pub claim_min: f32,
}

impl Default for StreamOptions {
    /// 64 MiB, 64 lanes, never silent.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            lanes_max: 64,
            claim_min: 0.0,
        }
    }
}

/// A symbol that may come next, and how likely that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// The symbol.
    pub symbol: u64,
    /// Its probability.
    pub probability: f32,
}

/// What may come next in a lane. The probabilities of all items, `other` and `unseen` add up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The likeliest first.
    pub items: Vec<Item>,
    /// Probability of a known symbol that is not among the items.
    pub other: f32,
    /// Probability of a symbol that was never seen, or is forgotten, and is not among the items.
    pub unseen: f32,
    /// Nothing is claimed: the first item is less likely than the stream's `claim_min`, or there is none.
    pub silent: bool,
    /// When the next event will come; `None` while nothing is known about gaps this long.
    pub wait: Option<Wait>,
}

/// What one expert of the panel says about a symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// Who.
    pub expert: Expert,
    /// Its weight on the panel; the weights of all add up to 1.
    pub weight: f64,
    /// The probability that it gives.
    pub probability: f32,
}

/// Why a symbol has the probability that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The probability: the mean of the votes by weight.
    pub probability: f32,
    /// Whether some source proposed the symbol; the rest is empty when none did.
    pub proposed: bool,
    /// One vote per expert.
    pub votes: Vec<Vote>,
    /// What each source adds to the ranking's score, in nats, the strongest first.
    pub evidence: Vec<(Source, f32)>,
}

/// How an observed event had been predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The probability that it had, on its own or as part of "none of these".
    pub probability: f32,
    /// Its place among the candidates, 0 for the first; `None` when nobody had proposed it.
    pub rank: Option<usize>,
}

/// Learns a stream of symbols and predicts its next ones.
///
/// Lanes are sources that behave alike and are told apart: threads, users, regions. They share what is learned, each
/// has its own past.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) options: StreamOptions,
    /// Lanes as asked for, of which the options hold what the budget allows.
    pub(crate) asked_lanes: usize,
    pub(crate) symbols: Symbols,
    pub(crate) contexts: Contexts,
    pub(crate) history: History,
    pub(crate) mixer: Mixer,
    pub(crate) correction: Correction,
    pub(crate) rates: Rates,
    pub(crate) panel: Panel,
    pub(crate) lanes: Vec<Lane>,
    /// Where each lane is.
    pub(crate) places: BTreeMap<u32, usize>,
    pub(crate) scores: Scores,
    /// Recent share of events that nobody proposed, and of these the share that was never seen.
    pub(crate) novelty: f32,
    pub(crate) unseen: f32,
    scratch: Scratch,
}

/// What a prediction leaves for the observation that follows it: nothing here outlives a change of the stream.
#[derive(Clone, Debug)]
struct Scratch {
    evidence: Evidence,
    given: Vec<f32>,
    corrected: Vec<f32>,
    best: usize,
    opinions: [Opinion; COUNT - 2],
    table: Table,
    /// The lane that all this is for.
    lane: Option<usize>,
}

impl Stream {
    /// An empty stream.
    pub fn new(options: StreamOptions) -> Result<Self, CpeError> {
        let StreamOptions {
            bytes_max,
            lanes_max,
            claim_min,
        } = options;
        let range = |name, value, range| Err(CpeError::Option { name, value, range });
        if !(STREAM_BYTES_MIN..=STREAM_BYTES_MAX).contains(&bytes_max) {
            return range("bytes_max", bytes_max as f64, "256 KiB to 4 GiB");
        }
        if !(1..=LANES_MAX).contains(&lanes_max) {
            return range("lanes_max", lanes_max as f64, "1 to 4096");
        }
        if !(0.0..=1.0).contains(&claim_min) {
            return range("claim_min", f64::from(claim_min), "0 to 1");
        }
        // What is there in any case, then a half for contexts and an eighth or a quarter for the rest. Tables double,
        // so each may take up to its share and never more; lanes have their own.
        let fixed = Mixer::BYTES + History::BYTES_MIN + Self::SCRATCH_BYTES;
        let lanes = (bytes_max / 16).min(lanes_max * LANE_BYTES);
        let free = bytes_max.saturating_sub(fixed + lanes);
        Ok(Self {
            options: StreamOptions {
                lanes_max: (lanes / LANE_BYTES).max(1),
                ..options
            },
            asked_lanes: lanes_max,
            symbols: Symbols::new(free / 5 / Symbols::BYTES_EACH),
            contexts: Contexts::new(
                (free * 2 / 5 / size_of::<Slot>()).max(SLOTS_MIN),
                free / 4 / (size_of::<Node>() + size_of::<u32>()),
            ),
            history: History::new(free / 8 / History::BYTES_EACH),
            mixer: Mixer::new(),
            correction: Correction::new(),
            rates: Rates::new(),
            panel: Panel::new(),
            lanes: Vec::new(),
            places: BTreeMap::new(),
            scores: Scores::default(),
            novelty: 0.5,
            unseen: 0.5,
            scratch: Scratch::new(),
        })
    }

    /// Bytes of the working memory that holds one prediction, about.
    const SCRATCH_BYTES: usize = 16 << 10;

    /// The options; `lanes_max` is what the budget allows.
    pub fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// Bytes that are held now; at most `bytes_max`. While a table doubles, its old half is there as well.
    pub fn bytes(&self) -> usize {
        self.symbols.bytes()
            + self.contexts.bytes()
            + self.history.bytes()
            + Mixer::BYTES
            + room(self.lanes.len(), self.options.lanes_max) * LANE_BYTES
            + Self::SCRATCH_BYTES
    }

    /// The account of all predictions so far.
    pub fn scores(&self) -> &Scores {
        &self.scores
    }

    /// Different symbols that are known.
    pub fn symbols(&self) -> usize {
        self.symbols.len()
    }

    /// Whether a symbol is known: it came, and is not forgotten.
    pub fn knows(&self, symbol: u64) -> bool {
        self.symbols.find(symbol).is_some()
    }

    /// Log-loss of each expert so far, in bits; the stream's own is at most the least of them plus
    /// [`Stream::regret_bits`].
    pub fn expert_losses(&self) -> [(Expert, f64); EXPERTS.len()] {
        let losses = self.panel.losses();
        std::array::from_fn(|at| (EXPERTS[at], losses[at]))
    }

    /// The stated bound on what the stream's log-loss exceeds its best expert's by.
    pub fn regret_bits(&self) -> f64 {
        regret_bits(self.panel.events)
    }

    /// What comes next in a lane, at most `count` items (and at most [`ITEMS_MAX`]), asked at time `now`.
    ///
    /// A lane that is not followed is predicted as one that starts.
    pub fn predict(&mut self, lane: u32, count: usize, now: u64) -> Prediction {
        let known = self.places.get(&lane).map(|at| &self.lanes[*at]);
        let wait = known
            .filter(|known| known.events > 0)
            .and_then(|known| known.gaps.wait(now.saturating_sub(known.time)));
        self.prepare(lane);
        let Scratch {
            evidence, table, ..
        } = &self.scratch;
        let none = evidence.candidates.len();
        let order = likeliest(&table.mixed[..none], count.min(none));
        let items: Vec<Item> = order
            .iter()
            .map(|at| Item {
                symbol: evidence.candidates[*at].value,
                probability: table.mixed[*at],
            })
            .collect();
        let listed: f32 = items.iter().map(|item| item.probability).sum();
        let unseen = table.mixed[none] * self.unseen;
        let first = items.first().map_or(0.0, |item| item.probability);
        Prediction {
            silent: items.is_empty() || first < self.options.claim_min,
            other: (1.0 - listed - unseen).max(0.0),
            unseen,
            items,
            wait,
        }
    }

    /// The probability that `symbol` comes next in a lane. A symbol that was never seen, or is forgotten, gets that of
    /// all such symbols together unless a source proposes it.
    pub fn probability(&mut self, lane: u32, symbol: u64) -> f64 {
        self.prepare(lane);
        let Scratch {
            evidence, table, ..
        } = &self.scratch;
        let at = evidence.place(symbol);
        let given = f64::from(table.mixed[at]);
        if at < evidence.candidates.len() {
            return given;
        }
        let unseen = f64::from(self.unseen);
        let Some(record) = self
            .symbols
            .find(symbol)
            .and_then(|handle| self.symbols.get(handle))
        else {
            return given * unseen;
        };
        // Known symbols that nobody proposed share the rest by how often they came.
        let proposed: u64 = evidence.candidates.iter().map(|c| u64::from(c.count)).sum();
        let others = self.symbols.occurrences.saturating_sub(proposed).max(1);
        given * (1.0 - unseen) * f64::from(record.count) / others as f64
    }

    /// Why `symbol` has its probability.
    pub fn explain(&mut self, lane: u32, symbol: u64) -> Explanation {
        let probability = self.probability(lane, symbol) as f32;
        let Scratch {
            evidence,
            given,
            corrected,
            opinions,
            table,
            ..
        } = &self.scratch;
        let at = evidence.place(symbol);
        if at == evidence.candidates.len() {
            return Explanation {
                probability,
                proposed: false,
                votes: Vec::new(),
                evidence: Vec::new(),
            };
        }
        let votes = (0..COUNT).map(|expert| Vote {
            expert: EXPERTS[expert],
            weight: self.panel.weights[expert],
            probability: table.given([given, corrected], opinions, expert, at),
        });
        let shares = self.mixer.shares(&evidence.rows[at]);
        let mut parts: Vec<(Source, f32)> = SOURCES
            .into_iter()
            .zip(shares)
            .filter(|(_, share)| *share != 0.0)
            .collect();
        parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        Explanation {
            probability,
            proposed: true,
            votes: votes.collect(),
            evidence: parts,
        }
    }

    /// Learns that `symbol` came next in a lane, at time `time` (any unit, the same for all calls).
    ///
    /// Events at exactly the same time count as one burst. A time before the lane's last one is taken as it is: the
    /// event is learned, the gap is not, and [`Scores::backwards`] counts it.
    pub fn observe(&mut self, lane: u32, symbol: u64, time: u64) -> Outcome {
        let at = self.lane(lane);
        self.prepare(lane);
        self.scratch.lane = None;
        let actual = self.scratch.evidence.place(symbol);
        let outcome = self.score(at, actual, time);
        self.weigh_anew(at, actual);
        let event = self.events();
        let unknown = self.symbols.find(symbol).is_none();
        if outcome.rank.is_none() {
            self.scores.unseen += u64::from(unknown);
            self.unseen += (f32::from(u8::from(unknown)) - self.unseen) / NOVELTY_EVENTS;
            // Neither kind ever becomes impossible.
            self.unseen = self.unseen.clamp(0.01, 0.99);
        }
        let handle = self.symbols.touch(symbol, event);
        self.learn_contexts(at, handle, symbol);
        self.learn_history(at, handle, event);
        let lane = &mut self.lanes[at];
        lane.used = self.panel.events;
        lane.push(handle, symbol, time);
        self.follow_repetition(at, handle);
        outcome
    }

    /// Number of the event to come, as symbols remember it: wraps after 2^32.
    fn events(&self) -> u32 {
        self.scores.events.wrapping_sub(1) as u32
    }

    /// The place of a lane; a new one is made, at the expense of the one that was silent longest.
    fn lane(&mut self, id: u32) -> usize {
        if let Some(at) = self.places.get(&id) {
            return *at;
        }
        self.scratch.lane = None;
        if self.lanes.len() < self.options.lanes_max {
            make_room(&mut self.lanes, self.options.lanes_max);
            self.places.insert(id, self.lanes.len());
            self.lanes.push(Lane::new(id));
            return self.lanes.len() - 1;
        }
        let oldest = (0..self.lanes.len())
            .min_by_key(|at| self.lanes[*at].used)
            .unwrap_or(0);
        self.places.remove(&self.lanes[oldest].id);
        self.places.insert(id, oldest);
        self.lanes[oldest] = Lane::new(id);
        oldest
    }

    /// Gathers and weighs the evidence for the next event of a lane, unless that is done.
    fn prepare(&mut self, id: u32) {
        let at = self.places.get(&id).copied();
        if at.is_some() && self.scratch.lane == at {
            return;
        }
        let fresh;
        let lane = match at {
            Some(at) => &self.lanes[at],
            None => {
                fresh = Lane::new(id);
                &fresh
            }
        };
        let event = self.scores.events as u32;
        let moment = Moment {
            expected: self
                .history
                .at(lane.match_at)
                .map_or(NO_HANDLE, |event| event.handle),
            due: self.history.due(event),
            event,
            novelty: self.novelty,
        };
        let scratch = &mut self.scratch;
        scratch
            .evidence
            .gather(lane, &self.symbols, &self.contexts, &moment);
        self.mixer.weigh(&scratch.evidence.rows, &mut scratch.given);
        scratch.correct(&self.correction);
        scratch
            .evidence
            .opinions(lane, &self.rates, &mut scratch.opinions);
        let full = [&scratch.given[..], &scratch.corrected[..]];
        self.panel.mix(full, &scratch.opinions, &mut scratch.table);
        scratch.lane = at;
    }

    fn score(&mut self, lane: usize, actual: usize, time: u64) -> Outcome {
        let given = &self.scratch.table.mixed;
        let none = given.len() - 1;
        let best = most(&given[..none]).unwrap_or(none);
        self.scores.add(given, actual, best, self.options.claim_min);
        let lane = &self.lanes[lane];
        self.scores.backwards += u64::from(lane.events > 0 && time < lane.time);
        Outcome {
            probability: given[actual],
            rank: (actual < none).then(|| {
                let before = |(at, other): (usize, &f32)| {
                    *other > given[actual] || (*other == given[actual] && at < actual)
                };
                given[..none]
                    .iter()
                    .enumerate()
                    .filter(|item| before(*item))
                    .count()
            }),
        }
    }

    /// Everything that is learned from which outcome came, whatever its symbol.
    fn weigh_anew(&mut self, lane: usize, actual: usize) {
        let Scratch {
            evidence,
            given,
            corrected,
            best,
            opinions,
            table,
            ..
        } = &self.scratch;
        self.panel
            .learn([given, corrected], opinions, table, actual);
        evidence.learn_rates(&self.lanes[lane], &mut self.rates, actual);
        if !evidence.candidates.is_empty() {
            self.correction.learn(given[*best], *best == actual);
        }
        self.mixer.learn(&evidence.rows, given, actual);
        let none = f32::from(u8::from(actual == evidence.candidates.len()));
        self.novelty += (none - self.novelty) / NOVELTY_EVENTS;
    }

    fn learn_contexts(&mut self, lane: usize, handle: u32, symbol: u64) {
        let evidence = &self.scratch.evidence;
        for source in 0..CONTEXTS {
            if let Some(key) = evidence.keys[source] {
                // A longer context is worth its room once the shorter one has come twice.
                let create = source == 0 || source >= ORDERS || evidence.known[source - 1];
                self.contexts.learn(key, handle, create);
            }
        }
        let lane = &self.lanes[lane];
        for back in 0..NEAR {
            if let Some(key) = near_key(lane, back) {
                self.contexts.learn(key, handle, true);
            }
        }
        if lane.events == 0 {
            return;
        }
        // Steps between opaque symbols, such as hashes, do not fit and cost nothing.
        if let Ok(step) = i32::try_from(symbol.wrapping_sub(lane.value) as i64) {
            for key in evidence.step_keys.iter().flatten() {
                self.contexts.learn(*key, step as u32, true);
            }
        }
    }

    fn learn_history(&mut self, lane: usize, handle: u32, event: u32) {
        let record = self.symbols.get(handle);
        let gap = record
            .filter(|record| record.streak > 0)
            .map(|record| record.gap);
        self.history.expect(event, handle, gap);
        let lane = &mut self.lanes[lane];
        lane.position = self.history.push(handle, lane.position);
    }

    /// Moves the repetition under way on, or looks for a new one.
    fn follow_repetition(&mut self, lane: usize, handle: u32) {
        let lane = &mut self.lanes[lane];
        let expected = self
            .history
            .at(lane.match_at)
            .filter(|event| event.handle == handle);
        (lane.match_at, lane.match_len) = match expected.map(|event| event.next) {
            Some(next) if next > 0 => (next, lane.match_len.saturating_add(1)),
            _ => (0, 0),
        };
        let [last, before, third, ..] = lane.recent;
        if third == NO_HANDLE {
            return;
        }
        let key = mix(mix(mix(41, last.into()), before.into()), third.into());
        let place = self.history.swap(key, lane.position);
        if lane.match_at == 0 {
            lane.match_at = self.history.at(place).map_or(0, |event| event.next);
            lane.match_len = u32::from(lane.match_at > 0);
        }
    }
}

impl Scratch {
    fn new() -> Self {
        Self {
            evidence: Evidence::new(),
            given: Vec::new(),
            corrected: Vec::new(),
            best: 0,
            opinions: Default::default(),
            table: Table::default(),
            lane: None,
        }
    }

    /// The ranking with the confidence in its first one corrected, and all others scaled to fit.
    fn correct(&mut self, correction: &Correction) {
        let none = self.evidence.candidates.len();
        self.corrected.clear();
        self.corrected.extend_from_slice(&self.given);
        let Some(best) = most(&self.given[..none]) else {
            return;
        };
        self.best = best;
        let given = self.given[best];
        let truth = correction
            .get(given)
            .clamp(CONFIDENCE_EDGE, 1.0 - CONFIDENCE_EDGE);
        let scale = (1.0 - truth) / (1.0 - given).max(f32::EPSILON);
        for probability in &mut self.corrected {
            *probability *= scale;
        }
        self.corrected[best] = truth;
    }
}

/// The place of the greatest, the first of equals.
fn most(values: &[f32]) -> Option<usize> {
    let mut best = None;
    for (at, value) in values.iter().enumerate() {
        if best.is_none_or(|best: usize| *value > values[best]) {
            best = Some(at);
        }
    }
    best
}

/// The places of the `count` greatest, the greatest first, the first of equals first.
fn likeliest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(count + 1);
    for (at, value) in values.iter().enumerate() {
        if order.len() == count && order.last().is_none_or(|last| values[*last] >= *value) {
            continue;
        }
        let mut to = order.len();
        while to > 0 && values[order[to - 1]] < *value {
            to -= 1;
        }
        order.insert(to, at);
        order.truncate(count);
    }
    order
}
