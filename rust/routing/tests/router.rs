//! A relay is used only while it is measured better, under a budget of probes, and is left as soon as it is not.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make its router fails"
)]

use hypermesh_id::NodeId;
use hypermesh_routing::{
    NeuralRoutingMatrix, Options, Report, RouterOptions, RoutingError, StoqRouter, Why,
};
use proptest::prelude::*;

fn name(number: u8) -> NodeId {
    NodeId([number; 32])
}

/// Node 0 asks; the direct path to 1 is slow, through 2 it is fast.
fn matrix() -> NeuralRoutingMatrix {
    let mut matrix = NeuralRoutingMatrix::new(name(0), Options::default()).unwrap();
    for node in 1..8 {
        matrix.admit(name(node), None).unwrap();
    }
    for at in 0..30 {
        for (to, rtt_ms) in [(1, 200.0), (2, 20.0), (3, 90.0)] {
            matrix.measured(name(to), rtt_ms, at).unwrap();
        }
        for (from, rtt_ms) in [(2, 30.0), (3, 100.0), (4, 250.0)] {
            let (reporter, to) = (name(from), name(1));
            matrix
                .reported(&Report {
                    reporter,
                    to,
                    rtt_ms,
                    at,
                })
                .unwrap();
        }
    }
    matrix
}

fn router() -> StoqRouter {
    StoqRouter::new(RouterOptions::default()).unwrap()
}

/// Asks, answers all probes by `rtt`, and asks again.
fn settle(
    router: &mut StoqRouter,
    matrix: &NeuralRoutingMatrix,
    now: u64,
    rtt: impl Fn(&[NodeId]) -> f64,
) -> usize {
    router.find_optimal_route(matrix, name(1), now).unwrap();
    let probes = router.probes(matrix, now);
    for probe in &probes {
        router
            .answered(probe.number, rtt(&probe.path), now + 50)
            .unwrap();
    }
    probes.len()
}

fn fast_by_two(path: &[NodeId]) -> f64 {
    match path {
        [via, _] if *via == name(2) => 52.0,
        [_, _] => 400.0,
        _ => 200.0,
    }
}

#[test]
fn a_relay_is_used_after_its_probe_and_not_before() {
    let (matrix, mut router) = (matrix(), router());
    let route = router.find_optimal_route(&matrix, name(1), 0).unwrap();
    assert_eq!((route.path, route.why), (vec![name(1)], Why::Unprobed));
    router.delivered(name(2), 1e6);
    let probes = settle(&mut router, &matrix, 0, fast_by_two);
    assert!((1..=6).contains(&probes), "{probes}");
    let route = router.find_optimal_route(&matrix, name(1), 60).unwrap();
    assert_eq!(route.path, vec![name(2), name(1)]);
    assert!(
        matches!(route.why, Why::RelayIsFaster { direct_ms } if (direct_ms - 200.0).abs() < 1.0)
    );
    assert_eq!((route.rtt_ms, route.bandwidth), (52.0, Some(1e6)));
    // Asked again, nothing more is probed.
    assert!(router.probes(&matrix, 70).is_empty());
}

#[test]
fn a_relay_that_turned_bad_is_left_and_not_taken_again() {
    let (matrix, mut router) = (matrix(), router());
    settle(&mut router, &matrix, 0, fast_by_two);
    router.observed(name(1), 60.0, 100).unwrap();
    router.observed(name(1), 210.0, 150).unwrap();
    router.observed(name(1), 60.0, 200).unwrap();
    assert_eq!(
        router
            .find_optimal_route(&matrix, name(1), 201)
            .unwrap()
            .path
            .len(),
        2
    );
    router.observed(name(1), 210.0, 250).unwrap();
    router.observed(name(1), 220.0, 300).unwrap();
    let route = router.find_optimal_route(&matrix, name(1), 301).unwrap();
    assert_eq!((route.path.len(), route.why), (1, Why::RelayTurnedBad));
    assert!(router.probes(&matrix, 302).is_empty());
    // After an hour it may have recovered.
    settle(&mut router, &matrix, 3_700_000, fast_by_two);
    let route = router
        .find_optimal_route(&matrix, name(1), 3_700_060)
        .unwrap();
    assert_eq!(route.path.len(), 2);
    router.observed(name(1), 900.0, 3_700_070).unwrap();
    assert_eq!(
        router
            .find_optimal_route(&matrix, name(1), 3_700_071)
            .unwrap()
            .path
            .len(),
        1
    );
}

#[test]
fn a_silent_or_departed_relay_is_left_at_once() {
    for leave in [
        (|router: &mut StoqRouter| router.silent(name(1))) as fn(&mut StoqRouter),
        |router| router.remove(name(2)),
    ] {
        let (matrix, mut router) = (matrix(), router());
        settle(&mut router, &matrix, 0, fast_by_two);
        assert_eq!(
            router
                .find_optimal_route(&matrix, name(1), 60)
                .unwrap()
                .path
                .len(),
            2
        );
        leave(&mut router);
        assert_eq!(
            router
                .find_optimal_route(&matrix, name(1), 61)
                .unwrap()
                .path
                .len(),
            1
        );
    }
}

#[test]
fn a_relay_is_left_when_the_direct_path_has_become_better() {
    let (matrix, mut router) = (matrix(), router());
    settle(&mut router, &matrix, 0, fast_by_two);
    router.observed_direct(name(1), 180.0, 100).unwrap();
    let path = |router: &mut StoqRouter| {
        let route = router.find_optimal_route(&matrix, name(1), 150);
        route.unwrap().path
    };
    assert_eq!(path(&mut router).len(), 2);
    router.observed_direct(name(1), 40.0, 140).unwrap();
    assert_eq!(path(&mut router).len(), 1);
    assert!(router.observed_direct(name(1), f64::NAN, 160).is_err());
}

#[test]
fn a_relay_that_carried_nothing_is_verified_before_it_is_used_again() {
    let (matrix, mut router) = (
        matrix(),
        StoqRouter::new(RouterOptions {
            probes_per_hour: 9,
            ..RouterOptions::default()
        })
        .unwrap(),
    );
    settle(&mut router, &matrix, 0, fast_by_two);
    let route = router.find_optimal_route(&matrix, name(1), 5_000).unwrap();
    assert_eq!((route.path.len(), route.why), (1, Why::RelayIsStale));
    let probes = router.probes(&matrix, 5_000);
    assert_eq!(probes.len(), 1);
    router.answered(probes[0].number, 50.0, 5_050).unwrap();
    assert_eq!(
        router
            .find_optimal_route(&matrix, name(1), 5_051)
            .unwrap()
            .path
            .len(),
        2
    );
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let (matrix, mut router) = (matrix(), router());
    assert_eq!(router.answered(1, 5.0, 0), Err(RoutingError::Probe(1)));
    router.find_optimal_route(&matrix, name(1), 0).unwrap();
    let probes = router.probes(&matrix, 0);
    for rtt_ms in [f64::NAN, -5.0, f64::INFINITY] {
        assert!(matches!(
            router.answered(probes[0].number, rtt_ms, 10),
            Err(RoutingError::Latency(_))
        ));
    }
    assert!(router.answered(probes[0].number, 1.0, 5_000).is_err());
    assert_eq!(
        router
            .find_optimal_route(&matrix, name(1), 5_001)
            .unwrap()
            .path
            .len(),
        1
    );
    assert!(router.observed(name(6), 5.0, 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_relay_is_used_that_was_not_measured_faster_and_no_hour_costs_more_than_its_budget(
        steps in prop::collection::vec((0_u8..5, 0.02_f64..1000.0, 0_u64..400), 1..120),
        budget in 0_usize..9,
    ) {
        let matrix = matrix();
        let mut router = StoqRouter::new(RouterOptions { probes_per_hour: budget, ..RouterOptions::default() }).unwrap();
        let (mut now, mut sent, mut measured) = (0, 0, std::collections::BTreeSet::new());
        for (what, rtt_ms, later) in steps {
            now += later;
            match what {
                0 | 1 => {
                    let route = router.find_optimal_route(&matrix, name(1), now).unwrap();
                    if let [via, _] = route.path[..] {
                        prop_assert!(measured.contains(&via));
                        prop_assert!(route.rtt_ms < 1.5 * 1000.0);
                    }
                }
                2 => {
                    for probe in router.probes(&matrix, now) {
                        sent += 1;
                        if router.answered(probe.number, rtt_ms, now).is_ok() && probe.path.len() == 2 {
                            measured.insert(probe.path[0]);
                        }
                    }
                }
                3 => { let _ = router.observed(name(1), rtt_ms, now); }
                _ => router.silent(name(1)),
            }
            // 120 steps of at most 400 ms stay within the first hour.
            prop_assert!(sent <= budget, "{sent} of {budget}");
        }
    }
}
