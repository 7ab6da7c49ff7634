//! How often something came true, and how sure that is.

/// Outcomes over which a share is averaged: the older ones count less.
const WINDOW: f64 = 2_000.0;
/// Standard deviations between a share and what is claimed of it: one in twenty claims would be wrong.
const SIGMAS: f64 = 1.645;

/// A share of outcomes that were good, with a bound below it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    good: f64,
    all: f64,
}

impl Proof {
    pub(super) fn add(&mut self, good: bool) {
        let kept = 1.0 - 1.0 / WINDOW;
        self.good = self.good * kept + f64::from(u8::from(good));
        self.all = self.all * kept + 1.0;
    }

    pub(super) fn share(&self) -> f64 {
        if self.all > 0.0 {
            self.good / self.all
        } else {
            0.0
        }
    }

    /// The share is at least this: Wilson's interval (1927), which holds for few outcomes too. 0 while there are none.
    pub(super) fn at_least(&self) -> f64 {
        self.bound(-1.0)
    }

    /// The share is at most this; 1 while there are no outcomes.
    pub(super) fn at_most(&self) -> f64 {
        self.bound(1.0)
    }

    fn bound(&self, sign: f64) -> f64 {
        let (z2, share) = (SIGMAS * SIGMAS, self.share());
        let spread = (share * (1.0 - share) * self.all + z2 / 4.0)
            .max(0.0)
            .sqrt();
        (share * self.all + z2 / 2.0 + sign * SIGMAS * spread) / (self.all + z2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_needs_outcomes() {
        let mut proof = Proof::default();
        assert!(proof.at_least() < 1e-9 && proof.at_most() > 1.0 - 1e-9);
        for _ in 0..10 {
            proof.add(true);
        }
        assert!(proof.at_least() > 0.7 && proof.at_least() < 0.85);
        proof.add(false);
        assert!(proof.at_least() < 0.7);
    }

    #[test]
    fn old_outcomes_fade() {
        let mut proof = Proof::default();
        (0..10_000).for_each(|_| proof.add(true));
        (0..2_000).for_each(|_| proof.add(false));
        assert!(proof.share() < 0.4);
    }
}
