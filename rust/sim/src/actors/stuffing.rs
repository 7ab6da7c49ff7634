//! Sends many blocks for each round in which it may propose in the next height, before anyone proposes there: whoever keeps them all has no
//! place for those of others.

use hypermesh_consensus::{BlockMessage, Height, Message, Round, VoteType};

use super::{Actor, Desk};

/// Blocks for each round, and rounds ahead.
const BLOCKS: usize = 20;
const ROUNDS: u32 = 8;

#[derive(Debug)]
pub(crate) struct Stuffing;

impl Actor for Stuffing {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let begins = matches!(message, Message::Vote(vote)
            if vote.statement.phase == VoteType::Precommit && vote.statement.round == Round::ZERO);
        for round in (0..ROUNDS).filter(|_| begins) {
            for _ in 0..BLOCKS {
                let noise = desk.random.number().to_le_bytes().to_vec();
                let block = Message::Block(BlockMessage {
                    height: Height(desk.height.0 + 1),
                    round: Round::new(round),
                    valid_round: Round::Nil,
                    body: noise.into(),
                });
                desk.pass(to, &block);
            }
        }
        // Its own votes and blocks do not help.
        if !matches!(message, Message::Vote(_) | Message::Block(_)) {
            desk.pass(to, message);
        }
    }
}
