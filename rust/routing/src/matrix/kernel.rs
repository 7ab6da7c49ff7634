//! Nodes whose predicted latencies look alike share what was measured with one of them.
//!
//! A node's *profile* is its predicted row to the anchors, the first [`ANCHORS`] nodes, less the row's mean. Two nodes
//! with profiles `d` apart are alike by `exp(-d / 0.12) · exp(-rtt / 60 ms)`. What the bases were wrong by on the link
//! `(a, b)` counts for the pair `(i, j)` with the likeness of `a` and `i` times that of `b` and `j` (kernel regression of
//! Nadaraya and Watson, 1964, on both ends). Rows that were corrected in that way give the next profiles.

use super::links::Links;

/// Columns of a profile.
pub(crate) const ANCHORS: usize = 256;
/// Nodes that are kept as alike to one.
pub(crate) const ALIKE: usize = 24;
/// Distance of profiles, in logarithms of latency, at which likeness has fallen to 1/e.
const PROFILE_SCALE: f32 = 0.12;
/// The same for the predicted latency between both, in milliseconds.
const RTT_SCALE: f32 = 60.0;
/// Wrongness beyond which a link says no more.
const RESIDUAL_MAX: f32 = 0.5;
/// Likeness that stands for "nothing is known here".
pub(crate) const SHRINK: f32 = 0.3;

/// Per node: its profile, its smoothed residuals to the anchors, and those that are like it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    row: Vec<f32>,
    sums: Vec<f32>,
    weights: Vec<f32>,
    /// Index and likeness.
    pub(crate) alike: Vec<(u32, f32)>,
}

/// Sum of residuals by likeness, and the sum of likeness.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Smoothed {
    pub(crate) sum: f32,
    pub(crate) weight: f32,
}

impl Smoothed {
    /// The correction, pulled to 0 as if `shrink` of likeness had said so.
    pub(crate) fn correction(&self, shrink: f32) -> f32 {
        self.sum / (self.weight + shrink)
    }
}

/// A residual less the biases of both ends, bounded.
fn clipped(residual: f32, biases: f32) -> f32 {
    (residual - biases).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)
}

/// What links between nodes like `a` and nodes like `b` say of the pair; `without` is left out.
pub(crate) fn smooth(
    links: &Links,
    profiles: &[Profile],
    biases: &[f32],
    (a, b): (usize, usize),
    without: Option<usize>,
) -> Smoothed {
    let likes = Table::new(b as u32, &profiles[b].alike);
    let mut smoothed = Smoothed::default();
    let itself = std::iter::once((a as u32, 1.0));
    for (near, likeness) in itself.chain(profiles[a].alike.iter().copied()) {
        for (far, at, link) in links.seen(near as usize) {
            let weight = likeness * likes.get(far as u32);
            if weight > 0.0 && Some(at) != without {
                let residual = clipped(link.residual, biases[near as usize] + biases[far]);
                smoothed.sum += weight * residual;
                smoothed.weight += weight;
            }
        }
    }
    smoothed
}

/// Learns a node's profile anew. `rough` predicts a round trip in milliseconds, `fused` its logarithm, carefully;
/// `candidates` are nodes that may be alike.
pub(crate) fn refresh(
    links: &Links,
    profiles: &mut [Profile],
    biases: &[f32],
    node: usize,
    candidates: impl Iterator<Item = usize>,
    rough: impl Fn(usize) -> f32,
    fused: impl Fn(usize) -> f32,
) {
    let anchors = profiles.len().min(ANCHORS);
    collect(links, profiles, biases, node, anchors);
    let row = corrected_row(profiles, node, anchors, fused);
    let mut alike: Vec<(u32, f32)> = Vec::new();
    for other in candidates.filter(|other| *other != node) {
        let known = &profiles[other].row;
        if known.is_empty() {
            continue;
        }
        let length = known.len().min(anchors);
        let mut square: f32 = row[..length]
            .iter()
            .zip(&known[..length])
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        // A row says nothing of its own node.
        for own in [node, other].into_iter().filter(|own| *own < length) {
            square -= (row[own] - known[own]).powi(2);
        }
        let apart = (square.max(0.0) / length as f32).sqrt();
        alike.push((
            other as u32,
            (-apart / PROFILE_SCALE - rough(other) / RTT_SCALE).exp(),
        ));
    }
    if alike.len() > ALIKE {
        alike.select_nth_unstable_by(ALIKE, |a, b| b.1.total_cmp(&a.1));
        alike.truncate(ALIKE);
    }
    profiles[node].row = row;
    profiles[node].alike = alike;
}

/// A node's residuals, spread to the anchors that are like the other ends.
fn collect(links: &Links, profiles: &mut [Profile], biases: &[f32], node: usize, anchors: usize) {
    let mut sums = std::mem::take(&mut profiles[node].sums);
    let mut weights = std::mem::take(&mut profiles[node].weights);
    for column in [&mut sums, &mut weights] {
        column.clear();
        column.resize(anchors, 0.0);
    }
    for (far, _, link) in links.seen(node) {
        let residual = clipped(link.residual, biases[node] + biases[far]);
        let itself = std::iter::once((far as u32, 1.0));
        for (column, likeness) in itself.chain(profiles[far].alike.iter().copied()) {
            if let Some(sum) = sums.get_mut(column as usize) {
                *sum += likeness * residual;
                weights[column as usize] += likeness;
            }
        }
    }
    profiles[node].sums = sums;
    profiles[node].weights = weights;
}

/// A node's predicted row to the anchors, corrected by those that are like it, less its mean.
fn corrected_row(
    profiles: &[Profile],
    node: usize,
    anchors: usize,
    fused: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let mut sums = vec![0.0; anchors];
    let mut weights = vec![SHRINK; anchors];
    let itself = std::iter::once((node as u32, 1.0));
    for (near, likeness) in itself.chain(profiles[node].alike.iter().copied()) {
        let near = &profiles[near as usize];
        for (sum, part) in sums.iter_mut().zip(&near.sums) {
            *sum += likeness * part;
        }
        for (weight, part) in weights.iter_mut().zip(&near.weights) {
            *weight += likeness * part;
        }
    }
    let mut row: Vec<f32> = (0..anchors)
        .map(|column| {
            if column == node {
                0.0
            } else {
                fused(column) + sums[column] / weights[column]
            }
        })
        .collect();
    let others = anchors - usize::from(node < anchors);
    let mean = row.iter().sum::<f32>() / others.max(1) as f32;
    for (column, value) in row.iter_mut().enumerate() {
        *value = if column == node { 0.0 } else { *value - mean };
    }
    row
}

/// Likeness by node for one end: a small table with open addressing, since it is asked for a thousand times.
struct Table {
    keys: [u32; SLOTS],
    values: [f32; SLOTS],
}

const SLOTS: usize = 128;
const EMPTY: u32 = u32::MAX;

impl Table {
    fn new(node: u32, alike: &[(u32, f32)]) -> Self {
        let mut table = Self {
            keys: [EMPTY; SLOTS],
            values: [0.0; SLOTS],
        };
        table.put(node, 1.0);
        for (key, value) in alike.iter().take(ALIKE) {
            table.put(*key, *value);
        }
        table
    }

    fn slot(key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b9) >> 25) as usize
    }

    fn put(&mut self, key: u32, value: f32) {
        let mut slot = Self::slot(key);
        while self.keys[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        self.keys[slot] = key;
        self.values[slot] = value;
    }

    fn get(&self, key: u32) -> f32 {
        let mut slot = Self::slot(key);
        loop {
            if self.keys[slot] == key {
                return self.values[slot];
            }
            if self.keys[slot] == EMPTY {
                return 0.0;
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}
