//! The panel: a Bayesian mixture of experts, which is what the answer comes from.
//!
//! Every expert gives a distribution over the candidates and "none of these". The panel's is their mean, weighted by
//! how well each has predicted, with a fixed share of weight handed to all after every event (Herbster and Warmuth
//! 1998) so that an expert that was wrong for long can come back. With n experts and T events the panel's log-loss
//! exceeds that of any one expert by at most log2(n) + log2(T) bits for T up to [`SHARE_EVENTS`], and by no more than
//! 2 / SHARE_EVENTS bits per event after that: see [`regret_bits`].

/// Who is on the panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Expert {
    /// The learned ranking of all candidates.
    Ranking,
    /// The same, its confidence corrected by how often it was right at that confidence.
    Corrected,
    /// What followed the last symbol.
    Order1,
    /// What followed the last two symbols.
    Order2,
    /// What followed the last three symbols.
    Order3,
    /// The continuation of the longest repetition under way.
    Repetition,
    /// The last value plus a usual step.
    Stride,
    /// One of several runs with equal steps that are under way at once.
    Runs,
    /// A symbol that came lately.
    Recency,
}

impl Expert {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ranking => "ranking",
            Self::Corrected => "corrected ranking",
            Self::Order1 => "order 1",
            Self::Order2 => "order 2",
            Self::Order3 => "order 3",
            Self::Repetition => "repetition",
            Self::Stride => "stride",
            Self::Runs => "runs",
            Self::Recency => "recency",
        }
    }
}

/// All experts, in the order of their numbers.
pub const EXPERTS: [Expert; 9] = [
    Expert::Ranking,
    Expert::Corrected,
    Expert::Order1,
    Expert::Order2,
    Expert::Order3,
    Expert::Repetition,
    Expert::Stride,
    Expert::Runs,
    Expert::Recency,
];
pub(crate) const COUNT: usize = EXPERTS.len();

/// After so many events the share that is handed round stays as it is, so that the panel can follow for ever.
pub const SHARE_EVENTS: u64 = 1 << 16;

/// How many bits the panel's log-loss may exceed its best expert's after so many events.
pub(crate) fn regret_bits(events: u64) -> f64 {
    let early = events.min(SHARE_EVENTS);
    let late = events - early;
    // The sum of -log2(1 - 1 / (t + 1)) for t = 1.. is log2(t + 1).
    (COUNT as f64).log2() + ((early + 1) as f64).log2() + late as f64 * 2.0 / SHARE_EVENTS as f64
}

/// One more factor, at least f32::MIN_POSITIVE, keeps a product above this above zero.
const PENDING_MIN: f64 = 1e-200;

/// What one expert says: a probability for some candidates, and an equal one for all other outcomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opinion {
    /// Place among the candidates, probability. Places differ.
    pub(crate) named: Vec<(u8, f32)>,
}

/// Weights of the experts and what they have lost so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Panel {
    pub(crate) weights: [f64; COUNT],
    /// Log-loss of each expert in bits, without the factors that are still in `pending`.
    pub(crate) losses: [f64; COUNT],
    /// Product of the latest probabilities: one logarithm serves for many events.
    pub(crate) pending: [f64; COUNT],
    pub(crate) events: u64,
}

/// What an expert gives to the outcome that came, kept from one call to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Per expert, the probability of an outcome that it does not name.
    rest: [f32; COUNT],
    /// The mixture, one per outcome.
    pub(crate) mixed: Vec<f32>,
}

impl Panel {
    pub(crate) fn new() -> Self {
        Self {
            weights: [1.0 / COUNT as f64; COUNT],
            losses: [0.0; COUNT],
            pending: [1.0; COUNT],
            events: 0,
        }
    }

    /// Mixes two full distributions (the first two experts) and the opinions of the others.
    pub(crate) fn mix(
        &self,
        full: [&[f32]; 2],
        opinions: &[Opinion; COUNT - 2],
        table: &mut Table,
    ) {
        let outcomes = full[0].len();
        let weights = self.weights.map(|weight| weight as f32);
        table.mixed.clear();
        table.mixed.extend(
            full[0]
                .iter()
                .zip(full[1])
                .map(|(one, two)| weights[0] * one + weights[1] * two),
        );
        let mut common = 0.0;
        for (expert, opinion) in opinions.iter().enumerate() {
            let named: f32 = opinion
                .named
                .iter()
                .map(|(_, probability)| probability)
                .sum();
            let others = outcomes - opinion.named.len();
            // An expert that names every outcome but "none of these" leaves the rest to that one.
            let rest = (1.0 - named).max(0.0) / others.max(1) as f32;
            table.rest[expert + 2] = rest;
            let weight = weights[expert + 2];
            common += weight * rest;
            for (place, probability) in &opinion.named {
                table.mixed[usize::from(*place)] += weight * (probability - rest);
            }
        }
        let mut sum = 0.0;
        for probability in &mut table.mixed {
            *probability = (*probability + common).max(f32::MIN_POSITIVE);
            sum += *probability;
        }
        let scale = 1.0 / sum;
        for probability in &mut table.mixed {
            *probability *= scale;
        }
    }

    /// Log-loss of every expert so far, in bits.
    pub(crate) fn losses(&self) -> [f64; COUNT] {
        std::array::from_fn(|expert| self.losses[expert] - self.pending[expert].log2())
    }

    /// Moves weight to the experts that gave the outcome more.
    pub(crate) fn learn(
        &mut self,
        full: [&[f32]; 2],
        opinions: &[Opinion; COUNT - 2],
        table: &Table,
        actual: usize,
    ) {
        self.events = self.events.saturating_add(1);
        let mut sum = 0.0;
        for expert in 0..COUNT {
            let given = table.given(full, opinions, expert, actual);
            let given = f64::from(given.max(f32::MIN_POSITIVE));
            self.pending[expert] *= given;
            if self.pending[expert] < PENDING_MIN {
                self.losses[expert] -= self.pending[expert].log2();
                self.pending[expert] = 1.0;
            }
            self.weights[expert] *= given;
            sum += self.weights[expert];
        }
        let share = 1.0 / (self.events.min(SHARE_EVENTS) + 1) as f64;
        for weight in &mut self.weights {
            *weight = (1.0 - share) * *weight / sum + share / COUNT as f64;
        }
    }
}

impl Table {
    /// What one expert gives to one outcome.
    pub(crate) fn given(
        &self,
        full: [&[f32]; 2],
        opinions: &[Opinion; COUNT - 2],
        expert: usize,
        outcome: usize,
    ) -> f32 {
        if expert < 2 {
            return full[expert][outcome];
        }
        let named = opinions[expert - 2].named.iter();
        let named = named
            .copied()
            .find(|(place, _)| usize::from(*place) == outcome);
        named.map_or(self.rest[expert], |(_, probability)| probability)
    }
}
