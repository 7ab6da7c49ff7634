//! Anomaly mode: what is like nothing in a well, with a stated rate of false alarms.
//!
//! The score of a vector is one minus its mean similarity to its nearest entries. The threshold is a *split conformal*
//! quantile (Papadopoulos et al. 2002; Laxhammar, Falkman 2010): it is taken from the scores of held-out vectors that
//! are not in the well. If those and later normal vectors come from one stream, in any order as likely, then a normal
//! vector raises an alarm with probability at most the stated rate, whatever the distribution and however good or bad
//! the score. What the score decides is how many real anomalies are found.

use crate::error::DsrError;
use crate::well::{Scratch, Well};

/// A threshold, and the scores that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    neighbours: usize,
    rate: f64,
    /// Ascending.
    scores: Vec<f32>,
    threshold: f32,
}

/// What a detector says of a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// One minus the mean similarity to the nearest entries: 0 to 2.
    pub score: f32,
    /// The share of normal vectors that score as high or higher: what a false alarm at this score would be worth.
    pub p_value: f64,
    /// Whether the score is above the threshold.
    pub novel: bool,
}

impl Well {
    /// How unlike everything here a vector is: one minus the mean similarity to its `neighbours` nearest entries.
    ///
    /// # Errors
    /// [`DsrError::TooFew`] for a well with fewer entries, and as [`Well::search`].
    pub fn novelty(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        neighbours: usize,
    ) -> Result<f32, DsrError> {
        let wanted = neighbours.max(1);
        let found = self.search(scratch, vector, wanted, -1.0)?;
        if found.len() < wanted {
            return Err(DsrError::TooFew {
                found: found.len(),
                wanted,
            });
        }
        Ok(1.0 - found.iter().map(|m| m.similarity).sum::<f32>() / wanted as f32)
    }
}

impl Detector {
    /// Takes the threshold from held-out normal vectors, which must not be in the well.
    ///
    /// `rate` is the wanted share of false alarms among normal vectors, above 0 and below 1. At least `1 / rate - 1`
    /// vectors are needed; [`Detector::band`] says how exact the rate is with as many as there are.
    ///
    /// # Errors
    /// [`DsrError::Setting`] for a rate out of range, [`DsrError::TooFew`] for too few vectors or entries, and as
    /// [`Well::search`].
    pub fn calibrate<'a>(
        well: &Well,
        scratch: &mut Scratch,
        held_out: impl IntoIterator<Item = &'a [f32]>,
        neighbours: usize,
        rate: f64,
    ) -> Result<Self, DsrError> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(DsrError::Setting {
                what: "the rate of false alarms, in millionths,",
                found: (rate * 1e6).clamp(0.0, 1e9) as u64,
                least: 1,
                most: 999_999,
            });
        }
        let mut scores = Vec::new();
        for vector in held_out {
            scores.push(well.novelty(scratch, vector, neighbours)?);
        }
        scores.sort_by(f32::total_cmp);
        // The rank-th smallest score of m is exceeded by a further one with probability 1 - rank / (m + 1).
        let rank = ((1.0 - rate) * (scores.len() + 1) as f64).ceil() as usize;
        let Some(threshold) = rank.checked_sub(1).and_then(|at| scores.get(at)).copied() else {
            let wanted = (1.0 / rate).ceil() as usize - 1;
            return Err(DsrError::TooFew {
                found: scores.len(),
                wanted,
            });
        };
        Ok(Self {
            neighbours,
            rate,
            scores,
            threshold,
        })
    }

    /// The score above which a vector is called novel.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// The rate of false alarms that was asked for.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Between what the true rate of false alarms lies, for 95 of 100 calibrations.
    ///
    /// Given the calibration scores, that rate has a Beta distribution whose mean is at most the asked rate; the band
    /// is its mean and two standard deviations to either side.
    pub fn band(&self) -> (f64, f64) {
        let count = self.scores.len() as f64;
        let above = (self.rate * (count + 1.0)).floor();
        let mean = above / (count + 1.0);
        let spread = 2.0 * (mean * (1.0 - mean) / (count + 2.0)).sqrt();
        ((mean - spread).max(0.0), (mean + spread).min(1.0))
    }

    /// Judges a vector against the well that the detector was calibrated on.
    ///
    /// # Errors
    /// As [`Well::novelty`].
    pub fn judge(
        &self,
        well: &Well,
        scratch: &mut Scratch,
        vector: &[f32],
    ) -> Result<Verdict, DsrError> {
        let score = well.novelty(scratch, vector, self.neighbours)?;
        let below = self.scores.partition_point(|other| *other < score);
        let as_high = self.scores.len() - below;
        Ok(Verdict {
            score,
            p_value: (as_high + 1) as f64 / (self.scores.len() + 1) as f64,
            novel: score > self.threshold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::well::{EXACT_ROWS, Options};

    const DIMS: usize = 16;

    fn bell(random: &mut Random) -> f32 {
        (0..4)
            .map(|_| (random.number() >> 40) as f32 / (1 << 24) as f32)
            .sum::<f32>()
            - 2.0
    }

    /// Normal vectors lie near one of 20 directions; strange ones near none.
    fn draw(random: &mut Random, centres: &[Vec<f32>], normal: bool) -> Vec<f32> {
        let centre = &centres[random.below(centres.len())];
        let noise = 0.5;
        centre
            .iter()
            .map(|x| {
                if normal {
                    x + noise * bell(random)
                } else {
                    bell(random)
                }
            })
            .collect()
    }

    #[test]
    fn the_rate_of_false_alarms_holds_on_held_out_vectors() {
        let mut random = Random::new(17);
        let centres: Vec<Vec<f32>> = (0..20)
            .map(|_| (0..DIMS).map(|_| bell(&mut random)).collect())
            .collect();
        for (entries, rate) in [(800, 0.05), (EXACT_ROWS as u64 + 900, 0.02)] {
            let mut well = Well::new(Options::new(DIMS)).unwrap();
            for id in 0..entries {
                well.insert(id, &draw(&mut random, &centres, true)).unwrap();
            }
            let held_out: Vec<Vec<f32>> = (0..2_000)
                .map(|_| draw(&mut random, &centres, true))
                .collect();
            let mut scratch = Scratch::default();
            let vectors = held_out.iter().map(Vec::as_slice);
            let detector = Detector::calibrate(&well, &mut scratch, vectors, 5, rate).unwrap();
            let mut alarms = |normal: bool, random: &mut Random| {
                let raised = (0..6_000).filter(|_| {
                    let vector = draw(random, &centres, normal);
                    let verdict = detector.judge(&well, &mut scratch, &vector).unwrap();
                    assert_eq!(verdict.novel, verdict.score > detector.threshold());
                    assert!(!verdict.novel || verdict.p_value <= rate);
                    verdict.novel
                });
                raised.count() as f64 / 6_000.0
            };
            let (false_alarms, found) = (alarms(true, &mut random), alarms(false, &mut random));
            // The band is for the true rate; 6,000 draws measure it with an error of their own.
            let (low, high) = detector.band();
            let error = 2.0 * (rate / 6_000.0).sqrt();
            println!(
                "seed 17: asked {rate}, band {low:.4}..{high:.4}, measured {false_alarms:.4}, found {found:.3}"
            );
            assert!(false_alarms >= low - error && false_alarms <= high + error);
            assert!(found > 0.9, "{found}");
        }
    }

    /// docs/memory/DSR.md, "Five minutes in Rust".
    #[test]
    fn the_tutorial_says_what_happens() {
        let mut well = Well::new(Options::new(3)).unwrap();
        well.insert(1, &[1.0, 0.0, 0.0]).unwrap();
        well.insert(2, &[0.9, 0.1, 0.0]).unwrap();
        well.insert(3, &[0.0, 0.0, 1.0]).unwrap();
        let mut scratch = Scratch::default();
        let found = well
            .search(&mut scratch, &[1.0, 0.05, 0.0], 2, 0.85)
            .unwrap();
        let printed: Vec<String> = found
            .iter()
            .map(|m| format!("{} {:.3}", m.id, m.similarity))
            .collect();
        assert_eq!(printed, ["1 0.999", "2 0.998"]);
        let held_out: Vec<[f32; 3]> = (0..19).map(|n| [1.0, 0.01 * n as f32, 0.0]).collect();
        let vectors = held_out.iter().map(|vector| &vector[..]);
        let detector = Detector::calibrate(&well, &mut scratch, vectors, 1, 0.05).unwrap();
        assert!(
            detector
                .judge(&well, &mut scratch, &[0.0, -1.0, 0.0])
                .unwrap()
                .novel
        );
        assert_eq!(Well::restore(&well.snapshot()).unwrap().len(), 3);
    }

    #[test]
    fn too_little_to_judge_by_is_an_error() {
        let mut well = Well::new(Options::new(2)).unwrap();
        let mut scratch = Scratch::default();
        let one: [&[f32]; 1] = [&[1.0, 0.0]];
        assert_eq!(
            Detector::calibrate(&well, &mut scratch, one, 1, 0.1),
            Err(DsrError::TooFew {
                found: 0,
                wanted: 1
            })
        );
        well.insert(1, &[1.0, 0.5]).unwrap();
        assert_eq!(
            Detector::calibrate(&well, &mut scratch, one, 1, 0.1),
            Err(DsrError::TooFew {
                found: 1,
                wanted: 9
            })
        );
        for rate in [0.0, 1.0, f64::NAN, -3.0] {
            let detector = Detector::calibrate(&well, &mut scratch, one, 1, rate);
            assert!(matches!(detector, Err(DsrError::Setting { .. })));
        }
        assert!(Detector::calibrate(&well, &mut scratch, one, 1, 0.5).is_ok());
    }
}
