//! Placement under its rules, for any nodes, claims and forecasts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use hypermesh_id::NodeId;
use hypermesh_placement::place::{
    Affinity, Block, Distances, Holder, IntelligentBlockSharding, Lineage, Node, Nodes,
    PlacementError, Prices, Region, Relative, Rules, Step, TRUSTED_BYTES, Why, next_step,
};
use proptest::prelude::*;

const REGIONS: usize = 4;

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn distances() -> Distances {
    let millis = |at: usize| 50.0 * (at / REGIONS).abs_diff(at % REGIONS) as f64;
    Distances::new(REGIONS, (0..REGIONS * REGIONS).map(millis).collect()).unwrap()
}

fn sharding(rules: Rules) -> IntelligentBlockSharding {
    IntelligentBlockSharding::new(rules, Prices::default(), distances(), 1_000).unwrap()
}

fn node(region: u8, domain: u64) -> Node {
    Node {
        region: Region(region),
        domain,
        capacity: 1 << 40,
        proven: 0,
        alive: true,
        refused: 0,
    }
}

fn block<'a>(lineage: Lineage<'a>) -> Block<'a> {
    Block {
        key: 1,
        bytes: 1_000,
        lineage,
        holders: &[],
        pins: &[],
        residency: None,
        relatives: &[],
        reads: 1.0,
    }
}

const LINEAGE: Lineage<'static> = Lineage {
    object: 10,
    groups: &[1, 2],
};

fn any_node() -> impl Strategy<Value = Node> {
    let bytes = prop_oneof![Just(0), 0..5_000_u64, Just(u64::MAX)];
    (
        0..6_u8,
        0..4_u64,
        bytes.clone(),
        bytes,
        prop::bool::weighted(0.8),
        prop_oneof![4 => Just(0), 1 => any::<u32>()],
    )
        .prop_map(|(region, domain, capacity, proven, alive, refused)| Node {
            region: Region(region),
            domain,
            capacity,
            proven,
            alive,
            refused,
        })
}

/// Forecasts, among them none.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1e6, 1 => Just(f64::NAN), 1 => Just(-1.0), 1 => Just(f64::INFINITY), 1 => Just(f64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rules_hold_whatever_is_claimed(
        nodes in prop::collection::vec(any_node(), 0..12),
        holders in prop::collection::vec((0..14_u8, any::<bool>()), 0..5),
        pins in prop::collection::vec(0..14_u8, 0..3),
        residency in prop::option::of(prop::collection::vec(0..6_u8, 0..4)),
        relatives in prop::collection::vec((0..14_u8, any_number()), 0..3),
        asked in prop::collection::vec((0..8_u8, any::<u64>()), 0..20),
        (floor, bytes, reads) in (1..4_usize, prop_oneof![Just(0), 0..5_000_u64, Just(u64::MAX)], any_number()),
    ) {
        let mut sharding = sharding(Rules { floor, most: 5 });
        for (number, node) in nodes.iter().enumerate() {
            sharding.nodes.set(id(number as u8), *node).unwrap();
        }
        for (region, now) in asked {
            sharding.affinity.observe(LINEAGE, Region(region), now);
        }
        let holders: Vec<Holder> = holders.iter().map(|(number, served)| Holder { node: id(*number), served: *served }).collect();
        let pins: Vec<NodeId> = pins.iter().map(|number| id(*number)).collect();
        let allowed = residency.as_ref().map(|regions| regions.iter().map(|region| Region(*region)).collect::<Vec<_>>());
        let relatives: Vec<Relative> = relatives.iter().map(|(number, saves)| Relative { node: id(*number), saves: *saves }).collect();
        let block = Block { bytes, holders: &holders, pins: &pins, residency: allowed.as_deref(), relatives: &relatives, reads, ..block(LINEAGE) };
        let may = |node: &NodeId| sharding.nodes.get(node).is_some_and(|known| {
            let room = known.room() >= bytes || holders.iter().any(|holder| holder.node == *node);
            let here = allowed.as_ref().is_none_or(|regions| regions.contains(&known.region));
            known.alive && room && here
        });
        let eligible: Vec<NodeId> = (0..12).map(id).filter(may).collect();
        match sharding.determine_optimal_placement(&block, 1_000) {
            Err(PlacementError::Forecast { .. }) => prop_assert!(!reads.is_finite() || reads < 0.0),
            Err(PlacementError::NoNode { .. }) => prop_assert!(eligible.is_empty()),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(strategy) => {
                let copies: BTreeSet<NodeId> = strategy.primary_nodes.iter().copied().collect();
                prop_assert_eq!(copies.len(), strategy.replica_count);
                prop_assert!(copies.iter().all(may));
                // As many as the floor asks for while so many nodes may hold it.
                prop_assert!(copies.len() >= floor.min(eligible.len()));
                prop_assert_eq!(strategy.short, floor.saturating_sub(copies.len()));
                prop_assert!(copies.len() <= 5.max(pins.len()));
                for pin in &pins {
                    prop_assert!(copies.contains(pin) != strategy.unmet_pins.contains(pin));
                }
                // Two share a failure domain only where the floor finds no other, or by pins.
                let domain = |node: &NodeId| sharding.nodes.get(node).unwrap().domain;
                for (at, choice) in strategy.choices.iter().enumerate() {
                    prop_assert!(choice.gain.is_finite() || bytes == u64::MAX || reads > 1e100);
                    let before: Vec<u64> = strategy.primary_nodes[..at].iter().map(domain).collect();
                    match choice.why {
                        Why::Floor | Why::Pays => prop_assert!(!before.contains(&domain(&choice.node))),
                        Why::FloorSameDomain => {
                            let none_left = eligible.iter().all(|other| {
                                strategy.primary_nodes[..at].contains(other)
                                    || before.contains(&domain(other))
                            });
                            prop_assert!(none_left);
                        }
                        Why::Pinned => {}
                    }
                    let idle = holders
                        .iter()
                        .any(|holder| holder.node == choice.node && !holder.served);
                    prop_assert!(copies.len() <= floor || choice.why == Why::Pinned || !idle);
                }
                let spread: usize = strategy.geographic_distribution.iter().map(|(_, count)| count).sum();
                prop_assert_eq!(spread, copies.len());
            }
        }
    }

    /// From any copies to any others, while nodes come and go: never fewer live copies than the floor, or than there were.
    #[test]
    fn moving_never_goes_below_the_floor(
        from in prop::collection::btree_set(0..10_u8, 2..6),
        to in prop::collection::btree_set(0..10_u8, 2..6),
        deaths in prop::collection::vec((0..30_usize, 0..10_u8), 0..3),
    ) {
        let floor = 2;
        let wanted: Vec<NodeId> = to.iter().map(|number| id(*number)).collect();
        let mut verified: Vec<NodeId> = from.iter().map(|number| id(*number)).collect();
        let mut dead: BTreeSet<NodeId> = BTreeSet::new();
        for step in 0..40 {
            dead.extend(deaths.iter().filter(|death| death.0 == step).map(|death| id(death.1)));
            let live = |copies: &[NodeId]| copies.iter().filter(|copy| !dead.contains(copy)).count();
            match next_step(&wanted, &verified, floor, |node| !dead.contains(node)) {
                Step::Copy(node) => verified.push(node),
                Step::Drop(node) => {
                    verified.retain(|other| *other != node);
                    prop_assert!(live(&verified) >= floor);
                    prop_assert!(live(&verified) >= live(&wanted));
                }
                Step::Done => {
                    prop_assert!(wanted.iter().all(|node| dead.contains(node) || verified.contains(node)));
                }
            }
        }
        let left: BTreeSet<NodeId> = verified.iter().filter(|node| !dead.contains(node)).copied().collect();
        prop_assert!(left.len() <= floor.max(wanted.len()), "it ended with more than asked for: {left:?}");
    }

    #[test]
    fn shares_add_up_and_memory_is_bounded(
        asked in prop::collection::vec((0..200_u64, 0..200_u64, 0..9_u8, any::<u64>()), 0..400),
        now in any::<u64>(),
    ) {
        let mut affinity = Affinity::new(6, 100);
        for (object, group, region, now) in asked {
            affinity.observe(Lineage { object, groups: &[1_000, 1_001 + group] }, Region(region), now);
            prop_assert!(affinity.known() <= 103);
        }
        for object in 0..20 {
            let shares = affinity.shares(Lineage { object, groups: &[1_000, 1_001] }, now);
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }
}

#[test]
fn copies_go_where_reads_come_from_and_say_why() {
    let mut sharding = sharding(Rules::default());
    for number in 0..8 {
        sharding
            .nodes
            .set(id(number), node(number / 2, number.into()))
            .unwrap();
    }
    for _ in 0..50 {
        sharding.affinity.observe(LINEAGE, Region(2), 0);
        sharding.affinity.observe(LINEAGE, Region(3), 0);
    }
    let holders = [Holder {
        node: id(0),
        served: true,
    }];
    let often = Block {
        holders: &holders,
        reads: 100.0,
        ..block(LINEAGE)
    };
    let strategy = sharding.determine_optimal_placement(&often, 0).unwrap();
    let regions: Vec<u8> = strategy
        .geographic_distribution
        .iter()
        .map(|(region, _)| region.0)
        .collect();
    assert!(regions.contains(&2) && regions.contains(&3), "{strategy:?}");
    assert!(strategy.choices.iter().all(|choice| choice.gain > 0.0));
    let told: Vec<String> = strategy.choices.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|line| line.contains("in region 2: ")),
        "{told:?}"
    );
    // The same block that nobody reads stays where it is, with one copy more for the floor.
    let never = Block {
        reads: 0.0,
        ..often
    };
    let strategy = sharding.determine_optimal_placement(&never, 0).unwrap();
    assert_eq!(
        (strategy.primary_nodes[0], strategy.replica_count),
        (id(0), 2)
    );
}

#[test]
fn an_object_nobody_asked_for_goes_where_its_directory_is_asked_for() {
    let mut affinity = Affinity::new(REGIONS, 1_000);
    for object in 0..30 {
        affinity.observe(
            Lineage {
                object: 100 + object,
                groups: &[1, 2],
            },
            Region(3),
            0,
        );
        affinity.observe(
            Lineage {
                object: 200 + object,
                groups: &[1, 3],
            },
            Region(1),
            0,
        );
    }
    let shares = |groups| {
        affinity.shares(
            Lineage {
                object: 999,
                groups,
            },
            0,
        )
    };
    assert!(shares(&[1, 2])[3] > 0.5 && shares(&[1, 3])[1] > 0.5);
}

#[test]
fn a_relative_draws_a_copy_of_its_region() {
    let mut sharding = sharding(Rules::default());
    for number in 0..8 {
        sharding
            .nodes
            .set(id(number), node(number / 2, number.into()))
            .unwrap();
    }
    let relatives = [
        Relative {
            node: id(5),
            saves: 0.9,
        },
        Relative {
            node: id(4),
            saves: f64::NAN,
        },
    ];
    let block = Block {
        relatives: &relatives,
        ..block(LINEAGE)
    };
    let strategy = sharding.determine_optimal_placement(&block, 0).unwrap();
    assert!(strategy.primary_nodes.contains(&id(5)), "{strategy:?}");
}

#[test]
fn claims_of_room_are_believed_as_far_as_they_are_proven() {
    let liar = Node {
        capacity: u64::MAX,
        ..node(0, 0)
    };
    assert_eq!(liar.room(), TRUSTED_BYTES);
    assert_eq!(
        Node {
            proven: 1 << 30,
            ..liar
        }
        .room(),
        1 << 30
    );
    assert_eq!(Node { refused: 3, ..liar }.room(), TRUSTED_BYTES / 8);
    assert_eq!(
        Node {
            refused: u32::MAX,
            ..liar
        }
        .room(),
        0
    );
    assert_eq!(
        Node {
            capacity: 5,
            proven: u64::MAX,
            ..liar
        }
        .room(),
        0
    );
}

#[test]
fn nodes_are_where_they_were_last_seen() {
    let mut nodes = Nodes::new();
    let mut plain = BTreeMap::new();
    for step in 0..500_u64 {
        let number = (step * step % 31) as u8;
        if step % 3 == 0 {
            assert_eq!(nodes.remove(&id(number)), plain.remove(&number).is_some());
        } else {
            let node = node((step % 4) as u8, step);
            nodes.set(id(number), node).unwrap();
            plain.insert(number, node);
        }
        assert_eq!(nodes.len(), plain.len());
        assert!((0..31).all(|number| nodes.get(&id(number)) == plain.get(&number)));
    }
}

#[test]
fn wrong_models_are_refused() {
    let prices = Prices {
        store: f64::NAN,
        ..Prices::default()
    };
    let made = IntelligentBlockSharding::new(Rules::default(), prices, distances(), 10);
    assert!(matches!(
        made,
        Err(PlacementError::Price { name: "store", .. })
    ));
    let rules = Rules { floor: 3, most: 2 };
    let made = IntelligentBlockSharding::new(rules, Prices::default(), distances(), 10);
    assert!(matches!(
        made,
        Err(PlacementError::Rules { floor: 3, most: 2 })
    ));
    assert!(matches!(
        Distances::new(2, vec![0.0; 3]),
        Err(PlacementError::Regions { .. })
    ));
    assert!(matches!(
        Distances::new(2, vec![0.0, f64::NAN, 1.0, 0.0]),
        Err(PlacementError::Distance { from: 0, to: 1, .. })
    ));
}
