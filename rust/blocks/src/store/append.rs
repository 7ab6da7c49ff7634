//! Appends records to the active segment, and makes them durable.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use hypermesh_id::BlockId;

use super::codec::compress;
use super::record::{CODEC_RAW, CODEC_ZSTD, HEADER_BYTES, Header, Location};
use super::{Inner, scan, sidecar};
use crate::StoreError;
use crate::disk::DiskFile;
use crate::limits::DISK_RESERVE_BYTES;

/// A block on its way into a segment.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    pub(crate) id: BlockId,
    pub(crate) codec: u8,
    pub(crate) raw_len: u32,
    pub(crate) stored: Cow<'a, [u8]>,
    /// What the stored bytes are a delta against.
    pub(crate) base: Option<Base<'a>>,
    /// Set when a compacted segment gives up the block: where it was.
    pub(crate) moved_from: Option<Location>,
}

/// The base of a delta on its way into a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    pub(crate) id: BlockId,
    /// Where it was when the delta was made, and the bytes that the delta is of. The delta counts only
    /// if its base is still there: it may have been found damaged since, or stored again as a delta
    /// against this very block. Of a block that is only moved, nothing changes.
    pub(crate) made: Option<(Location, &'a [u8])>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Appended {
    pub(crate) blocks: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) record_bytes: u64,
}

/// The active segment. Under the lock that orders all writes.
#[derive(Debug, Default)]
pub(crate) struct Active {
    /// The newest segment, if it takes more.
    pub(crate) segment: Option<(u32, Arc<dyn DiskFile>)>,
    pub(crate) length: u64,
    /// The number that the next segment gets.
    pub(crate) next: u32,
    /// Set after a failed fsync or truncation: what the disk holds is unknown until the next open.
    pub(crate) broken: bool,
}

impl<'a> Pending<'a> {
    /// A block that stands for itself, compressed where that pays.
    pub(crate) fn whole(id: BlockId, raw: &'a [u8]) -> Self {
        let (codec, stored) = match compress(raw) {
            Some(small) => (CODEC_ZSTD, Cow::Owned(small)),
            None => (CODEC_RAW, Cow::Borrowed(raw)),
        };
        Self {
            id,
            codec,
            raw_len: raw.len() as u32,
            stored,
            base: None,
            moved_from: None,
        }
    }
}

impl Inner {
    /// Appends the blocks that are not here. They can be read at once, and are durable after
    /// [`Inner::sync`]. On an error a prefix of them may be there; nothing else changed.
    pub(crate) fn append(&self, blocks: &[Pending<'_>]) -> Result<Appended, StoreError> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.fresh(blocks);
        let mut done = Appended::default();
        let mut rest = &fresh[..];
        while !rest.is_empty() {
            let room = self.room(&mut active, record_bytes(rest[0]))?;
            let mut bytes = 0;
            let count = rest
                .iter()
                .take_while(|block| {
                    bytes += record_bytes(block);
                    bytes <= room
                })
                .count();
            let (group, later) = rest.split_at(count.max(1));
            let stale = self.append_group(&mut active, group, &mut done)?;
            for block in stale {
                self.append_whole(&mut active, block, &mut done)?;
            }
            rest = later;
        }
        Ok(done)
    }

    /// Appends a block whose delta lost its base.
    fn append_whole(
        &self,
        active: &mut Active,
        block: &Pending<'_>,
        done: &mut Appended,
    ) -> Result<(), StoreError> {
        let Some((_, raw)) = block.base.and_then(|base| base.made) else {
            // A moved delta whose base is gone was condemned with it.
            return Ok(());
        };
        let whole = Pending::whole(block.id, raw);
        self.room(active, record_bytes(&whole))?;
        self.append_group(active, &[&whole], done).map(drop)
    }

    /// Makes everything appended before this call durable. Callers that wait together share one
    /// fsync.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let target = self.appended.load(Ordering::Acquire);
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= target {
            return Ok(());
        }
        let (covered, segment) = {
            let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            if active.broken {
                return Err(StoreError::LostWrites);
            }
            (
                self.appended.load(Ordering::Acquire),
                active.segment.clone(),
            )
        };
        if let Some((number, file)) = segment
            && let Err(error) = file.sync()
        {
            // The kernel may have dropped the pages: a second fsync would lie.
            self.active
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .broken = true;
            return Err(StoreError::io(
                "sync",
                &self.files.segment_path(number),
                error,
            ));
        }
        *synced = covered;
        Ok(())
    }

    /// Seals the active segment, if any: durable, listed in a sidecar, never written again.
    pub(crate) fn seal(&self, active: &mut Active) -> Result<(), StoreError> {
        let Some((number, file)) = active.segment.clone() else {
            return Ok(());
        };
        if active.broken {
            return Err(StoreError::LostWrites);
        }
        if let Err(error) = file.sync() {
            active.broken = true;
            return Err(StoreError::io(
                "sync",
                &self.files.segment_path(number),
                error,
            ));
        }
        self.seal_file(number, &*file, active.length)?;
        active.segment = None;
        active.length = 0;
        Ok(())
    }

    /// Writes the sidecar of a durable segment and records that it is sealed.
    pub(crate) fn seal_file(
        &self,
        number: u32,
        file: &dyn DiskFile,
        length: u64,
    ) -> Result<Vec<sidecar::Row>, StoreError> {
        let path = self.files.sidecar_path(number);
        let failed = |error| StoreError::io("write", &path, error);
        let mut rows = Vec::new();
        scan::scan(file, number, false, &mut |found| {
            rows.push(sidecar::Row {
                id: found.id,
                location: found.location,
                base: found.base,
            })
        })
        .map_err(failed)?;
        sidecar::write(&*self.files.disk, &path, length, &rows).map_err(failed)?;
        self.files.disk.sync_dir(&self.files.dir).map_err(failed)?;
        self.meta.set_sealed(number, Some(length))?;
        Ok(rows)
    }

    /// The blocks that have to be written: each once, none that is here.
    fn fresh<'a, 'b>(&self, blocks: &'a [Pending<'b>]) -> Vec<&'a Pending<'b>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::with_capacity(blocks.len());
        blocks
            .iter()
            .filter(|block| seen.insert(block.id) && index.get(&block.id) == block.moved_from)
            .collect()
    }

    /// Bytes that the active segment still takes; starts a new one when `first` does not fit.
    fn room(&self, active: &mut Active, first: u64) -> Result<u64, StoreError> {
        if active.broken {
            return Err(StoreError::LostWrites);
        }
        if active.length > 0 && active.length + first > self.segment_bytes {
            self.seal(active)?;
        }
        if active.segment.is_none() {
            let number = active.next;
            active.next = number.checked_add(1).ok_or(StoreError::Limit {
                what: "the number of segments",
                limit: u32::MAX.into(),
            })?;
            active.segment = Some((number, self.files.create(number)?));
            active.length = 0;
        }
        Ok(self.segment_bytes.saturating_sub(active.length))
    }

    /// Answers the deltas that do not count because their bases are not where they were.
    fn append_group<'b, 'c>(
        &self,
        active: &mut Active,
        group: &[&'b Pending<'c>],
        done: &mut Appended,
    ) -> Result<Vec<&'b Pending<'c>>, StoreError> {
        let total = group.iter().map(|block| record_bytes(block)).sum::<u64>();
        let Some((number, file)) = active.segment.clone() else {
            return Err(StoreError::Internal("no active segment"));
        };
        // Compaction gives back more than it takes, and must work when the store is full.
        if group.iter().any(|block| block.moved_from.is_none()) {
            self.check_space(total)?;
        }
        let headers: Vec<[u8; HEADER_BYTES]> = group.iter().map(|block| header(block)).collect();
        let mut parts = Vec::with_capacity(group.len() * 2);
        for (header, block) in headers.iter().zip(group) {
            parts.push(IoSlice::new(header));
            parts.push(IoSlice::new(&block.stored));
        }
        if let Err(error) = file.write_at(&parts, active.length) {
            // What was written is cut off, so that the segment ends with whole records.
            if file.set_len(active.length).is_err() {
                active.broken = true;
            }
            return Err(StoreError::io(
                "write",
                &self.files.segment_path(number),
                error,
            ));
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut offset = active.length;
        active.length += total;
        self.appended.fetch_add(total, Ordering::AcqRel);
        index.segments.entry(number).or_default().length = active.length;
        let mut stale = Vec::new();
        for block in group {
            let location = Location {
                segment: number,
                offset: u32::try_from(offset)
                    .map_err(|_| StoreError::Internal("a segment is too long"))?,
                stored_len: block.stored.len() as u32,
                raw_len: block.raw_len,
            };
            offset += location.record_bytes();
            let here = block.base.is_none_or(|base| {
                let now = index.get(&base.id);
                let made = base.made.map(|(location, _)| location);
                now.is_some() && made.is_none_or(|then| now == Some(then))
            });
            if !here {
                stale.push(*block);
                continue;
            }
            index.insert(&block.id, location, block.base.map(|base| base.id))?;
            done.blocks += 1;
            done.raw_bytes += u64::from(block.raw_len);
            done.record_bytes += location.record_bytes();
        }
        Ok(stale)
    }

    fn check_space(&self, wanted: u64) -> Result<(), StoreError> {
        if let Some(limit) = self.quota_bytes {
            let used = self
                .index
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .stored_bytes();
            if used.saturating_add(wanted) > limit {
                return Err(StoreError::Quota { used, limit });
            }
        }
        let space = self
            .files
            .disk
            .space(&self.files.dir)
            .map_err(|error| StoreError::io("look at", &self.files.dir, error))?;
        let reserve = DISK_RESERVE_BYTES.min(space.total / 32);
        if space.free < wanted.saturating_add(reserve) {
            return Err(StoreError::NoSpace {
                what: "store blocks in",
                path: self.files.dir.clone(),
            });
        }
        Ok(())
    }
}

fn header(block: &Pending<'_>) -> [u8; HEADER_BYTES] {
    Header {
        codec: block.codec,
        raw_len: block.raw_len,
        stored_len: block.stored.len() as u32,
        id: block.id,
        stored_crc: crc32fast::hash(&block.stored),
    }
    .encode()
}

fn record_bytes(block: &Pending<'_>) -> u64 {
    HEADER_BYTES as u64 + block.stored.len() as u64
}
