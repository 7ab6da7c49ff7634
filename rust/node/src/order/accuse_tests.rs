//! One key in two places: who does that loses its vote, with nobody's help.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Key, Sign};
use hypermesh_id::NodeId;
use hypermesh_registry::{Action, Description, Genesis, Motion, Outcome};
use tokio::sync::oneshot;

use super::chain::Chain;
use super::driver_tests::{Ears, Wire};
use super::mesh::{self, Mesh, Opening};
use super::snapshots::Policy;
use crate::doors::Gossip;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> NodeId {
    Key(key(seed)).node()
}

async fn open(place: &Path, number: u8, seed: u8, joined: Option<Genesis>, ears: &Ears) -> Mesh {
    let wire = Arc::new(Wire {
        number,
        me: id(seed),
        ears: Arc::clone(ears),
    });
    let heard = wire.hear().await.unwrap();
    let place = place.to_path_buf();
    let opened = tokio::task::spawn_blocking(move || {
        let opening = Opening {
            directory: &place,
            key: &key(seed),
            joined,
            snapshots: Policy {
                every: 4 << 20,
                behind: 4_096,
            },
            store: None,
        };
        mesh::open(opening, wire, heard)
    });
    opened.await.unwrap().unwrap()
}

async fn decide(node: &Mesh, action: Action) -> Outcome {
    let (waiter, word) = oneshot::channel();
    let ask = Box::new(move |chain: &mut Chain| chain.submit(action, 0, waiter));
    assert!(node.running.asks.send(ask).await.is_ok());
    let word = tokio::time::timeout(Duration::from_secs(60), word).await;
    word.unwrap().unwrap().unwrap().outcome
}

async fn until(node: &Mesh, what: impl Fn(&super::chain::Published) -> bool) {
    let mut published = node.published.clone();
    let reached = tokio::time::timeout(Duration::from_secs(60), published.wait_for(what)).await;
    reached.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_two_places_loses_its_vote() {
    let places: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
    let ears = Ears::default();
    let mut nodes = vec![open(places[0].path(), 1, 1, None, &ears).await];
    let genesis = nodes[0].genesis.clone();
    for seed in 2..=4 {
        let node = id(seed);
        let admit = Action::Admit {
            node,
            invitation: [seed; 16],
            description: Description::default(),
        };
        assert_eq!(decide(&nodes[0], admit).await, Outcome::Done);
        let place = places[usize::from(seed) - 1].path();
        nodes.push(open(place, seed, seed, Some(genesis.clone()), &ears).await);
        let voters = usize::from(seed) - 1;
        for voter in &nodes[..voters] {
            until(voter, |seen| seen.state.member(&node).is_some()).await;
            if !voter.published.borrow().state.voters().contains(&node) {
                // A late word finds it done.
                decide(voter, Action::Move(Motion::Promote(node))).await;
            }
        }
        for one in &nodes {
            until(one, |seen| seen.state.voters().contains(&node)).await;
        }
    }
    let culprit = id(4);
    // The same key once more, and something to agree upon meanwhile.
    let twin = open(places[4].path(), 5, 4, Some(genesis), &ears).await;
    let convicted = |seen: &super::chain::Published| seen.state.conviction(&culprit).is_some();
    for turn in 0..200u64 {
        if convicted(&nodes[0].published.borrow()) {
            break;
        }
        let describe = Action::Describe(Description {
            capacity: turn,
            ..Description::default()
        });
        assert_eq!(decide(&nodes[0], describe).await, Outcome::Done);
    }
    for node in &nodes[..3] {
        until(node, convicted).await;
        let seen = node.published.borrow().clone();
        assert!(!seen.state.voters().contains(&culprit));
        assert!(seen.state.member(&culprit).is_some_and(|it| !it.voter));
    }
    // Its proof is there after a restart, and is not brought forward again.
    let with_proof = nodes.iter().position(|node| {
        let seen = node.published.borrow();
        seen.evidence.iter().any(|one| one.culprit() == culprit)
    });
    let at = with_proof.unwrap();
    drop((nodes, twin));
    ears.lock().unwrap().clear();
    let seed = at as u8 + 1;
    let again = open(places[at].path(), seed, seed, None, &ears).await;
    let seen = again.published.borrow().clone();
    assert!(seen.evidence.iter().any(|one| one.culprit() == culprit));
    assert!(convicted(&seen) && seen.waiting == 0);
}
