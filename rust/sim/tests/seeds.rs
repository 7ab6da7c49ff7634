//! Seeded runs.
use hypermesh_sim::{Behaviour, Scenario, retell, run};

#[test]
fn quiet_meshes_decide() {
    for nodes in [4, 7, 10] {
        let report = run(&Scenario::quiet(1, nodes)).unwrap();
        println!("{nodes}: {report:?}");
        assert_eq!(report.first_round, report.heights.1);
    }
}

#[test]
fn seeds() {
    let count: u64 = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let from: u64 = std::env::var("FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut failed = Vec::new();
    for seed in from..from + count {
        if let Err(violation) = run(&Scenario::of(seed)) {
            println!("seed {seed}: {violation}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{} of {count} seeds: {failed:?}", failed.len());
}

#[test]
#[ignore]
fn one() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let scenario = Scenario::of(seed);
    println!("{:?} {:?} {:?}", scenario.nodes, scenario.changes, scenario.faults);
    let result = retell(&scenario, |at, what| println!("{:>9.3} {what}", at as f64 / 1e6));
    println!("{result:?}");
}
