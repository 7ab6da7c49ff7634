//! What happens in a run, for those who follow it.

use std::fmt;

use hypermesh_consensus::{BlockHash, Evidence, Fault, Height, Message, NilOrVal, Round};

use hypermesh_registry::Transaction;

use crate::scenario::Trouble;

/// One thing that happened. Nodes are numbers.
#[derive(Clone, Copy, Debug)]
pub enum Happened<'a> {
    Starts {
        node: usize,
        height: Height,
    },
    Crashes {
        node: usize,
    },
    Hears {
        node: usize,
        from: usize,
        message: &'a Message,
    },
    Proposes {
        node: usize,
        height: Height,
        round: Round,
        block: BlockHash,
    },
    Decides {
        node: usize,
        height: Height,
        round: Round,
        block: BlockHash,
    },
    /// Its owner asks for something.
    Submits {
        node: usize,
        transaction: &'a Transaction,
    },
    Proves {
        node: usize,
        culprit: usize,
        evidence: &'a Evidence,
    },
    Distrusts {
        node: usize,
        peer: usize,
        fault: Fault,
    },
    GoesWrong(&'a Trouble),
    Heals,
}

impl Happened<'_> {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starts { .. } => "start",
            Self::Crashes { .. } => "crash",
            Self::Hears { .. } => "message",
            Self::Proposes { .. } => "proposal",
            Self::Decides { .. } => "decision",
            Self::Submits { .. } => "transaction",
            Self::Proves { .. } => "proof",
            Self::Distrusts { .. } => "fault",
            Self::GoesWrong(_) => "trouble",
            Self::Heals => "heal",
        }
    }

    /// The node that it happens to.
    pub fn node(&self) -> Option<usize> {
        match self {
            Self::Starts { node, .. }
            | Self::Crashes { node }
            | Self::Hears { node, .. }
            | Self::Proposes { node, .. }
            | Self::Decides { node, .. }
            | Self::Submits { node, .. }
            | Self::Proves { node, .. }
            | Self::Distrusts { node, .. } => Some(*node),
            Self::GoesWrong(_) | Self::Heals => None,
        }
    }

    /// The other node that it is about.
    pub fn other(&self) -> Option<usize> {
        match self {
            Self::Hears { from, .. } => Some(*from),
            Self::Proves { culprit, .. } => Some(*culprit),
            Self::Distrusts { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// The height that it is about.
    pub fn height(&self) -> Option<u64> {
        match self {
            Self::Starts { height, .. }
            | Self::Proposes { height, .. }
            | Self::Decides { height, .. } => Some(height.0),
            Self::Proves { evidence, .. } => Some(evidence.height().0),
            _ => None,
        }
    }
}

impl fmt::Display for Happened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { node, height } => write!(f, "{node} starts at height {height}"),
            Self::Crashes { node } => write!(f, "{node} loses power"),
            Self::Hears {
                node,
                from,
                message,
            } => write!(f, "{from} -> {node}: {}", brief(message)),
            Self::Proposes {
                node,
                height,
                round,
                block,
            } => write!(f, "{node} proposes {height}/{round} {}", short(block)),
            Self::Decides {
                node,
                height,
                round,
                block,
            } => write!(f, "{node} decides {height}/{round} {}", short(block)),
            Self::Submits { node, transaction } => {
                let Transaction {
                    author,
                    sequence,
                    action,
                    ..
                } = transaction;
                let author = author.to_string();
                let author = author.get(..12).unwrap_or_default();
                let action = format!("{action:?}");
                let what = action.split([' ', '(']).next().unwrap_or_default();
                write!(f, "{node} is asked by {author}…/{sequence}: {what}")
            }
            Self::Proves {
                node,
                culprit,
                evidence,
            } => {
                let what = match evidence {
                    Evidence::Votes(_) => "voted",
                    Evidence::Proposals(_) => "proposed",
                };
                let height = evidence.height();
                write!(
                    f,
                    "{node} proves that {culprit} {what} twice at height {height}"
                )
            }
            Self::Distrusts { node, peer, fault } => {
                write!(f, "{node} holds against {peer}: {fault}")
            }
            Self::GoesWrong(Trouble::Crash { node, after }) => {
                write!(f, "{node} will lose power after {after} more outputs")
            }
            Self::GoesWrong(Trouble::Restart { node }) => write!(f, "{node} is switched on"),
            Self::GoesWrong(Trouble::Cut { from, to }) => {
                write!(f, "nothing goes from {from:?} to {to:?}")
            }
            Self::GoesWrong(Trouble::Mend) => f.write_str("all ways are open"),
            Self::Heals => f.write_str("all heals but the liars"),
        }
    }
}

/// A message in a few words.
fn brief(message: &Message) -> String {
    match message {
        Message::Vote(vote) => {
            let vote = &vote.statement;
            let choice = match &vote.block {
                NilOrVal::Nil => "none".into(),
                NilOrVal::Val(block) => short(block),
            };
            let phase = format!("{:?}", vote.phase).to_lowercase();
            format!("{phase} {}/{} {choice}", vote.height, vote.round)
        }
        Message::Proposal(proposal) => {
            let proposal = &proposal.statement;
            let block = short(&proposal.block);
            format!("proposal {}/{} {block}", proposal.height, proposal.round)
        }
        Message::Block(block) => {
            let hash = short(&BlockHash::of(&block.body));
            format!("block {}/{} {hash}", block.height, block.round)
        }
        Message::Polka(_) => "a quorum's prevotes".into(),
        Message::RoundEnd(_) => "the votes that ended a round".into(),
        Message::Retold(votes) => format!("{} votes retold", votes.len()),
        Message::Status(height) => format!("works on {height}"),
        Message::Ask(height) => format!("asks for {height}"),
        Message::Decided(decided) => format!("the decision of {}", decided.certificate.height),
        other => format!("{other:?}"),
    }
}

/// The first digits of a block's hash.
fn short(block: &BlockHash) -> String {
    let [a, b, c, d, ..] = block.0;
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}
