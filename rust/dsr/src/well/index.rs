//! What a well learns: prototypes, short codes, whose member each entry is, and how that follows the stream.

use super::{Effort, Well, neurons_for};
use crate::codes::Codebook;
use crate::neurons::Neurons;
use crate::random::{Random, mix};
use crate::rows::{NEURONS_MAX, UNOWNED};
use crate::scan::List;

/// What one win adds to a neuron's threshold, as a share of the resting one, while a well is built.
const CONSCIENCE: f32 = 0.01;
/// The same for a well in use.
const CONSCIENCE_LATER: f32 = 0.002;
/// How often every entry is shown to new neurons.
const EPOCHS: usize = 4;
/// Entries that centroids of short codes are learned from, at most.
const SAMPLE_MAX: usize = 16_384;
/// Codes are learned anew when their error stands so far above what it was.
const ERROR_GROWTH: f32 = 1.15;
/// Old entries that each insert shows to the neurons again.
const REPLAYS: usize = 3;
/// One entry in so many never teaches: such entries are the held-out questions of calibration.
const HELD_OUT: u64 = 32;
/// A neuron that owns more than this many times the mean is split.
const SPLIT: usize = 2;
/// A neuron that owns less than the mean over this is silenced.
const MERGE: usize = 8;

/// The learned part of a well.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) neurons: Neurons,
    pub(super) book: Codebook,
    /// By neuron.
    pub(super) lists: Vec<List>,
    /// Neurons that are not silent.
    pub(super) alive: usize,
    /// What the last calibration chose, when there were `alive_then` neurons.
    pub(super) effort: Effort,
    pub(super) alive_then: usize,
    /// Recall that the last calibration measured.
    pub(super) recall: f32,
    /// Entries when codes were last learned.
    pub(super) learned: usize,
    /// Squared error of the codes then, and of late.
    pub(super) error: f32,
    pub(super) error_now: f32,
    /// Entries that came since codes were last learned.
    pub(super) since: usize,
}

impl Index {
    pub(super) fn bytes(&self) -> usize {
        let lists = self.lists.iter().map(List::bytes).sum::<usize>();
        self.neurons.bytes() + self.book.bytes() + lists + self.lists.len() * size_of::<List>()
    }

    /// The effort of today: a well that has grown since the last calibration looks at as large a part of itself.
    pub(super) fn effort_now(&self, entries: usize) -> Effort {
        let grown = entries.saturating_sub(self.learned);
        Effort {
            winners: self.effort.winners * self.alive.max(self.alive_then) / self.alive_then.max(1),
            refine: self.effort.refine + self.effort.refine * grown / (2 * self.learned.max(1)),
        }
    }

    /// A block in two lists, and a group of neurons.
    pub(super) fn growth(&self, dims: usize) -> usize {
        2 * crate::codes::BLOCK * (self.book.code_bytes() + 4) + crate::simd::GROUP * dims * 4
    }
}

/// Bytes of a first index, estimated from above.
pub(super) fn first_bytes(dims: usize) -> usize {
    let (parts, width) = crate::codes::shape(dims);
    let entries = super::EXACT_ROWS;
    let neurons = 2 * neurons_for(entries).next_multiple_of(crate::simd::GROUP);
    let codes = (entries + neurons * crate::codes::BLOCK) * (parts / 2 + 4);
    neurons * (dims * 4 + 20 + size_of::<List>()) + codes + parts * width * 64
}

impl Well {
    /// Learns everything anew from what the well holds: prototypes, codes and effort. Time grows with the entries;
    /// a well does it by itself once, when it first becomes indexed.
    pub fn rebuild(&mut self) {
        let rows: Vec<u32> = self.rows.all().collect();
        for row in &rows {
            self.rows.set_neuron(*row, UNOWNED);
        }
        self.index = None;
        if rows.is_empty() {
            return;
        }
        let neurons = self.learn_prototypes(&rows);
        let (book, error) = self.learn_codes(&rows);
        let places = neurons.places();
        self.index = Some(Index {
            neurons,
            book,
            lists: vec![List::default(); places],
            alive: places,
            effort: Effort {
                winners: 1,
                refine: 1,
            },
            alive_then: places,
            recall: 0.0,
            learned: rows.len(),
            error,
            error_now: error,
            since: 0,
        });
        let mut unit = Vec::new();
        for row in rows {
            self.rows.read(row, &mut unit);
            let neuron = self.winner(&unit);
            self.own(row, neuron, &unit);
        }
        self.split_all();
        self.calibrate();
    }

    /// Online competitive learning over all rows, in a seeded order.
    fn learn_prototypes(&mut self, rows: &[u32]) -> Neurons {
        let mut neurons = Neurons::new(self.options.dims, CONSCIENCE);
        let mut order: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|row| !self.held_out(*row))
            .collect();
        if order.is_empty() {
            order = rows.to_vec();
        }
        let mut unit = Vec::new();
        shuffle(&mut order, &mut self.random);
        for row in order.iter().take(neurons_for(rows.len())) {
            self.rows.read(*row, &mut unit);
            neurons.add(&unit, 0.0);
        }
        // The mean of what a neuron has won so far; of late weighs more, so each epoch starts from fewer.
        let mut wins = vec![0u32; neurons.places()];
        for _ in 0..EPOCHS {
            for row in &order {
                self.rows.read(*row, &mut unit);
                neurons.compete(self.level, &unit, 1, &mut self.drive);
                if let Some(spike) = self.drive.spikes.first() {
                    let won = &mut wins[usize::from(spike.neuron)];
                    *won += 1;
                    neurons.learn(spike.neuron, &unit, 1.0 / (*won + 1) as f32);
                }
            }
            for won in &mut wins {
                *won /= 2;
            }
        }
        neurons.set_conscience(CONSCIENCE_LATER);
        neurons
    }

    /// Whether the row's entry never teaches. An entry that taught a prototype stands nearer to it than a stranger does:
    /// what is asked about entries that taught flatters (here by .015 of recall).
    pub(super) fn held_out(&self, row: u32) -> bool {
        mix(self.rows.id(row) ^ self.options.seed).is_multiple_of(HELD_OUT)
    }

    /// Centroids from a seeded sample, and the mean squared error on it.
    fn learn_codes(&mut self, rows: &[u32]) -> (Codebook, f32) {
        let mut sample = Vec::new();
        let mut unit = Vec::new();
        let count = rows.len().min(SAMPLE_MAX);
        for at in 0..count {
            // One from each of `count` equal stretches.
            let row = rows[at * rows.len() / count];
            self.rows.read(row, &mut unit);
            sample.extend_from_slice(&unit);
        }
        let book = Codebook::train(self.level, self.options.dims, &sample, self.random.number());
        let mut code = vec![0; book.code_bytes()];
        let error: f32 = sample
            .chunks_exact(self.options.dims)
            .map(|unit| book.encode(self.level, unit, &mut code))
            .sum();
        (book, error / count as f32)
    }

    /// The neuron that fires first; neuron 0 where none is.
    fn winner(&mut self, unit: &[f32]) -> u16 {
        let Some(index) = &self.index else { return 0 };
        index.neurons.compete(self.level, unit, 1, &mut self.drive);
        self.drive.spikes.first().map_or(0, |spike| spike.neuron)
    }

    /// Makes a row the neuron's.
    fn own(&mut self, row: u32, neuron: u16, unit: &[f32]) {
        let Some(index) = &mut self.index else { return };
        let mut code = [0u8; 128];
        let code = &mut code[..index.book.code_bytes()];
        let error = index.book.encode(self.level, unit, code);
        index.error_now += (error - index.error_now) / 1024.0;
        index.lists[usize::from(neuron)].push(row, code);
        self.rows.set_neuron(row, neuron);
    }

    /// Takes a row from its neuron.
    pub(super) fn disown(&mut self, row: u32) {
        let neuron = self.rows.neuron(row);
        if let (Some(index), true) = (&mut self.index, neuron != UNOWNED) {
            let bytes = index.book.code_bytes();
            index.lists[usize::from(neuron)].remove(row, bytes);
            self.rows.set_neuron(row, UNOWNED);
        }
    }

    /// A new entry: neurons compete for it, the winner owns it and learns from it. Then some old entries are shown again,
    /// which moves them where the prototypes of today would put them.
    pub(super) fn learn_row(&mut self, row: u32) {
        let mut unit = Vec::new();
        self.rows.read(row, &mut unit);
        let neuron = self.winner(&unit);
        self.own(row, neuron, &unit);
        self.teach(row, neuron, &unit);
        self.split_if_long(neuron);
        for _ in 0..REPLAYS {
            self.replay(&mut unit);
        }
        self.refresh();
    }

    /// Gives a row to its winner and stops there.
    #[cfg(test)]
    pub(super) fn assign_row(&mut self, row: u32) {
        let mut unit = Vec::new();
        self.rows.read(row, &mut unit);
        let neuron = self.winner(&unit);
        self.own(row, neuron, &unit);
    }

    /// Hebbian: the prototype is the mean over about as many inputs as the neuron has members.
    fn teach(&mut self, row: u32, neuron: u16, unit: &[f32]) {
        let held_out = self.held_out(row);
        if let (Some(index), false) = (&mut self.index, held_out) {
            let members = index.lists[usize::from(neuron)].len();
            index
                .neurons
                .learn(neuron, unit, 1.0 / (members + 1) as f32);
        }
    }

    fn replay(&mut self, unit: &mut Vec<f32>) {
        let places = self.rows.places() as u32;
        let next = (0..places)
            .map(|step| (self.cursor + step) % places)
            .find(|row| self.rows.holds(*row));
        let Some(row) = next else { return };
        self.cursor = (row + 1) % places;
        self.rows.read(row, unit);
        let neuron = self.winner(unit);
        if neuron != self.rows.neuron(row) {
            let before = self.rows.neuron(row);
            self.disown(row);
            self.own(row, neuron, unit);
            self.split_if_long(neuron);
            if before != UNOWNED {
                self.shrink(before);
            }
        }
        self.teach(row, neuron, unit);
    }

    /// The mean number of members that the well aims at.
    fn members_aim(&self) -> usize {
        self.rows.len() / neurons_for(self.rows.len()) + 1
    }

    fn split_if_long(&mut self, neuron: u16) {
        let aim = self.members_aim();
        if let Some(index) = &self.index
            && index.lists[usize::from(neuron)].len() > SPLIT * aim
            && index.neurons.places() < NEURONS_MAX - 1
        {
            self.split(neuron);
        }
    }

    fn split_all(&mut self) {
        let places = self.index.as_ref().map_or(0, |index| index.lists.len());
        for neuron in 0..places {
            self.split_if_long(neuron as u16);
        }
    }

    /// Two prototypes from one: spherical 2-means over its members, from the two that are far apart.
    fn split(&mut self, neuron: u16) {
        let Some(index) = &self.index else { return };
        let members = index.lists[usize::from(neuron)].rows().to_vec();
        let dims = self.options.dims;
        let (mut vectors, mut unit) = (Vec::new(), Vec::new());
        for row in &members {
            self.rows.read(*row, &mut unit);
            vectors.extend_from_slice(&unit);
        }
        let farthest = |from: &[f32]| {
            let similarity =
                |at: &usize| crate::simd::dot(self.level, from, &vectors[at * dims..][..dims]);
            let least = (0..members.len()).min_by(|a, b| similarity(a).total_cmp(&similarity(b)));
            vectors[least.unwrap_or(0) * dims..][..dims].to_vec()
        };
        let first = farthest(&index.neurons.prototype(neuron));
        let second = farthest(&first);
        let mut pair = [first, second];
        let mut side = vec![false; members.len()];
        for _ in 0..6 {
            let mut sums = [vec![0.0f32; dims], vec![0.0f32; dims]];
            for (vector, side) in vectors.chunks_exact(dims).zip(&mut side) {
                let [a, b] = [0, 1].map(|at| crate::simd::dot(self.level, &pair[at], vector));
                *side = b > a;
                for (sum, x) in sums[usize::from(*side)].iter_mut().zip(vector) {
                    *sum += x;
                }
            }
            for (prototype, sum) in pair.iter_mut().zip(sums) {
                let norm = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
                if norm > 1e-6 {
                    *prototype = sum.iter().map(|x| x / norm).collect();
                }
            }
        }
        let moved = side.iter().filter(|side| **side).count();
        if moved == 0 || moved == members.len() {
            // Members that are all alike cannot be told apart; a long list it stays.
            return;
        }
        let Some(index) = &mut self.index else { return };
        let adaptation = index.neurons.adaptation(neuron);
        index.neurons.set(neuron, &pair[0]);
        let other = index.neurons.add(&pair[1], adaptation);
        index.lists.resize(index.neurons.places(), List::default());
        index.alive += 1;
        for (at, row) in members.iter().enumerate() {
            if side[at] {
                self.disown(*row);
                self.own(*row, other, &vectors[at * dims..][..dims]);
            }
        }
    }

    /// After a removal: a neuron that owns next to nothing is silenced and its members go to others.
    pub(super) fn shrink(&mut self, neuron: u16) {
        let aim = self.members_aim();
        let Some(index) = &mut self.index else { return };
        let at = usize::from(neuron);
        if index.neurons.is_silent(neuron)
            || index.lists[at].len() * MERGE >= aim
            || index.alive <= 32
        {
            return;
        }
        index.neurons.silence(neuron);
        index.alive -= 1;
        let members = std::mem::take(&mut index.lists[at]);
        let mut unit = Vec::new();
        for row in members.rows() {
            self.rows.read(*row, &mut unit);
            let winner = self.winner(&unit);
            self.own(*row, winner, &unit);
        }
    }

    /// Learns codes and effort anew when the well has doubled, when as many entries came as there are, or when codes
    /// fit the stream no longer.
    fn refresh(&mut self) {
        let entries = self.rows.len();
        let Some(index) = &mut self.index else { return };
        index.since += 1;
        // All entries are coded anew at a time: so it may happen once per quarter of them that came.
        let drifted = index.error_now > ERROR_GROWTH * index.error && index.since > entries / 4;
        if entries < 2 * index.learned && index.since < entries && !drifted {
            return;
        }
        let rows: Vec<u32> = self.rows.all().collect();
        let (book, error) = self.learn_codes(&rows);
        let Some(index) = &mut self.index else { return };
        let lists = std::mem::take(&mut index.lists);
        index.book = book;
        index.learned = entries;
        index.since = 0;
        index.lists = vec![List::default(); lists.len()];
        let mut unit = Vec::new();
        for (neuron, list) in lists.into_iter().enumerate() {
            for row in list.rows() {
                self.rows.read(*row, &mut unit);
                self.own(*row, neuron as u16, &unit);
            }
        }
        if let Some(index) = &mut self.index {
            index.error = error;
            index.error_now = error;
        }
        self.calibrate();
    }
}

fn shuffle(order: &mut [u32], random: &mut Random) {
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
}
