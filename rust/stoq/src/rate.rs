//! A bound on how often something happens.

use std::time::{Duration, Instant};

/// A bucket of permits that fills at an even rate and holds one second's.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: u32,
    /// In the bucket; below one, the next is under way.
    permits: f64,
    filled: Instant,
}

impl Rate {
    /// Starts full.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            permits: per_second.into(),
            filled: now,
        }
    }

    /// Takes a permit, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now
            .saturating_duration_since(self.filled)
            .min(Duration::from_secs(1));
        let full = f64::from(self.per_second);
        self.permits = (self.permits + passed.as_secs_f64() * full).min(full);
        self.filled = self.filled.max(now);
        let taken = self.permits >= 1.0;
        if taken {
            self.permits -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_saves_up_one_second_at_most() {
        let start = Instant::now();
        let mut rate = Rate::new(4, start);
        let count = |rate: &mut Rate, at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|_| rate.take(now)).count()
        };
        assert_eq!(count(&mut rate, 0), 4);
        assert_eq!(count(&mut rate, 500), 2);
        // A clock that is read out of order gives nothing twice.
        assert_eq!(count(&mut rate, 100), 0);
        assert_eq!(count(&mut rate, 500), 0);
        assert_eq!(count(&mut rate, 3_600_000), 4);
        assert!(!Rate::new(0, start).take(start));
    }
}
