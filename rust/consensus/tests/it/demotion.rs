//! The hook that steers who proposes: pure, bounded, and never able to keep the mesh from deciding.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Height, Voter, Voters};
use hypermesh_id::NodeId;
use proptest::prelude::*;

fn node(number: u8) -> NodeId {
    let key = SigningKey::from_bytes(&[number + 1; 32]);
    NodeId(key.verifying_key().to_bytes())
}

fn voters(count: u8) -> Voters {
    Voters::new((0..count).map(|number| Voter::new(node(number)).unwrap())).unwrap()
}

/// Who proposes in a round of as many heights in a row as there are turns.
fn turns(voters: &Voters, from: u64, turns: usize, round: u32) -> Vec<NodeId> {
    let heights = (0..turns as u64).map(|turn| Height(from + turn));
    heights
        .map(|height| voters.proposer(height, round).node())
        .collect()
}

proptest! {
    #[test]
    fn at_most_f_are_passed_over_in_round_0_and_none_later(
        count in 1u8..20,
        named in proptest::collection::vec(0u8..24, 0..30),
        from in 0u64..1_000_000,
        round in 1u32..50,
    ) {
        let plain = voters(count);
        let named: Vec<NodeId> = named.into_iter().map(node).collect();
        let steered = plain.demoting(&named);
        // The same prefix, which is what named them, gives the same order: on every node, whatever it was before.
        prop_assert_eq!(&steered, &voters(count).demoting(&named));
        prop_assert_eq!(&steered, &steered.demoting(&named));
        // The voters, their quorum and their number are what they were.
        prop_assert!(steered.nodes().eq(plain.nodes()));
        prop_assert_eq!(steered.quorum(), plain.quorum());
        // A dumb version: the first f different voters that are named.
        let mut passed: Vec<NodeId> = Vec::new();
        for node in &named {
            if plain.contains(node) && !passed.contains(node) && passed.len() < plain.faults() {
                passed.push(*node);
            }
        }
        let left = plain.len() - passed.len();
        let first: BTreeSet<NodeId> = turns(&steered, from, left, 0).into_iter().collect();
        // In round 0 each of the others once in as many heights: a permutation.
        let others: BTreeSet<NodeId> = plain.nodes().filter(|node| !passed.contains(node)).collect();
        prop_assert_eq!(first, others);
        // From round 1 on it is as if nobody had been named.
        let late = turns(&steered, from, plain.len(), round);
        prop_assert_eq!(&late, &turns(&plain, from, plain.len(), round));
        prop_assert_eq!(late.into_iter().collect::<BTreeSet<_>>().len(), plain.len());
    }
}
