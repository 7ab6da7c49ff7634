//! Losses that are aimed: by what a message says, not by when it is sent.

use hypermesh_consensus::{Message, VoteType};

/// Splits what is known of a round just between prevote and precommit, at every height: one node decides and nobody hears of
/// it, those who know that it may are locked, and the proposer of the next round knows of nothing. With four honest nodes
/// only the rule of locks is between that and two decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snare {
    /// The round.
    pub round: i64,
    /// Who may decide and cannot say so.
    pub only: usize,
}

/// A way of a message: from whom, to whom, and who proposes in the round after the snare's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) next: usize,
}

impl Snare {
    /// Whether a message is lost.
    pub(crate) fn takes(&self, way: Way, message: &Message) -> bool {
        let about = round_of(message);
        if way.from == self.only {
            let early = matches!(message, Message::Proposal(_) | Message::Block(_))
                || matches!(message, Message::Vote(vote) if vote.statement.phase == VoteType::Prevote);
            let heard = early && about.is_some_and(|round| round <= self.round);
            return !heard || (way.to == way.next && about == Some(self.round));
        }
        let proposes = matches!(message, Message::Proposal(_) | Message::Block(_));
        proposes && way.to == way.next && about == Some(self.round)
    }
}

/// The round that a message is about.
pub(crate) fn round_of(message: &Message) -> Option<i64> {
    match message {
        Message::Vote(vote) => Some(vote.statement.round.as_i64()),
        Message::Proposal(proposal) => Some(proposal.statement.round.as_i64()),
        Message::Block(block) => Some(block.round.as_i64()),
        _ => None,
    }
}
