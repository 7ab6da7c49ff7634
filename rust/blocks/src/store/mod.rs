//! The block store: append-only segments, an exact index in memory, metadata in a database.

mod append;
pub mod codec;
mod database;
mod files;
mod index;
pub(crate) mod lease;
mod meta;
mod open;
mod pack;
mod rebuild;
pub mod record;
pub(crate) mod scan;
pub mod sidecar;
mod similar;
mod travel;

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hypermesh_id::{BlockId, Root};

pub(crate) use append::{Appended, Base, Pending};
use codec::{is_sampled, restore_checked};
pub use meta::RootRecord;
pub use open::is_store;
pub use rebuild::RebuildReport;
use record::{CODEC_RAW, HEADER_BYTES, Header, Location};
pub use travel::Sent;

use crate::disk::{Disk, SystemDisk};
use crate::limits::{DELTA_CHAIN_MAX, MOVED_RETRIES_MAX, SKETCHES_BYTES_MAX_DEFAULT};
use crate::{IngestError, StoreError};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Most bytes that the segments may take; `None` for the whole disk.
    pub quota_bytes: Option<u64>,
    /// Length at which a segment is full; `None` for the default. At most 1 GiB.
    pub segment_bytes: Option<u64>,
    /// Most memory of the block index.
    pub index_bytes_max: u64,
    /// Whether new blocks are stored as deltas against similar ones. What is stored as a delta is read
    /// in any case.
    pub deltas: bool,
    /// Most memory of the sketches by which similar blocks are found.
    pub sketches_bytes_max: u64,
    /// What the store's files are on.
    pub disk: Arc<dyn Disk>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            quota_bytes: None,
            segment_bytes: None,
            index_bytes_max: 4 * 1024 * 1024 * 1024,
            deltas: true,
            sketches_bytes_max: SKETCHES_BYTES_MAX_DEFAULT,
            disk: Arc::new(SystemDisk),
        }
    }
}

/// The blocks of one node on one disk. Cheap to clone; all methods block and may be called from any
/// thread. One process at a time has a store open.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) meta: Meta,
    pub(crate) files: files::Files,
    pub(crate) index: RwLock<index::Index>,
    pub(crate) active: Mutex<append::Active>,
    /// Bytes appended since the store was opened.
    appended: AtomicU64,
    /// How many of them are durable. Held while one thread syncs for all.
    synced: Mutex<u64>,
    pub(crate) gate: Arc<lease::Gate>,
    pub(crate) segment_bytes: u64,
    quota_bytes: Option<u64>,
    /// Set while new blocks may become deltas.
    similar: Option<similar::Similar>,
    _lock: File,
}
use meta::Meta;

/// A block as it is stored and as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// 0 plain, 1 zstd.
    pub codec: u8,
    /// Length of the block.
    pub raw_len: u32,
    pub bytes: Bytes,
}

/// What became of a block that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// It was stored.
    New,
    /// It was here.
    Present,
}

/// What to remember of a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootInfo {
    /// Whether all its blocks are here.
    pub complete: bool,
    /// Pins it; `false` leaves a pin as it is.
    pub pin: bool,
    /// Where it came from. Empty leaves the note as it is.
    pub source: Vec<u8>,
}

/// Counts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub blocks: u64,
    /// Bytes of the segments, dead ones included.
    pub stored_bytes: u64,
    /// Bytes of the segments that the index points at.
    pub live_bytes: u64,
    /// Bytes of the blocks, uncompressed.
    pub content_bytes: u64,
    /// 0: none.
    pub quota_bytes: u64,
    pub disk_free_bytes: u64,
    pub segments: u32,
    pub roots: u32,
    pub pins: u32,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Blocks that are stored as deltas.
    pub deltas: u64,
    /// Memory of the sketches.
    pub sketches_bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, making it if it is not there. Repairs what a crash left; nothing
    /// that was acknowledged is touched by that.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Ok(Self {
            inner: Arc::new(open::open(dir, options)?),
        })
    }

    /// Whether the block is here.
    pub fn contains(&self, id: &BlockId) -> bool {
        self.inner.locate(id).is_some()
    }

    /// Whether each block is here.
    pub fn contains_many(&self, ids: &[BlockId]) -> Vec<bool> {
        let index = self
            .inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        index.get_many(ids).iter().map(Option::is_some).collect()
    }

    /// The block's bytes, verified against its id. A damaged one is an error once; after that it
    /// counts as absent.
    pub fn read(&self, id: &BlockId) -> Result<Option<Bytes>, StoreError> {
        let Some((location, header, stored)) = self.inner.fetch(id)? else {
            return Ok(None);
        };
        match self.inner.unpack(id, &header, &stored)? {
            Ok(unpacked) => Ok(Some(match unpacked.raw {
                Cow::Borrowed(_) => stored.clone(),
                Cow::Owned(raw) => raw.into(),
            })),
            Err(reason) => Err(self.inner.condemn(id, &location, reason)),
        }
    }

    /// The block as it is stored, checked with the record's checksum. Whoever receives it verifies
    /// it against the id. A delta means nothing without its base: it is made whole again, verified.
    pub fn read_stored(&self, id: &BlockId) -> Result<Option<StoredBlock>, StoreError> {
        let Some((location, header, stored)) = self.inner.fetch_checked(id)? else {
            return Ok(None);
        };
        self.inner
            .whole(id, &location, &header, stored, None)
            .map(Some)
    }

    /// Takes a block from elsewhere, if its bytes are those of the id. Readable at once, durable
    /// after [`Store::sync`].
    pub fn ingest(&self, id: &BlockId, block: StoredBlock) -> Result<Ingested, IngestError> {
        let mut taken = self.ingest_many(&[(*id, block)], &mut |_, _| {})?;
        let unanswered = || Err(StoreError::Internal("a block was not looked at").into());
        taken.pop().unwrap_or_else(unanswered)
    }

    /// As [`Store::ingest`], many with one write. Answers for each in its order what became of it, or
    /// why its bytes are not its own. `verified` gets the bytes of each that is right, before it is
    /// stored. When the disk fails nothing is answered, and some may be stored.
    pub fn ingest_many(
        &self,
        blocks: &[(BlockId, StoredBlock)],
        verified: &mut dyn FnMut(&BlockId, &Bytes),
    ) -> Result<Vec<Result<Ingested, IngestError>>, StoreError> {
        let ids: Vec<BlockId> = blocks.iter().map(|(id, _)| *id).collect();
        let mut fresh = Vec::with_capacity(blocks.len());
        let mut outcomes = Vec::with_capacity(blocks.len());
        for ((id, block), here) in blocks.iter().zip(self.contains_many(&ids)) {
            outcomes.push(match here {
                true => Ok(Ingested::Present),
                false => checked(id, block).map(|raw| {
                    verified(id, &raw);
                    fresh.push((*id, block, raw));
                    Ingested::New
                }),
            });
        }
        let pending: Vec<Pending<'_>> = fresh.iter().map(arrived).collect();
        let _lease = self.lease();
        self.inner.append(&pending)?;
        for (id, block, raw) in &fresh {
            // Samples found nothing in it to shorten: it has no relatives either.
            if block.codec != CODEC_RAW || !is_sampled(block.raw_len) {
                self.inner.note(id, raw);
            }
        }
        self.inner.save_many_sketches()?;
        Ok(outcomes)
    }

    /// Makes every block stored before this call durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }

    /// Keeps `gc` away until dropped. Waits for one that runs.
    pub fn lease(&self) -> Lease {
        self.inner.gate.lease()
    }

    /// Remembers a root whose root block is here. Syncs the blocks first, so that a complete root's
    /// blocks are durable when this returns. Waits for a running `gc`.
    pub fn record_root(&self, root: &Root, info: RootInfo) -> Result<(), StoreError> {
        // A sweep has its roots already: it would take the blocks of one that is recorded meanwhile.
        let _lease = self.lease();
        self.sync()?;
        self.inner.save_sketches(1)?;
        // A hash that may name nothing, or no root, is not worth keeping anything for.
        let content_bytes = self.reader().root_manifest(root)?.totals.content_bytes;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.inner.meta.update_root(root, &mut |old| {
            let mut record = old.unwrap_or_else(|| RootRecord {
                root: *root,
                pinned: false,
                complete: false,
                added: now,
                content_bytes: 0,
                source: Vec::new(),
            });
            record.pinned |= info.pin;
            record.complete = info.complete;
            record.content_bytes = content_bytes;
            if !info.source.is_empty() {
                record.source.clone_from(&info.source);
            }
            Some(record)
        })
    }

    /// What is remembered of a root.
    pub fn root(&self, root: &Root) -> Result<Option<RootRecord>, StoreError> {
        self.inner.meta.root(root)
    }

    /// Every root that is remembered, in no order.
    pub fn roots(&self) -> Result<Vec<RootRecord>, StoreError> {
        self.inner.meta.roots()
    }

    /// Forgets a root: as unpinning it, and an unfinished get of it is not kept either. Its blocks
    /// stay until `gc`.
    pub fn forget_root(&self, root: &Root) -> Result<(), StoreError> {
        self.inner.meta.update_root(root, &mut |_| None)
    }

    /// Keeps a remembered root's blocks from `gc`. Waits for one that runs: it may have decided on
    /// them already, and then the root is not known any more.
    pub fn pin(&self, root: &Root) -> Result<(), StoreError> {
        let _lease = self.lease();
        self.change_known(root, &mut |record| {
            Some(RootRecord {
                pinned: true,
                ..record
            })
        })
    }

    /// Gives a root's blocks to the next `gc`. A root that is not complete is forgotten: its
    /// unfinished get was all that kept them.
    pub fn unpin(&self, root: &Root) -> Result<(), StoreError> {
        self.change_known(root, &mut |record| {
            record.complete.then_some(RootRecord {
                pinned: false,
                ..record
            })
        })
    }

    /// Counts.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let roots = self.roots()?;
        let files = &self.inner.files;
        let space = files.disk.space(&files.dir);
        let space = space.map_err(|error| StoreError::io("look at", &files.dir, error))?;
        let index = self
            .inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(StoreStats {
            blocks: index.blocks(),
            stored_bytes: index.stored_bytes(),
            live_bytes: index.live_bytes(),
            content_bytes: index.content_bytes(),
            quota_bytes: self.inner.quota_bytes.unwrap_or(0),
            disk_free_bytes: space.free,
            segments: index.segments.len() as u32,
            roots: roots.len() as u32,
            pins: roots.iter().filter(|root| root.pinned).count() as u32,
            index_bytes: index.memory_bytes(),
            deltas: index.deltas(),
            sketches_bytes: self
                .inner
                .similar
                .as_ref()
                .map_or(0, similar::Similar::memory_bytes),
        })
    }

    /// Whether each block is here with the checksum that it was stored with. One that is not counts
    /// as absent from now on.
    ///
    /// For whoever has the bytes at hand: a block that rots unseen would be acknowledged again, when
    /// nothing is easier than to store it anew.
    pub(crate) fn intact_many(&self, ids: &[BlockId]) -> Vec<bool> {
        let here = self.contains_many(ids);
        let check = |(id, here): (&BlockId, bool)| here && self.is_intact(id);
        ids.iter().zip(here).map(check).collect()
    }

    fn is_intact(&self, id: &BlockId) -> bool {
        match self.inner.has_checksums(id) {
            Ok(true) => return true,
            Ok(false) => tracing::warn!(block = %id, "a stored delta lost its base"),
            Err(error) => {
                tracing::warn!(block = %id, %error, "a stored block cannot be used; it is stored anew");
            }
        }
        // Damage took it out of the index already; what cannot be read is as good as damaged.
        if let Some(location) = self.inner.locate(id) {
            let _ = self.inner.condemn(id, &location, "it cannot be read");
        }
        false
    }

    /// The verified block, or the error that it is missing.
    pub(crate) fn need(&self, id: &BlockId) -> Result<Bytes, StoreError> {
        self.read(id)?.ok_or(StoreError::Missing(*id))
    }

    fn change_known(
        &self,
        root: &Root,
        change: &mut dyn FnMut(RootRecord) -> Option<RootRecord>,
    ) -> Result<(), StoreError> {
        let mut known = false;
        self.inner.meta.update_root(root, &mut |old| {
            known = old.is_some();
            old.and_then(&mut *change)
        })?;
        if known {
            Ok(())
        } else {
            Err(StoreError::UnknownRoot(*root))
        }
    }
}

pub use lease::Lease;

/// The block's bytes, if they are its own. A plain block is not copied.
fn checked(id: &BlockId, block: &StoredBlock) -> Result<Bytes, IngestError> {
    match restore_checked(id, block.codec, block.raw_len, &block.bytes, None) {
        Ok(Cow::Borrowed(_)) => Ok(block.bytes.clone()),
        Ok(Cow::Owned(raw)) => Ok(raw.into()),
        Err(reason) => Err(IngestError::Mismatch { block: *id, reason }),
    }
}

/// A verified block as it goes into a segment. A peer that does not compress costs its wire, not this
/// disk, unless the block is one that would only be sampled: nearly always its sender did that, and
/// the try would cost more than all the rest of storing it.
fn arrived<'a>((id, block, _): &(BlockId, &'a StoredBlock, Bytes)) -> Pending<'a> {
    if block.codec == CODEC_RAW && !is_sampled(block.raw_len) {
        return Pending::whole(*id, &block.bytes);
    }
    Pending {
        id: *id,
        codec: block.codec,
        raw_len: block.raw_len,
        stored: Cow::Borrowed(&block.bytes),
        base: None,
        moved_from: None,
    }
}

impl Appended {
    fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.raw_bytes += other.raw_bytes;
        self.record_bytes += other.record_bytes;
    }
}

impl Inner {
    /// What the index says is in these segments, in the order it lies there.
    pub(crate) fn blocks_in(&self, segments: &[u32]) -> Vec<(BlockId, Location)> {
        let mut found = Vec::new();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.for_each(&mut |id, location| {
            if segments.contains(&location.segment) {
                found.push((id, location));
            }
        });
        found.sort_unstable_by_key(|(_, location)| (location.segment, location.offset));
        found
    }

    pub(crate) fn locate(&self, id: &BlockId) -> Option<Location> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
    }

    /// Reads a record. Follows a block that is moved meanwhile.
    pub(crate) fn fetch(
        &self,
        id: &BlockId,
    ) -> Result<Option<(Location, Header, Bytes)>, StoreError> {
        for _ in 0..MOVED_RETRIES_MAX {
            let Some(location) = self.locate(id) else {
                return Ok(None);
            };
            match self.fetch_at(id, &location) {
                Ok((header, stored)) => return Ok(Some((location, header, stored))),
                Err(error @ StoreError::Corrupt { .. }) => return Err(error),
                Err(error) if self.locate(id) == Some(location) => return Err(error),
                Err(_) => {}
            }
        }
        Err(StoreError::Internal("a block keeps moving"))
    }

    pub(crate) fn fetch_at(
        &self,
        id: &BlockId,
        location: &Location,
    ) -> Result<(Header, Bytes), StoreError> {
        let file = self.files.get(location.segment)?;
        let mut record = vec![0; location.record_bytes() as usize];
        let got = file
            .read_at(&mut record, location.offset.into())
            .map_err(|error| {
                StoreError::io("read", &self.files.segment_path(location.segment), error)
            })?;
        if got != record.len() {
            return Err(self.condemn(id, location, "its segment is too short"));
        }
        match Header::decode(&record) {
            Some(header)
                if header.id == *id
                    && header.stored_len == location.stored_len
                    && header.raw_len == location.raw_len =>
            {
                Ok((header, Bytes::from(record).slice(HEADER_BYTES..)))
            }
            _ => Err(self.condemn(id, location, "its record's header is damaged")),
        }
    }

    /// Whether a record and all that it stands on have the checksums they were stored with.
    fn has_checksums(&self, id: &BlockId) -> Result<bool, StoreError> {
        let mut next = Some(*id);
        for _ in 0..=DELTA_CHAIN_MAX {
            let Some(id) = next else {
                return Ok(true);
            };
            let Some((location, header, stored)) = self.fetch(&id)? else {
                return Ok(false);
            };
            if crc32fast::hash(&stored) != header.stored_crc {
                return Err(self.condemn(&id, &location, "its checksum is wrong"));
            }
            next = record::base_of(header.codec, &stored);
        }
        Ok(next.is_none())
    }

    /// Puts a block that was found to be sound back into the index, if it was taken out because its
    /// base was damaged.
    pub(crate) fn adopt(
        &self,
        id: &BlockId,
        location: &Location,
        base: Option<BlockId>,
    ) -> Result<(), StoreError> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let stands = base.is_none_or(|base| index.get(&base).is_some());
        if index.get(id).is_none() && stands {
            index.insert(id, *location, base)?;
        }
        Ok(())
    }

    /// Adds a block's sketch if it may be a base and has none.
    pub(crate) fn sketch_again(&self, id: &BlockId, raw: &[u8]) {
        let depth = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.depth(id)
        };
        let known = |similar: &similar::Similar| similar.contains(id);
        if depth < crate::limits::DELTA_DEPTH_MAX && !self.similar.as_ref().is_none_or(known) {
            self.note(id, raw);
        }
    }

    /// Takes a damaged block out of the index, with the deltas on it, so that they are asked for and
    /// stored again.
    pub(crate) fn condemn(
        &self,
        id: &BlockId,
        location: &Location,
        reason: &'static str,
    ) -> StoreError {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.remove_at(id, location);
        let Location {
            segment, offset, ..
        } = *location;
        StoreError::Corrupt {
            block: *id,
            segment,
            offset,
            reason,
        }
    }
}
