//! Votes twice and tells both votes to everybody.

use hypermesh_consensus::{BlockHash, Message, NilOrVal, Signed, Vote};

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct DoubleVotes;

/// The vote that contradicts this one, as well signed.
pub(super) fn contrary(desk: &Desk<'_>, vote: &Signed<Vote>) -> Signed<Vote> {
    let block = match &vote.statement.block {
        NilOrVal::Nil => NilOrVal::Val(BlockHash([7; 32])),
        NilOrVal::Val(_) => NilOrVal::Nil,
    };
    let statement = Vote {
        block,
        ..vote.statement.clone()
    };
    let signature = desk.sign(&statement.sign_bytes(&desk.mesh));
    Signed {
        statement,
        signature,
    }
}

impl Actor for DoubleVotes {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        desk.pass(to, message);
        if let Message::Vote(vote) = message {
            let contrary = Message::Vote(contrary(desk, vote));
            desk.pass(to, &contrary);
        }
    }
}
