//! Every target with seeded changes of valid encodings, and a count of how deep they got: a target whose inputs all
//! stop at the door, or all pass it, tests nothing.

use std::collections::BTreeSet;

use hypermesh_fuzz::mutate::{Random, mutate};
use hypermesh_fuzz::{Depth, TARGETS};

const ROUNDS: usize = 10_000;
/// Signing, verifying and wells take most of the time.
const SIGNED_ROUNDS: usize = 4_000;
/// Snapshots are long, and taken again of what was read.
const SNAPSHOT_ROUNDS: usize = 2_000;
const CHANGES_MAX: usize = 4;
/// At least this share of the inputs gets past the first layer.
const ENTERED_MIN: f64 = 0.25;
/// At least this share is accepted, and this share refused at the first layer.
const EACH_END_MIN: f64 = 0.02;

#[test]
fn seeds_are_accepted_and_stay_so_when_sealed() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(seeds.len() > 2, "{}", target.name);
        for (at, seed) in seeds.iter().enumerate() {
            assert_eq!(
                (target.run)(seed),
                Depth::Accepted,
                "{}: seed {at}",
                target.name
            );
            let mut sealed = seed.clone();
            (target.seal)(&mut sealed);
            assert_eq!(
                (target.run)(&sealed),
                Depth::Accepted,
                "{}: seed {at}, sealed",
                target.name
            );
        }
    }
}

#[test]
fn changed_bytes_get_deep_and_no_target_panics() {
    for (number, target) in TARGETS.iter().enumerate() {
        let seed = 1 + number as u64;
        let mut random = Random(seed);
        let seeds = (target.seeds)();
        let rounds = match target.name {
            "invitation" | "stoq_frame" | "dsr_well" => SIGNED_ROUNDS,
            "cpe_stream" | "cpe_engine" | "order_snapshot" => SNAPSHOT_ROUNDS,
            _ => ROUNDS,
        };
        let (mut refused, mut accepted) = (0, 0);
        let mut inputs = BTreeSet::new();
        for _ in 0..rounds {
            let mut data = seeds[random.below(seeds.len())].clone();
            for _ in 0..1 + random.below(CHANGES_MAX) {
                mutate(&mut data, &seeds[random.below(seeds.len())], &mut random);
            }
            if random.below(2) == 0 {
                (target.seal)(&mut data);
            }
            match (target.run)(&data) {
                Depth::Refused => refused += 1,
                Depth::Entered => {}
                Depth::Accepted => accepted += 1,
            }
            inputs.insert(data);
        }
        let share = |count: usize| count as f64 / rounds as f64;
        let name = target.name;
        println!(
            "{name}: seed {seed}, {rounds} inputs, {} different: {:.1} % refused at the door, {:.1} % later, {:.1} % accepted",
            inputs.len(),
            100.0 * share(refused),
            100.0 * share(rounds - refused - accepted),
            100.0 * share(accepted)
        );
        assert!(inputs.len() > rounds / 2, "{name}: the inputs repeat");
        assert!(
            share(rounds - refused) >= ENTERED_MIN,
            "{name}: too few inputs get past the first layer"
        );
        // No change makes another token that opens, so none of those is asked for.
        assert!(
            share(accepted) >= EACH_END_MIN || name == "token" && accepted > 0,
            "{name}: too few inputs are accepted"
        );
        assert!(
            share(refused) >= EACH_END_MIN,
            "{name}: too few inputs are refused"
        );
    }
}

#[test]
fn noise_panics_nowhere() {
    for (number, target) in TARGETS.iter().enumerate() {
        let mut random = Random(100 + number as u64);
        for _ in 0..1_000 {
            let length = random.below(300);
            let mut data: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
            (target.run)(&data);
            (target.seal)(&mut data);
            assert!(data.len() <= length, "{}: a repair grows", target.name);
            (target.run)(&data);
        }
    }
}

#[test]
fn a_program_stands_for_every_target() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets");
    let programs: BTreeSet<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let targets = TARGETS.iter().map(|target| target.name.to_owned());
    assert_eq!(programs, targets.collect::<BTreeSet<_>>());
}
