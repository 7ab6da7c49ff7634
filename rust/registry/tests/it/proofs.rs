//! Bytes of proofs, changed everywhere.

use hypermesh_consensus::MeshId;
use std::num::NonZeroUsize;

use hypermesh_registry::{Expect, Ledger, MempoolLimits, Motion, NameProof, Restore, Snapshot};

use crate::*;

#[test]
fn a_name_is_proved_from_the_founder_on() {
    let mut mesh = Mesh::new(4, 1);
    let id = mesh.ledger.mesh();
    mesh.act(4, set("films/dune", 9, Expect::Absent));
    mesh.agree(3, Motion::Demote(node(3)));
    for _ in 0..2 {
        for (text, meant) in [
            ("films/dune", Some(root(9))),
            ("films", None),
            ("films/dune/2", None),
        ] {
            let proof = mesh.ledger.prove_name(&name(text)).unwrap();
            let bytes = proof.to_bytes();
            let read = NameProof::from_bytes(&bytes).unwrap();
            assert_eq!(read, proof);
            let proven = read.verify(&id).unwrap();
            assert_eq!(proven.named.map(|named| named.root), meant);
            assert_eq!(proven.height, mesh.ledger.tip().height);
            assert!(read.verify(&MeshId([0; 32])).is_err());
            // No byte may be another, and nothing may be missing.
            for place in (0..bytes.len()).step_by(7) {
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                let proven = NameProof::from_bytes(&changed).and_then(|proof| proof.verify(&id));
                assert!(proven.is_err(), "byte {place} of {}", bytes.len());
                assert!(NameProof::from_bytes(&bytes[..place]).is_err());
            }
            let mut fewer = proof.clone();
            fewer.links.remove(1);
            assert!(fewer.verify(&id).is_err());
        }
        // Again with a block after the change of voters.
        mesh.act(4, set("films/other", 1, Expect::Any));
    }
}

#[test]
fn a_state_comes_in_parts_that_prove_themselves() {
    let mut mesh = Mesh::new(4, 1);
    for block in 0..3 {
        for number in 0..500 {
            let text = format!(
                "a name that is long enough to fill some parts of a snapshot/{block}/{number}"
            );
            let transaction = mesh.signed(4, set(&text, 1, Expect::Any));
            mesh.ledger.submit(&transaction.to_bytes()).unwrap();
        }
        mesh.decide();
    }
    let state = mesh.ledger.state();
    let snapshot = Snapshot::of(state);
    assert!(snapshot.parts() > 1);
    let mut restore = Restore::new(snapshot.root());
    for number in 0..snapshot.parts() {
        let part = snapshot.part(number).unwrap();
        for place in (0..part.len()).step_by(997) {
            let mut changed = part.clone();
            changed[place] ^= 1;
            assert!(restore.add(&changed).is_err(), "byte {place}");
        }
        assert!(!restore.is_whole());
        restore.add(&part).unwrap();
        assert!(restore.add(&part).is_err());
    }
    let restored = restore.finish(state.mesh()).unwrap();
    assert_eq!(restored.root(), state.root());
    assert_eq!(restored.voters(), state.voters());
    assert!(restored.names(None, None).eq(state.names(None, None)));
    // A ledger goes on from there.
    let last = mesh.ledger.last().unwrap().clone();
    let story = (genesis(), mesh.ledger.links().to_vec(), last);
    let limits = MempoolLimits::default();
    mesh.other = Ledger::resume(story, restored, limits, NonZeroUsize::MIN).unwrap();
    mesh.act(4, set("later", 1, Expect::Any));
    mesh.agree(3, Motion::Demote(node(3)));
}
