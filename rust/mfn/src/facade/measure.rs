//! What layers were measured to be worth and to cost: running estimates, without I/O and without a clock.
//!
//! For every kind of question and every layer: how often it was asked, the sum of the confidences of its answers (nothing
//! found counts 0) and the time that it took. Old measurements fade: with each question of the kind all sums shrink by
//! [`FADE`], so that what changes is followed.
//!
//! The order of a walk is by value per time. For independent layers of which one answer is enough, asking by falling
//! chance over cost has the least expected cost (Simon, Kadane 1975). A value that was seldom measured is taken as high as it
//! may well be: the mean and a margin for what is not known, `√(ln n / 2 nᵢ)`, with counts that fade (discounted UCB: Auer,
//! Cesa-Bianchi, Fischer 2002; Garivier, Moulines 2011). A layer that was never asked comes first; one that is not asked
//! any more is tried again when its count has faded.
//!
//! Value per time supposes that one sure answer is as good as another. Until somebody rates them nobody knows that: the
//! confidences of two layers are different measures. So a layer whose answers were not rated goes before another one only
//! where that one is hardly ever sure ([`AT_STAKE_MAX`]), and hardly any answer can be lost by it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::question::LayerId;

/// What is left of a measurement after one more question of its kind: about the last 200 count.
pub const FADE: f64 = 0.995;
/// Kinds with estimates of their own; further ones share those of the last.
pub const KINDS_MAX: usize = 1_024;
/// Share of questions whose right answer may be preempted by a layer that is sure of another one, and nobody knows better.
pub const AT_STAKE_MAX: f64 = 0.05;
/// Claims of a layer, in sum, after whose rating its confidence is no longer taken at its word.
const RATED_FROM: f64 = 1.0;
/// Timers wake whoever waits to the millisecond: less than that is no sign of a layer that turned slow, but of a task that was
/// not run yet.
const GRAIN_NS: f64 = 1e6;
/// From so many answers on it is known how long a layer usually takes.
const USUAL_FROM: f64 = 8.0;

/// What one layer was measured to be worth for one kind of question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Questions, faded.
    pub asked: f64,
    /// Sum of confidences, faded.
    value: f64,
    /// Answers that were sure enough to end a walk, faded.
    sure: f64,
    /// Sum of times, faded, in nanoseconds.
    cost_ns: f64,
    /// Sum of squares of times.
    cost_squared: f64,
    /// Of answers that somebody rated: how sure the layer was of them, and how many were of use.
    rated_sure: f64,
    rated_useful: f64,
}

impl Estimate {
    /// Mean confidence of an answer; 0 for none.
    pub fn value(&self) -> f64 {
        ratio(self.value, self.asked)
    }

    /// How sure of an answer one may be whose layer is so sure: of answers that were rated, those that were of use over what the
    /// layer had claimed. One claim that held counts as rated before all others, so that nobody is condemned by one answer, and
    /// a layer whose answers are not looked at any more is believed again as its ratings fade.
    pub fn trusted(&self, sure: f32) -> f32 {
        let trust = (self.rated_useful + 1.0) / (self.rated_sure + 1.0);
        (f64::from(sure) * trust).clamp(0.0, 1.0) as f32
    }

    /// Whether somebody has said of its answers whether they were of use.
    fn is_rated(&self) -> bool {
        self.rated_sure >= RATED_FROM
    }

    /// Whether it is known to be sure so seldom that it may be asked after another one. Half of two answers were sure before
    /// there were any.
    fn is_seldom_sure(&self) -> bool {
        (self.sure + 1.0) / (self.asked + 2.0) <= AT_STAKE_MAX
    }

    /// Mean time of an answer, in nanoseconds.
    pub fn cost_ns(&self) -> f64 {
        ratio(self.cost_ns, self.asked)
    }

    /// How long an answer may take before it is slower than usual: the mean and four deviations (as Jacobson 1988 has it
    /// for retransmissions), and at least a timer's grain over the mean. `None` while too little is known.
    pub fn usual_ns(&self) -> Option<u64> {
        if self.asked < USUAL_FROM {
            return None;
        }
        let mean = self.cost_ns();
        let variance = (ratio(self.cost_squared, self.asked) - mean * mean).max(0.0);
        Some((mean + (4.0 * variance.sqrt()).max(GRAIN_NS)) as u64)
    }

    fn numbers(&self) -> [f64; NUMBERS] {
        [
            self.asked,
            self.value,
            self.sure,
            self.cost_ns,
            self.cost_squared,
            self.rated_sure,
            self.rated_useful,
        ]
    }

    /// The estimate of these numbers, if they may be one.
    fn of(numbers: &mut impl Iterator<Item = f64>) -> Option<Self> {
        let mut next = || numbers.next().filter(|number| (0.0..1e30).contains(number));
        Some(Self {
            asked: next()?,
            value: next()?,
            sure: next()?,
            cost_ns: next()?,
            cost_squared: next()?,
            rated_sure: next()?,
            rated_useful: next()?,
        })
    }

    fn fade(&mut self) {
        self.asked *= FADE;
        self.value *= FADE;
        self.sure *= FADE;
        self.cost_ns *= FADE;
        self.cost_squared *= FADE;
        self.rated_sure *= FADE;
        self.rated_useful *= FADE;
    }

    /// Value per nanosecond, as high as it may well be; infinite for what was never measured.
    fn worth(&self, asked_in_all: f64) -> f64 {
        if self.asked <= 0.0 {
            return f64::INFINITY;
        }
        let margin = (asked_in_all.max(1.0).ln() / (2.0 * self.asked)).sqrt();
        (self.value() + margin).min(1.0) / self.cost_ns().max(1.0)
    }
}

/// The estimates of all kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    kinds: BTreeMap<u16, [Estimate; 4]>,
}

/// One measurement of a walk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub layer: LayerId,
    pub took: Duration,
    /// Its confidence; 0 when it had no answer, was late or failed.
    pub value: f32,
    /// Whether that was sure enough to end the walk.
    pub sure: bool,
}

impl Estimates {
    /// Takes in the measurements of one walk.
    pub fn record(&mut self, kind: u16, measured: &[Measured]) {
        let kind = self.own(kind);
        let estimates = self.kinds.entry(kind).or_default();
        estimates.iter_mut().for_each(Estimate::fade);
        for one in measured {
            let estimate = &mut estimates[one.layer.index()];
            let cost = one.took.as_nanos() as f64;
            estimate.asked += 1.0;
            estimate.value += f64::from(one.value).clamp(0.0, 1.0);
            estimate.sure += if one.sure { 1.0 } else { 0.0 };
            estimate.cost_ns += cost;
            estimate.cost_squared += cost * cost;
        }
    }

    /// Says that an answer, of which the layer was so sure and which was just recorded with this value, was of use, or was not.
    pub fn rate(&mut self, kind: u16, layer: LayerId, sure: f32, value: f32, useful: bool) {
        let kind = self.own(kind);
        let Some(estimates) = self.kinds.get_mut(&kind) else {
            return;
        };
        let estimate = &mut estimates[layer.index()];
        let truth = if useful { 1.0 } else { 0.0 };
        let value = estimate.value + truth - f64::from(value).clamp(0.0, 1.0);
        estimate.value = value.clamp(0.0, estimate.asked);
        estimate.rated_sure += f64::from(sure).clamp(0.0, 1.0);
        estimate.rated_useful += truth;
    }

    /// What is known of a layer for a kind of question.
    pub fn of(&self, kind: u16, layer: LayerId) -> Estimate {
        self.kinds
            .get(&self.own(kind))
            .map_or_else(Estimate::default, |estimates| estimates[layer.index()])
    }

    /// The most promising of some layers: by value per time, then by the hint, then by their order. One that was not rated is
    /// no candidate while one before it, the hint first and then in their order, may have the answer.
    pub fn best(
        &self,
        kind: u16,
        hint: Option<LayerId>,
        among: impl Iterator<Item = LayerId>,
    ) -> Option<LayerId> {
        let in_all = LayerId::ALL.iter().map(|layer| self.of(kind, *layer).asked);
        // What was asked most is what the others are compared with: IFR is asked by every walk.
        let in_all = in_all.fold(0.0, f64::max);
        let mut among: Vec<LayerId> = among.collect();
        among.sort_by_key(|layer| (Some(*layer) != hint, *layer));
        let mut best: Option<(LayerId, f64)> = None;
        let mut nothing_at_stake = true;
        for layer in among {
            let estimate = self.of(kind, layer);
            let worth = estimate.worth(in_all);
            if (nothing_at_stake || estimate.is_rated())
                && best.is_none_or(|(_, so_far)| worth.total_cmp(&so_far).is_gt())
            {
                best = Some((layer, worth));
            }
            nothing_at_stake &= estimate.is_seldom_sure();
        }
        best.map(|(layer, _)| layer)
    }

    /// All of them as bytes, to go on with later: [`Estimates::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ENCODED.to_vec();
        for (kind, estimates) in &self.kinds {
            out.extend(kind.to_le_bytes());
            for number in estimates.iter().flat_map(Estimate::numbers) {
                out.extend(number.to_le_bytes());
            }
        }
        out
    }

    /// The estimates of such bytes; `None` where they are none, or say what cannot have been measured.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let kinds = bytes.strip_prefix(ENCODED)?;
        if kinds.len() % KIND_BYTES != 0 || kinds.len() / KIND_BYTES > KINDS_MAX {
            return None;
        }
        let mut decoded = Self::default();
        for one in kinds.chunks_exact(KIND_BYTES) {
            let (kind, numbers) = one.split_first_chunk()?;
            let mut numbers = numbers.chunks_exact(8).map(|bytes| {
                let mut number = [0; 8];
                number.copy_from_slice(bytes);
                f64::from_le_bytes(number)
            });
            let mut estimates = [Estimate::default(); 4];
            for estimate in &mut estimates {
                *estimate = Estimate::of(&mut numbers)?;
            }
            decoded.kinds.insert(u16::from_le_bytes(*kind), estimates);
        }
        Some(decoded)
    }

    /// The kind under which a kind is kept.
    fn own(&self, kind: u16) -> u16 {
        if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&kind) {
            return kind;
        }
        self.kinds.last_key_value().map_or(kind, |(last, _)| *last)
    }
}

/// How encoded estimates begin: what they are, and their version.
const ENCODED: &[u8] = b"MFNE\x02\0\0\0";
const NUMBERS: usize = 7;
const KIND_BYTES: usize = 2 + 4 * NUMBERS * 8;

fn ratio(sum: f64, count: f64) -> f64 {
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(layer: LayerId, micros: u64, value: f32) -> Measured {
        let took = Duration::from_micros(micros);
        let sure = value >= 0.5;
        Measured {
            layer,
            took,
            value,
            sure,
        }
    }

    /// Says of some answers that they were of use, as they had claimed.
    fn believed(estimates: &mut Estimates, layers: &[LayerId]) {
        for layer in layers {
            estimates.rate(0, *layer, 1.0, 1.0, true);
        }
    }

    const REST: [LayerId; 3] = [LayerId::Dsr, LayerId::Alm, LayerId::Cpe];

    fn best(estimates: &Estimates) -> Option<LayerId> {
        estimates.best(0, None, REST.into_iter())
    }

    #[test]
    fn what_was_never_asked_comes_first_and_the_hint_before_that() {
        let mut estimates = Estimates::default();
        assert_eq!(best(&estimates), Some(LayerId::Dsr));
        let hint = Some(LayerId::Cpe);
        assert_eq!(estimates.best(0, hint, REST.into_iter()), hint);
        // It knows nothing of this kind, again and again.
        for _ in 0..20 {
            estimates.record(0, &[measured(LayerId::Dsr, 10, 0.0)]);
        }
        assert_eq!(best(&estimates), Some(LayerId::Alm));
    }

    #[test]
    fn who_was_not_rated_preempts_nobody_that_may_have_the_answer() {
        let mut estimates = Estimates::default();
        for round in 0..100 {
            // Sure of one question in ten, and slow.
            let dsr = if round % 10 == 0 { 0.9 } else { 0.0 };
            estimates.record(
                0,
                &[
                    measured(LayerId::Dsr, 1_000, dsr),
                    measured(LayerId::Alm, 900, 0.0),
                    measured(LayerId::Cpe, 10, 0.9),
                ],
            );
        }
        assert_eq!(best(&estimates), Some(LayerId::Dsr));
        // Of the others nobody before it is ever sure.
        let rest = [LayerId::Alm, LayerId::Cpe].into_iter();
        assert_eq!(estimates.best(0, None, rest), Some(LayerId::Cpe));
        believed(&mut estimates, &[LayerId::Cpe; 2]);
        assert_eq!(best(&estimates), Some(LayerId::Cpe));
    }

    #[test]
    fn the_order_is_by_value_per_time() {
        let mut estimates = Estimates::default();
        for _ in 0..400 {
            estimates.record(
                0,
                &[
                    measured(LayerId::Dsr, 100, 0.9),
                    measured(LayerId::Alm, 20, 0.6),
                    measured(LayerId::Cpe, 1_000, 1.0),
                ],
            );
        }
        believed(&mut estimates, &REST);
        assert_eq!(best(&estimates), Some(LayerId::Alm));
        // Another kind knows nothing of that.
        let among = REST.into_iter();
        assert_eq!(estimates.best(1, None, among), Some(LayerId::Dsr));
    }

    #[test]
    fn a_layer_that_turns_bad_is_left_and_one_that_was_left_is_tried_again() {
        let mut estimates = Estimates::default();
        let mut good = LayerId::Dsr;
        let mut asked = [0; 2];
        for round in 0..6_000 {
            if round == 3_000 {
                good = LayerId::Cpe;
            }
            // As a walk does: the next one, until one is sure.
            let mut left = REST.to_vec();
            let mut seen = Vec::new();
            while let Some(next) = estimates.best(0, None, left.iter().copied()) {
                left.retain(|layer| *layer != next);
                let value = if next == good { 0.9 } else { 0.0 };
                seen.push(measured(next, 50, value));
                if next == good {
                    break;
                }
            }
            estimates.record(0, &seen);
            estimates.rate(0, good, 0.9, 0.9, true);
            if seen[0].layer == good {
                asked[usize::from(round >= 3_000)] += 1;
            }
        }
        assert!(asked[0] > 2_400 && asked[1] > 2_300, "{asked:?}");
    }

    #[test]
    fn what_was_of_no_use_is_worth_nothing_however_sure_it_was() {
        let mut estimates = Estimates::default();
        for _ in 0..100 {
            for (layer, useful) in [(LayerId::Dsr, false), (LayerId::Cpe, true)] {
                estimates.record(0, &[measured(layer, 10, 0.8)]);
                estimates.rate(0, layer, 0.8, 0.8, useful);
            }
        }
        // Nor is it believed; the other one is believed more than it claims.
        assert!(estimates.of(0, LayerId::Dsr).trusted(1.0) < 0.05);
        assert!(estimates.of(0, LayerId::Cpe).trusted(0.8) > 0.98);
        assert!(estimates.of(0, LayerId::Dsr).value() < 1e-9);
        assert!(estimates.of(0, LayerId::Cpe).value() > 0.999);
        estimates.rate(1, LayerId::Dsr, 0.5, 0.5, true);
        assert_eq!(estimates.of(1, LayerId::Dsr), Estimate::default());
        assert_eq!(Estimate::default().trusted(0.5), 0.5);
        // Ratings fade.
        for _ in 0..3_000 {
            estimates.record(0, &[]);
        }
        assert!(estimates.of(0, LayerId::Dsr).trusted(1.0) > 0.9);
    }

    #[test]
    fn encoded_they_are_the_same_and_other_bytes_are_none() {
        let mut estimates = Estimates::default();
        for kind in 0..20 {
            estimates.record(kind, &[measured(LayerId::Alm, 10 + u64::from(kind), 0.5)]);
            estimates.rate(kind, LayerId::Alm, 0.5, 0.5, kind % 2 == 0);
        }
        let bytes = estimates.encode();
        assert_eq!(Estimates::decode(&bytes), Some(estimates));
        for length in 0..bytes.len() {
            if (length - ENCODED.len().min(length)) % KIND_BYTES != 0 || length < ENCODED.len() {
                assert_eq!(Estimates::decode(&bytes[..length]), None);
            }
        }
        let mut wrong = bytes.clone();
        wrong[ENCODED.len() + 2..][..8].copy_from_slice(&f64::NAN.to_le_bytes());
        assert_eq!(Estimates::decode(&wrong), None);
    }

    #[test]
    fn kinds_are_bounded() {
        let mut estimates = Estimates::default();
        for kind in 0..u16::MAX {
            estimates.record(kind, &[measured(LayerId::Dsr, 1, 1.0)]);
        }
        assert_eq!(estimates.kinds.len(), KINDS_MAX);
        assert!(estimates.of(60_000, LayerId::Dsr).asked > 1.0);
    }
}
