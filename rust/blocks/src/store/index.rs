//! The block index: which block is where, and how many bytes of each segment are in use.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use hypermesh_id::BlockId;
use mfn_ifr::{Ifr, Options};

use super::record::Location;
use crate::StoreError;

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

    /// Points `id` at `location`, from wherever it pointed before.
    pub(crate) fn insert(&mut self, id: &BlockId, location: Location) -> Result<(), StoreError> {
        let old = self
            .table
            .insert(&id.0, location.to_bytes())
            .map_err(|error| StoreError::Index(error.to_string()))?;
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
        self.table.stats().bytes
    }

    fn forget(&mut self, old: &Location) {
        self.live_bytes = self.live_bytes.saturating_sub(old.record_bytes());
        self.content_bytes = self.content_bytes.saturating_sub(u64::from(old.raw_len));
        if let Some(segment) = self.segments.get_mut(&old.segment) {
            segment.live_bytes = segment.live_bytes.saturating_sub(old.record_bytes());
        }
    }
}
