//! What the simulated mesh orders: a chain of blocks that name their predecessors, with voters that change by a rule.

use std::collections::BTreeMap;

use bytes::Bytes;
use hypermesh_consensus::{BlockHash, Decided, Height, Machine, Voters};
use hypermesh_id::NodeId;

use crate::keys::SimKey;
use crate::scenario::Scenario;

/// Heights between two changes of the voters.
const CHANGE_EVERY: u64 = 5;
/// Byte of a block that breaks the rules, whatever else it says.
pub(crate) const FORBIDDEN: u8 = 0xff;

/// As good a block as this one, and another.
pub(crate) fn other_block(body: &[u8]) -> Vec<u8> {
    let mut other = body.to_vec();
    if let Some(byte) = other.get_mut(41) {
        *byte ^= 0x40;
    }
    other
}

/// Who votes on which height.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// All nodes, and whether one of them rests while the others vote.
    pub(crate) nodes: usize,
    pub(crate) changes: bool,
    /// Who proposes in the first rounds of every height, where that is chosen.
    pub(crate) leaders: Vec<NodeId>,
    /// Who votes from which height on, where that is decided by what is ordered.
    pub(crate) decided: BTreeMap<Height, Voters>,
}

impl Membership {
    pub(crate) fn of(scenario: &Scenario) -> Self {
        let leaders = scenario.schedule.rounds.iter();
        Self {
            nodes: scenario.nodes.len(),
            changes: scenario.changes,
            leaders: leaders
                .map(|round| SimKey::voter(round.leader).node())
                .collect(),
            decided: BTreeMap::new(),
        }
    }

    pub(crate) fn rests(&self, node: usize, height: Height) -> bool {
        self.changes && (height.0 / CHANGE_EVERY) % self.nodes as u64 == node as u64
    }

    /// Those of a height to come are those of the last that is known.
    pub(crate) fn voters(&self, height: Height) -> Voters {
        if let Some((_, voters)) = self.decided.range(..=height).next_back() {
            return voters.clone();
        }
        let voting = (0..self.nodes).filter(|node| !self.rests(*node, height));
        #[expect(
            clippy::expect_used,
            reason = "a simulation of no voters is a defect of the simulator"
        )]
        let voters = Voters::new(voting.map(|node| SimKey::voter(node).clone()))
            .expect("keys of the simulator");
        match self.leaders.is_empty() {
            true => voters,
            false => voters.led_by(&self.leaders),
        }
    }
}

/// A chain: each block is its height, the hash of the one before, and some bytes of its proposer's.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) membership: Membership,
    pub(crate) node: usize,
    pub(crate) tip: BlockHash,
    /// Blocks proposed, so that no two are the same.
    pub(crate) proposed: u64,
    /// What waits to be ordered here; none where there is always something.
    pub(crate) pending: Option<u64>,
    /// Whether the last block says, at times, who does not propose first in the next height.
    pub(crate) demotes: bool,
}

impl Chain {
    pub(crate) fn new(membership: Membership, node: usize) -> Self {
        Self {
            membership,
            node,
            tip: BlockHash([0; 32]),
            proposed: 0,
            pending: None,
            demotes: false,
        }
    }

    pub(crate) fn block(&mut self, height: Height) -> Vec<u8> {
        self.proposed += 1;
        let mut block = height.0.to_le_bytes().to_vec();
        block.extend(self.tip.0);
        block.push(self.node as u8);
        block.extend(self.proposed.to_le_bytes());
        block
    }
}

impl Machine for Chain {
    fn has_work(&self) -> bool {
        self.pending.is_none_or(|pending| pending > 0)
    }

    fn propose(&mut self, height: Height) -> Bytes {
        self.block(height).into()
    }

    fn check(&self, height: Height, block: &[u8]) -> Result<(), String> {
        let (head, rest) = block.split_at_checked(40).ok_or("it is too short")?;
        if head[..8] != height.0.to_le_bytes() {
            return Err("it is of another height".into());
        }
        if head[8..] != self.tip.0 {
            return Err("it does not follow the last one".into());
        }
        match rest.last() {
            Some(&FORBIDDEN) | None => Err("it says what is forbidden".into()),
            Some(_) => Ok(()),
        }
    }

    fn voters_of(&self, height: Height) -> Option<Voters> {
        Some(self.membership.voters(height))
    }

    fn apply(&mut self, decided: &Decided) -> Voters {
        self.tip = decided.certificate.block;
        if decided.body.get(40) == Some(&(self.node as u8)) && self.pending.is_some() {
            self.pending = Some(0);
        }
        let voters = self
            .membership
            .voters(Height(decided.certificate.height.0 + 1));
        let [odd, node, ..] = self.tip.0;
        if !self.demotes || odd % 2 == 0 {
            return voters;
        }
        let node = SimKey::voter(usize::from(node) % self.membership.nodes);
        voters.demoting(&[node.node()])
    }
}
