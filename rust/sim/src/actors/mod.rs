//! Liars and laggards, one file each. An actor stands between an honest replica and its peers and changes what it tells:
//! whatever it does, it does with one key, and the others cannot know.

mod double_proposals;
mod double_votes;
mod flapping;
mod flooding;
mod forging;
mod invalid;
mod lying;
mod selective;
mod silent;
mod slow;
mod split;
mod stuffing;
mod withholding;

use std::fmt::{self, Debug};

use hypermesh_consensus::{Height, MeshId, Message, Sig};
use hypermesh_id::NodeId;

use crate::random::Random;

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// Changes what a node tells.
pub trait Actor: Debug + Send {
    /// The node would tell this to those.
    fn tells(&mut self, desk: &mut Desk<'_>, to: &[usize], message: &Message);
}

/// What an actor works with: in the simulator, and in a real process that lies.
pub struct Desk<'a> {
    /// The number of its node.
    pub me: usize,
    /// All nodes, by number.
    pub names: &'a [NodeId],
    /// Signs as its node.
    pub sign: &'a dyn Fn(&[u8]) -> Sig,
    /// As good a block as this one, and another.
    pub other: fn(&[u8]) -> Vec<u8>,
    pub mesh: MeshId,
    pub height: Height,
    pub random: &'a mut Random,
    /// To whom, after how many nanoseconds, what.
    pub sent: Vec<(usize, u64, Message)>,
}

impl Debug for Desk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("me", &self.me)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

impl Desk<'_> {
    pub(crate) fn node(&self) -> NodeId {
        self.names[self.me]
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Sig {
        (self.sign)(bytes)
    }

    pub(crate) fn send(&mut self, to: usize, message: Message) {
        self.sent.push((to, 0, message));
    }

    pub(crate) fn send_later(&mut self, to: usize, after: u64, message: Message) {
        self.sent.push((to, after, message));
    }

    pub(crate) fn pass(&mut self, to: &[usize], message: &Message) {
        to.iter().for_each(|to| self.send(*to, message.clone()));
    }
}

/// What nodes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behaviour {
    Silent,
    SlowVotes,
    SlowProposals,
    SlowToSome,
    DoubleVotes,
    SplitVotes,
    DoubleProposals,
    Forging,
    Invalid,
    Withholding,
    WithholdingBlocks,
    Flapping,
    Lying,
    Flooding,
    Stuffing,
    /// Forgets its log when it restarts.
    Amnesiac,
    /// Two that run with one key.
    Twins,
}

impl Behaviour {
    pub const ALL: [Self; 17] = [
        Self::Silent,
        Self::SlowVotes,
        Self::SlowProposals,
        Self::SlowToSome,
        Self::DoubleVotes,
        Self::SplitVotes,
        Self::DoubleProposals,
        Self::Forging,
        Self::Invalid,
        Self::Withholding,
        Self::WithholdingBlocks,
        Self::Flapping,
        Self::Lying,
        Self::Flooding,
        Self::Amnesiac,
        Self::Twins,
        Self::Stuffing,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SlowVotes => "slow-votes",
            Self::SlowProposals => "slow-proposals",
            Self::SlowToSome => "slow-to-some",
            Self::DoubleVotes => "double-votes",
            Self::SplitVotes => "split-votes",
            Self::DoubleProposals => "double-proposals",
            Self::Forging => "forging",
            Self::Invalid => "invalid",
            Self::Withholding => "withholding",
            Self::WithholdingBlocks => "withholding-blocks",
            Self::Flapping => "flapping",
            Self::Lying => "lying",
            Self::Flooding => "flooding",
            Self::Stuffing => "stuffing",
            Self::Amnesiac => "amnesiac",
            Self::Twins => "twins",
        }
    }

    /// The actor; none where the behaviour is the simulator's own to play.
    pub fn actor(self, random: &mut Random) -> Option<Box<dyn Actor>> {
        Some(match self {
            Self::Silent => Box::new(silent::Silent),
            Self::SlowVotes => Box::new(slow::Slow::votes(random)),
            Self::SlowProposals => Box::new(slow::Slow::proposals(random)),
            Self::SlowToSome => Box::new(selective::Selective::new(random)),
            Self::DoubleVotes => Box::new(double_votes::DoubleVotes),
            Self::SplitVotes => Box::new(split::Split),
            Self::DoubleProposals => Box::new(double_proposals::DoubleProposals),
            Self::Forging => Box::new(forging::Forging),
            Self::Invalid => Box::new(invalid::Invalid),
            Self::Withholding => Box::new(withholding::Withholding::votes()),
            Self::WithholdingBlocks => Box::new(withholding::Withholding::blocks()),
            Self::Flapping => Box::new(flapping::Flapping::new(random)),
            Self::Lying => Box::new(lying::Lying),
            Self::Flooding => Box::new(flooding::Flooding),
            Self::Stuffing => Box::new(stuffing::Stuffing),
            Self::Amnesiac | Self::Twins => return None,
        })
    }
}
