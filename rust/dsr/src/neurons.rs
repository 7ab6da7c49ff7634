//! The coarse competition: leaky integrate-and-fire neurons whose prototypes are learned.
//!
//! A neuron's input current is the similarity of the input to its prototype, with the mean over all neurons taken off
//! and the strongest scaled to 1 (feed-forward inhibition: what matters is who stands out, not how loud the input is).
//! In each step a membrane keeps [`LEAK`] of its charge and gains its current; a neuron whose membrane reaches its
//! threshold spikes, once. A spike takes [`INHIBITION`] off every other membrane, also of those that would spike in the
//! same step after it. The competition ends with the `w`-th spike: the set of the first `w` is the **sparse winner code**.
//!
//! Learning is Hebbian and local: the winner's prototype turns towards the input (spherical k-means, one input at a
//! time) and its threshold rises a little while all others sink by as much in sum, which keeps firing rates balanced.
//! The ideas are BioHash (Ryali et al. 2020), the fly's olfactory circuit (Dasgupta, Stevens, Navlakha 2017) and
//! conscience in competitive learning (DeSieno 1988).

use crate::codec::{Reader, Writer};
use crate::error::DsrError;
use crate::simd::{GROUP, Level, excite, kernel};

/// What a membrane keeps from step to step.
const LEAK: f32 = 0.9;
/// What one spike takes off the other membranes.
const INHIBITION: f32 = 0.01;
/// The resting threshold: a current of 1 reaches it in the fourth step.
const THRESHOLD: f32 = 3.439;
/// How far adaptation may move a threshold, as a share of the resting one.
const ADAPTATION_MAX: f32 = 0.3;
/// A membrane after its spike: below any threshold for the rest of the competition.
const SPENT: f32 = -1e30;
/// After so many steps charge has settled to one part in a thousand; who has not spiked by then does not.
const STEPS_MAX: u8 = 60;

/// One neuron's spike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// Which neuron.
    pub neuron: u16,
    /// In which step, from 1; 0: it did not spike by itself but stood nearest to its threshold when charge had settled.
    pub step: u8,
    /// Similarity of the input to its prototype.
    pub similarity: f32,
}

/// Room for one competition, to use again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drive {
    similarities: Vec<f32>,
    currents: Vec<f32>,
    membranes: Vec<f32>,
    over: Vec<u64>,
    waiting: Vec<(f32, u16)>,
    /// The outcome, in the order of firing.
    pub(crate) spikes: Vec<Spike>,
}

/// The neurons.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Neurons {
    dims: usize,
    count: usize,
    /// Groups of [`GROUP`] neurons, `[group][number][neuron]`.
    weights: Vec<f32>,
    /// Infinite where there is no neuron.
    thresholds: Vec<f32>,
    /// Share by which a threshold stands above the resting one.
    adaptation: Vec<f32>,
    /// What one win adds to `adaptation`.
    conscience: f32,
    /// Wins since all thresholds last sank.
    wins: usize,
}

impl Neurons {
    pub(crate) fn new(dims: usize, conscience: f32) -> Self {
        Self {
            dims,
            count: 0,
            weights: Vec::new(),
            thresholds: Vec::new(),
            adaptation: Vec::new(),
            conscience,
            wins: 0,
        }
    }

    /// Places for neurons, the silent ones included.
    pub(crate) fn places(&self) -> usize {
        self.count
    }

    pub(crate) fn is_silent(&self, neuron: u16) -> bool {
        !self.thresholds[usize::from(neuron)].is_finite()
    }

    pub(crate) fn bytes(&self) -> usize {
        // The room for one competition of its owner included.
        (self.weights.len() + 5 * self.thresholds.len()) * 4
    }

    /// Adds a neuron, in a silent one's place where there is one.
    pub(crate) fn add(&mut self, prototype: &[f32], adaptation: f32) -> u16 {
        let silent = (0..self.count).find(|at| !self.thresholds[*at].is_finite());
        let neuron = silent.unwrap_or(self.count);
        if neuron == self.thresholds.len() {
            self.weights.reserve_exact(self.dims * GROUP);
            self.weights
                .resize(self.weights.len() + self.dims * GROUP, 0.0);
            self.thresholds.resize(neuron + GROUP, f32::INFINITY);
            self.adaptation.resize(neuron + GROUP, 0.0);
        }
        self.count = self.count.max(neuron + 1);
        self.set(neuron as u16, prototype);
        self.adaptation[neuron] = adaptation.clamp(-ADAPTATION_MAX, ADAPTATION_MAX);
        self.thresholds[neuron] = THRESHOLD * (1.0 + self.adaptation[neuron]);
        neuron as u16
    }

    /// Takes a neuron out of all competitions.
    pub(crate) fn silence(&mut self, neuron: u16) {
        self.set(neuron, &vec![0.0; self.dims]);
        self.thresholds[usize::from(neuron)] = f32::INFINITY;
        self.adaptation[usize::from(neuron)] = 0.0;
    }

    pub(crate) fn set(&mut self, neuron: u16, prototype: &[f32]) {
        let (group, lane) = (usize::from(neuron) / GROUP, usize::from(neuron) % GROUP);
        for (number, weight) in prototype.iter().enumerate() {
            self.weights[(group * self.dims + number) * GROUP + lane] = *weight;
        }
    }

    pub(crate) fn prototype(&self, neuron: u16) -> Vec<f32> {
        let (group, lane) = (usize::from(neuron) / GROUP, usize::from(neuron) % GROUP);
        (0..self.dims)
            .map(|number| self.weights[(group * self.dims + number) * GROUP + lane])
            .collect()
    }

    pub(crate) fn adaptation(&self, neuron: u16) -> f32 {
        self.adaptation[usize::from(neuron)]
    }

    /// Lets the neurons compete for an input of unit length until `winners` have fired.
    pub(crate) fn compete(&self, level: Level, input: &[f32], winners: usize, drive: &mut Drive) {
        let places = self.thresholds.len();
        drive.spikes.clear();
        for room in [
            &mut drive.similarities,
            &mut drive.currents,
            &mut drive.membranes,
        ] {
            room.resize(places, 0.0);
        }
        drive.over.resize(places / GROUP, 0);
        excite(level, &self.weights, input, &mut drive.similarities);
        feed(
            level,
            &drive.similarities,
            &self.thresholds,
            &mut drive.currents,
        );
        drive.membranes.fill(0.0);
        for step in 1..=STEPS_MAX {
            charge(
                level,
                &drive.currents,
                &self.thresholds,
                &mut drive.membranes,
                &mut drive.over,
            );
            drive.waiting.clear();
            for (group, bits) in drive.over.iter().enumerate() {
                let mut bits = *bits;
                while bits != 0 {
                    let neuron = group * GROUP + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let excess = drive.membranes[neuron] - self.thresholds[neuron];
                    drive.waiting.push((excess, neuron as u16));
                }
            }
            if drive.waiting.is_empty() {
                continue;
            }
            // Who is furthest above its threshold crossed it first within the step.
            drive
                .waiting
                .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut taken = 0.0;
            for (excess, neuron) in &drive.waiting {
                if *excess < taken {
                    break;
                }
                taken += INHIBITION;
                drive.membranes[usize::from(*neuron)] = SPENT;
                drive.spikes.push(Spike {
                    neuron: *neuron,
                    step,
                    similarity: drive.similarities[usize::from(*neuron)],
                });
                if drive.spikes.len() == winners {
                    return;
                }
            }
            for membrane in &mut drive.membranes {
                *membrane -= taken;
            }
        }
        self.settle(winners, drive);
    }

    /// Charge has settled and fewer have fired than were asked for: those nearest to their thresholds follow.
    fn settle(&self, winners: usize, drive: &mut Drive) {
        drive.waiting.clear();
        for (neuron, threshold) in self.thresholds.iter().enumerate() {
            let membrane = drive.membranes[neuron];
            if threshold.is_finite() && membrane > SPENT / 1e3 {
                drive.waiting.push((membrane - threshold, neuron as u16));
            }
        }
        drive
            .waiting
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, neuron) in &drive.waiting {
            if drive.spikes.len() >= winners {
                break;
            }
            drive.spikes.push(Spike {
                neuron: *neuron,
                step: 0,
                similarity: drive.similarities[usize::from(*neuron)],
            });
        }
    }

    /// The winner learns: its prototype turns towards the input by `rate`, its threshold rises, all others sink.
    pub(crate) fn learn(&mut self, neuron: u16, input: &[f32], rate: f32) {
        let (group, lane) = (usize::from(neuron) / GROUP, usize::from(neuron) % GROUP);
        let weights = &mut self.weights[group * self.dims * GROUP..][..self.dims * GROUP];
        let mut norm = 0.0;
        for (row, x) in weights.chunks_exact_mut(GROUP).zip(input) {
            row[lane] += rate * (x - row[lane]);
            norm += row[lane] * row[lane];
        }
        // Opposite inputs can cancel; such a prototype stays as it is and turns with the next input.
        if norm > 1e-12 {
            let scale = 1.0 / norm.sqrt();
            for row in weights.chunks_exact_mut(GROUP) {
                row[lane] *= scale;
            }
        }
        let adaptation = &mut self.adaptation[usize::from(neuron)];
        *adaptation = (*adaptation + self.conscience).min(2.0 * ADAPTATION_MAX);
        self.wins += 1;
        if self.wins >= self.count {
            self.sink();
        }
    }

    /// As many wins as neurons: every threshold sinks by what one win adds, so that their mean stays.
    fn sink(&mut self) {
        self.wins = 0;
        let places = self.adaptation.iter_mut().zip(&mut self.thresholds);
        for (adaptation, threshold) in places.take(self.count) {
            if threshold.is_finite() {
                *adaptation =
                    (*adaptation - self.conscience).clamp(-ADAPTATION_MAX, ADAPTATION_MAX);
                *threshold = THRESHOLD * (1.0 + *adaptation);
            }
        }
    }
}

kernel! {
    /// Currents from similarities: the mean of the living taken off, the strongest scaled to 1.
    fn feed(similarities: &[f32], thresholds: &[f32], currents: &mut [f32]) = feed_body
}

#[inline(always)]
fn feed_body(similarities: &[f32], thresholds: &[f32], currents: &mut [f32]) {
    let mut sums = [0.0f32; GROUP];
    let mut living = [0.0f32; GROUP];
    let mut most = [f32::MIN; GROUP];
    for (similarities, thresholds) in similarities
        .chunks_exact(GROUP)
        .zip(thresholds.chunks_exact(GROUP))
    {
        for lane in 0..GROUP {
            let alive = thresholds[lane] < f32::INFINITY;
            let s = similarities[lane];
            sums[lane] += if alive { s } else { 0.0 };
            living[lane] += if alive { 1.0 } else { 0.0 };
            let candidate = if alive { s } else { f32::MIN };
            most[lane] = if candidate > most[lane] {
                candidate
            } else {
                most[lane]
            };
        }
    }
    let mean = sums.iter().sum::<f32>() / living.iter().sum::<f32>().max(1.0);
    let range = most.iter().copied().fold(f32::MIN, f32::max) - mean;
    // All alike: everybody is driven, and the thresholds decide.
    let (scale, floor) = if range > 1e-9 {
        (1.0 / range, 0.0)
    } else {
        (0.0, 1.0)
    };
    for (current, similarity) in currents.iter_mut().zip(similarities) {
        let driven = (similarity - mean) * scale + floor;
        *current = if driven > 0.0 { driven } else { 0.0 };
    }
}

kernel! {
    /// One step: leak, gain, and a bit per neuron that is at its threshold.
    fn charge(currents: &[f32], thresholds: &[f32], membranes: &mut [f32], over: &mut [u64]) = charge_body
}

#[inline(always)]
fn charge_body(currents: &[f32], thresholds: &[f32], membranes: &mut [f32], over: &mut [u64]) {
    for (((currents, thresholds), membranes), over) in currents
        .chunks_exact(GROUP)
        .zip(thresholds.chunks_exact(GROUP))
        .zip(membranes.chunks_exact_mut(GROUP))
        .zip(over)
    {
        let mut any = false;
        for lane in 0..GROUP {
            membranes[lane] = membranes[lane] * LEAK + currents[lane];
            any |= membranes[lane] >= thresholds[lane];
        }
        *over = 0;
        if any {
            for lane in 0..GROUP {
                *over |= u64::from(membranes[lane] >= thresholds[lane]) << lane;
            }
        }
    }
}

/// Snapshots.
impl Neurons {
    /// From now on one win adds that to a threshold.
    pub(crate) fn set_conscience(&mut self, conscience: f32) {
        self.conscience = conscience;
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.count as u64);
        out.f32(self.conscience);
        out.u32(self.wins as u32);
        for neuron in 0..self.count {
            out.u8(u8::from(self.is_silent(neuron as u16)));
            out.f32(self.adaptation[neuron]);
            out.f32(if self.is_silent(neuron as u16) {
                0.0
            } else {
                self.thresholds[neuron]
            });
            out.floats(&self.prototype(neuron as u16));
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>, dims: usize, most: usize) -> Result<Self, DsrError> {
        let count = from.count(9 + 4 * dims)?;
        from.ensure(
            count > 0 && count <= most,
            "its neurons are none or too many",
        )?;
        let mut neurons = Self::new(dims, from.f32()?);
        neurons.wins = from.u32()? as usize;
        from.ensure(
            (0.0..=1.0).contains(&neurons.conscience),
            "its conscience is out of range",
        )?;
        let mut silent = Vec::new();
        for neuron in 0..count {
            if from.flag()? {
                silent.push(neuron as u16);
            }
            let (adaptation, threshold) = (from.f32()?, from.f32()?);
            let prototype = from.floats(dims)?;
            let norm: f64 = prototype
                .iter()
                .map(|x| f64::from(*x) * f64::from(*x))
                .sum();
            let fits = norm < 1.01
                && adaptation.abs() <= 2.0 * ADAPTATION_MAX
                && (0.0..=4.0 * THRESHOLD).contains(&threshold);
            from.ensure(fits, "a neuron is out of range")?;
            neurons.add(&prototype, 0.0);
            neurons.adaptation[neuron] = adaptation;
            neurons.thresholds[neuron] = threshold;
        }
        for neuron in silent {
            neurons.silence(neuron);
        }
        Ok(neurons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn unit(random: &mut Random, dims: usize) -> Vec<f32> {
        let numbers: Vec<f32> = (0..dims)
            .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
            .collect();
        let norm = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
        numbers.iter().map(|x| x / norm).collect()
    }

    /// One neuron after the other, one step after the other, no vectors.
    fn dumb(neurons: &Neurons, input: &[f32], winners: usize) -> Vec<(u16, u8)> {
        let alive: Vec<u16> = (0..neurons.count as u16)
            .filter(|n| !neurons.is_silent(*n))
            .collect();
        let similarity = |n: u16| {
            neurons
                .prototype(n)
                .iter()
                .zip(input)
                .fold(0.0f32, |sum, (a, b)| sum + b * a)
        };
        let similarities: Vec<f32> = alive.iter().map(|n| similarity(*n)).collect();
        let mut lanes = [0.0f32; GROUP];
        for (n, s) in alive.iter().zip(&similarities) {
            lanes[usize::from(*n) % GROUP] += s;
        }
        let mean = lanes.iter().sum::<f32>() / alive.len() as f32;
        let most = similarities.iter().copied().fold(f32::MIN, f32::max);
        let mut charge = vec![0.0f32; alive.len()];
        let mut fired: Vec<(u16, u8)> = Vec::new();
        for step in 1..=STEPS_MAX {
            for (v, s) in charge.iter_mut().zip(&similarities) {
                *v = *v * LEAK + ((s - mean) * (1.0 / (most - mean))).max(0.0);
            }
            let mut taken = 0.0;
            loop {
                let ready = (0..alive.len())
                    .filter(|at| !fired.iter().any(|(n, _)| *n == alive[*at]))
                    .map(|at| (charge[at] - neurons.thresholds[usize::from(alive[at])], at))
                    .filter(|(excess, _)| *excess >= taken)
                    .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
                let Some((_, at)) = ready else { break };
                fired.push((alive[at], step));
                taken += INHIBITION;
                if fired.len() == winners {
                    return fired;
                }
            }
            for v in &mut charge {
                *v -= taken;
            }
        }
        fired
    }

    #[test]
    fn the_first_to_fire_are_those_of_the_definition() {
        let mut random = Random::new(11);
        let dims = 20;
        let mut neurons = Neurons::new(dims, 0.01);
        for _ in 0..150 {
            let adaptation = random.below(200) as f32 / 1000.0 - 0.1;
            neurons.add(&unit(&mut random, dims), adaptation);
        }
        for silent in [3, 64, 149] {
            neurons.silence(silent);
        }
        let mut drive = Drive::default();
        for _ in 0..50 {
            let input = unit(&mut random, dims);
            let expected = dumb(&neurons, &input, 12);
            assert!(
                expected.len() >= 8,
                "too few fire for a test: {}",
                expected.len()
            );
            for level in Level::all() {
                neurons.compete(level, &input, 12, &mut drive);
                let fired: Vec<(u16, u8)> =
                    drive.spikes.iter().map(|s| (s.neuron, s.step)).collect();
                assert_eq!(fired.len(), 12);
                assert_eq!(fired[..expected.len()], expected, "{level:?}");
            }
            neurons.compete(Level::Portable, &input, 500, &mut drive);
            assert_eq!(drive.spikes.len(), 147, "all that are alive");
        }
    }

    #[test]
    fn thresholds_balance_the_rates() {
        let mut random = Random::new(2);
        let dims = 8;
        // Nine inputs of ten come from one narrow direction: without a conscience one neuron takes them all.
        let narrow = unit(&mut random, dims);
        let mut draw = |random: &mut Random| {
            let noise = unit(random, dims);
            let share = if random.below(10) > 0 { 0.3 } else { 10.0 };
            let sum: Vec<f32> = narrow
                .iter()
                .zip(&noise)
                .map(|(a, b)| a + share * b)
                .collect();
            let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            sum.iter().map(|x| x / norm).collect::<Vec<f32>>()
        };
        let run = |conscience: f32,
                   random: &mut Random,
                   draw: &mut dyn FnMut(&mut Random) -> Vec<f32>| {
            let mut neurons = Neurons::new(dims, conscience);
            for _ in 0..16 {
                neurons.add(&unit(random, dims), 0.0);
            }
            let mut drive = Drive::default();
            let mut wins = [0usize; 16];
            for round in 0..8000 {
                let input = draw(random);
                neurons.compete(Level::Portable, &input, 1, &mut drive);
                let winner = drive.spikes[0].neuron;
                neurons.learn(winner, &input, 0.02);
                wins[usize::from(winner)] += usize::from(round >= 4000);
            }
            *wins.iter().max().unwrap_or(&0) as f64 / 250.0
        };
        let (without, with) = (
            run(0.0, &mut random, &mut draw),
            run(0.01, &mut random, &mut draw),
        );
        assert!(
            with < 0.6 * without,
            "busiest neuron over the mean: {with} with, {without} without"
        );
    }
}
