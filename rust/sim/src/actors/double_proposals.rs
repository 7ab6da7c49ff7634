//! Proposes one block to some and another to the rest.

use hypermesh_consensus::{BlockHash, BlockMessage, Message, Proposal, Signed};

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct DoubleProposals;

impl Actor for DoubleProposals {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        for to in to {
            match message {
                _ if to % 2 == 0 => desk.send(*to, message.clone()),
                Message::Block(block) => {
                    let body = (desk.other)(&block.body).into();
                    let block = block.clone();
                    desk.send(
                        *to,
                        Message::Block(BlockMessage {
                            body,
                            ..block.clone()
                        }),
                    );
                    desk.send(*to, Message::Block(block));
                }
                Message::Proposal(proposal) => {
                    // The other block's hash is not at hand here: any other is as contrary.
                    let statement = Proposal {
                        block: BlockHash::of(&proposal.statement.block.0),
                        ..proposal.statement.clone()
                    };
                    let signature = desk.sign(&statement.sign_bytes(&desk.mesh));
                    let other = Signed {
                        statement,
                        signature,
                    };
                    desk.send(*to, Message::Proposal(other));
                    if desk.random.chance(0.5) {
                        desk.send(*to, message.clone());
                    }
                }
                _ => desk.send(*to, message.clone()),
            }
        }
    }
}
