//! What is signed, byte for byte: a change of these would let one version accuse another.

use std::fmt::Write;

use hypermesh_consensus::{
    BlockHash, Ed25519, Height, NilOrVal, Proposal, Round, Sign, Signer, Verify, Vote, VoteType,
};

use crate::{MESH, key, voters};

const VECTORS: &str = include_str!("../../../../integration/vectors/consensus.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn ours() -> String {
    let key = key(0);
    let hash = BlockHash::of(b"a block");
    let long: Vec<u8> = (0..300).map(|number| number as u8).collect();
    let mut text = format!(
        "block 6120626c6f636b\nhash {}\nblock {}\nhash {}\nsigner {}\n",
        hex(&hash.0),
        hex(&long),
        hex(&BlockHash::of(&long).0),
        hex(&key.node().0)
    );
    let votes = [
        (VoteType::Prevote, 1, Round::new(0), NilOrVal::Val(hash)),
        (VoteType::Prevote, 1, Round::new(0), NilOrVal::Nil),
        (VoteType::Precommit, 1, Round::new(0), NilOrVal::Val(hash)),
        (
            VoteType::Precommit,
            u64::MAX,
            Round::new(u32::MAX - 1),
            NilOrVal::Nil,
        ),
    ];
    for (phase, height, round, block) in votes {
        let vote = Vote {
            phase,
            height: Height(height),
            round,
            block,
            voter: Signer(key.node()),
        };
        let bytes = vote.sign_bytes(&MESH);
        let _ = writeln!(text, "vote {} {}", hex(&bytes), hex(&key.sign(&bytes).0));
    }
    for valid_round in [Round::Nil, Round::new(3)] {
        let proposal = Proposal {
            height: Height(9),
            round: Round::new(4),
            block: hash,
            valid_round,
            proposer: Signer(key.node()),
        };
        let bytes = proposal.sign_bytes(&MESH);
        let _ = writeln!(
            text,
            "proposal {} {}",
            hex(&bytes),
            hex(&key.sign(&bytes).0)
        );
    }
    text
}

#[test]
fn what_is_signed_stays() {
    let told: String = VECTORS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(told, ours(), "what is signed would be:\n{}", ours());
}

#[test]
fn a_head_is_proved_without_the_rest() {
    use hypermesh_consensus::HEAD_BYTES;
    let block: Vec<u8> = (0..300).map(|number| number as u8).collect();
    let (head, rest) = block.split_at(HEAD_BYTES);
    let rest = blake3::hash(rest);
    assert_eq!(
        BlockHash::of(&block),
        BlockHash::of_parts(head, rest.as_bytes())
    );
    // What is all head has an empty rest, and no byte may move from one to the other.
    let empty = blake3::hash(b"");
    assert_eq!(
        BlockHash::of(head),
        BlockHash::of_parts(head, empty.as_bytes())
    );
    let moved = blake3::hash(&block[HEAD_BYTES - 1..]);
    assert_ne!(
        BlockHash::of(&block),
        BlockHash::of_parts(&block[..HEAD_BYTES - 1], moved.as_bytes())
    );
}

#[test]
fn no_statement_is_another() {
    // The same bytes after the label would be a vote here and a proposal there.
    let lines: Vec<String> = ours().lines().map(str::to_owned).collect();
    let signed: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    for (number, one) in signed.iter().enumerate() {
        assert!(signed[number + 1..].iter().all(|other| one != other));
    }
}

#[test]
fn weak_keys_do_not_vote() {
    // The neutral point, for which anybody can sign anything.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(hypermesh_consensus::Voter::new(hypermesh_id::NodeId(neutral)).is_err());
    assert!(hypermesh_consensus::Voter::new(hypermesh_id::NodeId([0xff; 32])).is_err());
}

#[test]
fn a_signature_is_by_one_key_over_one_text() {
    let (one, other) = (key(0), key(1));
    let signature = one.sign(b"text");
    let public = one.0.verifying_key();
    assert!(Ed25519.verify(&public, b"text", &signature));
    assert!(!Ed25519.verify(&public, b"texts", &signature));
    assert!(!Ed25519.verify(&other.0.verifying_key(), b"text", &signature));
    assert_eq!(voters(4).quorum(), 3);
    assert_eq!((voters(7).quorum(), voters(7).faults()), (5, 2));
    assert_eq!((voters(1).quorum(), voters(1).faults()), (1, 0));
    assert_eq!((voters(3).quorum(), voters(3).faults()), (3, 0));
}
