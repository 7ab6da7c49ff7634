//! Proofs that a voter said two things where it may say one. Nothing here suspects: each proof stands for itself, and anyone
//! who knows the voters can check it.
//!
//! The agreement core keeps such proofs too, but not of what comes after a decision, and it never sees what was told to others
//! only. This pool lives beside it, and over heights.

use std::collections::BTreeMap;

use hypermesh_id::NodeId;
use malachite_types::{Round, VoteType};

use crate::codec::{DecodeError, Reader};
use crate::engine::Statement;
use crate::types::{Height, MeshId, Voters};
use crate::vote::{Proposal, Signed, Verify, Vote};

/// Heights before the present one of which statements are kept.
pub const HEIGHTS_KEPT: u64 = 16;
/// Rounds of one height in which statements of one voter are kept: as many as the core looks ahead, twice.
const ROUNDS_MAX: u32 = 20;

/// Two statements of one voter of which it may make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    Votes(Box<[Signed<Vote>; 2]>),
    Proposals(Box<[Signed<Proposal>; 2]>),
}

/// Why something is no evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    #[error("the two statements may both be made")]
    Compatible,
    #[error("one of the signatures is not by a voter of that height")]
    Signature,
}

impl Evidence {
    /// Whom it is about.
    pub fn culprit(&self) -> NodeId {
        match self {
            Self::Votes(votes) => votes[0].statement.voter.0,
            Self::Proposals(proposals) => proposals[0].statement.proposer.0,
        }
    }

    pub fn height(&self) -> Height {
        match self {
            Self::Votes(votes) => votes[0].statement.height,
            Self::Proposals(proposals) => proposals[0].statement.height,
        }
    }

    /// Checks it against the voters of its height.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn verify(
        &self,
        mesh: &MeshId,
        voters: &Voters,
        by: &impl Verify,
    ) -> Result<(), EvidenceError> {
        let (conflict, signed) = match self {
            Self::Votes(votes) => {
                let [a, b] = votes.as_ref();
                (
                    vote_key(&a.statement) == vote_key(&b.statement)
                        && a.statement.height == b.statement.height
                        && a.statement.block != b.statement.block,
                    a.verifies(mesh, voters, by) && b.verifies(mesh, voters, by),
                )
            }
            Self::Proposals(proposals) => {
                let [a, b] = proposals.as_ref();
                (
                    proposal_key(&a.statement) == proposal_key(&b.statement)
                        && a.statement.height == b.statement.height
                        && a.statement != b.statement,
                    a.verifies(mesh, voters, by) && b.verifies(mesh, voters, by),
                )
            }
        };
        match (conflict, signed) {
            (false, _) => Err(EvidenceError::Compatible),
            (true, false) => Err(EvidenceError::Signature),
            (true, true) => Ok(()),
        }
    }

    /// Its bytes: 1 for votes or 2 for proposals, and the two as they travel.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Votes(votes) => {
                to.push(1);
                votes.iter().for_each(|vote| vote.encode(to));
            }
            Self::Proposals(proposals) => {
                to.push(2);
                proposals.iter().for_each(|proposal| proposal.encode(to));
            }
        }
    }

    /// Reads what [`Self::encode`] wrote. Checks nothing.
    ///
    /// # Errors
    /// Names the rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader(bytes);
        let evidence = match from.u8("a kind of evidence")? {
            1 => Self::Votes(Box::new([
                Signed::<Vote>::decode(&mut from)?,
                Signed::<Vote>::decode(&mut from)?,
            ])),
            2 => Self::Proposals(Box::new([
                Signed::<Proposal>::decode(&mut from)?,
                Signed::<Proposal>::decode(&mut from)?,
            ])),
            value => {
                return Err(DecodeError::Unknown {
                    what: "a kind of evidence",
                    value: value.into(),
                });
            }
        };
        from.end()?;
        Ok(evidence)
    }
}

type VoteKey = (NodeId, Round, VoteType);
type ProposalKey = (NodeId, Round);

fn vote_key(vote: &Vote) -> VoteKey {
    (vote.voter.0, vote.round, vote.phase)
}

fn proposal_key(proposal: &Proposal) -> ProposalKey {
    (proposal.proposer.0, proposal.round)
}

/// What was said in the last heights, each with its first saying.
#[derive(Debug, Default)]
pub(crate) struct Pool(BTreeMap<Height, Said>);

#[derive(Debug, Default)]
struct Said {
    votes: BTreeMap<VoteKey, Signed<Vote>>,
    proposals: BTreeMap<ProposalKey, Signed<Proposal>>,
    /// Who is convicted of this height: one proof is enough.
    convicted: BTreeMap<NodeId, ()>,
}

impl Pool {
    /// Whether a vote would tell something new, so that its signature is worth looking at.
    pub(crate) fn is_news(&self, vote: &Signed<Vote>) -> bool {
        if !within(vote.statement.round) {
            return false;
        }
        let Some(said) = self.0.get(&vote.statement.height) else {
            return true;
        };
        if said.convicted.contains_key(&vote.statement.voter.0) {
            return false;
        }
        said.votes
            .get(&vote_key(&vote.statement))
            .is_none_or(|first| first.statement.block != vote.statement.block)
    }

    /// Takes what is known to be signed by whom it names. Answers the proof that it makes.
    pub(crate) fn add(&mut self, statement: Statement) -> Option<Evidence> {
        let evidence = match statement {
            Statement::Vote(vote) if within(vote.statement.round) => {
                let said = self.0.entry(vote.statement.height).or_default();
                let key = vote_key(&vote.statement);
                let first = said.votes.entry(key).or_insert_with(|| vote.clone());
                (first.statement.block != vote.statement.block)
                    .then(|| Evidence::Votes(Box::new([first.clone(), vote])))
            }
            Statement::Proposal(proposal) if within(proposal.statement.round) => {
                let said = self.0.entry(proposal.statement.height).or_default();
                let key = proposal_key(&proposal.statement);
                let first = said
                    .proposals
                    .entry(key)
                    .or_insert_with(|| proposal.clone());
                (first.statement != proposal.statement)
                    .then(|| Evidence::Proposals(Box::new([first.clone(), proposal])))
            }
            _ => None,
        }?;
        let said = self.0.entry(evidence.height()).or_default();
        let news = said.convicted.insert(evidence.culprit(), ()).is_none();
        news.then_some(evidence)
    }

    /// The votes of a height, at most so many.
    pub(crate) fn votes(&self, height: Height, most: usize) -> Vec<Signed<Vote>> {
        let said = self.0.get(&height);
        said.into_iter()
            .flat_map(|said| said.votes.values().take(most).cloned())
            .collect()
    }

    /// Whether it holds no more than two votes and a proposal of each voter in each round of these heights.
    pub(crate) fn within(&self, heights: &BTreeMap<Height, Voters>) -> bool {
        self.0.iter().all(|(height, said)| {
            let most = heights.get(height).map_or(0, Voters::len) * ROUNDS_MAX as usize;
            said.votes.len() <= 2 * most && said.proposals.len() <= most
        })
    }

    /// Forgets what is older than is kept.
    pub(crate) fn forget(&mut self, present: Height) {
        let oldest = Height(present.0.saturating_sub(HEIGHTS_KEPT));
        self.0 = self.0.split_off(&oldest);
    }
}

fn within(round: Round) -> bool {
    round.as_u32().is_some_and(|round| round < ROUNDS_MAX)
}
