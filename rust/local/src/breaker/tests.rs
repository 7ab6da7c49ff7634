//! The breaker against one that keeps every call and counts anew each time.

use super::*;
use proptest::prelude::*;

const OPTIONS: BreakerOptions = BreakerOptions {
    window: Duration::from_nanos(1_000),
    calls_min: 4,
    failed_share_max: 0.5,
    slow_from: Duration::from_nanos(50),
    slow_share_max: 0.75,
    probes: 2,
    pause_first: Duration::from_nanos(200),
    pause_max: Duration::from_nanos(1_000),
};

#[derive(Clone, Debug)]
enum Step {
    Time(u64),
    Admit,
    /// Which permit, how it ended, how long it took, and the dice.
    Record(usize, u8, u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0u64..300).prop_map(Step::Time),
        5 => Just(Step::Admit),
        5 => (0usize..8, 0u8..6, 0u64..70, any::<u64>()).prop_map(|(at, how, took, dice)| Step::Record(at, how, took, dice)),
    ];
    prop::collection::vec(step, 0..200)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Closed,
    Open(u64),
    Half { under_way: u32, good: u32 },
}

/// The dumb one.
struct Model {
    phase: Phase,
    round: u32,
    calls: Vec<(u64, bool, bool)>,
    pauses: u32,
}

impl Model {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.round) = (phase, self.round + 1);
        self.calls.clear();
    }

    fn admit(&mut self, now: u64) -> Option<u32> {
        if matches!(self.phase, Phase::Open(until) if now >= until) {
            self.enter(Phase::Half {
                under_way: 0,
                good: 0,
            });
        }
        match &mut self.phase {
            Phase::Closed => Some(self.round),
            Phase::Open(_) => None,
            Phase::Half { under_way, good } if *under_way + *good < 2 => {
                *under_way += 1;
                Some(self.round)
            }
            Phase::Half { .. } => None,
        }
    }

    fn record(&mut self, round: u32, now: u64, outcome: Outcome, slow: bool, dice: u64) {
        if round != self.round {
            return;
        }
        let bad = outcome == Outcome::Failed;
        match &mut self.phase {
            Phase::Open(_) => {}
            Phase::Half { under_way, .. } if outcome == Outcome::Unknown => *under_way -= 1,
            Phase::Half { under_way, good } if !bad && !slow => {
                (*under_way, *good) = (*under_way - 1, *good + 1);
                if *good == 2 {
                    self.pauses = 0;
                    self.enter(Phase::Closed);
                }
            }
            Phase::Half { .. } => self.open(now, dice),
            Phase::Closed if outcome == Outcome::Unknown => {}
            Phase::Closed => {
                self.calls.push((now / 100, bad, slow));
                let recent = self.calls.iter().filter(|call| call.0 + 10 > now / 100);
                let (count, failed, late) = recent.fold((0, 0, 0), |sum, call| {
                    (
                        sum.0 + 1,
                        sum.1 + u32::from(call.1),
                        sum.2 + u32::from(call.2),
                    )
                });
                if count >= 4 && (2 * failed > count || 4 * late > 3 * count) {
                    self.open(now, dice);
                }
            }
        }
    }

    fn open(&mut self, now: u64, dice: u64) {
        let longest = (200u64 << self.pauses.min(10)).min(1_000);
        let pause = ((u128::from(dice) * u128::from(longest + 1)) >> 64) as u64;
        self.pauses += 1;
        self.enter(Phase::Open(now + pause));
    }
}

proptest! {
    #[test]
    fn it_does_what_the_dumb_one_does(steps in steps()) {
        let mut breaker = Breaker::new(OPTIONS);
        let mut model = Model { phase: Phase::Closed, round: 0, calls: Vec::new(), pauses: 0 };
        let (mut now, mut permits) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Time(passed) => now += passed,
                Step::Admit => {
                    let (ours, theirs) = (breaker.admit(now), model.admit(now));
                    prop_assert_eq!(ours.is_ok(), theirs.is_some(), "{:?}", breaker.state());
                    if let (Ok(ours), Some(theirs)) = (ours, theirs) { permits.push((ours, theirs)); }
                }
                Step::Record(at, how, took, dice) => {
                    if permits.is_empty() { continue; }
                    let (ours, theirs) = permits.swap_remove(at % permits.len());
                    let outcome = match how { 0 => Outcome::Unknown, 1 | 2 => Outcome::Succeeded, _ => Outcome::Failed };
                    breaker.record(ours, now, outcome, Duration::from_nanos(took), dice);
                    model.record(theirs, now, outcome, took >= 50, dice);
                }
            }
            let phase = match breaker.state() {
                BreakerState::Closed => Phase::Closed,
                BreakerState::Open { until_ns } => Phase::Open(until_ns),
                BreakerState::HalfOpen { admitted, succeeded } => Phase::Half { under_way: admitted - succeeded, good: succeeded },
            };
            prop_assert_eq!(phase, model.phase);
        }
    }
}

#[test]
fn pauses_are_spread_over_their_whole_length_and_grow() {
    let mut breaker = Breaker::new(BreakerOptions {
        calls_min: 1,
        failed_share_max: 0.0,
        ..OPTIONS
    });
    let mut now = 0;
    for longest in [200, 400, 800, 1_000, 1_000] {
        let permit = breaker.admit(now).unwrap();
        breaker.record(permit, now, Outcome::Failed, Duration::ZERO, u64::MAX);
        assert_eq!(
            breaker.state(),
            BreakerState::Open {
                until_ns: now + longest
            }
        );
        let refused = breaker.admit(now + 1).unwrap_err();
        assert_eq!(refused.retry_in, Duration::from_nanos(longest - 1));
        now += longest;
    }
    let permit = breaker.admit(now).unwrap();
    breaker.record(permit, now, Outcome::Failed, Duration::ZERO, 0);
    assert_eq!(breaker.state(), BreakerState::Open { until_ns: now });
}
