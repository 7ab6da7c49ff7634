//! What is beside ours: serf's Vivaldi, a fit of distance, and the mean of what was measured.

use super::data::{Lots, Network};

const DIMENSIONS: usize = 8;
/// Updates of each node: each picks one of its neighbours by lot.
const UPDATES: usize = 3000;

// Constants as serf publishes them (github.com/hashicorp/serf, coordinate package).
const ERROR_MAX: f64 = 1.5;
const ERROR_PACE: f64 = 0.25;
const MOVE_PACE: f64 = 0.25;
const WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 10.0e-6;
const GRAVITY: f64 = 150.0;
const ZERO: f64 = 1.0e-6;

/// A node of serf's Vivaldi; seconds.
#[derive(Clone, Debug)]
struct Coordinate {
    at: [f64; DIMENSIONS],
    height: f64,
    error: f64,
    adjustment: f64,
    window: [f64; WINDOW],
    next: usize,
}

impl Coordinate {
    fn new() -> Self {
        Self {
            at: [0.0; DIMENSIONS],
            height: HEIGHT_MIN,
            error: ERROR_MAX,
            adjustment: 0.0,
            window: [0.0; WINDOW],
            next: 0,
        }
    }

    fn raw(&self, other: &Self) -> f64 {
        magnitude(&self.apart(other)) + self.height + other.height
    }

    fn distance(&self, other: &Self) -> f64 {
        let raw = self.raw(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    fn apart(&self, other: &Self) -> [f64; DIMENSIONS] {
        std::array::from_fn(|at| self.at[at] - other.at[at])
    }

    fn push(&mut self, other: &Self, force: f64, lots: &mut Lots) {
        let mut unit = self.apart(other);
        let length = magnitude(&unit);
        if length <= ZERO {
            unit = std::array::from_fn(|_| lots.unit() - 0.5);
        }
        let scale = magnitude(&unit).max(f64::MIN_POSITIVE);
        for (at, part) in self.at.iter_mut().zip(unit) {
            *at += part / scale * force;
        }
        if length > ZERO {
            self.height =
                ((self.height + other.height) * force / length + self.height).max(HEIGHT_MIN);
        }
    }

    fn update(&mut self, other: &Self, rtt: f64, lots: &mut Lots) {
        let rtt = rtt.max(ZERO);
        let distance = self.distance(other);
        let wrong = (distance - rtt).abs() / rtt;
        let weight = self.error / (self.error + other.error).max(ZERO);
        self.error =
            (ERROR_PACE * weight * wrong + self.error * (1.0 - ERROR_PACE * weight)).min(ERROR_MAX);
        self.push(other, MOVE_PACE * weight * (rtt - distance), lots);
        self.window[self.next] = rtt - self.raw(other);
        self.next = (self.next + 1) % WINDOW;
        self.adjustment = self.window.iter().sum::<f64>() / (2.0 * WINDOW as f64);
        let origin = Self::new();
        let pull = -(self.distance(&origin) / GRAVITY).powi(2);
        self.push(&origin, pull, lots);
    }
}

fn magnitude(vector: &[f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|part| part * part).sum::<f64>().sqrt()
}

/// Serf's Vivaldi after many updates over the same samples.
#[derive(Clone, Debug)]
pub(super) struct Vivaldi(Vec<Coordinate>);

impl Vivaldi {
    /// `rtt` says what a node claims to have measured to another, in milliseconds.
    pub(super) fn learn(
        nodes: usize,
        samples: &[(usize, usize)],
        lots: &mut Lots,
        rtt: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let mut nodes = vec![Coordinate::new(); nodes];
        let mut lists = vec![Vec::new(); nodes.len()];
        for (from, to) in samples {
            lists[*from].push(*to);
        }
        for _ in 0..UPDATES {
            for (node, list) in lists
                .iter()
                .enumerate()
                .filter(|(_, list)| !list.is_empty())
            {
                let other = list[lots.below(list.len())];
                let seen = nodes[other].clone();
                nodes[node].update(&seen, rtt(node, other) / 1000.0, lots);
            }
        }
        Self(nodes)
    }

    /// Milliseconds.
    pub(super) fn rtt(&self, a: usize, b: usize) -> f64 {
        self.0[a].distance(&self.0[b]) * 1000.0
    }
}

/// Round trips as a line over the distance of places, fitted to the median relative error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    per_kilometre: f64,
    base: f64,
}

impl Line {
    /// `None` where places are unknown.
    pub(super) fn learn(network: &Network, samples: &[(usize, usize)]) -> Option<Self> {
        let known: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|(a, b)| Some((kilometres(network, *a, *b)?, network.rtt(*a, *b))))
            .collect();
        if known.is_empty() {
            return None;
        }
        let mut line = Self {
            per_kilometre: 0.015,
            base: 10.0,
        };
        for _ in 0..20 {
            let (mut xx, mut x, mut one, mut xy, mut y) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (far, rtt) in &known {
                let wrong = ((line.per_kilometre * far + line.base - rtt) / rtt).abs();
                let weight = 1.0 / (rtt * rtt * wrong.max(0.02));
                xx += weight * far * far;
                x += weight * far;
                one += weight;
                xy += weight * far * rtt;
                y += weight * rtt;
            }
            let determinant = xx * one - x * x;
            line.per_kilometre = (xy * one - x * y) / determinant;
            line.base = (xx * y - x * xy) / determinant;
        }
        Some(line)
    }

    pub(super) fn rtt(&self, network: &Network, a: usize, b: usize) -> Option<f64> {
        Some((self.per_kilometre * kilometres(network, a, b)? + self.base).max(0.3))
    }
}

fn kilometres(network: &Network, a: usize, b: usize) -> Option<f64> {
    let [from, to] =
        [network.places[a]?, network.places[b]?].map(|place| place.map(f64::to_radians));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(to[0] - from[0]) + from[0].cos() * to[0].cos() * half(to[1] - from[1]);
    Some(2.0 * 6371.0 * chord.sqrt().min(1.0).asin())
}
