//! What is ordered, byte for byte: a change of these would part a mesh.

use std::fmt::Write;

use hypermesh_consensus::{BlockHash, HEAD_BYTES, Height, Machine, MeshId};
use hypermesh_registry::{
    Action, Description, Expect, Genesis, Head, Motion, NameProof, Parameter, Transaction,
    TransactionId, read_block,
};

use crate::attacks::double_vote;
use crate::*;

const VECTORS: &str = include_str!("../../../../integration/vectors/registry.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len() / 2).map(|at| &text[2 * at..2 * at + 2]);
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn actions(mesh: MeshId) -> Vec<Action> {
    let description = Description {
        label: "größe".into(),
        addresses: vec![
            "[2001:db8::7]:4870".parse().unwrap(),
            "192.0.2.1:9".parse().unwrap(),
        ],
        region: "eu-west".into(),
        domain: "rack 7".into(),
        capacity: 1 << 40,
    };
    let prefix = name("films");
    let mut actions = vec![
        Action::Admit {
            node: node(2),
            invitation: [3; 16],
            description: description.clone(),
        },
        Action::Describe(description),
    ];
    for motion in [
        Motion::Promote(node(2)),
        Motion::Demote(node(2)),
        Motion::Remove(node(2)),
        Motion::SetParameter(Parameter::MotionHeights, 77),
        Motion::Delegate {
            prefix: prefix.clone(),
            to: Some(node(3)),
        },
        Motion::Delegate {
            prefix: prefix.clone(),
            to: None,
        },
    ] {
        actions.push(Action::Move(motion));
    }
    actions.push(Action::Leave { node: node(2) });
    for expect in [Expect::Any, Expect::Absent, Expect::Root(root(4))] {
        actions.push(set("films/dune", 5, expect));
    }
    actions.push(Action::DeleteName {
        name: name("films/dune"),
        expect: Expect::Root(root(5)),
    });
    for to in [Some(node(3)), None] {
        actions.push(Action::Delegate {
            prefix: prefix.clone(),
            to,
        });
    }
    actions.push(Action::Pin {
        root: root(6),
        copies: 3,
        domains: 2,
    });
    actions.push(Action::Unpin { root: root(6) });
    actions.push(Action::Accuse(Box::new(double_vote(mesh, 0, 1))));
    actions
}

/// What is wrong with bytes: their end, a byte more, their first byte, and the last of the signature.
fn spoilt(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut version = bytes.to_vec();
    version[0] ^= 0x80;
    let mut signature = bytes.to_vec();
    signature[bytes.len() - 1] ^= 1;
    let longer = [bytes, &[0]].concat();
    vec![
        bytes[..bytes.len() - 1].to_vec(),
        longer,
        version,
        signature,
    ]
}

fn ours() -> String {
    let mut text = String::new();
    let mut mesh = Mesh::new(1, 1);
    let (genesis, id) = (genesis().to_bytes(), mesh.ledger.mesh());
    let _ = writeln!(text, "genesis {}\nmesh {id}", hex(&genesis));
    for bad in spoilt(&genesis) {
        let _ = writeln!(text, "no-genesis {}", hex(&bad));
    }
    for (number, action) in actions(id).into_iter().enumerate() {
        let sequence = 1 + number as u64;
        let bytes = Transaction::sign(&key(1), &id, sequence, 1 << 20, action).to_bytes();
        let _ = writeln!(
            text,
            "transaction {} {}",
            hex(&bytes),
            TransactionId::of(&bytes)
        );
        if number % 4 == 0 {
            for bad in spoilt(&bytes) {
                let _ = writeln!(text, "no-transaction {}", hex(&bad));
            }
        }
    }
    let transaction = mesh.signed(1, set("films/dune", 5, Expect::Absent));
    mesh.ledger.submit(&transaction.to_bytes()).unwrap();
    let block = mesh.ledger.propose(Height(2));
    let _ = writeln!(text, "block {} {}", hex(&block), BlockHash::of(&block));
    let mut reserved = block.to_vec();
    reserved[HEAD_BYTES - 1] = 1;
    let mut count = block.to_vec();
    count[74] += 1;
    for bad in [
        &block[..block.len() - 1],
        &block[..HEAD_BYTES],
        &reserved,
        &count,
    ] {
        let _ = writeln!(text, "no-block {}", hex(bad));
    }
    mesh.decide();
    for of in ["films/dune", "films"] {
        let proof = mesh.ledger.prove_name(&name(of)).unwrap().to_bytes();
        let meant = if of == "films" {
            "-".into()
        } else {
            root(5).to_string()
        };
        let _ = writeln!(text, "proof {} {of} {meant}", hex(&proof));
        for bad in spoilt(&proof) {
            let _ = writeln!(text, "no-proof {}", hex(&bad));
        }
    }
    text
}

fn told() -> impl Iterator<Item = &'static str> {
    VECTORS.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn what_is_ordered_stays() {
    let told: String = told().flat_map(|line| [line, "\n"]).collect();
    assert_eq!(told, ours(), "what is ordered would be:\n{}", ours());
}

#[test]
fn vectors_are_read_as_they_say() {
    let mut mesh = MeshId([0; 32]);
    for line in told() {
        let mut fields = line.split(' ');
        let kind = fields.next().unwrap();
        let bytes = unhex(fields.next().unwrap());
        match kind {
            "genesis" => mesh = Genesis::from_bytes(&bytes).unwrap().mesh(),
            "mesh" => assert_eq!(bytes, mesh.0),
            "no-genesis" => assert!(Genesis::from_bytes(&bytes).is_err(), "{line}"),
            "transaction" => {
                let read = Transaction::from_bytes(&bytes).unwrap();
                assert!(read.verifies(&mesh) && !read.verifies(&MeshId([0; 32])));
                assert_eq!(read.to_bytes(), bytes);
                let id = fields.next().unwrap();
                assert_eq!(TransactionId::of(&bytes).to_string(), id);
            }
            "no-transaction" => {
                let read = Transaction::from_bytes(&bytes);
                assert!(!read.is_ok_and(|read| read.verifies(&mesh)), "{line}");
            }
            "block" => {
                let (head, items) = read_block(&bytes).unwrap();
                assert_eq!(Head::from_bytes(&bytes).unwrap(), head);
                assert_eq!(
                    (head.to_bytes().as_slice(), items.len()),
                    (&bytes[..HEAD_BYTES], 1)
                );
                let hash = fields.next().unwrap();
                assert_eq!(BlockHash::of(&bytes).to_string(), hash);
            }
            "no-block" => assert!(read_block(&bytes).is_err(), "{line}"),
            "proof" => {
                let proven = NameProof::from_bytes(&bytes)
                    .unwrap()
                    .verify(&mesh)
                    .unwrap();
                assert_eq!(proven.name.as_str(), fields.next().unwrap());
                let meant = proven
                    .named
                    .map_or("-".into(), |named| named.root.to_string());
                assert_eq!(meant, fields.next().unwrap());
            }
            "no-proof" => {
                let proven = NameProof::from_bytes(&bytes).and_then(|proof| proof.verify(&mesh));
                assert!(proven.is_err(), "{line}");
            }
            other => panic!("{other}"),
        }
    }
}
