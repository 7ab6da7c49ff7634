//! Whatever is fed in, the matrix stays bounded and finite; lies and strangers get nowhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make its matrix fails"
)]

use hypermesh_id::NodeId;
use hypermesh_routing::{
    NeuralRoutingMatrix, Options, QUANTILES, Report, RoutingError, Source, choose,
};
use proptest::prelude::*;

fn name(number: u64) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    NodeId(bytes)
}

fn matrix(nodes: u64) -> NeuralRoutingMatrix {
    let mut matrix = NeuralRoutingMatrix::new(name(0), Options::default()).unwrap();
    for node in 1..nodes {
        matrix.admit(name(node), None).unwrap();
    }
    matrix
}

/// Nodes on a plane, with an access delay each.
fn truth(a: u64, b: u64) -> f64 {
    let at = |node: u64| ((node * 37 % 101) as f64, (node * 61 % 89) as f64);
    let ((x, y), (u, v)) = (at(a), at(b));
    (x - u).hypot(y - v) + 2.0 + (a % 5 + b % 5) as f64
}

/// Every node reports twelve links, and `lie` changes what some say.
fn played(nodes: u64, lie: impl Fn(u64, f64) -> f64) -> NeuralRoutingMatrix {
    let mut matrix = matrix(nodes);
    for round in 0..2 {
        for step in 1..=12 {
            for from in 0..nodes {
                let to = (from + step * step) % nodes;
                if to == from {
                    continue;
                }
                let rtt_ms = lie(from, truth(from, to));
                let at = round * 100 + step;
                if from == 0 {
                    matrix.measured(name(to), rtt_ms, at).unwrap();
                } else {
                    let (reporter, to) = (name(from), name(to));
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
        }
    }
    matrix
}

fn median_error(matrix: &NeuralRoutingMatrix, nodes: u64, skip: impl Fn(u64) -> bool) -> f64 {
    let mut errors = Vec::new();
    for a in 0..nodes {
        for b in a + 1..nodes {
            let estimate = matrix.estimate(name(a), name(b)).unwrap();
            if estimate.source == Source::Predicted && !skip(a) && !skip(b) {
                errors.push((estimate.rtt_ms / truth(a, b) - 1.0).abs());
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn unmeasured_pairs_of_a_plane_are_predicted_and_liars_are_found() {
    let honest = played(60, |_, rtt| rtt);
    let error = median_error(&honest, 60, |_| false);
    assert!(error < 0.15, "{error}");
    assert!((1..60).all(|node| honest.trust(name(node)).unwrap().0));

    let lies = played(60, |from, rtt| if from % 10 == 7 { rtt * 4.0 } else { rtt });
    let error = median_error(&lies, 60, |node| node % 10 == 7);
    assert!(error < 0.2, "{error}");
    for node in 1..60 {
        assert_eq!(lies.trust(name(node)).unwrap().0, node % 10 != 7, "{node}");
    }
}

#[test]
fn the_same_calls_give_the_same_matrix() {
    let [one, other] = [0, 1].map(|_| played(30, |_, rtt| rtt));
    for a in 0..30 {
        for b in a + 1..30 {
            assert_eq!(
                one.estimate(name(a), name(b)),
                other.estimate(name(a), name(b))
            );
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut matrix = matrix(4);
    matrix.measured(name(1), 5.0, 100).unwrap();
    for rtt_ms in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e9] {
        assert!(matches!(
            matrix.measured(name(1), rtt_ms, 200),
            Err(RoutingError::Latency(_))
        ));
    }
    assert_eq!(
        matrix.measured(name(1), 5.0, 99),
        Err(RoutingError::Backwards { at: 99, last: 100 })
    );
    assert_eq!(
        matrix.measured(name(9), 5.0, 200),
        Err(RoutingError::Stranger(name(9)))
    );
    assert_eq!(
        matrix.measured(name(0), 5.0, 200),
        Err(RoutingError::Itself(name(0)))
    );
    let mut report = Report {
        reporter: name(9),
        to: name(1),
        rtt_ms: 5.0,
        at: 0,
    };
    assert_eq!(
        matrix.reported(&report),
        Err(RoutingError::Stranger(name(9)))
    );
    report.reporter = name(0);
    assert_eq!(matrix.reported(&report), Err(RoutingError::Itself(name(0))));
    for place in [[91.0, 0.0], [0.0, 181.0], [f64::NAN, 0.0]] {
        assert!(matches!(
            matrix.admit(name(8), Some(place)),
            Err(RoutingError::Place(_))
        ));
    }
    assert_eq!((matrix.pairs(), matrix.nodes()), (1, 4));
}

#[test]
fn a_million_nodes_that_one_peer_announces_take_no_room() {
    let mut matrix = matrix(3);
    for node in 0..1_000_000 {
        let report = Report {
            reporter: name(1),
            to: name(1_000 + node),
            rtt_ms: 1.0,
            at: node,
        };
        assert!(matrix.reported(&report).is_err());
    }
    assert_eq!((matrix.pairs(), matrix.nodes()), (0, 3));
}

#[test]
fn nodes_and_pairs_are_limited() {
    let options = Options {
        nodes_max: 20,
        pairs_per_reporter: 5,
        ..Options::default()
    };
    let mut matrix = NeuralRoutingMatrix::new(name(0), options).unwrap();
    for node in 1..20 {
        matrix.admit(name(node), None).unwrap();
    }
    assert_eq!(matrix.admit(name(20), None), Err(RoutingError::Full(20)));
    for to in 2..20 {
        let report = Report {
            reporter: name(1),
            to: name(to),
            rtt_ms: 3.0,
            at: 0,
        };
        assert_eq!(matrix.reported(&report).is_ok(), to < 7, "{to}");
    }
    assert_eq!(matrix.pairs(), 5);
    // A node that leaves takes its links along, and its place is free.
    matrix.remove(name(1));
    assert_eq!((matrix.pairs(), matrix.nodes()), (0, 19));
    matrix.admit(name(20), None).unwrap();
    assert_eq!(
        matrix.estimate(name(0), name(1)),
        Err(RoutingError::Stranger(name(1)))
    );
}

#[test]
fn what_this_node_measured_is_not_outvoted() {
    let mut matrix = matrix(3);
    for at in 0..20 {
        matrix.measured(name(1), 10.0, at).unwrap();
        let (reporter, to) = (name(1), name(0));
        matrix
            .reported(&Report {
                reporter,
                to,
                rtt_ms: 500.0,
                at,
            })
            .unwrap();
    }
    let estimate = matrix.estimate(name(1), name(0)).unwrap();
    assert_eq!(estimate.source, Source::Measured);
    assert!((estimate.rtt_ms - 10.0).abs() < 1e-3, "{estimate:?}");
}

#[test]
fn views_have_the_shapes_they_say() {
    let matrix = played(20, |_, rtt| rtt);
    let (nodes, positions) = matrix.node_positions();
    assert_eq!((nodes.len(), positions.dim()), (20, (20, 7)));
    assert!(positions[[3, 5]].is_nan());
    let groups = matrix.geographic_clusters(30.0);
    assert!(groups.len() == 20 && groups.iter().any(|group| *group > 0));
    let connections = matrix.connection_matrix(&nodes).unwrap().rtt_ms;
    let latencies = matrix.latency_matrix(&nodes).unwrap().rtt_ms;
    for a in 0..20 {
        for b in 0..20 {
            assert_eq!(latencies[[a, b]].is_nan(), a == b);
            assert!(
                connections[[a, b]].is_nan()
                    || (connections[[a, b]] - latencies[[a, b]]).abs() < 1e-3
            );
        }
    }
    let forecasts = matrix.prediction_matrix();
    assert_eq!(forecasts.rtt_ms.dim().0, forecasts.nodes.len());
    assert!(!forecasts.nodes.is_empty() && forecasts.rtt_ms.iter().all(|rtt| *rtt > 0.0));
    assert!(
        matrix
            .latency_pattern(forecasts.nodes[0])
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_provider_is_the_least_of_what_was_probed_and_what_is_hoped() {
    let matrix = played(30, |_, rtt| rtt);
    let others: Vec<NodeId> = (1..30).map(name).collect();
    let candidates = matrix.providers(name(0), &others).unwrap();
    assert_eq!(candidates.len(), 29);
    assert_eq!(choose(&candidates, &[]), Some(candidates[0].node));
    let probed = [(candidates[0].node, 1e4), (candidates[1].node, 1e4)];
    assert_eq!(choose(&candidates, &probed), Some(candidates[2].node));
    assert_eq!(choose(&[], &probed), None);
}

#[derive(Clone, Debug)]
enum Step {
    Admit(u64, Option<[f64; 2]>),
    Remove(u64),
    Measure(u64, f64, u64),
    Report(u64, u64, f64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0_u64..14;
    let rtt = || {
        prop_oneof![
            0.01_f64..60_000.0,
            1.0_f64..300.0,
            any::<f64>(),
            Just(f64::NAN)
        ]
    };
    let place = prop::option::of([-100.0_f64..100.0, -200.0_f64..200.0]);
    let step = prop_oneof![
        2 => (node(), place).prop_map(|(node, place)| Step::Admit(node, place)),
        1 => node().prop_map(Step::Remove),
        4 => (node(), rtt(), 0_u64..50).prop_map(|(to, rtt, at)| Step::Measure(to, rtt, at)),
        9 => (node(), node(), rtt(), any::<u64>())
            .prop_map(|(from, to, rtt, at)| Step::Report(from, to, rtt, at)),
    ];
    prop::collection::vec(step, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_steps_leave_a_bounded_matrix_of_finite_estimates(steps in steps()) {
        let options = Options { nodes_max: 10, pairs_per_reporter: 6, ..Options::default() };
        let mut matrix = NeuralRoutingMatrix::new(name(0), options).unwrap();
        for step in steps {
            // Errors are allowed; what they leave is looked at below.
            let _ = match step {
                Step::Admit(node, place) => matrix.admit(name(node), place),
                Step::Remove(node) => { matrix.remove(name(node)); Ok(()) }
                Step::Measure(to, rtt_ms, at) => matrix.measured(name(to), rtt_ms, at),
                Step::Report(from, to, rtt_ms, at) => {
                    matrix.reported(&Report { reporter: name(from), to: name(to), rtt_ms, at })
                }
            };
            prop_assert!(matrix.nodes() <= 10 && matrix.pairs() <= 45);
        }
        let (nodes, _) = matrix.node_positions();
        prop_assert_eq!(nodes.len(), matrix.nodes());
        for a in &nodes {
            for b in nodes.iter().filter(|b| *b != a) {
                let estimate = matrix.estimate(*a, *b).unwrap();
                prop_assert!(estimate.rtt_ms.is_finite() && estimate.rtt_ms > 0.0, "{estimate:?}");
                prop_assert!(estimate.quantiles_ms.iter().all(|rtt| rtt.is_finite()));
                prop_assert!((1..QUANTILES.len()).all(|at| estimate.quantiles_ms[at - 1] <= estimate.quantiles_ms[at]));
            }
        }
    }
}
