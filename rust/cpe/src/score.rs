//! The running account of how good the predictions were.

/// Bins of the calibration table.
pub const BINS: usize = 15;

/// One bin: predictions whose first item had a probability in one fifteenth of the range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Predictions in the bin.
    pub count: u64,
    /// Sum of the probabilities that they gave to their first item.
    pub confidence: f64,
    /// How often that item came.
    pub hits: u64,
}

/// What a stream has scored on every event so far, each predicted before it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Events.
    pub events: u64,
    /// How often the first item came.
    pub hits_at_1: u64,
    /// How often one of the first five came.
    pub hits_at_5: u64,
    /// Events that were none of the candidates.
    pub none: u64,
    /// Of those, events with a symbol that was never seen, or is forgotten.
    pub unseen: u64,
    /// Predictions that stayed silent: the first item's probability was under the threshold.
    pub silent: u64,
    /// Log-loss in bits, summed over events, of the outcome among the candidates and "none of these".
    pub log_loss_bits: f64,
    /// Brier score of the same outcome, summed: squared distance between forecast and outcome, 0 to 2 per event.
    pub brier: f64,
    /// Events whose time was before the previous one of their lane.
    pub backwards: u64,
    /// Calibration.
    pub bins: [Bin; BINS],
}

impl Scores {
    /// Mean distance between the probability of the first item and how often it came, weighted by bin; 0 is perfect.
    pub fn calibration_error(&self) -> f64 {
        let distance = |bin: &Bin| (bin.confidence - bin.hits as f64).abs();
        let total: u64 = self.bins.iter().map(|bin| bin.count).sum();
        self.bins.iter().map(distance).sum::<f64>() / total.max(1) as f64
    }

    /// Share of events whose symbol was the first item.
    pub fn hit_at_1(&self) -> f64 {
        self.hits_at_1 as f64 / self.events.max(1) as f64
    }

    /// Share of events whose symbol was among the first five.
    pub fn hit_at_5(&self) -> f64 {
        self.hits_at_5 as f64 / self.events.max(1) as f64
    }

    /// All counters that are whole numbers, in the order of their encoding.
    pub(crate) fn counters(&self) -> [u64; 7] {
        [
            self.events,
            self.hits_at_1,
            self.hits_at_5,
            self.none,
            self.unseen,
            self.silent,
            self.backwards,
        ]
    }

    /// Counts one event: the outcomes' probabilities ("none of these" last), which one came, and the best one's place.
    pub(crate) fn add(&mut self, given: &[f32], actual: usize, best: usize, claim_min: f32) {
        self.events += 1;
        let came = given[actual];
        self.log_loss_bits -= f64::from(came).log2();
        let squares: f32 = given
            .iter()
            .map(|probability| probability * probability)
            .sum();
        self.brier += f64::from(squares - 2.0 * came + 1.0).max(0.0);
        let none = given.len() - 1;
        self.none += u64::from(actual == none);
        let first = if best < none { given[best] } else { 0.0 };
        self.silent += u64::from(first < claim_min || best == none);
        if best == none {
            return;
        }
        let bin = &mut self.bins[((first * BINS as f32) as usize).min(BINS - 1)];
        bin.count += 1;
        bin.confidence += f64::from(first);
        bin.hits += u64::from(actual == best);
        self.hits_at_1 += u64::from(actual == best);
        if actual < none {
            let before =
                |(at, given): (usize, &f32)| *given > came || (*given == came && at < actual);
            let better = given[..none]
                .iter()
                .enumerate()
                .filter(|item| before(*item))
                .count();
            self.hits_at_5 += u64::from(better < 5);
        }
    }
}
