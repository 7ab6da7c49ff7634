//! What a voter said inside of a certificate counts against it like what it said by itself.

use hypermesh_consensus::{
    BlockHash, Height, Message, NilOrVal, Output, Round, Sign, Signed, Signer, VERSION, Vote,
    VoteType,
};

use super::small::replica;
use crate::{MESH, key};

fn precommit(by: u8, block: NilOrVal<BlockHash>) -> Signed<Vote> {
    let statement = Vote {
        phase: VoteType::Precommit,
        height: Height(1),
        round: Round::new(0),
        block,
        voter: Signer(key(by).node()),
    };
    let signature = key(by).sign(&statement.sign_bytes(&MESH));
    Signed {
        statement,
        signature,
    }
}

/// The end of round 0: precommits for none.
fn round_end(voters: &[u8]) -> Message {
    let mut bytes = vec![VERSION, 5];
    bytes.extend(MESH.0);
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.push(1);
    bytes.extend((voters.len() as u32).to_le_bytes());
    for voter in voters {
        let vote = precommit(*voter, NilOrVal::Nil);
        bytes.extend([2, 0]);
        bytes.extend(vote.statement.voter.0.0);
        bytes.extend(vote.signature.0);
    }
    Message::decode(&bytes, &MESH).unwrap()
}

/// The core takes the votes of a certificate for its own, and skips the same ones when they come by themselves: the pool had
/// none of them, and what contradicted them proved nothing.
#[test]
fn a_vote_in_a_certificate_is_remembered() {
    let mut me = replica(0, 4, 1, Vec::new());
    let from = key(1).node();
    me.message(0, from, round_end(&[1, 2, 3])).unwrap();
    let again = Message::Vote(precommit(2, NilOrVal::Nil));
    me.message(0, from, again).unwrap();
    let other = Message::Vote(precommit(2, NilOrVal::Val(BlockHash([7; 32]))));
    me.message(0, from, other).unwrap();
    let mut proved = Vec::new();
    while let Some(output) = me.poll_output() {
        if let Output::Evidence(evidence) = output {
            evidence.verify(&MESH, me.voters(), &key(0)).unwrap();
            proved.push(evidence.culprit());
        }
    }
    assert_eq!(proved, [key(2).node()]);
}
