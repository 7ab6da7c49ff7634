//! The blocks of one height: which may come, and those that came.
//!
//! No voter may fill the place of others' blocks, or it could keep a height from ever being decided; and a height that fails
//! for many rounds must go on taking blocks. So each round has its own places, as many as the core keeps proposals of it:
//! for blocks that a proposal names, and for those that its proposer sends ahead of their proposal.
//!
//! The core has fewer places than these: two of a round, for blocks and proposals together. A block that it had none for stays
//! here, and is given to it again when a later round proposes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use malachite_types::Round;

use crate::types::BlockHash;

/// Places of each kind in one round.
const EACH_ROUND: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// With whether they are good.
    bodies: BTreeMap<BlockHash, (Bytes, bool)>,
    rounds: BTreeMap<Round, Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// Named by proposals of this round, whose signatures are right.
    named: Vec<BlockHash>,
    /// How many came ahead of their proposals.
    ahead: usize,
}

impl Blocks {
    pub(crate) fn get(&self, block: &BlockHash) -> Option<&Bytes> {
        self.bodies.get(block).map(|(body, _)| body)
    }

    /// Whether a block is good; none when it is not here.
    pub(crate) fn good(&self, block: &BlockHash) -> Option<bool> {
        self.bodies.get(block).map(|(_, good)| *good)
    }

    pub(crate) fn put(&mut self, block: BlockHash, body: Bytes, good: bool) {
        self.bodies.insert(block, (body, good));
    }

    /// A proposal of a round names a block.
    pub(crate) fn name(&mut self, round: Round, block: BlockHash) {
        let named = &mut self.rounds.entry(round).or_default().named;
        if named.len() < EACH_ROUND && !named.contains(&block) {
            named.push(block);
        }
    }

    /// The round for which a block may come from anybody: that of the last proposal that names it.
    pub(crate) fn named(&self, block: &BlockHash) -> Option<Round> {
        let mut rounds = self.rounds.iter().rev();
        rounds
            .find(|(_, places)| places.named.contains(block))
            .map(|(round, _)| *round)
    }

    /// Takes a place for a block that its proposer sends ahead of its proposal. False when there is none left.
    pub(crate) fn reserve(&mut self, round: Round) -> bool {
        let ahead = &mut self.rounds.entry(round).or_default().ahead;
        let free = *ahead < EACH_ROUND;
        *ahead += usize::from(free);
        free
    }

    /// Whether there are no more than the places of so many rounds, and this node's own.
    pub(crate) fn within(&self, rounds: usize) -> bool {
        self.rounds.len() <= rounds && self.bodies.len() <= rounds * (2 * EACH_ROUND + 1)
    }
}
