//! Bytes of proofs, changed everywhere.

use hypermesh_consensus::MeshId;
use hypermesh_registry::{Expect, Motion, NameProof};

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
