//! A circuit breaker: after too many failures it refuses calls for a while, then lets a few through to see.
//!
//! After Nygard, "Release It!" (2007), with a sliding window of counts, slow calls beside failed ones, an exact number of
//! probes, and pauses with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), so that many callers do not come
//! back at once. Time and randomness are arguments; [`shared::Shared`] is the same for many threads.

pub(crate) mod shared;

use std::time::Duration;

/// When a breaker opens, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerOptions {
    /// What happened longer ago does not count.
    pub window: Duration,
    /// Fewer calls in the window prove nothing.
    pub calls_min: u32,
    /// It opens when more than this share of the calls failed.
    pub failed_share_max: f64,
    /// A call that takes this long is slow.
    pub slow_from: Duration,
    /// It opens when more than this share of the calls was slow.
    pub slow_share_max: f64,
    /// Calls let through after a pause. All must succeed, none slowly; the first that does not opens it again.
    pub probes: u32,
    /// A pause is a random part of this, doubled for each pause in a row…
    pub pause_first: Duration,
    /// …up to this.
    pub pause_max: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            calls_min: 20,
            failed_share_max: 0.5,
            slow_from: Duration::from_secs(1),
            slow_share_max: 0.8,
            probes: 3,
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
        }
    }
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All go through.
    Closed,
    /// None does until then, in nanoseconds of the caller's clock.
    Open { until_ns: u64 },
    /// Probes go through: so many are under way or have succeeded.
    HalfOpen { admitted: u32, succeeded: u32 },
}

/// How a call ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
    /// It says nothing of the other side: the caller gave up, or asked for what cannot be.
    Unknown,
}

/// Leave for one call. Its outcome must be recorded, [`Outcome::Unknown`] at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    epoch: u64,
}

/// No call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How long until the next call may be let through.
    pub retry_in: Duration,
}

const BUCKETS: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which part of time it counts.
    part: u64,
    calls: u32,
    failed: u32,
    slow: u32,
}

/// The state machine, for one peer and method.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    /// Rises with each change of state: what was admitted before says nothing of now.
    epoch: u64,
    /// Pauses since it was closed last.
    pauses: u32,
    buckets: [Bucket; BUCKETS],
    /// Time does not run backwards in here.
    now_ns: u64,
}

impl Breaker {
    /// A closed one that has seen nothing.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: BreakerState::Closed,
            epoch: 0,
            pauses: 0,
            buckets: [Bucket::default(); BUCKETS],
            now_ns: 0,
        }
    }

    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks for leave to make a call.
    pub fn admit(&mut self, now_ns: u64) -> Result<Permit, Refused> {
        self.now_ns = self.now_ns.max(now_ns);
        if let BreakerState::Open { until_ns } = self.state
            && self.now_ns >= until_ns
        {
            self.change(BreakerState::HalfOpen {
                admitted: 0,
                succeeded: 0,
            });
        }
        match &mut self.state {
            BreakerState::Closed => {}
            BreakerState::Open { until_ns } => {
                return Err(Refused {
                    retry_in: Duration::from_nanos(*until_ns - self.now_ns),
                });
            }
            BreakerState::HalfOpen { admitted, .. } => {
                if *admitted >= self.options.probes.max(1) {
                    return Err(Refused {
                        retry_in: self.options.pause_first,
                    });
                }
                *admitted += 1;
            }
        }
        Ok(Permit { epoch: self.epoch })
    }

    /// Records how a call ended and how long it took. `random` is any number, equally likely; it spreads pauses.
    pub fn record(
        &mut self,
        permit: Permit,
        now_ns: u64,
        outcome: Outcome,
        took: Duration,
        random: u64,
    ) {
        self.now_ns = self.now_ns.max(now_ns);
        if permit.epoch != self.epoch {
            return;
        }
        let slow = took >= self.options.slow_from;
        match (&mut self.state, outcome) {
            (BreakerState::Open { .. }, _) | (BreakerState::Closed, Outcome::Unknown) => {}
            (BreakerState::HalfOpen { admitted, .. }, Outcome::Unknown) => *admitted -= 1,
            (BreakerState::HalfOpen { succeeded, .. }, Outcome::Succeeded) if !slow => {
                *succeeded += 1;
                if *succeeded >= self.options.probes {
                    self.pauses = 0;
                    self.change(BreakerState::Closed);
                }
            }
            (BreakerState::HalfOpen { .. }, _) => self.open(random),
            (BreakerState::Closed, _) => {
                self.count(outcome == Outcome::Failed, slow);
                if self.is_too_bad() {
                    self.open(random);
                }
            }
        }
    }

    fn count(&mut self, failed: bool, slow: bool) {
        let width = (self.options.window.as_nanos() as u64 / BUCKETS as u64).max(1);
        let part = self.now_ns / width;
        let Some(bucket) = self.buckets.get_mut((part % BUCKETS as u64) as usize) else {
            return;
        };
        if bucket.part != part {
            *bucket = Bucket {
                part,
                ..Bucket::default()
            };
        }
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failed = bucket.failed.saturating_add(failed.into());
        bucket.slow = bucket.slow.saturating_add(slow.into());
    }

    fn is_too_bad(&self) -> bool {
        let width = (self.options.window.as_nanos() as u64 / BUCKETS as u64).max(1);
        let oldest = (self.now_ns / width).saturating_sub(BUCKETS as u64 - 1);
        let (mut calls, mut failed, mut slow) = (0u64, 0u64, 0u64);
        for bucket in self.buckets.iter().filter(|bucket| bucket.part >= oldest) {
            calls += u64::from(bucket.calls);
            failed += u64::from(bucket.failed);
            slow += u64::from(bucket.slow);
        }
        let above = |count: u64, share: f64| count as f64 > share * calls as f64;
        calls >= u64::from(self.options.calls_min)
            && (above(failed, self.options.failed_share_max)
                || above(slow, self.options.slow_share_max))
    }

    fn open(&mut self, random: u64) {
        let most = self.options.pause_max.as_nanos() as u64;
        let first = self.options.pause_first.as_nanos() as u64;
        let longest = 1u64
            .checked_shl(self.pauses)
            .and_then(|factor| first.checked_mul(factor))
            .map_or(most, |pause| pause.min(most));
        // Equally likely from 0 to the longest: the high half of the product.
        let pause = (u128::from(random) * (u128::from(longest) + 1)) >> 64;
        self.pauses = self.pauses.saturating_add(1);
        let until_ns = self.now_ns.saturating_add(pause as u64);
        self.change(BreakerState::Open { until_ns });
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.epoch += 1;
        self.buckets = [Bucket::default(); BUCKETS];
    }
}

#[cfg(test)]
mod tests;
