//! Adaptive hit rates: how often was a source right in this situation?

/// Events that a rate remembers, about.
const MEMORY: f32 = 512.0;

/// A hit rate that starts careful and follows the present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) hits: f32,
    pub(crate) tries: f32,
}

impl Rate {
    pub(crate) const NEW: Rate = Rate {
        hits: 0.0,
        tries: 0.0,
    };

    /// The estimate of Krichevsky and Trofimov, for a rate that is rather small.
    #[inline]
    pub(crate) fn get(&self) -> f32 {
        (self.hits + 0.4) / (self.tries + 2.0)
    }

    #[inline]
    pub(crate) fn learn(&mut self, hit: bool) {
        if self.tries >= MEMORY {
            self.hits *= 0.5;
            self.tries *= 0.5;
        }
        self.tries += 1.0;
        self.hits += f32::from(u8::from(hit));
    }
}

/// Knots of the map from given to true confidence.
pub(crate) const KNOTS: usize = 25;
/// Odds grow by this from knot to knot; the middle knot stands at even odds.
const ODDS: f32 = 1.8;
/// Part of the way that the two nearest knots go with each event, once they have experience.
const PACE: f32 = 1.0 / 256.0;

/// Corrects a confidence by how often that confidence was right: the secondary estimation of PAQ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Correction {
    pub(crate) knots: [f32; KNOTS],
    pub(crate) tries: [f32; KNOTS],
}

impl Correction {
    pub(crate) fn new() -> Self {
        Self {
            knots: CONFIDENCES,
            tries: [8.0; KNOTS],
        }
    }

    /// The knot below a confidence, and how far it is to the next.
    fn place(given: f32) -> (usize, f32) {
        let confidences = &CONFIDENCES;
        let above = confidences.partition_point(|confidence| *confidence <= given);
        let at = above.clamp(1, KNOTS - 1) - 1;
        let (low, high) = (confidences[at], confidences[at + 1]);
        (at, ((given - low) / (high - low)).clamp(0.0, 1.0))
    }

    pub(crate) fn get(&self, given: f32) -> f32 {
        let (at, part) = Self::place(given);
        self.knots[at] * (1.0 - part) + self.knots[at + 1] * part
    }

    pub(crate) fn learn(&mut self, given: f32, hit: bool) {
        let (at, part) = Self::place(given);
        let truth = f32::from(u8::from(hit));
        for (knot, share) in [(at, 1.0 - part), (at + 1, part)] {
            self.tries[knot] = (self.tries[knot] + share).min(1.0 / PACE);
            self.knots[knot] += (truth - self.knots[knot]) * share / self.tries[knot];
        }
    }
}

const CONFIDENCES: [f32; KNOTS] = confidences();

/// Confidences of the knots: even steps of the logarithm of the odds, from 1 in 1,200 to 1,200 in 1.
const fn confidences() -> [f32; KNOTS] {
    let mut confidences = [0.5; KNOTS];
    let (mut odds, mut step) = (1.0, 1);
    while step <= KNOTS / 2 {
        odds *= ODDS;
        confidences[KNOTS / 2 + step] = odds / (1.0 + odds);
        confidences[KNOTS / 2 - step] = 1.0 / (1.0 + odds);
        step += 1;
    }
    confidences
}
