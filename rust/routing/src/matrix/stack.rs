//! The bases joined by their record: two robust regressions on links that the bases never saw (stacking, Wolpert 1992).

use mfn_cpe::QUANTILES;

use super::regression::Regression;

/// Error in logarithms beyond which a link counts with its sign only.
const HUBER: f64 = 0.1;
/// Links that are looked at before an old look has lost its say.
const FUSE_KEEPS: f64 = 2_000.0;
const JOIN_KEEPS: f64 = 5_000.0;
const FUSE_RIDGE: f64 = 3.0;
const JOIN_RIDGE: f64 = 30.0;
/// Earth's mean radius in kilometres.
const EARTH: f32 = 6371.0;
/// Least round trip that geography predicts, in milliseconds.
const GEOGRAPHY_MIN: f32 = 0.3;
/// Samples before geography's fit has forgotten them.
const GEOGRAPHY_KEEPS: f64 = 5_000.0;
/// Milliseconds per kilometre of great circle there and back, and at no distance, before anything was measured.
const GEOGRAPHY_PRIOR: [f64; 2] = [0.015, 10.0];

/// What each base says of a pair, as logarithms of milliseconds.
pub(crate) type Bases = [f32; 4];
/// Bases, fused and smoothed predictions, and bounds by triangles.
pub(crate) type Joined = [f32; 9];

/// Bins of how much is known near a pair: each has an error distribution of its own.
const DENSITIES: [f32; 5] = [0.3, 1.0, 2.0, 4.0, 8.0];
/// Size of a step of an error quantile.
const SPREAD_STEP: f32 = 0.01;
/// Errors before any was seen: half, nine in ten, 99 in 100 are below.
const SPREAD_PRIOR: [f32; QUANTILES.len()] = [0.0, 0.4, 1.0];

#[derive(Clone, Debug)]
pub(crate) struct Stack {
    fuse: Regression<4>,
    join: Regression<9>,
    geography: Regression<2>,
    spread: [[f32; QUANTILES.len()]; DENSITIES.len() + 1],
}

impl Stack {
    pub(crate) fn new() -> Self {
        let mut kernel_alone = [0.0; 9];
        kernel_alone[4] = 1.0;
        Self {
            fuse: Regression::new([0.6, 0.4, 0.0, 0.0], FUSE_RIDGE, FUSE_KEEPS, HUBER),
            join: Regression::new(kernel_alone, JOIN_RIDGE, JOIN_KEEPS, HUBER),
            geography: Regression::new(GEOGRAPHY_PRIOR, 1e-6, GEOGRAPHY_KEEPS, f64::INFINITY),
            spread: [SPREAD_PRIOR; DENSITIES.len() + 1],
        }
    }

    /// The bases' common prediction, before biases and neighbours.
    pub(crate) fn fused(&self, bases: &Bases) -> f32 {
        self.fuse.value(bases)
    }

    pub(crate) fn joined(&self, features: &Joined) -> f32 {
        self.join.value(features)
    }

    pub(crate) fn learn_fused(&mut self, bases: &Bases, value: f32) {
        self.fuse.push(bases, value);
    }

    pub(crate) fn learn_joined(&mut self, features: &Joined, density: f32, value: f32) {
        let error = value - self.join.value(features);
        self.join.push(features, value);
        for (quantile, share) in self.spread[bin(density)].iter_mut().zip(QUANTILES) {
            let below = f32::from(u8::from(error <= *quantile));
            *quantile += SPREAD_STEP * (share as f32 - below);
        }
    }

    pub(crate) fn settle(&mut self) {
        self.fuse.settle();
        self.join.settle();
        self.geography.settle();
    }

    /// What is added to a prediction's logarithm for each quantile; not falling.
    pub(crate) fn spread(&self, density: f32) -> [f32; QUANTILES.len()] {
        let mut spread = self.spread[bin(density)];
        spread.sort_by(f32::total_cmp);
        // The median's own error is the regression's business.
        let median = spread[0];
        spread.map(|quantile| quantile - median)
    }

    /// Learns what a kilometre costs, by relative error.
    pub(crate) fn learn_geography(&mut self, kilometres: f32, rtt: f32) {
        let [slope, base] = *self.geography.weights();
        let rtt = rtt.max(GEOGRAPHY_MIN);
        let predicted = slope as f32 * kilometres + base as f32;
        // Iteratively reweighted towards the median: most paths are detours, and some are long ones.
        let wrong = ((predicted - rtt) / rtt).abs().max(0.02);
        let weight = 1.0 / (rtt * wrong.sqrt());
        self.geography
            .push(&[kilometres * weight, weight], rtt * weight);
    }

    /// Logarithm of the round trip over a distance.
    pub(crate) fn geography(&self, kilometres: f32) -> f32 {
        let [slope, base] = *self.geography.weights();
        (slope as f32 * kilometres + base as f32)
            .max(GEOGRAPHY_MIN)
            .ln()
    }
}

fn bin(density: f32) -> usize {
    DENSITIES.iter().filter(|limit| density > **limit).count()
}

/// A point on the unit sphere from degrees of latitude and longitude.
pub(crate) fn on_sphere(latitude: f64, longitude: f64) -> [f32; 3] {
    let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
    [
        latitude.cos() * longitude.cos(),
        latitude.cos() * longitude.sin(),
        latitude.sin(),
    ]
    .map(|value| value as f32)
}

/// Kilometres along the great circle.
pub(crate) fn kilometres(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    cosine.clamp(-1.0, 1.0).acos() * EARTH
}
