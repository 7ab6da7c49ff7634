//! How many winners and candidates the asked recall takes, measured on the well's own entries.

use super::{Effort, Scratch, Well};

/// Held-out entries that are asked for their own neighbours, at most. The measured recall has a standard error of
/// about .005.
const QUESTIONS: usize = 400;
/// Neighbours whose recall counts.
const NEIGHBOURS: usize = 10;
/// Of what may be missed, the share that competition may miss; the rest is for short codes.
const COARSE_SHARE: f64 = 0.7;
/// What comparing one candidate exactly costs, in scanned codes.
const CANDIDATE_COST: usize = 48;

impl Well {
    /// Finds the cheapest effort whose recall on a seeded sample of entries, asked for their own neighbours without
    /// themselves, reaches what the options ask with a standard error to spare. Costs as much as comparing 400 entries with all.
    pub(super) fn calibrate(&mut self) {
        let Some(index) = &self.index else { return };
        let places = index.neurons.places();
        let target = f64::from(self.options.recall);
        let mut scratch = Scratch::default();
        let mut questions: Vec<(Vec<f32>, Vec<u64>)> = Vec::new();
        // At which place of the firing order each true neighbour's owner stands: how many need how many winners.
        let mut needed = vec![0usize; places + 1];
        let mut rows: Vec<u32> = self.rows.all().filter(|row| self.held_out(*row)).collect();
        if rows.is_empty() {
            rows = self.rows.all().collect();
        }
        for at in 0..QUESTIONS.min(rows.len()) {
            let row = rows[at * rows.len() / QUESTIONS.min(rows.len())];
            let mut unit = Vec::new();
            self.rows.read(row, &mut unit);
            let Ok(near) = self.search_exact(&mut scratch, &unit, NEIGHBOURS + 1, -1.0) else {
                continue;
            };
            let own = self.rows.id(row);
            let near: Vec<u64> = near
                .iter()
                .map(|m| m.id)
                .filter(|id| *id != own)
                .take(NEIGHBOURS)
                .collect();
            index
                .neurons
                .compete(self.level, &unit, places, &mut scratch.drive);
            for id in &near {
                let owner = self.row(*id).map(|row| self.rows.neuron(row));
                let place = scratch
                    .drive
                    .spikes
                    .iter()
                    .position(|spike| Some(spike.neuron) == owner);
                needed[place.unwrap_or(places)] += 1;
            }
            questions.push((unit, near));
        }
        let total: usize = needed.iter().sum::<usize>().max(1);
        let wanted = 1.0 - COARSE_SHARE * (1.0 - target);
        let (mut covered, mut winners) = (0, 0);
        while winners < places && (covered as f64) < wanted * total as f64 {
            covered += needed[winners];
            winners += 1;
        }
        let mut best: Option<(usize, Effort, f64)> = None;
        let mut fallback = (
            Effort {
                winners: places,
                refine: self.len(),
            },
            1.0,
        );
        // A few more winners may need far fewer candidates: the cheapest of some shares wins.
        for percent in [90, 100, 112, 125, 150, 200, 300] {
            let winners = (winners * percent / 100).clamp(1, places);
            let scanned = winners * self.len() / index.alive.max(1);
            for refine in [20, 30, 40, 60, 80, 100, 130, 160, 200, 300, 400, 800] {
                let cost = scanned + refine * CANDIDATE_COST;
                if best.is_some_and(|(least, ..)| cost >= least) {
                    break;
                }
                let effort = Effort { winners, refine };
                let (recall, error) = self.recall_of(&mut scratch, &questions, effort);
                fallback = if recall > fallback.1 || best.is_none() {
                    (effort, recall)
                } else {
                    fallback
                };
                if recall - error >= target {
                    best = Some((cost, effort, recall));
                    break;
                }
            }
        }
        let (effort, recall) = best.map_or(fallback, |(_, effort, recall)| (effort, recall));
        if let Some(index) = &mut self.index {
            index.effort = effort;
            index.alive_then = index.alive;
            index.recall = recall as f32;
        }
    }

    /// Mean recall over the questions, and its standard error.
    fn recall_of(
        &self,
        scratch: &mut Scratch,
        questions: &[(Vec<f32>, Vec<u64>)],
        effort: Effort,
    ) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for (unit, near) in questions {
            let found = self
                .search_effort(scratch, unit, NEIGHBOURS + 1, -1.0, effort)
                .unwrap_or_default();
            let hits = near
                .iter()
                .filter(|id| found.iter().any(|m| m.id == **id))
                .count();
            let recall = hits as f64 / near.len().max(1) as f64;
            sum += recall;
            squares += recall * recall;
        }
        let count = questions.len().max(1) as f64;
        let mean = sum / count;
        (
            mean,
            ((squares / count - mean * mean).max(0.0) / count).sqrt(),
        )
    }
}
