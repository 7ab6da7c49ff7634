//! Blocks on their way to and from others that have similar ones: as deltas where that pays.

use bytes::Bytes;
use hypermesh_id::BlockId;

use super::append::{Base, Pending};
use super::record::{BASE_BYTES, CODEC_DELTA, CODEC_RAW, CODEC_ZSTD, Header, Location};
use super::{Ingested, Inner, Store, StoredBlock, codec, record};
use crate::limits::{DELTA_BLOCK_BYTES_MIN, DELTA_DEPTH_MAX};
use crate::{IngestError, StoreError};

/// A delta travels if it is shorter than the block's stored bytes by at least one part in this many,
const PAYS_ONE_IN: usize = 8;
/// and by at least this many bytes.
const PAYS_BYTES: usize = 16;
/// A delta shorter than one part in this many of the block is not compared with other forms of it.
const CLEAR_ONE_IN: usize = 4;

/// A block as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Whole(StoredBlock),
    /// One zstd frame that has a base's bytes as its prefix.
    Delta {
        /// Which of the bases that were named.
        base: usize,
        /// Length of the block.
        raw_len: u32,
        frame: Bytes,
    },
}

impl Store {
    /// The block for someone who has `bases`: as a delta against one of them where that is clearly
    /// shorter, else as [`Store::read_stored`] gives it. A delta that is stored against one of them
    /// goes out as it lies there. To make one, blocks are read and compressed: at most `work` bytes
    /// of them, of which what was used is taken.
    pub fn read_against(
        &self,
        id: &BlockId,
        bases: &[BlockId],
        work: &mut u64,
    ) -> Result<Option<Sent>, StoreError> {
        let Some((location, header, stored)) = self.inner.fetch_checked(id)? else {
            return Ok(None);
        };
        let stands_on = record::base_of(header.codec, &stored);
        let place = stands_on.and_then(|on| bases.iter().position(|base| *base == on));
        if let Some(base) = place {
            return Ok(Some(Sent::Delta {
                base,
                raw_len: header.raw_len,
                frame: stored.slice(BASE_BYTES..),
            }));
        }
        let most = header.raw_len as usize;
        if bases.is_empty() || *work < u64::from(header.raw_len) {
            let whole = self.inner.whole(id, &location, &header, stored, None)?;
            return Ok(Some(Sent::Whole(whole)));
        }
        let raw = self.inner.plain(id, &location, &header, &stored)?;
        // Unknown for a block that is itself a delta: nothing keeps what it would be alone.
        let whole = (header.codec != CODEC_DELTA).then_some(stored.len());
        let mut best: Option<(usize, Vec<u8>)> = None;
        for (place, base) in bases.iter().enumerate() {
            let Some(delta) = self.inner.try_base(base, id, &raw, work) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(_, best)| delta.len() < best.len())
            {
                let clear = delta.len() * CLEAR_ONE_IN <= most;
                best = Some((place, delta));
                if clear {
                    break;
                }
            }
        }
        let whole = match (whole, &best) {
            (None, Some((_, delta))) if delta.len() * CLEAR_ONE_IN > most => {
                Some(codec::compress(&raw).map_or(most, |small| small.len()))
            }
            (whole, _) => whole,
        };
        let pays = |delta: &[u8]| {
            let frame = delta.len().saturating_sub(BASE_BYTES);
            let shorter = |whole: usize| frame + (whole / PAYS_ONE_IN).max(PAYS_BYTES) <= whole;
            // Whoever gets it checks it as a record, which has the base's id in it.
            delta.len() < most && whole.is_none_or(shorter)
        };
        Ok(Some(match best {
            Some((base, delta)) if pays(&delta) => Sent::Delta {
                base,
                raw_len: header.raw_len,
                frame: Bytes::from(delta).slice(BASE_BYTES..),
            },
            _ => Sent::Whole(
                self.inner
                    .whole(id, &location, &header, stored, Some(raw))?,
            ),
        }))
    }

    /// Takes a block that came as a delta against a block that is here, if the result is what the id
    /// says. Kept as a delta where `put` would keep it so. `verified` gets the bytes of one that is
    /// right, before it is stored. Readable at once, durable after [`Store::sync`].
    pub fn ingest_delta(
        &self,
        id: &BlockId,
        base: &BlockId,
        (raw_len, frame): (u32, &[u8]),
        verified: &mut dyn FnMut(&BlockId, &Bytes),
    ) -> Result<Ingested, IngestError> {
        if self.contains(id) {
            return Ok(Ingested::Present);
        }
        let mismatch = |reason| IngestError::Mismatch { block: *id, reason };
        let stored_len = BASE_BYTES.saturating_add(frame.len());
        record::check_lengths(CODEC_DELTA, raw_len, stored_len).map_err(mismatch)?;
        let no_base = || IngestError::NoBase {
            block: *id,
            base: *base,
        };
        let _lease = self.lease();
        let (location, below) = match self.inner.verified(base) {
            Ok(found) => found.ok_or_else(no_base)?,
            Err(StoreError::Corrupt { .. }) => return Err(no_base()),
            Err(error) => return Err(error.into()),
        };
        let stored = [&base.0, frame].concat();
        let raw = codec::restore_checked(id, CODEC_DELTA, raw_len, &stored, Some(&below))
            .map_err(mismatch)?;
        let raw = Bytes::from(raw.into_owned());
        verified(id, &raw);
        let added = if self.inner.keeps_delta(base, raw.len(), stored.len()) {
            let base = Base {
                id: *base,
                made: Some((location, &raw)),
            };
            let added = self.inner.append(&[Pending {
                id: *id,
                codec: CODEC_DELTA,
                raw_len,
                stored: stored.into(),
                base: Some(base),
                moved_from: None,
            }])?;
            self.inner.sketch_again(id, &raw);
            added
        } else {
            self.inner.store(&[(*id, &raw)])?
        };
        self.inner.save_many_sketches()?;
        Ok(match added.blocks {
            0 => Ingested::Present,
            _ => Ingested::New,
        })
    }
}

impl Inner {
    /// A record whose stored bytes have the checksum that they were stored with.
    pub(super) fn fetch_checked(
        &self,
        id: &BlockId,
    ) -> Result<Option<(Location, Header, Bytes)>, StoreError> {
        let Some((location, header, stored)) = self.fetch(id)? else {
            return Ok(None);
        };
        if crc32fast::hash(&stored) != header.stored_crc {
            return Err(self.condemn(id, &location, "its checksum is wrong"));
        }
        Ok(Some((location, header, stored)))
    }

    /// The block of a record, verified.
    fn plain(
        &self,
        id: &BlockId,
        location: &Location,
        header: &Header,
        stored: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        match self.unpack(id, header, stored)? {
            Ok(unpacked) => Ok(unpacked.raw.into_owned()),
            Err(reason) => Err(self.condemn(id, location, reason)),
        }
    }

    /// A record as it travels whole: a delta is made whole again. `raw` if it is known already.
    pub(super) fn whole(
        &self,
        id: &BlockId,
        location: &Location,
        header: &Header,
        stored: Bytes,
        raw: Option<Vec<u8>>,
    ) -> Result<StoredBlock, StoreError> {
        let raw_len = header.raw_len;
        let (codec, bytes) = if header.codec == CODEC_DELTA {
            let raw = match raw {
                Some(raw) => raw,
                None => self.plain(id, location, header, &stored)?,
            };
            match codec::compress(&raw) {
                Some(small) => (CODEC_ZSTD, small.into()),
                None => (CODEC_RAW, raw.into()),
            }
        } else {
            (header.codec, stored)
        };
        Ok(StoredBlock {
            codec,
            raw_len,
            bytes,
        })
    }

    /// Where a block is, and its verified bytes.
    fn verified(&self, id: &BlockId) -> Result<Option<(Location, Vec<u8>)>, StoreError> {
        let Some((location, header, stored)) = self.fetch(id)? else {
            return Ok(None);
        };
        let raw = self.plain(id, &location, &header, &stored)?;
        Ok(Some((location, raw)))
    }

    /// The delta of a block against a base, if that is here and the work is left.
    fn try_base(
        &self,
        base: &BlockId,
        id: &BlockId,
        raw: &[u8],
        work: &mut u64,
    ) -> Option<Vec<u8>> {
        let length = self.locate(base)?.raw_len;
        let cost = u64::from(length) + raw.len() as u64;
        if base == id || *work < cost {
            return None;
        }
        *work -= cost;
        // One that cannot be read is none: the block itself goes out.
        let (_, below) = self.verified(base).ok()??;
        codec::delta(base, &below, raw)
    }

    /// Whether a delta that came is worth keeping as one.
    fn keeps_delta(&self, base: &BlockId, raw: usize, stored: usize) -> bool {
        let depth = {
            let index = self.index.read();
            let index = index.unwrap_or_else(std::sync::PoisonError::into_inner);
            index.depth(base)
        };
        self.similar.is_some()
            && depth < DELTA_DEPTH_MAX
            && raw >= DELTA_BLOCK_BYTES_MIN
            && stored * CLEAR_ONE_IN <= raw
    }
}
