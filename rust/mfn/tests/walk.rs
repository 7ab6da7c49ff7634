//! The walk through the layers, beside versions of it that have no cleverness, in simulated time.

use std::time::Duration;

use mfn_memory::facade::{
    At, Estimates, Foreseeing, InProcess, LayerId, Like, Limits, Measured, Mode, Outcome, Place,
    Similar, Step, Streams, Vectors, Walk, gist,
};
use mfn_memory::{Cpe, Dsr};
use proptest::prelude::*;

/// How one layer behaves when it is asked.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    there: bool,
    takes_ns: u64,
    outcome: Outcome,
}

/// A question: how the layers behave, and where IFR leads.
#[derive(Clone, Copy, Debug)]
struct Case {
    layers: [Behaviour; 4],
    hint: Option<LayerId>,
    limits: Limits,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
struct Ended {
    by: Option<LayerId>,
    order: Vec<LayerId>,
    at_ns: u64,
    worked_ns: u64,
}

/// Runs a walk: layers answer when their time has come.
fn run(case: &Case, mode: Mode, estimates: &Estimates) -> (Ended, Walk) {
    let there = case.layers.map(|layer| layer.there);
    let mut walk = Walk::new(mode, 0, case.limits, there);
    let mut now_ns = 0;
    let mut running: Vec<(u64, LayerId)> = Vec::new();
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 64, "it does not end: {case:?}");
        match walk.next(now_ns, estimates) {
            Step::Done => break,
            Step::Ask { layer, until_ns } => {
                assert!(until_ns > now_ns && until_ns <= case.limits.deadline_ns);
                running.push((now_ns + case.layers[layer.index()].takes_ns, layer));
            }
            Step::Wait { until_ns } => {
                assert!(until_ns > now_ns, "{case:?} at {now_ns}: {walk:?}");
                running.sort();
                match running.first().copied() {
                    Some((at_ns, layer)) if at_ns <= until_ns => {
                        running.remove(0);
                        now_ns = at_ns;
                        let outcome = case.layers[layer.index()].outcome;
                        if walk.ended(layer, now_ns, outcome) && layer == LayerId::Ifr {
                            walk.lead(case.hint);
                        }
                    }
                    _ => now_ns = until_ns,
                }
            }
        }
    }
    let ended = Ended {
        by: walk.by(),
        order: walk.order().to_vec(),
        at_ns: now_ns,
        worked_ns: walk.worked_ns(now_ns),
    };
    (ended, walk)
}

fn measured(layer: LayerId, took: Duration, value: f32) -> Measured {
    let sure = value >= 0.5;
    Measured {
        layer,
        took,
        value,
        sure,
    }
}

fn surest(found: &[(LayerId, f32)]) -> Option<LayerId> {
    let most = found.iter().map(|(_, sure)| *sure).fold(f32::MIN, f32::max);
    let first = found.iter().find(|(_, sure)| *sure == most);
    first.map(|(layer, _)| *layer)
}

/// The walk one after another, written as one would without a thought of anything else.
fn dumb_sequence(case: &Case) -> Ended {
    let Limits {
        deadline_ns,
        work_ns,
        enough,
    } = case.limits;
    let is_there = |layer: &LayerId| case.layers[layer.index()].there;
    let mut left: Vec<LayerId> = LayerId::ALL.into_iter().filter(is_there).collect();
    let (mut now, mut order, mut found) = (0, Vec::new(), Vec::new());
    let mut hint = None;
    while !left.is_empty() && now < deadline_ns {
        let share =
            ((deadline_ns - now) / left.len() as u64).min((work_ns - now) / left.len() as u64);
        if share == 0 {
            break;
        }
        let at = match left.iter().position(|layer| Some(*layer) == hint) {
            Some(at) if left[0] != LayerId::Ifr => at,
            _ => 0,
        };
        let layer = left.remove(at);
        order.push(layer);
        let asked = case.layers[layer.index()];
        if asked.takes_ns > share {
            now += share;
            continue;
        }
        now += asked.takes_ns;
        if layer == LayerId::Ifr {
            hint = case.hint;
        }
        if let Outcome::Found(sure) = asked.outcome {
            found.push((layer, sure));
            if sure >= enough {
                break;
            }
        }
    }
    Ended {
        by: surest(&found),
        order,
        at_ns: now,
        worked_ns: now,
    }
}

/// All at once: each has its part of the work, and the first that is sure enough ends it.
fn dumb_parallel(case: &Case) -> Ended {
    let Limits {
        deadline_ns,
        work_ns,
        enough,
    } = case.limits;
    let is_there = |layer: &LayerId| case.layers[layer.index()].there;
    let there: Vec<LayerId> = LayerId::ALL.into_iter().filter(is_there).collect();
    let (mut free, mut shares) = (work_ns, Vec::new());
    for (at, layer) in there.iter().enumerate() {
        let share = deadline_ns.min(free / (there.len() - at) as u64);
        if share == 0 {
            break;
        }
        free -= share;
        shares.push((*layer, share));
    }
    let ends = |(layer, share): &(LayerId, u64)| case.layers[layer.index()].takes_ns.min(*share);
    let answers = |(layer, share): &(LayerId, u64)| {
        let asked = case.layers[layer.index()];
        match asked.outcome {
            Outcome::Found(sure) if asked.takes_ns <= *share => Some((*layer, sure)),
            _ => None,
        }
    };
    let sure_enough = |one: &(LayerId, u64)| answers(one).is_some_and(|(_, sure)| sure >= enough);
    let end = match shares.iter().filter(|one| sure_enough(one)).map(ends).min() {
        Some(first) => first,
        None => shares.iter().map(ends).max().unwrap_or(0),
    };
    // Of answers at the same moment the walk sees the first layer's, and ends if that is enough.
    let mut found: Vec<(LayerId, f32)> = Vec::new();
    let mut by_time: Vec<_> = shares.iter().filter(|one| ends(one) <= end).collect();
    by_time.sort_by_key(|one| ends(one));
    for one in by_time {
        found.extend(answers(one));
        if sure_enough(one) {
            break;
        }
    }
    found.sort_by_key(|(layer, _)| *layer);
    Ended {
        by: surest(&found),
        order: shares.iter().map(|(layer, _)| *layer).collect(),
        at_ns: end,
        worked_ns: shares.iter().map(|one| ends(one).min(end)).sum(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..=10_u8).prop_map(|tenths| Outcome::Found(f32::from(tenths) / 10.0)),
        Just(Outcome::Nothing),
        Just(Outcome::Failed),
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let takes = prop_oneof![0..40_u64, 0..4_000_u64, Just(u64::MAX / 4)];
    (prop::bool::weighted(0.8), takes, outcome()).prop_map(|(there, takes_ns, outcome)| Behaviour {
        there,
        takes_ns,
        outcome,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let hint = prop::option::of(prop::sample::select(&LayerId::ALL[1..]));
    let limits = (0..5_000_u64, 0..5_000_u64, 0..=11_u8);
    (prop::array::uniform4(behaviour()), hint, limits).prop_map(
        |(layers, hint, (deadline_ns, work_ns, tenths))| Case {
            layers,
            hint,
            limits: Limits {
                deadline_ns,
                work_ns,
                enough: f32::from(tenths) / 10.0,
            },
        },
    )
}

/// Estimates of some questions before.
fn history() -> impl Strategy<Value = Estimates> {
    let one = (
        prop::sample::select(&LayerId::ALL[..]),
        0..2_000_u64,
        0..=10_u8,
    );
    prop::collection::vec(one, 0..60).prop_map(|questions| {
        let mut estimates = Estimates::default();
        for (layer, nanos, tenths) in questions {
            let (took, value) = (Duration::from_nanos(nanos), f32::from(tenths) / 10.0);
            estimates.record(0, &[measured(layer, took, value)]);
        }
        estimates
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn one_after_another_is_what_the_dumb_version_does(case in case()) {
        let (ended, _) = run(&case, Mode::Sequential, &Estimates::default());
        prop_assert_eq!(ended, dumb_sequence(&case));
    }

    #[test]
    fn all_at_once_is_what_the_dumb_version_does(case in case()) {
        let (ended, _) = run(&case, Mode::Parallel, &Estimates::default());
        prop_assert_eq!(ended, dumb_parallel(&case));
    }

    #[test]
    fn an_adaptive_walk_keeps_every_limit(case in case(), estimates in history()) {
        let (ended, walk) = run(&case, Mode::Adaptive, &estimates);
        prop_assert!(ended.at_ns <= case.limits.deadline_ns);
        prop_assert!(ended.worked_ns <= case.limits.work_ns);
        let mut asked = ended.order.clone();
        asked.sort();
        asked.dedup();
        prop_assert_eq!(asked.len(), ended.order.len(), "nobody is asked twice");
        prop_assert!(ended.order.iter().all(|layer| case.layers[layer.index()].there));
        let answered = |layer: &LayerId| matches!(walk.place(*layer), Place::Ended { outcome: Outcome::Found(_), .. });
        prop_assert_eq!(ended.by.is_some(), LayerId::ALL.iter().any(answered));
        let sure = |layer: &LayerId| matches!(
            walk.place(*layer), Place::Ended { outcome: Outcome::Found(sure), .. } if sure >= case.limits.enough);
        // It stops early only for an answer that is good enough, or at a limit.
        let can_go_on = LayerId::ALL.iter().any(|layer| walk.place(*layer) == Place::Waiting);
        let room = case.limits.deadline_ns.min(case.limits.work_ns) > ended.worked_ns + 64;
        if can_go_on && room && ended.at_ns + 64 < case.limits.deadline_ns {
            prop_assert!(LayerId::ALL.iter().any(sure), "{:?}", walk);
        }
    }

    #[test]
    fn a_layer_that_hangs_does_not_take_the_answers_of_others(case in case(), who in 1..4_usize, mode in 0..3_usize) {
        let mut case = case;
        for layer in &mut case.layers {
            *layer = Behaviour { there: true, takes_ns: 10, outcome: Outcome::Nothing };
        }
        case.layers[who].takes_ns = u64::MAX / 4;
        let other = if who == 3 { 1 } else { who + 1 };
        case.layers[other].outcome = Outcome::Found(0.9);
        case.limits = Limits { deadline_ns: 1_000, work_ns: 1_000, enough: 0.5 };
        let mode = [Mode::Sequential, Mode::Parallel, Mode::Adaptive][mode];
        let (ended, _) = run(&case, mode, &Estimates::default());
        prop_assert_eq!(ended.by, Some(LayerId::ALL[other]));
    }
}

/// A layer that is slower than it was measured to be is not waited for alone.
#[test]
fn a_layer_that_turns_slow_is_overtaken() {
    let mut estimates = Estimates::default();
    for _ in 0..50 {
        let measured = |layer, micros, value| measured(layer, Duration::from_micros(micros), value);
        estimates.record(
            0,
            &[
                measured(LayerId::Ifr, 1, 0.0),
                measured(LayerId::Dsr, 20, 0.9),
                measured(LayerId::Cpe, 60, 0.8),
            ],
        );
    }
    let layer = |takes_us: u64, outcome| Behaviour {
        there: true,
        takes_ns: takes_us * 1_000,
        outcome,
    };
    let case = Case {
        layers: [
            layer(1, Outcome::Nothing),
            layer(900_000, Outcome::Found(0.9)),
            Behaviour {
                there: false,
                ..layer(1, Outcome::Nothing)
            },
            layer(60, Outcome::Found(0.8)),
        ],
        hint: None,
        limits: Limits {
            deadline_ns: 1_000_000_000,
            work_ns: 1_000_000_000,
            enough: 0.5,
        },
    };
    let (adaptive, _) = run(&case, Mode::Adaptive, &estimates);
    assert_eq!(adaptive.by, Some(LayerId::Cpe));
    assert!(adaptive.at_ns < 3_000_000, "{adaptive:?}");
    let (sequential, _) = run(&case, Mode::Sequential, &estimates);
    assert!(sequential.at_ns > 300_000_000, "{sequential:?}");
}

/// What a layer says to a question, asked for real.
fn said(finding: Option<mfn_memory::facade::Finding>) -> Outcome {
    finding.map_or(Outcome::Nothing, |finding| {
        Outcome::Found(finding.confidence)
    })
}

/// The words of a real text, as two kinds of questions: what word is this, with a letter lost (only DSR can know), and what
/// comes next (only CPE can). Outcomes are those of the layers; times are given, so that the test is the same everywhere.
#[test]
fn on_a_real_stream_the_layer_that_pays_is_found() {
    let text = include_str!("../../../docs/PROTOCOL.md");
    let words: Vec<&str> = text.split_whitespace().take(3_000).collect();
    let vectors = Vectors::new(std::sync::Arc::new(InProcess::<Dsr>::new(64 << 20)), 1);
    let streams = Streams::new(std::sync::Arc::new(InProcess::<Cpe>::new(64 << 20)), 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ample = Duration::from_secs(60);
    let at = || At {
        stream: b"text".to_vec(),
        lane: 0,
    };
    let mut cases: Vec<(u16, [Outcome; 4])> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let (similar, next) = runtime.block_on(async {
            let lost = &word.as_bytes()[..word.len().saturating_sub(1)];
            let similar = match gist(lost) {
                Some(vector) => vectors
                    .similar(Like::Vector(vector), 1, 0.0, ample)
                    .await
                    .unwrap(),
                None => None,
            };
            let next = streams
                .next(at(), 1, index as u64 + 1, ample)
                .await
                .unwrap();
            if let Some(vector) = gist(word.as_bytes()) {
                vectors
                    .insert(word.as_bytes().to_vec(), vector, ample)
                    .await
                    .unwrap();
            }
            let keys = vec![word.as_bytes().to_vec()];
            streams
                .observe(at(), keys, index as u64 + 1, ample)
                .await
                .unwrap();
            (said(similar), said(next))
        });
        let none = Outcome::Nothing;
        cases.push(match index % 2 {
            0 => (0, [none, similar, none, none]),
            _ => (1, [none, none, none, next]),
        });
    }
    let takes_us = [2, 40, 120, 15];
    let total = |mode: Mode| {
        let mut kinds = [Estimates::default(), Estimates::default()];
        // Where nobody is sure everybody is asked, in any order: only the others tell orders apart.
        let (mut answered, mut worked_ns) = (0, 0);
        for (kind, outcomes) in &cases {
            let estimates = &mut kinds[usize::from(*kind)];
            let layers = [0, 1, 2, 3].map(|at| Behaviour {
                there: true,
                takes_ns: takes_us[at] * 1_000,
                outcome: outcomes[at],
            });
            let limits = Limits {
                deadline_ns: 1_000_000,
                work_ns: 1_000_000,
                enough: 0.3,
            };
            let case = Case {
                layers,
                hint: None,
                limits,
            };
            let (ended, walk) = run(&case, mode, estimates);
            let sure = |outcome: &Outcome| matches!(outcome, Outcome::Found(sure) if *sure >= 0.3);
            if outcomes.iter().any(sure) {
                answered += 1;
                worked_ns += ended.worked_ns;
            }
            estimates.record(0, &walk.measured());
        }
        (answered, worked_ns / answered as u64)
    };
    let (sequential, adaptive) = (total(Mode::Sequential), total(Mode::Adaptive));
    println!("answered, work of one in ns: sequential {sequential:?}, adaptive {adaptive:?}");
    assert_eq!(adaptive.0, sequential.0);
    assert!(
        adaptive.1 * 3 < sequential.1 * 2,
        "{adaptive:?} {sequential:?}"
    );
}
