//! What a replica is given, and what it wants done.

use std::time::Duration;

use bytes::Bytes;
use hypermesh_id::NodeId;

use crate::evidence::Evidence;
use crate::message::{Decided, Message};
use crate::types::{Height, MeshId, Voters};

/// What is ordered. Nothing of it may depend on anything but the decided blocks.
pub trait Machine {
    /// Whether a block would have something to say.
    fn has_work(&self) -> bool;
    /// A block for this height.
    fn propose(&mut self, height: Height) -> Bytes;
    /// Whether a block may follow those that were applied.
    ///
    /// # Errors
    /// Says which rule it breaks.
    fn check(&self, height: Height, block: &[u8]) -> Result<(), String>;
    /// Applies a decided block. Answers who votes on the next height.
    fn apply(&mut self, decided: &Decided) -> Voters;
    /// Who voted on an earlier height, if that is known still: a replica asks for the last few when it begins, so that what voters
    /// said of them counts as evidence after a restart too.
    fn voters_of(&self, _height: Height) -> Option<Voters> {
        None
    }
}

/// How a replica behaves; the same on all nodes of a mesh, or it decides slower.
#[derive(Clone, Debug)]
pub struct Config {
    pub mesh: MeshId,
    pub timeouts: Timeouts,
}

/// How long a node waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a proposal, and for the rest of the votes once a quorum has voted in different ways; and by how much more in each
    /// later round. A node waits longer than this where the height before needed it.
    pub propose: Duration,
    pub vote: Duration,
    pub more_each_round: Duration,
    /// Until it says again what it said in this round.
    pub repeat: Duration,
    /// Until it begins a height of which nobody has anything to say.
    pub idle: Duration,
    /// Between two tellings of the own height.
    pub heartbeat: Duration,
    /// For the decisions that it asked for, before it asks another.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            propose: Duration::from_millis(1000),
            vote: Duration::from_millis(500),
            more_each_round: Duration::from_millis(500),
            repeat: Duration::from_millis(2000),
            idle: Duration::from_secs(30),
            heartbeat: Duration::from_millis(1000),
            answer: Duration::from_millis(500),
        }
    }
}

/// What the runtime has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Begin the log anew: it is empty from now on. What was decided before is on the disk by now.
    NewLog,
    /// Append to the log.
    Append(Vec<u8>),
    /// Put the log on the disk before anything that follows.
    Flush,
    /// Put this decision on the disk before anything that follows.
    Decided(Decided),
    /// Tell all peers of the mesh: the other voters, and who learns from them.
    Broadcast(Message),
    /// Tell one.
    Send(NodeId, Message),
    /// Send decisions from this height on that are no longer at hand, from the disk.
    SendDecided(NodeId, Height),
    /// A proof against a voter.
    Evidence(Evidence),
    /// A peer did what no honest one does.
    Fault(NodeId, Fault),
}

/// What no honest node does, as seen by who is told: a reason to distrust the connection, no proof for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("a signature that is not by whom it names")]
    Forged,
    #[error("a block that nobody proposed")]
    UnaskedBlock,
    #[error("a block that breaks the rules")]
    BadBlock,
    #[error("a decision that nobody asked for, or whose proof is none")]
    BadDecision,
}
