//! Proposes blocks that break the rules, well signed.

use hypermesh_consensus::{BlockHash, BlockMessage, Message, Proposal, Signed};

use super::{Actor, Desk};
use crate::chain::FORBIDDEN;

#[derive(Debug, Default)]
pub(crate) struct Invalid;

impl Actor for Invalid {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let Message::Block(block) = message else {
            // The proposal of the good block does not go out.
            if !matches!(message, Message::Proposal(_)) {
                desk.pass(to, message);
            }
            return;
        };
        let mut body = block.body.to_vec();
        body.push(FORBIDDEN);
        let statement = Proposal {
            height: block.height,
            round: block.round,
            block: BlockHash::of(&body),
            valid_round: block.valid_round,
            proposer: hypermesh_consensus::Signer(desk.node()),
        };
        let signature = desk.sign(&statement.sign_bytes(&desk.mesh));
        let bad = BlockMessage {
            body: body.into(),
            ..block.clone()
        };
        desk.pass(to, &Message::Block(bad));
        let proposal = Signed {
            statement,
            signature,
        };
        desk.pass(to, &Message::Proposal(proposal));
    }
}
