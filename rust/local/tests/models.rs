//! What threads share, run in every order that the memory model allows.
//!
//! The sources are those of the crate, built against loom's primitives.
#![expect(
    unreachable_pub,
    reason = "what is public in the crate is included here"
)]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/breaker/mod.rs"]
mod breaker;
#[path = "../src/credit.rs"]
mod credit;

use std::time::Duration;

use breaker::shared::Shared;
use breaker::{BreakerOptions, BreakerState, Outcome};
use credit::Credit;
use loom::sync::Arc;
use loom::thread;

const OPTIONS: BreakerOptions = BreakerOptions {
    window: Duration::from_secs(1),
    calls_min: 1,
    failed_share_max: 0.0,
    slow_from: Duration::from_secs(1),
    slow_share_max: 1.0,
    probes: 2,
    pause_first: Duration::from_nanos(100),
    pause_max: Duration::from_nanos(100),
};

#[test]
fn no_credit_is_spent_twice_and_none_is_lost() {
    loom::model(|| {
        let credit = Arc::new(Credit::new(1));
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let credit = Arc::clone(&credit);
                thread::spawn(move || u32::from(credit.take()) + u32::from(credit.take()))
            })
            .collect();
        assert!(credit.allow(2));
        let sent: u32 = senders.into_iter().map(|one| one.join().unwrap()).sum();
        let mut left = 0;
        while credit.take() {
            left += 1;
        }
        assert_eq!(sent + left, 3);
    });
}

#[test]
fn credit_stays_below_its_most() {
    loom::model(|| {
        let credit = Arc::new(Credit::new(credit::MOST - 1));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let credit = Arc::clone(&credit);
                thread::spawn(move || credit.allow(1))
            })
            .collect();
        let added = others
            .into_iter()
            .map(|one| one.join().unwrap())
            .filter(|added| *added)
            .count();
        assert_eq!(added, 1);
    });
}

/// Three threads come when the pause is over: as many as there are probes get leave, whoever is first.
#[test]
fn the_number_of_probes_is_exact() {
    loom::model(|| {
        let breaker = Arc::new(Shared::new(OPTIONS));
        let permit = breaker.admit(|| 0).unwrap();
        breaker.record(permit, 0, Outcome::Failed, Duration::ZERO, u64::MAX);
        assert!(breaker.admit(|| 99).is_err());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || breaker.admit(|| 100).is_ok())
            })
            .collect();
        let mine = breaker.admit(|| 100).is_ok();
        let leaves = others
            .into_iter()
            .map(|one| u32::from(one.join().unwrap()))
            .sum::<u32>()
            + u32::from(mine);
        assert_eq!(leaves, 2);
    });
}

/// While one failure opens it, others hold leave from before: what they record later changes nothing.
#[test]
fn late_outcomes_do_not_count() {
    loom::model(|| {
        let breaker = Arc::new(Shared::new(OPTIONS));
        let early = breaker.admit(|| 0).unwrap();
        let failing = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || {
                if let Ok(permit) = breaker.admit(|| 0) {
                    breaker.record(permit, 0, Outcome::Failed, Duration::ZERO, u64::MAX);
                }
            })
        };
        let late = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || {
                breaker.record(early, 0, Outcome::Succeeded, Duration::ZERO, 0);
            })
        };
        failing.join().unwrap();
        late.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Open { until_ns: 100 });
        // A probe that succeeds, and one that is given up and made again, close it.
        let first = breaker.admit(|| 100).unwrap();
        let second = breaker.admit(|| 100).unwrap();
        let other = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || {
                breaker.record(second, 100, Outcome::Unknown, Duration::ZERO, 0);
            })
        };
        breaker.record(first, 100, Outcome::Succeeded, Duration::ZERO, 0);
        other.join().unwrap();
        let again = breaker.admit(|| 101).unwrap();
        breaker.record(again, 101, Outcome::Succeeded, Duration::ZERO, 0);
        assert_eq!(breaker.state(), BreakerState::Closed);
    });
}
