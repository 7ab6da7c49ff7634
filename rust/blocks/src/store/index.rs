//! The block index: which block is where, and how many bytes of each segment are in use.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use hypermesh_id::BlockId;
use mfn_ifr::{Ifr, Options};

use super::record::Location;
use crate::StoreError;
use crate::limits::DELTA_CHAIN_MAX;

/// One segment as the index sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentUse {
    pub(crate) length: u64,
    pub(crate) live_bytes: u64,
}

/// Exact match from block id to location: a table of layer 1.
#[derive(Debug)]
pub(crate) struct Index {
    table: Ifr,
    pub(crate) segments: BTreeMap<u32, SegmentUse>,
    /// What each delta stands on. A base is always in the table as well.
    bases: HashMap<BlockId, BlockId>,
    live_bytes: u64,
    content_bytes: u64,
}

impl Index {
    /// An empty index of at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Result<Self, StoreError> {
        let options = Options {
            bytes_max: bytes_max.max(mfn_ifr::BYTES_MIN),
            ..Options::default()
        };
        let table = Ifr::new(options).map_err(|error| StoreError::Index(error.to_string()))?;
        Ok(Self {
            table,
            segments: BTreeMap::new(),
            bases: HashMap::new(),
            live_bytes: 0,
            content_bytes: 0,
        })
    }

    pub(crate) fn get(&self, id: &BlockId) -> Option<Location> {
        self.table.get(&id.0).map(Location::from_bytes)
    }

    /// Looks many up; their waits for memory overlap.
    pub(crate) fn get_many(&self, ids: &[BlockId]) -> Vec<Option<Location>> {
        let keys: Vec<[u8; 32]> = ids.iter().map(|id| id.0).collect();
        let mut values = vec![None; keys.len()];
        self.table.get_many(&keys, &mut values);
        values
            .into_iter()
            .map(|value| value.map(Location::from_bytes))
            .collect()
    }

    /// What a block is a delta against.
    pub(crate) fn base(&self, id: &BlockId) -> Option<BlockId> {
        self.bases.get(id).copied()
    }

    /// How many deltas a block stands on. More than [`DELTA_CHAIN_MAX`] are not counted.
    pub(crate) fn depth(&self, id: &BlockId) -> usize {
        let next = |at: &BlockId| self.bases.get(at).copied();
        let chain = std::iter::successors(next(id), next);
        chain.take(DELTA_CHAIN_MAX + 1).count()
    }

    /// Number of deltas.
    pub(crate) fn deltas(&self) -> u64 {
        self.bases.len() as u64
    }

    /// Adds to a set of blocks what they stand on.
    pub(crate) fn add_bases(&self, blocks: &mut HashSet<BlockId>) {
        let mut open: Vec<BlockId> = blocks.iter().filter_map(|id| self.base(id)).collect();
        while let Some(id) = open.pop() {
            if blocks.insert(id) {
                open.extend(self.base(&id));
            }
        }
    }

    /// Takes out the deltas whose bases are not here, or too deep. Answers how many.
    pub(crate) fn drop_stranded(&mut self) -> u64 {
        let stranded: Vec<(BlockId, Location)> = self
            .bases
            .iter()
            .filter(|(id, base)| self.get(base).is_none() || self.depth(id) > DELTA_CHAIN_MAX)
            .filter_map(|(id, _)| Some((*id, self.get(id)?)))
            .collect();
        let gone = stranded
            .iter()
            .filter(|(id, location)| self.remove_at(id, location));
        gone.count() as u64
    }

    /// Points `id` at `location`, from wherever it pointed before.
    pub(crate) fn insert(
        &mut self,
        id: &BlockId,
        location: Location,
        base: Option<BlockId>,
    ) -> Result<(), StoreError> {
        let old = self
            .table
            .insert(&id.0, location.to_bytes())
            .map_err(|error| StoreError::Index(error.to_string()))?;
        if let Some(old) = old.map(Location::from_bytes) {
            self.forget(&old);
        }
        match base {
            Some(base) => self.bases.insert(*id, base),
            None => self.bases.remove(id),
        };
        self.live_bytes += location.record_bytes();
        self.content_bytes += u64::from(location.raw_len);
        self.segments
            .entry(location.segment)
            .or_default()
            .live_bytes += location.record_bytes();
        Ok(())
    }

    /// Removes `id` if it still points at `location`: a block that moved meanwhile stays. What stands
    /// on it cannot be read any more and goes as well.
    pub(crate) fn remove_at(&mut self, id: &BlockId, location: &Location) -> bool {
        if self.get(id) != Some(*location) {
            return false;
        }
        self.remove_alone(id, location);
        let mut gone = HashSet::from([*id]);
        // Each round finds what stands directly on what went in the round before.
        while !gone.is_empty() && !self.bases.is_empty() {
            let on_it: Vec<BlockId> = self
                .bases
                .iter()
                .filter(|(_, base)| gone.contains(base))
                .map(|(id, _)| *id)
                .collect();
            gone.clear();
            for id in on_it {
                if let Some(location) = self.get(&id) {
                    self.remove_alone(&id, &location);
                }
                self.bases.remove(&id);
                gone.insert(id);
            }
        }
        true
    }

    /// Removes blocks that nothing needs, the bases of nothing that stays.
    pub(crate) fn remove_dead(&mut self, dead: &[(BlockId, Location)]) {
        for (id, location) in dead {
            if self.get(id) == Some(*location) {
                self.remove_alone(id, location);
            }
        }
    }

    fn remove_alone(&mut self, id: &BlockId, location: &Location) {
        self.table.remove(&id.0);
        self.bases.remove(id);
        self.forget(location);
    }

    pub(crate) fn for_each(&self, visit: &mut dyn FnMut(BlockId, Location)) {
        self.table.for_each(|id, value| {
            visit(BlockId(*id), Location::from_bytes(*value));
            ControlFlow::Continue(())
        });
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.table.len()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Bytes of all segment files.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.length).sum()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let bases = self.bases.capacity() * 2 * size_of::<BlockId>();
        self.table.stats().bytes + bases as u64
    }

    fn forget(&mut self, old: &Location) {
        self.live_bytes = self.live_bytes.saturating_sub(old.record_bytes());
        self.content_bytes = self.content_bytes.saturating_sub(u64::from(old.raw_len));
        if let Some(segment) = self.segments.get_mut(&old.segment) {
            segment.live_bytes = segment.live_bytes.saturating_sub(old.record_bytes());
        }
    }
}
