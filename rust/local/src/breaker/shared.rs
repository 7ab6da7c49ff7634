//! A breaker that many threads ask.
//!
//! While it is closed, which is nearly always, leave costs one load. All changes happen under the lock, and the word that
//! the load reads is written there too; a leave that was read just before a change has the epoch from before it, so its
//! outcome counts for nothing. Built against [`super::super::sync`], so that a model checker can run it.

use std::time::Duration;

use super::super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};
use super::{Breaker, BreakerOptions, BreakerState, Outcome, Permit, Refused};

#[derive(Debug)]
pub(crate) struct Shared {
    /// The epoch, shifted, and whether it is closed, in the lowest bit.
    gate: AtomicU64,
    breaker: Mutex<Breaker>,
}

impl Shared {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        let breaker = Breaker::new(options);
        Self {
            gate: AtomicU64::new(gate(&breaker)),
            breaker: Mutex::new(breaker),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// As [`Breaker::admit`]. `now_ns` is asked for only when it matters.
    pub(crate) fn admit(&self, now_ns: impl FnOnce() -> u64) -> Result<Permit, Refused> {
        let word = self.gate.load(Ordering::Acquire);
        if word & 1 == 1 {
            return Ok(Permit { epoch: word >> 1 });
        }
        let mut breaker = self.lock();
        let result = breaker.admit(now_ns());
        self.gate.store(gate(&breaker), Ordering::Release);
        result
    }

    /// As [`Breaker::record`].
    pub(crate) fn record(
        &self,
        permit: Permit,
        now_ns: u64,
        outcome: Outcome,
        took: Duration,
        random: u64,
    ) {
        let mut breaker = self.lock();
        breaker.record(permit, now_ns, outcome, took, random);
        self.gate.store(gate(&breaker), Ordering::Release);
    }
}

fn gate(breaker: &Breaker) -> u64 {
    breaker.epoch << 1 | u64::from(breaker.state == BreakerState::Closed)
}
