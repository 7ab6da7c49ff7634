//! The block index: which block is where, and how many bytes of each segment are in use.

use std::collections::BTreeMap;

use hypermesh_id::BlockId;

use super::record::Location;
use crate::StoreError;

/// One segment as the index sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentUse {
    pub(crate) length: u64,
    pub(crate) live_bytes: u64,
}

/// Exact match from block id to location.
#[derive(Debug)]
pub(crate) struct Index {
    table: std::collections::HashMap<[u8; 32], [u8; 16]>,
    pub(crate) segments: BTreeMap<u32, SegmentUse>,
    live_bytes: u64,
    content_bytes: u64,
}

impl Index {
    pub(crate) fn new(_bytes_max: u64) -> Result<Self, StoreError> {
        Ok(Self {
            table: Default::default(),
            segments: BTreeMap::new(),
            live_bytes: 0,
            content_bytes: 0,
        })
    }

    pub(crate) fn get(&self, id: &BlockId) -> Option<Location> {
        self.table.get(&id.0).copied().map(Location::from_bytes)
    }

    pub(crate) fn get_many(&self, ids: &[BlockId]) -> Vec<Option<Location>> {
        ids.iter().map(|id| self.get(id)).collect()
    }

    /// Points `id` at `location`, from wherever it pointed before.
    pub(crate) fn insert(&mut self, id: &BlockId, location: Location) -> Result<(), StoreError> {
        let old = self.table.insert(id.0, location.to_bytes());
        if let Some(old) = old.map(Location::from_bytes) {
            self.forget(&old);
        }
        self.live_bytes += location.record_bytes();
        self.content_bytes += u64::from(location.raw_len);
        self.segments
            .entry(location.segment)
            .or_default()
            .live_bytes += location.record_bytes();
        Ok(())
    }

    /// Removes `id` if it still points at `location`: a block that moved meanwhile stays.
    pub(crate) fn remove_at(&mut self, id: &BlockId, location: &Location) -> bool {
        if self.get(id) != Some(*location) {
            return false;
        }
        self.table.remove(&id.0);
        self.forget(location);
        true
    }

    pub(crate) fn for_each(&self, visit: &mut dyn FnMut(BlockId, Location)) {
        for (id, value) in &self.table {
            visit(BlockId(*id), Location::from_bytes(*value));
        }
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.table.len() as u64
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
        0
    }

    fn forget(&mut self, old: &Location) {
        self.live_bytes = self.live_bytes.saturating_sub(old.record_bytes());
        self.content_bytes = self.content_bytes.saturating_sub(u64::from(old.raw_len));
        if let Some(segment) = self.segments.get_mut(&old.segment) {
            segment.live_bytes = segment.live_bytes.saturating_sub(old.record_bytes());
        }
    }
}
