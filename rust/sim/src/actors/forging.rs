//! Breaks its signatures, and puts other names on its votes.

use hypermesh_consensus::{Message, Signer};

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Forging;

impl Actor for Forging {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let forged = match message.clone() {
            Message::Vote(mut vote) => {
                if desk.random.chance(0.5) {
                    vote.signature.0[3] ^= 1;
                } else {
                    let victim = desk.random.below(desk.names.len() as u64) as usize;
                    vote.statement.voter = Signer(desk.names[victim]);
                    // Its own signature stays its own where the name does.
                    vote.signature.0[3] ^= u8::from(victim == desk.me);
                }
                Message::Vote(vote)
            }
            Message::Proposal(mut proposal) => {
                proposal.signature.0[3] ^= 1;
                Message::Proposal(proposal)
            }
            Message::Retold(mut votes) => {
                votes.iter_mut().for_each(|vote| vote.signature.0[9] ^= 1);
                Message::Retold(votes)
            }
            other => other,
        };
        desk.pass(to, &forged);
    }
}
