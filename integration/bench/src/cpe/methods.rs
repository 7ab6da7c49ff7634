//! The single methods, implemented plainly: what a user would write who wants one of them.
//!
//! Each predicts at most five symbols, best first, and the probability of the one that came. Symbols are numbers from
//! 0 in order of first appearance: the methods are told the size of the alphabet, which ours is not.

use std::collections::HashMap;

use super::data::Event;

/// Most items that count.
pub(super) const TOP: usize = 5;
/// Longest past that a context reaches back to.
const PAST: usize = 8;

/// The last symbols of every lane.
#[derive(Default)]
pub(super) struct Past {
    lanes: HashMap<u32, Vec<u32>>,
}

impl Past {
    /// The last `order` symbols of a lane, the newest last.
    fn context(&self, lane: u32, order: usize) -> Option<&[u32]> {
        let past = self.lanes.get(&lane).map_or(&[][..], Vec::as_slice);
        past.len().checked_sub(order).map(|from| &past[from..])
    }

    pub(super) fn push(&mut self, lane: u32, symbol: u32) {
        let past = self.lanes.entry(lane).or_default();
        if past.len() == 2 * PAST {
            past.drain(..PAST);
        }
        past.push(symbol);
    }
}

/// Predicts an event, then learns it.
pub(super) trait Method {
    /// The first five, and the probability of `event.number` where the method gives one.
    fn step(&mut self, past: &Past, event: &Event) -> (Vec<u32>, Option<f64>);
}

/// Counts of what followed one context, the commonest first.
#[derive(Default)]
struct Counts {
    total: u32,
    list: Vec<(u32, u32)>,
}

impl Counts {
    fn get(&self, symbol: u32) -> u32 {
        self.list
            .iter()
            .find(|(known, _)| *known == symbol)
            .map_or(0, |(_, count)| *count)
    }

    /// Counts one more; true when the symbol is new here.
    fn add(&mut self, symbol: u32) -> bool {
        self.total += 1;
        let found = self.list.iter().position(|(known, _)| *known == symbol);
        let mut at = found.unwrap_or(self.list.len());
        if found.is_none() {
            self.list.push((symbol, 0));
        }
        self.list[at].1 += 1;
        // Among equals the latest stands first. A run of equals is jumped in one step.
        let count = self.list[at].1;
        let to = self.list[..at].partition_point(|(_, other)| *other > count);
        while at > to {
            self.list.swap(at - 1, at);
            at -= 1;
        }
        found.is_none()
    }
}

/// How often every symbol came, the commonest first.
#[derive(Default)]
struct Zero {
    counts: Counts,
    by_symbol: HashMap<u32, u32>,
}

impl Zero {
    fn add(&mut self, symbol: u32) {
        *self.by_symbol.entry(symbol).or_default() += 1;
        self.counts.total += 1;
        // Only the head of the order is asked for: a list of the commonest that a new one enters when it is common.
        let count = self.get(symbol);
        let list = &mut self.counts.list;
        list.retain(|(known, _)| *known != symbol);
        let at = list.partition_point(|(_, other)| *other > count);
        list.insert(at, (symbol, count));
        list.truncate(64);
    }

    fn get(&self, symbol: u32) -> u32 {
        self.by_symbol.get(&symbol).copied().unwrap_or(0)
    }

    fn distinct(&self) -> u32 {
        self.by_symbol.len() as u32
    }
}

fn top(mut found: Vec<(u32, f64)>) -> Vec<u32> {
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
        .into_iter()
        .map(|(symbol, _)| symbol)
        .take(TOP)
        .collect()
}

/// Prediction by partial matching with escape method C and exclusions (Moffat 1990), orders 0 to `order`. Order 1 and 2
/// are the Markov predictors of that order with a fallback.
pub(super) struct Ppm {
    order: usize,
    tables: Vec<HashMap<Box<[u32]>, Counts>>,
    zero: Zero,
    alphabet: u32,
}

impl Ppm {
    pub(super) fn new(order: usize, alphabet: u32) -> Self {
        let tables = (0..=order).map(|_| HashMap::new()).collect();
        Self {
            order,
            tables,
            zero: Zero::default(),
            alphabet,
        }
    }
}

impl Method for Ppm {
    fn step(&mut self, past: &Past, event: &Event) -> (Vec<u32>, Option<f64>) {
        let actual = event.number;
        let mut found: Vec<(u32, f64)> = Vec::new();
        let mut excluded: HashMap<u32, ()> = HashMap::new();
        let (mut escape, mut given) = (1.0, None);
        let mut excluded_count = 0;
        for order in (1..=self.order).rev() {
            let counts = past
                .context(event.lane, order)
                .and_then(|context| self.tables[order].get(context));
            let Some(counts) = counts else { continue };
            let fresh: Vec<(u32, u32)> = counts
                .list
                .iter()
                .copied()
                .filter(|(symbol, _)| !excluded.contains_key(symbol))
                .collect();
            if fresh.is_empty() {
                continue;
            }
            let total: u32 = fresh.iter().map(|(_, count)| count).sum();
            let whole = f64::from(total + fresh.len() as u32);
            for (at, (symbol, count)) in fresh.iter().enumerate() {
                let probability = escape * f64::from(*count) / whole;
                if at <= TOP {
                    found.push((*symbol, probability));
                }
                if *symbol == actual {
                    given = Some(probability);
                }
                excluded.insert(*symbol, ());
                excluded_count += self.zero.get(*symbol);
            }
            escape *= fresh.len() as f64 / whole;
        }
        let total = self.zero.counts.total - excluded_count;
        let distinct = self.zero.distinct() - excluded.len() as u32;
        let whole = f64::from(total + distinct).max(1.0);
        let fresh = self
            .zero
            .counts
            .list
            .iter()
            .filter(|(symbol, _)| !excluded.contains_key(symbol));
        found.extend(
            fresh
                .take(TOP)
                .map(|(symbol, count)| (*symbol, escape * f64::from(*count) / whole)),
        );
        let given = given.unwrap_or_else(|| match self.zero.get(actual) {
            0 => {
                let escape = if distinct > 0 {
                    escape * f64::from(distinct) / whole
                } else {
                    escape
                };
                escape / f64::from((self.alphabet - self.zero.distinct()).max(1))
            }
            count => escape * f64::from(count) / whole,
        });
        for order in 1..=self.order {
            if let Some(context) = past.context(event.lane, order) {
                self.tables[order]
                    .entry(context.into())
                    .or_default()
                    .add(actual);
            }
        }
        self.zero.add(actual);
        (top(found), Some(given))
    }
}

/// Interpolated Kneser-Ney of order 4 with one discount.
pub(super) struct KneserNey {
    tables: Vec<HashMap<Box<[u32]>, Counts>>,
    zero: Zero,
    alphabet: u32,
}

const KN_ORDER: usize = 4;
const KN_DISCOUNT: f64 = 0.75;

impl KneserNey {
    pub(super) fn new(alphabet: u32) -> Self {
        let tables = (0..=KN_ORDER).map(|_| HashMap::new()).collect();
        Self {
            tables,
            zero: Zero::default(),
            alphabet,
        }
    }

    fn probability(&self, nodes: &[Option<&Counts>], symbol: u32) -> f64 {
        let total = f64::from(self.zero.counts.total);
        let mut given = 1.0 / f64::from(self.alphabet);
        if total > 0.0 {
            let kept = (f64::from(self.zero.get(symbol)) - KN_DISCOUNT).max(0.0);
            given = (kept + KN_DISCOUNT * f64::from(self.zero.distinct()) * given) / total;
        }
        for counts in nodes.iter().flatten() {
            let kept = (f64::from(counts.get(symbol)) - KN_DISCOUNT).max(0.0);
            given =
                (kept + KN_DISCOUNT * counts.list.len() as f64 * given) / f64::from(counts.total);
        }
        given
    }
}

impl Method for KneserNey {
    fn step(&mut self, past: &Past, event: &Event) -> (Vec<u32>, Option<f64>) {
        let nodes: Vec<Option<&Counts>> = (1..=KN_ORDER)
            .map(|order| {
                past.context(event.lane, order)
                    .and_then(|context| self.tables[order].get(context))
            })
            .collect();
        let mut symbols: Vec<u32> = Vec::new();
        let lists = nodes
            .iter()
            .rev()
            .flatten()
            .map(|counts| (&counts.list, TOP + 1));
        for (list, most) in lists.chain([(&self.zero.counts.list, TOP)]) {
            for (symbol, _) in list.iter().take(most) {
                if !symbols.contains(symbol) {
                    symbols.push(*symbol);
                }
            }
        }
        let found = symbols
            .into_iter()
            .map(|symbol| (symbol, self.probability(&nodes, symbol)));
        let found = top(found.collect());
        let given = self.probability(&nodes, event.number);
        // A lower order counts in how many contexts a symbol is new, which is what Kneser and Ney found.
        let mut order = KN_ORDER;
        loop {
            let Some(context) = past.context(event.lane, order).filter(|_| order > 0) else {
                if order == 0 {
                    self.zero.add(event.number);
                    break;
                }
                order -= 1;
                continue;
            };
            if !self.tables[order]
                .entry(context.into())
                .or_default()
                .add(event.number)
            {
                break;
            }
            order -= 1;
        }
        (found, Some(given))
    }
}

/// The last value plus the commonest steps after the last two, one and no steps.
pub(super) struct Stride {
    steps: HashMap<(i64, i64, u8), Counts64>,
    lanes: HashMap<u32, Vec<i64>>,
}

#[derive(Default)]
struct Counts64(Vec<(i64, u32)>);

impl Stride {
    pub(super) fn new() -> Self {
        Self {
            steps: HashMap::new(),
            lanes: HashMap::new(),
        }
    }

    /// The values of the first five, best first.
    pub(super) fn step(&mut self, event: &Event) -> Vec<i64> {
        let lane = self.lanes.entry(event.lane).or_default();
        let keys: Vec<(i64, i64, u8)> = match lane[..] {
            [a, b, c] => vec![(c - b, b - a, 2), (c - b, 0, 1), (0, 0, 0)],
            [b, c] => vec![(c - b, 0, 1), (0, 0, 0)],
            _ => Vec::new(),
        };
        let mut found: Vec<i64> = Vec::new();
        let last = lane.last().copied().unwrap_or(0);
        for key in &keys {
            for (step, _) in self
                .steps
                .get(key)
                .map_or(&[][..], |steps| &steps.0)
                .iter()
                .take(3)
            {
                let value = last.wrapping_add(*step);
                if found.len() < TOP && !found.contains(&value) {
                    found.push(value);
                }
            }
        }
        if !lane.is_empty() {
            let step = event.value.wrapping_sub(last);
            for key in keys {
                let steps = &mut self.steps.entry(key).or_default().0;
                let at = steps
                    .iter()
                    .position(|(known, _)| *known == step)
                    .unwrap_or_else(|| {
                        steps.truncate(63);
                        steps.push((step, 0));
                        steps.len() - 1
                    });
                steps[at].1 += 1;
                let mut at = at;
                while at > 0 && steps[at - 1].1 <= steps[at].1 {
                    steps.swap(at - 1, at);
                    at -= 1;
                }
            }
        }
        if lane.len() == 3 {
            lane.remove(0);
        }
        lane.push(event.value);
        found
    }
}
