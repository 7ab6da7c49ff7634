//! Low-rank factors of the logarithms of round trips, one model per fold.
//!
//! `log rtt = mean + bias_a + bias_b + (u_a·v_b + u_b·v_a) / 2`, fitted node by node: with all others fixed, a node's
//! vector is the solution of a small ridge regression over its own links (alternating least squares). Nothing here
//! supposes geometry, so that it errs elsewhere than coordinates do.

use super::coordinates::FOLDS;
use crate::random::Random;

/// Length of a node's vectors.
const RANK: usize = 8;
/// Ridge: pull of every weight towards 0.
const RIDGE: f32 = 1.0;
/// Links that a bias must have to be half believed.
const BIAS_SHRINK: f32 = 2.0;

/// One number per fold.
type Lanes = [f32; FOLDS];

/// A node's factors in the models of all folds.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    out: [Lanes; RANK],
    back: [Lanes; RANK],
    bias: Lanes,
}

/// One link as a node's regression sees it.
pub(crate) struct Sample<'a> {
    pub(crate) other: &'a Factors,
    /// Logarithm of the round trip less the mean of all.
    pub(crate) value: f32,
    pub(crate) fold: u8,
}

impl Factors {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut side = || std::array::from_fn(|_| std::array::from_fn(|_| random.unit() - 0.5));
        Self {
            out: side(),
            back: side(),
            bias: [0.0; FOLDS],
        }
    }

    fn values(&self, other: &Self) -> Lanes {
        let mut sums = [0.0; FOLDS];
        for rank in 0..RANK {
            for (fold, sum) in sums.iter_mut().enumerate() {
                *sum += self.out[rank][fold] * other.back[rank][fold]
                    + self.back[rank][fold] * other.out[rank][fold];
            }
        }
        std::array::from_fn(|fold| self.bias[fold] + other.bias[fold] + 0.5 * sums[fold])
    }

    /// Mean over the folds of the logarithm of the round trip less the mean of all links.
    pub(crate) fn mean(&self, other: &Self) -> f32 {
        self.values(other).iter().sum::<f32>() / FOLDS as f32
    }

    /// The same, of the model that never saw the links of a fold.
    pub(crate) fn held_out(&self, other: &Self, fold: u8) -> f32 {
        self.values(other)[usize::from(fold)]
    }

    /// This node's factors, fitted to its links.
    pub(crate) fn fitted(&self, samples: &[Sample<'_>]) -> Self {
        let mut fitted = self.clone();
        let (mut sums, mut counts) = ([0.0; FOLDS], [BIAS_SHRINK; FOLDS]);
        for sample in samples {
            for (fold, weight) in weights(sample.fold).into_iter().enumerate() {
                sums[fold] += weight * (sample.value - sample.other.bias[fold]);
                counts[fold] += weight;
            }
        }
        fitted.bias = std::array::from_fn(|fold| sums[fold] / counts[fold]);
        fitted.out = fitted.side(samples, |other| &other.back);
        fitted.back = fitted.side(samples, |other| &other.out);
        fitted
    }

    fn side(
        &self,
        samples: &[Sample<'_>],
        of: impl Fn(&Factors) -> &[Lanes; RANK],
    ) -> [Lanes; RANK] {
        let mut normal = [[[0.0; FOLDS]; RANK]; RANK];
        let mut right = [[0.0; FOLDS]; RANK];
        for sample in samples {
            let weight = weights(sample.fold);
            let x = of(sample.other);
            let value: Lanes = std::array::from_fn(|fold| {
                weight[fold] * (sample.value - self.bias[fold] - sample.other.bias[fold])
            });
            for row in 0..RANK {
                let scaled: Lanes = std::array::from_fn(|fold| weight[fold] * x[row][fold]);
                for fold in 0..FOLDS {
                    right[row][fold] += x[row][fold] * value[fold];
                }
                for column in 0..=row {
                    for fold in 0..FOLDS {
                        normal[row][column][fold] += scaled[fold] * x[column][fold];
                    }
                }
            }
        }
        for (row, line) in normal.iter_mut().enumerate() {
            for cell in &mut line[row] {
                *cell += RIDGE;
            }
        }
        solve(normal, right)
    }
}

/// 0 for the fold that must not see a link, 1 for the others.
fn weights(fold: u8) -> Lanes {
    std::array::from_fn(|at| f32::from(u8::from(at != usize::from(fold))))
}

/// Solves one system per fold by Cholesky's decomposition; the lower triangles are given.
fn solve(mut a: [[Lanes; RANK]; RANK], mut x: [Lanes; RANK]) -> [Lanes; RANK] {
    for row in 0..RANK {
        for column in 0..=row {
            let mut sum = a[row][column];
            let (here, there) = (&a[row], &a[column]);
            for (left, right) in here.iter().zip(there).take(column) {
                for (fold, sum) in sum.iter_mut().enumerate() {
                    *sum -= left[fold] * right[fold];
                }
            }
            for (fold, sum) in sum.iter().enumerate() {
                a[row][column][fold] = if row == column {
                    sum.max(1e-6).sqrt()
                } else {
                    sum / a[column][column][fold]
                };
            }
        }
        for fold in 0..FOLDS {
            let known: f32 = (0..row).map(|at| a[row][at][fold] * x[at][fold]).sum();
            x[row][fold] = (x[row][fold] - known) / a[row][row][fold];
        }
    }
    for row in (0..RANK).rev() {
        for fold in 0..FOLDS {
            let known: f32 = (row + 1..RANK)
                .map(|at| a[at][row][fold] * x[at][fold])
                .sum();
            x[row][fold] = (x[row][fold] - known) / a[row][row][fold];
        }
    }
    x
}
