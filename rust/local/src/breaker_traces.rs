//! The golden traces of breakers, which all languages read.

use std::time::Duration;

use mfn_wire::Status;

use crate::pool::outcome;
use crate::{Breaker, BreakerOptions, BreakerState, CallError, Outcome};

/// What is different from what the golden traces say; nothing is agreement.
fn disagreement(text: &str) -> Option<String> {
    let number = |word: &str| word.parse::<u64>().unwrap();
    let nanos = |word: &str| Duration::from_nanos(number(word));
    let how = |word: &str| match word {
        "succeeded" => Outcome::Succeeded,
        "failed" => Outcome::Failed,
        _ => Outcome::Unknown,
    };
    let mut breaker = Breaker::new(BreakerOptions::default());
    let mut permits = Vec::new();
    let (mut trace, mut events) = (String::new(), 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let wrong = |found: String| Some(format!("{trace}: {line}: {found}"));
        match words[..] {
            ["trace", name, ref numbers @ ..] => {
                let options = BreakerOptions {
                    window: nanos(numbers[0]),
                    calls_min: numbers[1].parse().unwrap(),
                    failed_share_max: numbers[2].parse().unwrap(),
                    slow_from: nanos(numbers[3]),
                    slow_share_max: numbers[4].parse().unwrap(),
                    probes: numbers[5].parse().unwrap(),
                    pause_first: nanos(numbers[6]),
                    pause_max: nanos(numbers[7]),
                };
                (breaker, permits, trace) = (Breaker::new(options), Vec::new(), name.to_owned());
                continue;
            }
            ["status", status, expected] => {
                let status = Status(status.parse().unwrap());
                let error = match status {
                    Status::OK => continue,
                    // Who answers so has not taken the call.
                    Status::CLOSED => CallError::NotAccepted(String::new()),
                    _ => CallError::Failed {
                        status,
                        text: String::new(),
                    },
                };
                if outcome(&error) != how(expected) {
                    return wrong(format!("{status:?}"));
                }
                continue;
            }
            ["admit", now, expected, _] => {
                let found = match breaker.admit(number(now)) {
                    Ok(permit) => {
                        permits.push(permit);
                        "yes".to_owned()
                    }
                    Err(refused) => refused.retry_in.as_nanos().to_string(),
                };
                if found != expected {
                    return wrong(found);
                }
            }
            ["record", now, permit, outcome, took, random, _] => {
                let permit = permits[permit.parse::<usize>().unwrap()];
                let (now, random) = (number(now), number(random));
                breaker.record(permit, now, how(outcome), nanos(took), random);
            }
            _ => return wrong("no such line".into()),
        }
        events += 1;
        let state = match breaker.state() {
            BreakerState::Closed => "closed".to_owned(),
            BreakerState::Open { until_ns } => format!("open:{until_ns}"),
            BreakerState::HalfOpen {
                admitted,
                succeeded,
            } => format!("half:{admitted}:{succeeded}"),
        };
        if Some(&state.as_str()) != words.last() {
            return wrong(state);
        }
    }
    (events == 0).then(|| "there is nothing".to_owned())
}

#[test]
fn golden_traces_agree_and_the_canary_does_not() {
    let read = |name: &str| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration/vectors/");
        std::fs::read_to_string(root.to_owned() + name).unwrap()
    };
    assert_eq!(disagreement(&read("breaker.txt")), None);
    assert!(disagreement(&read("breaker_canary.txt")).is_some());
}
