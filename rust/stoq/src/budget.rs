//! A bound on work that is done for others.

use std::time::{Duration, Instant};

/// Seconds whose work may be saved up.
const SAVED_SECONDS: u64 = 4;

/// Bytes that may be worked on: filled at an even rate, at most a few seconds' worth of them.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u64,
    left: u64,
    filled: Instant,
}

impl Budget {
    /// Starts full.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second,
            left: per_second.saturating_mul(SAVED_SECONDS),
            filled: now,
        }
    }

    /// What is left.
    pub(crate) fn left(&mut self, now: Instant) -> u64 {
        let passed = now
            .saturating_duration_since(self.filled)
            .min(Duration::from_secs(SAVED_SECONDS));
        let earned = (self.per_second as f64 * passed.as_secs_f64()) as u64;
        // Looks that follow each other closely earn nothing yet; their time is counted later.
        if earned > 0 {
            let most = self.per_second.saturating_mul(SAVED_SECONDS);
            self.left = self.left.saturating_add(earned).min(most);
            self.filled = now;
        }
        self.left
    }

    /// Takes what was used. Those who looked at once may use more than there was; it is never paid twice.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_evenly_and_saves_a_few_seconds() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut budget = Budget::new(1_000, start);
        assert_eq!(budget.left(at(0)), 4_000);
        budget.spend(4_500);
        assert_eq!(budget.left(at(0)), 0);
        assert_eq!(budget.left(at(250)), 250);
        // A clock that is read out of order gives nothing twice.
        assert_eq!(budget.left(at(100)), 250);
        budget.spend(50);
        assert_eq!(budget.left(at(500)), 450);
        assert_eq!(budget.left(at(3_600_000)), 4_000);
        assert_eq!(Budget::new(0, start).left(at(5_000)), 0);
    }
}
