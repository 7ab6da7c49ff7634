//! Asking a well.

use super::{DsrError, Effort, K_MAX, Well, direction};
use crate::codes::Tables;
use crate::neurons::{Drive, Spike};
use crate::rows::Probe;
use crate::scan::Best;

/// Rows that are asked for ahead of their comparison.
const AHEAD: usize = 16;

/// One entry that is like the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// The entry.
    pub id: u64,
    /// Its cosine with the query, −1 to 1.
    pub similarity: f32,
}

/// Room for one search at a time, to use again: a search with a used one allocates nothing but its answer.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    unit: Vec<f32>,
    probe: Probe,
    pub(super) drive: Drive,
    tables: Tables,
    best: Best,
    rows: Vec<u32>,
    top: Top,
}

/// Why an entry is, or is not, among what a query finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The exact cosine of query and entry.
    pub similarity: f32,
    /// The query's winner code: who fired, in order. Empty while answers are exact.
    pub fired: Vec<Spike>,
    /// The entry's own winner code, of as many neurons.
    pub entry_fired: Vec<Spike>,
    /// Neurons in both codes.
    pub overlap: usize,
    /// The neuron that owns the entry.
    pub owner: Option<u16>,
    /// The owner's place in the query's firing order, from 0; `None`: it did not fire, and the search missed the entry.
    pub owner_fired: Option<usize>,
    /// Whether the entry's short code was among the best that were compared exactly.
    pub compared: bool,
}

/// The best matches so far: as [`Best`], by exact similarity.
#[derive(Clone, Debug, Default)]
struct Top {
    keep: usize,
    bar: f32,
    found: Vec<Match>,
}

impl Top {
    fn start(&mut self, keep: usize, least: f32) {
        self.keep = keep;
        self.bar = least;
        self.found.clear();
    }

    fn order(a: &Match, b: &Match) -> std::cmp::Ordering {
        b.similarity.total_cmp(&a.similarity).then(a.id.cmp(&b.id))
    }

    #[inline]
    fn offer(&mut self, similarity: f32, id: impl FnOnce() -> u64) {
        if similarity < self.bar {
            return;
        }
        self.found.push(Match {
            id: id(),
            similarity,
        });
        if self.found.len() >= 4 * self.keep.max(8) {
            self.cut();
            self.bar = self.found[self.keep - 1].similarity;
        }
    }

    fn cut(&mut self) {
        if self.found.len() > self.keep {
            self.found
                .select_nth_unstable_by(self.keep - 1, Self::order);
            self.found.truncate(self.keep);
        }
    }

    fn finish(&mut self) -> Vec<Match> {
        self.cut();
        self.found.sort_unstable_by(Self::order);
        self.found.clone()
    }
}

/// What a search asks for beside its vector.
#[derive(Clone, Copy, Debug)]
struct Ask {
    k: usize,
    /// The least similarity of an answer.
    least: f32,
    /// The least moment of an answer.
    since: u32,
}

impl Well {
    /// The `k` entries most like the vector whose similarity is at least `least`, best first; ties by lower id.
    ///
    /// `least` of −1 takes all. Exact while the well is small or was told to be; else approximate with
    /// [`Options::recall`](super::Options::recall). The similarities themselves are always exact for what is kept.
    ///
    /// # Errors
    /// [`DsrError::TooMany`] above [`K_MAX`], [`DsrError::Threshold`] for NaN, and what [`Well::insert`] says of vectors.
    pub fn search(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        k: usize,
        least: f32,
    ) -> Result<Vec<Match>, DsrError> {
        self.search_since(scratch, vector, k, least, 0)
    }

    /// The same among the entries whose moment is at least `since`.
    ///
    /// # Errors
    /// As [`Well::search`].
    pub fn search_since(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        k: usize,
        least: f32,
        since: u32,
    ) -> Result<Vec<Match>, DsrError> {
        let effort = self
            .index
            .as_ref()
            .map(|index| index.effort_now(self.len()));
        let effort = effort.map(|effort| scaled(effort, k));
        self.search_with(scratch, vector, Ask { k, least, since }, effort)
    }

    /// The same, comparing with every entry: the truth to measure the indexed answer by.
    ///
    /// # Errors
    /// As [`Well::search`].
    pub fn search_exact(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        k: usize,
        least: f32,
    ) -> Result<Vec<Match>, DsrError> {
        self.search_with(scratch, vector, Ask { k, least, since: 0 }, None)
    }

    /// The same with a chosen effort, which more than ten results do not raise; exact where there is no index, and
    /// where a quarter of the entries would be candidates.
    ///
    /// # Errors
    /// As [`Well::search`].
    pub fn search_effort(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        k: usize,
        least: f32,
        effort: Effort,
    ) -> Result<Vec<Match>, DsrError> {
        self.search_with(scratch, vector, Ask { k, least, since: 0 }, Some(effort))
    }

    fn search_with(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        ask: Ask,
        effort: Option<Effort>,
    ) -> Result<Vec<Match>, DsrError> {
        if ask.k > K_MAX {
            return Err(DsrError::TooMany {
                found: ask.k,
                max: K_MAX,
            });
        }
        if ask.least.is_nan() {
            return Err(DsrError::Threshold);
        }
        let mut unit = std::mem::take(&mut scratch.unit);
        let checked = direction(vector, self.options.dims, &mut unit);
        scratch.probe.set(&unit);
        scratch.unit = unit;
        checked?;
        if ask.k == 0 {
            return Ok(Vec::new());
        }
        let indexed =
            effort.filter(|effort| self.index.is_some() && effort.refine < self.len() / 4);
        match indexed {
            Some(effort) => {
                self.candidates(scratch, effort);
                self.compare(scratch, ask);
            }
            None => self.compare_all(scratch, ask),
        }
        Ok(scratch.top.finish())
    }

    /// Compete, scan the winners' members, keep the best codes' rows in `scratch.rows`.
    fn candidates(&self, scratch: &mut Scratch, effort: Effort) {
        scratch.rows.clear();
        let Some(index) = &self.index else { return };
        let unit = &scratch.probe.floats;
        index
            .neurons
            .compete(self.level, unit, effort.winners.max(1), &mut scratch.drive);
        index.book.tables(self.level, unit, &mut scratch.tables);
        scratch.best.start(effort.refine);
        for spike in &scratch.drive.spikes {
            index.lists[usize::from(spike.neuron)].scan(
                self.level,
                &scratch.tables,
                &mut scratch.best,
            );
        }
        scratch.rows.extend(scratch.best.rows());
    }

    fn compare(&self, scratch: &mut Scratch, ask: Ask) {
        scratch.top.start(ask.k, ask.least);
        for (at, row) in scratch.rows.iter().enumerate() {
            if let Some(later) = scratch.rows.get(at + AHEAD) {
                self.rows.prefetch(*later);
            }
            if ask.since == 0 || self.rows.moment(*row) >= ask.since {
                let similarity = self.rows.similarity(self.level, &scratch.probe, *row);
                scratch.top.offer(similarity, || self.rows.id(*row));
            }
        }
    }

    fn compare_all(&self, scratch: &mut Scratch, ask: Ask) {
        let Scratch { probe, top, .. } = scratch;
        top.start(ask.k, ask.least);
        self.rows
            .similarities(self.level, probe, |row, similarity| {
                if ask.since == 0 || self.rows.moment(row) >= ask.since {
                    top.offer(similarity, || self.rows.id(row));
                }
            });
    }

    /// Says how a search for the vector would come to the entry, or why it would miss it.
    ///
    /// # Errors
    /// [`DsrError::UnknownId`], and what [`Well::insert`] says of vectors.
    pub fn explain(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        id: u64,
    ) -> Result<Explanation, DsrError> {
        let row = self.row(id).ok_or(DsrError::UnknownId { id })?;
        self.search_effort(
            scratch,
            vector,
            0,
            -1.0,
            Effort {
                winners: 1,
                refine: 1,
            },
        )?;
        let mut explanation = Explanation {
            similarity: self.rows.similarity(self.level, &scratch.probe, row),
            fired: Vec::new(),
            entry_fired: Vec::new(),
            overlap: 0,
            owner: None,
            owner_fired: None,
            compared: true,
        };
        let Some(index) = &self.index else {
            return Ok(explanation);
        };
        let effort = index.effort_now(self.len());
        self.candidates(scratch, effort);
        explanation.compared = scratch.rows.contains(&row);
        explanation.fired.clone_from(&scratch.drive.spikes);
        let mut unit = Vec::new();
        self.rows.read(row, &mut unit);
        index
            .neurons
            .compete(self.level, &unit, effort.winners, &mut scratch.drive);
        explanation.entry_fired.clone_from(&scratch.drive.spikes);
        let fired = |neuron: u16| {
            explanation
                .fired
                .iter()
                .position(|spike| spike.neuron == neuron)
        };
        explanation.overlap = explanation
            .entry_fired
            .iter()
            .filter(|spike| fired(spike.neuron).is_some())
            .count();
        let owner = self.rows.neuron(row);
        explanation.owner_fired = fired(owner);
        explanation.owner = Some(owner);
        Ok(explanation)
    }

    /// The winner code of a vector: the first `winners` neurons that fire for it, in order. Empty where there is no
    /// index.
    ///
    /// # Errors
    /// What [`Well::insert`] says of vectors.
    pub fn fire(
        &self,
        scratch: &mut Scratch,
        vector: &[f32],
        winners: usize,
    ) -> Result<Vec<Spike>, DsrError> {
        self.search_effort(
            scratch,
            vector,
            0,
            -1.0,
            Effort {
                winners: 1,
                refine: 1,
            },
        )?;
        let Some(index) = &self.index else {
            return Ok(Vec::new());
        };
        index.neurons.compete(
            self.level,
            &scratch.probe.floats,
            winners.max(1),
            &mut scratch.drive,
        );
        Ok(scratch.drive.spikes.clone())
    }
}

/// The effort for `k` results, from that for ten.
fn scaled(effort: Effort, k: usize) -> Effort {
    let times = k.div_ceil(10).max(1);
    Effort {
        winners: effort.winners.saturating_mul(times.isqrt()),
        refine: effort.refine.saturating_mul(times),
    }
}
