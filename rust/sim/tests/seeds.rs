//! Runs in virtual time. `SEEDS` says how many random ones, `FROM` the first.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermesh_sim::{Behaviour, Scenario, Trouble, retell, run};

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

/// Runs scenarios of seeds on all cores. Answers the seeds that failed, and how.
fn run_seeds(from: u64, count: u64) -> Vec<(u64, String)> {
    let (next, failed) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    if let Err(violation) = run(&Scenario::of(seed)) {
                        failed.lock().unwrap().push((seed, violation.to_string()));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    failed
}

#[test]
fn what_must_never_be_is_not() {
    let (from, count) = (number("FROM", 0), number("SEEDS", 500));
    let failed = run_seeds(from, count);
    for (seed, why) in &failed {
        println!("seed {seed}: {why}");
    }
    println!(
        "{} of {count} seeds from {from} on broke a rule",
        failed.len()
    );
    // The planted bug is there to be found.
    assert_eq!(
        failed.is_empty(),
        !cfg!(feature = "planted-bug"),
        "{failed:?}"
    );
}

#[test]
fn quiet_meshes_decide_in_three_delays() {
    if cfg!(feature = "planted-bug") {
        return;
    }
    for nodes in [2, 3, 4, 7, 10] {
        let scenario = Scenario::quiet(1, nodes);
        let report = run(&scenario).unwrap();
        assert_eq!(
            report.first_round, report.heights.1,
            "all in the first round"
        );
        if nodes >= 4 {
            // One way takes 20 ms and some; a quorum waits for its slowest.
            let each = report.time / report.heights.1 / 1_000_000;
            assert!((60..80).contains(&each), "{nodes} nodes: {each} ms");
        }
        assert!(report.proved.is_empty());
        assert_eq!(report.faults, 0);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let scenario = Scenario::of(seed);
        let first = run(&scenario);
        assert_eq!(first, run(&scenario), "seed {seed}");
        let mut lines = 0;
        assert_eq!(
            first,
            retell(&scenario, |_, _| lines += 1),
            "to follow a run changes nothing"
        );
        assert!(lines > 100);
        traces.extend(first.map(|report| report.trace));
    }
    // With the planted bug some end early.
    assert!(traces.len() >= 20);
}

#[test]
fn who_lies_alone_stops_nothing_and_is_proved_where_that_can_be() {
    if cfg!(feature = "planted-bug") {
        return;
    }
    for behaviour in Behaviour::ALL {
        let mut scenario = Scenario::quiet(7, 4);
        scenario.nodes[2] = Some(behaviour);
        // One is away for a while and has to ask what was decided.
        let (node, after) = (0, 0);
        scenario
            .faults
            .push((500_000_000, Trouble::Crash { node, after }));
        scenario
            .faults
            .push((2_500_000_000, Trouble::Restart { node }));
        let report =
            run(&scenario).unwrap_or_else(|violation| panic!("{behaviour:?}: {violation}"));
        let provable = matches!(
            behaviour,
            Behaviour::DoubleVotes
                | Behaviour::SplitVotes
                | Behaviour::DoubleProposals
                | Behaviour::Twins
        );
        assert_eq!(
            report.proved.contains(&2),
            provable,
            "{behaviour:?}: {report:?}"
        );
        let held = matches!(
            behaviour,
            Behaviour::Forging
                | Behaviour::Invalid
                | Behaviour::Lying
                | Behaviour::Flooding
                | Behaviour::Stuffing
        );
        if held {
            assert!(
                report.faults > 0,
                "{behaviour:?} is seen by those it talks to"
            );
        }
    }
}
