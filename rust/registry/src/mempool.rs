//! Transactions that wait to be decided. Bounded altogether and for each author; every signature in it is verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hypermesh_id::NodeId;

use crate::rules::{Invalid, admissible};
use crate::state::State;
use crate::transaction::{TransactionId, Verified};

/// What a waiting transaction costs besides its bytes.
const OVERHEAD: usize = 512;

/// Limits of what waits, in bytes and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    pub bytes: usize,
    pub author_bytes: usize,
    pub author_transactions: usize,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            author_bytes: 4 << 20,
            author_transactions: 4096,
        }
    }
}

/// Why a transaction does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    #[error("the transaction is malformed")]
    Malformed,
    #[error("the transaction is not signed by its author for this mesh")]
    Signature,
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("another transaction of its author has the sequence {0}")]
    Taken(u64),
    #[error("its author has as much waiting as one may have; wait until some is decided")]
    Quota,
    #[error("as much is waiting as may be; wait until some is decided")]
    Full,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Mempool {
    limits: MempoolLimits,
    authors: BTreeMap<NodeId, Waiting>,
    /// Who has how much, so that the one with the most gives way.
    weights: BTreeSet<(usize, NodeId)>,
    ids: HashMap<TransactionId, (NodeId, u64)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    by_sequence: BTreeMap<u64, Verified>,
    bytes: usize,
}

impl Mempool {
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes, with what they cost to keep.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it waits here, its signature verified.
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.ids.contains_key(id)
    }

    /// All of one author, by sequence.
    pub fn of<'a>(&'a self, author: &NodeId) -> impl Iterator<Item = &'a Verified> + 'a {
        self.authors
            .get(author)
            .into_iter()
            .flat_map(|waiting| waiting.by_sequence.values())
    }

    /// The last sequence of one author that waits.
    pub(crate) fn last_sequence(&self, author: &NodeId) -> Option<u64> {
        let waiting = self.authors.get(author)?;
        waiting.by_sequence.last_key_value().map(|(last, _)| *last)
    }

    /// Takes one in. Answers whether it is new.
    pub(crate) fn insert(
        &mut self,
        state: &State,
        height: u64,
        verified: Verified,
    ) -> Result<bool, Rejected> {
        if self.contains(&verified.id) {
            return Ok(false);
        }
        let (author, sequence) = (verified.transaction.author, verified.transaction.sequence);
        admissible(state, height, &verified.transaction)?;
        let cost = verified.bytes.len() + OVERHEAD;
        let mine = self.authors.get(&author).map_or(0, |waiting| waiting.bytes);
        if let Some(waiting) = self.authors.get(&author) {
            if waiting.by_sequence.contains_key(&sequence) {
                return Err(Rejected::Taken(sequence));
            }
            if waiting.by_sequence.len() >= self.limits.author_transactions
                || mine + cost > self.limits.author_bytes
            {
                return Err(Rejected::Quota);
            }
        }
        while self.bytes + cost > self.limits.bytes {
            let heaviest = self.weights.last().copied();
            match heaviest {
                Some((most, other)) if other != author && most > mine + cost => {
                    self.drop_last(&other)
                }
                _ => return Err(Rejected::Full),
            }
        }
        self.ids.insert(verified.id, (author, sequence));
        self.authors
            .entry(author)
            .or_default()
            .by_sequence
            .insert(sequence, verified);
        self.weigh(author, mine, mine + cost);
        Ok(true)
    }

    fn weigh(&mut self, author: NodeId, before: usize, after: usize) {
        self.weights.remove(&(before, author));
        self.bytes = self.bytes - before + after;
        match (self.authors.get_mut(&author), after) {
            (_, 0) => {
                self.authors.remove(&author);
            }
            (Some(waiting), _) => {
                waiting.bytes = after;
                self.weights.insert((after, author));
            }
            (None, _) => {}
        }
    }

    fn drop_last(&mut self, author: &NodeId) {
        self.drop_where(author, |waiting| {
            waiting
                .by_sequence
                .pop_last()
                .into_iter()
                .map(|(_, one)| one)
                .collect()
        });
    }

    fn drop_where(&mut self, author: &NodeId, take: impl FnOnce(&mut Waiting) -> Vec<Verified>) {
        let Some(waiting) = self.authors.get_mut(author) else {
            return;
        };
        let before = waiting.bytes;
        let mut after = before;
        for one in take(waiting) {
            after -= one.bytes.len() + OVERHEAD;
            self.ids.remove(&one.id);
        }
        self.weigh(*author, before, after);
    }

    /// Drops what can no longer be decided. Answers it.
    pub(crate) fn prune(&mut self, state: &State, height: u64) -> Vec<TransactionId> {
        let mut dropped = Vec::new();
        let authors: Vec<NodeId> = self.authors.keys().copied().collect();
        for author in authors {
            // What is the same for all of one author is looked up once: much waits, and this happens at each height.
            let stays = state.may_write(&author);
            let last = state.author(&author).map_or(0, |author| author.sequence);
            self.drop_where(&author, |waiting| {
                let dead: Vec<u64> = waiting
                    .by_sequence
                    .iter()
                    .filter(|(sequence, one)| {
                        let waits = **sequence > last && one.transaction.until >= height;
                        !(stays && waits)
                    })
                    .map(|(sequence, _)| *sequence)
                    .collect();
                let dead: Vec<Verified> = dead
                    .iter()
                    .filter_map(|sequence| waiting.by_sequence.remove(sequence))
                    .collect();
                dropped.extend(dead.iter().map(|one| one.id));
                dead
            });
        }
        dropped
    }

    /// What waits in the order in which it is offered for the block of a height: one of each author in turn, by sequence,
    /// beginning with another author at each height.
    pub(crate) fn turns(&self, height: u64) -> impl Iterator<Item = &Verified> + '_ {
        let first = NodeId(*blake3::hash(&height.to_le_bytes()).as_bytes());
        let mut queues: std::collections::VecDeque<_> = self
            .authors
            .range(first..)
            .chain(self.authors.range(..first))
            .map(|(_, waiting)| waiting.by_sequence.values())
            .collect();
        std::iter::from_fn(move || {
            while let Some(mut queue) = queues.pop_front() {
                if let Some(next) = queue.next() {
                    queues.push_back(queue);
                    return Some(next);
                }
            }
            None
        })
    }
}
