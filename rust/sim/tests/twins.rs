//! Twins on schedules (Bano and others, 2020). With `TWINS` all of up to two rounds and so many of the longest, else a part.
#![cfg(not(feature = "planted-bug"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hypermesh_sim::{ROUNDS_MAX, Scenario, Schedule, run};

/// Runs schedules on all cores. Answers of how many the twin was proved.
fn run_all(schedules: &[(u32, u64)]) -> usize {
    let (next, proved, failed) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        Mutex::new(Vec::new()),
    );
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((rounds, number)) =
                    schedules.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    match run(&Scenario::twins(Schedule::of(*number, *rounds))) {
                        Ok(report) => {
                            assert!(report.proved.is_empty() || report.proved.contains(&1));
                            proved.fetch_add(
                                usize::from(!report.proved.is_empty()),
                                Ordering::Relaxed,
                            );
                        }
                        Err(violation) => failed
                            .lock()
                            .unwrap()
                            .push(format!("{rounds}:{number}: {violation}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "hypermesh sim --schedule retells one: {failed:?}"
    );
    proved.into_inner()
}

#[test]
fn twins_on_schedules_break_nothing() {
    let whole = std::env::var("TWINS")
        .ok()
        .map(|count| count.parse().unwrap());
    let one = Schedule::all(1).map(|number| (1, number));
    let two = Schedule::all(2)
        .map(|number| (2, number))
        .step_by(if whole.is_some() { 1 } else { 8 });
    let long = Schedule::some(ROUNDS_MAX, whole.unwrap_or(100));
    let short = one.chain(two);
    let long = long.map(|number| (ROUNDS_MAX, number));
    let schedules: Vec<(u32, u64)> = short.chain(long).collect();
    let proved = run_all(&schedules);
    println!(
        "{} schedules, of {proved} the twin is proved",
        schedules.len()
    );
    assert!(
        proved * 4 > schedules.len(),
        "twins that are never seen try nothing: {proved} of {}",
        schedules.len()
    );
}

#[test]
fn schedules_are_enumerated_once_each() {
    // Five copies on one, two or three sides are 1 + 15 + 25 ways, and one of four leads.
    assert_eq!(Schedule::numbers(1), 41 * 4);
    assert_eq!(Schedule::numbers(ROUNDS_MAX), 164u64.pow(7));
    for rounds in 1..=2 {
        let all: Vec<u64> = Schedule::all(rounds).collect();
        assert_eq!(all.len() as u64, Schedule::different(rounds));
        // Each number is like one of them, and they are like nothing but themselves.
        let like: BTreeSet<u64> = (0..Schedule::numbers(rounds))
            .map(|number| Schedule::first_like(number, rounds))
            .collect();
        assert!(all.iter().copied().eq(like));
    }
    let some: BTreeSet<u64> = Schedule::some(ROUNDS_MAX, 1000).collect();
    assert!(some.len() > 990, "{}", some.len());
    let turn = Schedule::of(163, 1).rounds[0];
    assert_eq!((turn.leader, turn.sides[0]), (3, 0));
}
