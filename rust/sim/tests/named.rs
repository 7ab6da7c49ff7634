//! Runs that have a name: those of `regressions.txt`, and liars and small meshes by design.
#![cfg(not(feature = "planted-bug"))]

use hypermesh_sim::{Behaviour, Delays, Random, Scenario, run};

/// Each line: seed, the rare thing that it must show, what it was.
#[test]
fn what_broke_once_or_is_rare_holds() {
    let text = include_str!("../regressions.txt");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let [seed, rare, what] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else {
            panic!("{line}: seed, rare thing and name, with tabs between");
        };
        let report = run(&Scenario::of(seed.parse().unwrap()));
        let report = report.unwrap_or_else(|violation| panic!("{what}: seed {seed}: {violation}"));
        assert!(
            report.rare.contains(rare),
            "{what}: seed {seed} is another run by now, without {rare}: choose another ({:?})",
            report.rare
        );
        count += 1;
    }
    assert!(count >= 5);
}

/// One that may propose soon sends many blocks ahead: it took the places of all others' blocks, and a mesh of four stood
/// still for ever.
#[test]
fn who_sends_many_blocks_keeps_none_from_being_decided() {
    for liar in 0..4 {
        let mut scenario = Scenario::quiet(1, 4);
        scenario.nodes[liar] = Some(Behaviour::Stuffing);
        let report = run(&scenario).unwrap();
        assert!(report.faults > 0);
    }
}

#[test]
fn a_mesh_of_one_decides_as_often_as_it_is_asked() {
    let mut scenario = Scenario::quiet(5, 1);
    scenario.gaps = 50_000_000;
    let report = run(&scenario).unwrap();
    // Four seconds and ten heights more: a height for most of the submissions, and nothing in between.
    assert!((60..120).contains(&report.heights.1), "{report:?}");
    assert!(report.steps < 1000, "it spins: {report:?}");
}

#[test]
fn measured_delays_are_read_and_used() {
    let delays = Delays::parse("# two places\n0 80\n80 0\n\n0 nan\n120 0\n").unwrap();
    let report = run(&Scenario::quiet(2, 4).over(&delays, &mut Random::new(2, 4)));
    assert!(report.unwrap().heights.0 > 10);
    for (text, line) in [("1 2\n3", 2), ("a", 1), ("-1", 1), ("", 0), ("99999999", 1)] {
        assert_eq!(Delays::parse(text).unwrap_err().line, line, "{text}");
    }
}

/// `DELAYS` names a file of measured round trips, as `hypermesh sim --delays` reads it.
#[test]
fn measured_delays_break_nothing() {
    let Ok(path) = std::env::var("DELAYS") else {
        println!("NOT TRIED: DELAYS names no file of round trips");
        return;
    };
    let delays = Delays::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let seeds: u64 = std::env::var("SEEDS").map_or(300, |count| count.parse().unwrap());
    for seed in 0..seeds {
        let scenario = Scenario::of(seed).over(&delays, &mut Random::new(seed, 4));
        run(&scenario).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

/// What is enclosed: 42 regions, and a trace of twelve devices.
#[test]
fn enclosed_measurements_are_what_they_say() {
    let regions = Delays::regions();
    assert_eq!(regions.len(), 42);
    let places = ["aws:eu-central-1", "aws:us-east-1", "aws:ap-southeast-2"];
    let places: Vec<usize> = places
        .iter()
        .map(|place| regions.place(place).unwrap())
        .collect();
    let scenario = Scenario::quiet(1, 3).between(regions, 0, &places);
    // Frankfurt to Virginia and to Sydney, one way.
    assert!((40_000_000..60_000_000).contains(&scenario.delays[0][1]));
    assert!((120_000_000..160_000_000).contains(&scenario.delays[0][2]));
    let spread = scenario.clone().spread_as_measured(&mut Random::new(1, 4));
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        // The median stays: what is added at most half of the time makes up for what is taken away.
        let median = spread.delays[from][to] as f64 + spread.spread[from][to] as f64 * 2f64.ln();
        let ratio = median / scenario.delays[from][to] as f64;
        assert!((0.999..1.001).contains(&ratio), "{ratio}");
    }
    assert_eq!(Delays::devices().len(), 12);
}

/// A share of the seeds runs over them.
#[test]
fn seeds_meet_measured_delays() {
    let scenarios: Vec<Scenario> = (0..400).map(Scenario::of).collect();
    let traced = scenarios.iter().filter(|one| !one.weather.is_empty());
    let spread = |one: &&Scenario| one.spread.iter().flatten().any(|spread| *spread > 0);
    assert!(traced.count() >= 8);
    assert!(scenarios.iter().filter(spread).count() >= 16);
}
