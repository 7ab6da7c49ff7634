//! Says what an honest node says, later: votes, or blocks and proposals.

use hypermesh_consensus::Message;

use super::{Actor, Desk, MS};
use crate::random::Random;

#[derive(Debug)]
pub(crate) struct Slow {
    by: u64,
    votes: bool,
}

impl Slow {
    pub(crate) fn votes(random: &mut Random) -> Self {
        Self {
            by: random.between(20, 400) * MS,
            votes: true,
        }
    }

    pub(crate) fn proposals(random: &mut Random) -> Self {
        Self {
            by: random.between(50, 900) * MS,
            votes: false,
        }
    }
}

impl Actor for Slow {
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message) {
        let slow = match message {
            Message::Vote(_) => self.votes,
            Message::Proposal(_) | Message::Block(_) => !self.votes,
            _ => false,
        };
        for to in to {
            desk.send_later(*to, if slow { self.by } else { 0 }, message.clone());
        }
    }
}
