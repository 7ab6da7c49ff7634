//! When the next event will come: gaps between events, remembered by size.

/// Sizes that are told apart: the bits of a gap.
pub(crate) const SIZES: usize = 65;
/// Gaps that are remembered, about.
const MEMORY: f32 = 512.0;

/// How long it will still be, in the caller's unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// Mean of the remaining time.
    pub mean: f64,
    /// In half of such moments it is shorter than this.
    pub median: f64,
    /// In nine of ten such moments it is shorter than this.
    pub p90: f64,
}

/// Gaps of one lane, apart for short and long previous gaps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gaps {
    /// Weight and sum of the gaps of each size.
    pub(crate) sizes: [[(f32, f32); SIZES]; 2],
    pub(crate) totals: [f32; 2],
    /// Size of the previous gap, and the usual one.
    pub(crate) last: u8,
    pub(crate) usual: f32,
}

impl Gaps {
    pub(crate) fn new() -> Self {
        Self {
            sizes: [[(0.0, 0.0); SIZES]; 2],
            totals: [0.0; 2],
            last: 0,
            usual: 0.0,
        }
    }

    fn class(&self) -> usize {
        usize::from(f32::from(self.last) > self.usual)
    }

    pub(crate) fn learn(&mut self, gap: u64) {
        let class = self.class();
        let size = (u64::BITS - gap.leading_zeros()) as u8;
        if self.totals[class] >= MEMORY {
            self.totals[class] *= 0.5;
            for (weight, sum) in &mut self.sizes[class] {
                *weight *= 0.5;
                *sum *= 0.5;
            }
        }
        let (weight, sum) = &mut self.sizes[class][usize::from(size)];
        *weight += 1.0;
        *sum += gap as f32;
        self.totals[class] += 1.0;
        self.usual += (f32::from(size) - self.usual) / 16.0;
        self.last = size;
    }

    /// What is known when `elapsed` has passed since the last event; `None` when no gap was ever longer.
    pub(crate) fn wait(&self, elapsed: u64) -> Option<Wait> {
        let own = &self.sizes[self.class()];
        // A class without experience takes the other's.
        let sizes = if self.totals[self.class()] >= 4.0 {
            own
        } else {
            &self.sizes[1 - self.class()]
        };
        let passed = elapsed as f64;
        // The parts that are still possible: weight and mean of each.
        let mut open = [(0.0, 0.0); SIZES];
        let mut count = 0;
        let (mut total, mut sum) = (0.0, 0.0);
        for (size, (weight, gaps)) in sizes.iter().enumerate() {
            if *weight <= 0.0 {
                continue;
            }
            // A size has the gaps from 2^(size - 1) to 2^size, taken as evenly spread.
            let low = if size == 0 {
                0.0
            } else {
                (1_u64 << (size - 1)) as f64
            };
            let (mut weight, mut mean) = (f64::from(*weight), f64::from(gaps / weight));
            if passed >= low * 2.0 && passed > 0.0 {
                continue;
            }
            if passed > low {
                weight *= (low * 2.0 - passed) / low;
                mean = mean.max((passed + low * 2.0) / 2.0);
            }
            total += weight;
            sum += weight * (mean - passed).max(0.0);
            open[count] = (weight, mean);
            count += 1;
        }
        if total <= 0.0 {
            return None;
        }
        let quantile = |share: f64| {
            let mut below = 0.0;
            for (weight, mean) in &open[..count] {
                below += weight;
                if below >= share * total {
                    return (mean - passed).max(0.0);
                }
            }
            0.0
        };
        Some(Wait {
            mean: sum / total,
            median: quantile(0.5),
            p90: quantile(0.9),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_beat_is_expected_on_time() {
        let mut gaps = Gaps::new();
        assert_eq!(gaps.wait(0), None);
        for _ in 0..1000 {
            gaps.learn(100);
        }
        let wait = gaps.wait(0).unwrap();
        assert!((wait.mean - 100.0).abs() < 1.0 && (wait.median - 100.0).abs() < 1.0);
        assert!(gaps.wait(90).unwrap().mean < 30.0);
        assert_eq!(gaps.wait(1000), None);
    }
}
