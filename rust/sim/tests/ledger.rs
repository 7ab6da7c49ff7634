//! Meshes that order the registry itself. `LEDGERS` says how many, `FROM` the first seed.
#![cfg(not(feature = "planted-bug"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermesh_sim::{Scenario, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn what_must_never_be_of_a_registry_is_not() {
    let (from, count) = (number("FROM", 0), number("LEDGERS", 60));
    let (next, failed) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let (rare, transactions) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    match run(&Scenario::ledger(seed)) {
                        Ok(report) => {
                            transactions.fetch_add(report.transactions, Ordering::Relaxed);
                            rare.lock().unwrap().extend(report.rare);
                        }
                        Err(violation) => {
                            failed.lock().unwrap().push((seed, violation.to_string()))
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for (seed, why) in &failed {
        println!("seed {seed}: {why}");
    }
    let transactions = transactions.into_inner();
    let rare = rare.into_inner().unwrap();
    println!(
        "{} of {count} seeds from {from} on broke a rule; {transactions} transactions; {rare:?}",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    if from == 0 && count >= 60 {
        assert!(transactions > 5 * count, "{transactions} transactions");
        for one in [
            "a conviction",
            "a slander is refused",
            "a motion is carried",
            "a prefix is delegated",
            "other voters",
            "a snapshot is restored",
            "a transaction is refused unread",
        ] {
            assert!(
                rare.contains(one),
                "none of {count} runs shows {one}: {rare:?}"
            );
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..4 {
        let scenario = Scenario::ledger(seed);
        assert_eq!(run(&scenario), run(&scenario), "seed {seed}");
    }
}
