//! What must never be, checked at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hypermesh_consensus::{
    BlockHash, Decided, Evidence, Height, MeshId, NilOrVal, Proposal, Round, Sign, Signed, Vote,
    VoteType, Voters,
};
use hypermesh_id::NodeId;
use hypermesh_registry::{Ledger, TransactionId};

use crate::book::{Beginning, Rare, Reference};
use crate::chain::Membership;
use crate::keys::SimKey;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Said<K, V> = BTreeMap<K, V>;

/// Watches a run.
#[derive(Debug)]
pub(crate) struct Watch {
    mesh: MeshId,
    /// Verifies.
    key: SimKey,
    /// Where the registry is ordered: what must come of it.
    reference: Option<Reference>,
    pub(crate) membership: Membership,
    honest: Vec<bool>,
    decided: BTreeMap<Height, BlockHash>,
    votes: Said<(usize, Height, Round, VoteType), NilOrVal<BlockHash>>,
    proposals: Said<(usize, Height, Round), Proposal>,
    /// Double votes that came to an honest node, by instance and culprit, and those that were proved.
    heard: BTreeMap<(usize, NodeId, Height, Round, VoteType), NilOrVal<BlockHash>>,
    heard_proposals: BTreeMap<(usize, NodeId, Height, Round), Proposal>,
    exposed: BTreeSet<(usize, NodeId)>,
    pub(crate) proved: BTreeSet<(usize, NodeId)>,
}

impl Watch {
    pub(crate) fn new(
        (mesh, key): (MeshId, SimKey),
        membership: Membership,
        honest: Vec<bool>,
    ) -> Self {
        Self {
            mesh,
            key,
            reference: None,
            membership,
            honest,
            decided: BTreeMap::new(),
            votes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            heard: BTreeMap::new(),
            heard_proposals: BTreeMap::new(),
            exposed: BTreeSet::new(),
            proved: BTreeSet::new(),
        }
    }

    /// A registry is ordered, that began like this.
    pub(crate) fn begin(&mut self, beginning: &Beginning) -> Result<(), Violation> {
        let liars = (0..self.honest.len()).filter(|number| !self.honest[*number]);
        let reference = Reference::new(beginning, liars).map_err(Violation)?;
        let next = Height(beginning.decided.len() as u64 + 1);
        self.membership.decided.insert(next, reference.voters());
        self.reference = Some(reference);
        Ok(())
    }

    pub(crate) fn submitted(&mut self, id: TransactionId) {
        if let Some(reference) = &mut self.reference {
            reference.submitted(id);
        }
    }

    pub(crate) fn is_submitted(&self, id: &TransactionId) -> bool {
        let reference = self.reference.as_ref();
        reference.is_some_and(|reference| reference.is_submitted(id))
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.reference.as_ref().map_or(0, Reference::decided_len)
    }

    /// The ledger of an honest node is what it must be.
    pub(crate) fn same(&self, node: usize, ledger: &Ledger) -> Result<(), Violation> {
        let same = self
            .reference
            .as_ref()
            .map_or(Ok(()), |reference| reference.same(ledger));
        same.map_err(|error| Violation(format!("node {node}: {error}")))
    }

    fn is_honest(&self, node: &NodeId) -> bool {
        (0..self.honest.len())
            .any(|number| SimKey::of(number).node() == *node && self.honest[number])
    }

    /// An honest node decided.
    pub(crate) fn decided(
        &mut self,
        node: usize,
        before: usize,
        decided: &Decided,
    ) -> Result<Rare, Violation> {
        let certificate = &decided.certificate;
        let height = certificate.height;
        if height.0 != before as u64 + 1 {
            return Err(Violation(format!(
                "node {node} decided {height} after {before}"
            )));
        }
        let voters = self.membership.voters(height);
        if let Err(error) = certificate.verify(&self.mesh, &voters, &self.key) {
            return Err(Violation(format!(
                "certificate of {height} at node {node}: {error}"
            )));
        }
        if BlockHash::of(&decided.body) != certificate.block {
            return Err(Violation(format!(
                "node {node} has another block for {height}"
            )));
        }
        let chain = self.reference.is_none();
        if chain && decided.body.last() == Some(&crate::chain::FORBIDDEN) {
            return Err(Violation(format!(
                "a forbidden block was decided at {height}"
            )));
        }
        let first = self.decided.entry(height).or_insert(certificate.block);
        if *first != certificate.block {
            return Err(Violation(format!(
                "two decisions of {height}: {first} and {}",
                certificate.block
            )));
        }
        let mut rare = Rare::new();
        let next = Height(height.0 + 1);
        if let Some(reference) = &mut self.reference
            && !self.membership.decided.contains_key(&next)
        {
            let voters = reference.follows(decided, &mut rare).map_err(Violation)?;
            self.membership.decided.insert(next, voters);
        }
        Ok(rare)
    }

    /// An honest node tells its own vote.
    pub(crate) fn voted(&mut self, node: usize, vote: &Vote) -> Result<(), Violation> {
        let key = (node, vote.height, vote.round, vote.phase);
        let first = self.votes.entry(key).or_insert_with(|| vote.block);
        if *first != vote.block {
            return Err(Violation(format!(
                "honest node {node} voted twice: {vote:?} and {first:?}"
            )));
        }
        Ok(())
    }

    /// An honest node tells its own proposal.
    pub(crate) fn proposed(&mut self, node: usize, proposal: &Proposal) -> Result<(), Violation> {
        let key = (node, proposal.height, proposal.round);
        let first = self
            .proposals
            .entry(key)
            .or_insert_with(|| proposal.clone());
        if first != proposal {
            return Err(Violation(format!(
                "honest node {node} proposed twice: {proposal:?}"
            )));
        }
        Ok(())
    }

    /// Whether a vote that came to a node is not one that it had heard: its signature is worth looking at.
    pub(crate) fn is_news(&self, instance: usize, vote: &Vote) -> bool {
        let key = (instance, vote.voter.0, vote.height, vote.round, vote.phase);
        self.heard.get(&key) != Some(&vote.block)
    }

    /// A good vote came to a node that is at this height and round. What is retold of the present height is not looked at.
    pub(crate) fn heard(
        &mut self,
        instance: usize,
        at: (Height, Round),
        vote: &Vote,
        retold: bool,
    ) {
        let (height, round) = at;
        let near = vote.round.as_i64() <= round.as_i64().max(0) + 5;
        let now = vote.height == height && near && !retold;
        let lately = vote.height < height && vote.height.0 + 8 > height.0;
        if !(now || lately) || vote.round.as_i64() > 14 {
            return;
        }
        let voter = vote.voter.0;
        let key = (instance, voter, vote.height, vote.round, vote.phase);
        let first = self.heard.entry(key).or_insert_with(|| vote.block);
        if *first != vote.block {
            self.exposed.insert((instance, voter));
        }
    }

    /// A good proposal of who proposes there came to a node that is at this height and round.
    pub(crate) fn heard_proposal(
        &mut self,
        instance: usize,
        (height, round): (Height, Round),
        proposal: &Proposal,
    ) {
        if proposal.round.as_i64() > (round.as_i64().max(0) + 5).min(14)
            // The core refuses these, whose valid round is none.
            || proposal.valid_round >= proposal.round
        {
            return;
        }
        let proposer = proposal.proposer.0;
        let key = (instance, proposer, height, proposal.round);
        let first = self
            .heard_proposals
            .entry(key)
            .or_insert_with(|| proposal.clone());
        if first != proposal {
            self.exposed.insert((instance, proposer));
        }
    }

    /// A node lost its memory: what it had heard and not yet proved is gone.
    pub(crate) fn crashed(&mut self, instance: usize) {
        self.heard.retain(|key, _| key.0 != instance);
        self.heard_proposals.retain(|key, _| key.0 != instance);
        self.exposed.retain(|key| key.0 != instance);
    }

    /// An honest node says that it has a proof.
    pub(crate) fn evidence(
        &mut self,
        instance: usize,
        evidence: &Evidence,
    ) -> Result<(), Violation> {
        let voters = self.membership.voters(evidence.height());
        if let Err(error) = evidence.verify(&self.mesh, &voters, &self.key) {
            return Err(Violation(format!(
                "evidence that proves nothing: {error}: {evidence:?}"
            )));
        }
        let culprit = evidence.culprit();
        if self.is_honest(&culprit) {
            return Err(Violation(format!(
                "evidence against an honest node: {evidence:?}"
            )));
        }
        self.proved.insert((instance, culprit));
        Ok(())
    }

    /// At the end: whoever lied to one node's face is proved to have.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        match self.exposed.difference(&self.proved).next() {
            Some((instance, culprit)) => Err(Violation(format!(
                "instance {instance} saw {culprit} say two things and has no proof"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether a vote is by a voter of its height, and signed.
pub(crate) fn good(
    vote: &Signed<Vote>,
    at: Height,
    voters: &Voters,
    membership: &Membership,
    (mesh, key): (&MeshId, &SimKey),
) -> bool {
    let height = vote.statement.height;
    if height == at {
        return vote.verifies(mesh, voters, key);
    }
    vote.verifies(mesh, &membership.voters(height), key)
}
