//! The ranking mixer: one log-linear model over the candidates of the moment, learned online.
//!
//! Each candidate, and "none of these", is described by one feature per source; a feature is a place in a table of
//! weights. Scores are sums of weights, probabilities their softmax; after each event the weights take one AdaGrad
//! step down the log-loss (Duchi, Hazan and Singer 2011). This is the logistic mixing of PAQ with as many outcomes as
//! there are candidates in place of two.

use crate::features::{Row, SILENT, WEIGHTS, prior};

/// Size of a step before there is experience.
pub(crate) const RATE: f32 = 0.25;
/// A smaller error is either dropped or rounded up to this, by lot and in proportion: right on the average, at a part
/// of the work, since most candidates are nearly hopeless and known to be.
const ERROR_MIN: f32 = 1.0 / 24.0;
/// No outcome is given less, before normalising: what is possible must not cost without bound.
const PROBABILITY_MIN: f32 = 1e-7;

/// A weight, and the size of its next step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weight {
    pub(crate) value: f32,
    pub(crate) rate: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mixer {
    pub(crate) weights: Box<[Weight; WEIGHTS]>,
    /// The lots: a fixed sequence, so that the same events give the same weights.
    pub(crate) lot: u32,
}

impl Mixer {
    /// Bytes that every mixer takes.
    pub(crate) const BYTES: usize = WEIGHTS * size_of::<Weight>();

    pub(crate) fn new() -> Self {
        let mut weights = Box::new(
            [Weight {
                value: 0.0,
                rate: RATE,
            }; WEIGHTS],
        );
        for (weight, value) in weights.iter_mut().zip(prior()) {
            weight.value = value;
        }
        Self { weights, lot: 1 }
    }

    /// Probabilities of the rows, in their order.
    pub(crate) fn weigh(&self, rows: &[Row], out: &mut Vec<f32>) {
        out.clear();
        let mut highest = f32::MIN;
        for row in rows {
            let score: f32 = row.iter().map(|at| self.weights[place(*at)].value).sum();
            highest = highest.max(score);
            out.push(score);
        }
        let mut sum = 0.0;
        for score in out.iter_mut() {
            *score = exp(*score - highest).max(PROBABILITY_MIN);
            sum += *score;
        }
        let scale = 1.0 / sum;
        for score in out.iter_mut() {
            *score *= scale;
        }
    }

    /// Learns that row `actual` was right, from the probabilities that `weigh` gave.
    ///
    /// AdaGrad divides by the root of the sum of squared gradients. The step size is kept in its place: a gradient g
    /// takes it from r to r - r^3 g^2 / (2 RATE^2), which is the same to first order and needs no root.
    pub(crate) fn learn(&mut self, rows: &[Row], given: &[f32], actual: usize) {
        for (at, (row, probability)) in rows.iter().zip(given).enumerate() {
            let mut error = if at == actual { 1.0 } else { 0.0 } - probability;
            if error.abs() < ERROR_MIN {
                self.lot = self.lot.wrapping_mul(0x9E37_79B5).wrapping_add(0x3C6E_F35F);
                let lot = (self.lot >> 8) as f32 * (ERROR_MIN / (1 << 24) as f32);
                if lot >= error.abs() {
                    continue;
                }
                error = ERROR_MIN.copysign(error);
            }
            let square = error * error * (0.5 / (RATE * RATE));
            for feature in row {
                let weight = &mut self.weights[place(*feature)];
                let rate = weight.rate;
                weight.rate = rate - rate * rate * rate * square;
                weight.value += weight.rate * error;
            }
        }
        self.weights[place(SILENT)].value = 0.0;
    }

    /// What each feature of a row adds to its score, in nats.
    pub(crate) fn shares<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = f32> + 'a {
        row.iter().map(|at| self.weights[place(*at)].value)
    }
}

/// A feature's place in the table.
#[inline]
fn place(feature: u16) -> usize {
    usize::from(feature) & (WEIGHTS - 1)
}

/// e^x for x <= 0, to 3 digits and the same on every machine, which the C library's is not.
#[inline]
fn exp(x: f32) -> f32 {
    let scaled = x.max(-80.0) * std::f32::consts::LOG2_E;
    let whole = scaled.floor();
    let part = scaled - whole;
    // Minimax polynomial of 2^part on [0, 1].
    let power = 1.0 + part * (0.695_557 + part * (0.226_173 + part * 0.078_14));
    f32::from_bits(((whole as i32 + 127) << 23) as u32) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close() {
        for step in 0..8000 {
            let x = -f32::from(step as u16) / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 3e-4, "{x}");
        }
    }
}
