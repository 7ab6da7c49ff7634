//! Sends, with each message, others that nobody can use: of far heights and rounds, and blocks that nobody asked for.

use hypermesh_consensus::{
    BlockMessage, Height, Message, NilOrVal, Round, Signed, Signer, Vote, VoteType,
};

use super::{Actor, Desk};

#[derive(Debug)]
pub(crate) struct Flooding;

impl Actor for Flooding {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        desk.pass(to, message);
        if !matches!(message, Message::Vote(_)) {
            return;
        }
        let height = Height(desk.height.0 + desk.random.below(4));
        let statement = Vote {
            phase: VoteType::Prevote,
            height,
            round: Round::new(100 + desk.random.below(1 << 20) as u32),
            block: NilOrVal::Nil,
            voter: Signer(desk.node()),
        };
        let signature = desk.sign(&statement.sign_bytes(&desk.mesh));
        desk.pass(
            to,
            &Message::Vote(Signed {
                statement,
                signature,
            }),
        );
        let round = Round::new(desk.random.below(3) as u32);
        let noise = desk.random.number().to_le_bytes().to_vec();
        desk.pass(
            to,
            &Message::Block(BlockMessage {
                height,
                round,
                valid_round: Round::Nil,
                body: noise.into(),
            }),
        );
    }
}
