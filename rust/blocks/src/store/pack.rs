//! How blocks go onto the disk: whole, or as deltas against blocks that are here.

use std::borrow::Cow;

use hypermesh_id::BlockId;
use mfn_dsr::bytes::Sketch;

use super::append::{Appended, Base, Pending};
use super::record::{CODEC_DELTA, Location};
use super::similar::Similar;
use super::{Inner, codec};
use crate::StoreError;
use crate::limits::{DELTA_BASE_RATIO_MAX, DELTA_BASES_BYTES_MAX, DELTA_DEPTH_MAX};

/// A delta is kept if it is shorter than the block's own compressed bytes by at least one part in this
/// many,
const PAYS_ONE_IN: usize = 8;
/// and by at least this many bytes.
const PAYS_BYTES: usize = 64;
/// What the block's compressed bytes would be need not be tried if the delta is shorter than one part
/// in this many of what the block would take if it compressed as what it stands on does.
const CLEAR_ONE_IN: u64 = 2;

/// What is known of a block before its bytes are packed.
struct Plan<'a> {
    id: BlockId,
    raw: &'a [u8],
    sketch: Option<Sketch>,
    base: Option<Found>,
}

/// A verified base.
struct Found {
    id: BlockId,
    location: Location,
    /// Deltas that it stands on.
    depth: usize,
    bytes: Vec<u8>,
    /// Stored and plain length of the whole block at the bottom of its chain.
    bottom: (u32, u32),
}

/// A block read through its chain of bases.
pub(crate) struct Unpacked<'a> {
    pub(crate) raw: Cow<'a, [u8]>,
    /// Stored and plain length of the whole block at the bottom of the chain.
    bottom: (u32, u32),
}

impl Inner {
    /// Stores the blocks that are not here. They can be read at once, and are durable after
    /// [`Inner::sync`].
    pub(crate) fn store(&self, blocks: &[(BlockId, &[u8])]) -> Result<Appended, StoreError> {
        let Some(similar) = &self.similar else {
            let whole: Vec<_> = blocks
                .iter()
                .map(|(id, raw)| Pending::whole(*id, raw))
                .collect();
            return self.append(&whole);
        };
        let mut done = Appended::default();
        let mut rest = blocks.iter();
        loop {
            let (mut plans, mut bytes) = (Vec::new(), 0);
            while bytes < DELTA_BASES_BYTES_MAX
                && let Some((id, raw)) = rest.next()
            {
                let plan = self.plan(similar, *id, raw)?;
                bytes += plan.base.as_ref().map_or(0, |base| base.bytes.len());
                plans.push(plan);
            }
            if plans.is_empty() {
                return Ok(done);
            }
            done.add(self.store_planned(similar, &plans)?);
        }
    }

    fn store_planned(&self, similar: &Similar, plans: &[Plan<'_>]) -> Result<Appended, StoreError> {
        let mut pending = Vec::with_capacity(plans.len());
        let (mut fresh, mut used) = (Vec::new(), Vec::new());
        for plan in plans {
            let packed = pack(plan);
            let depth = match (&packed.base, &plan.base) {
                (Some(_), Some(base)) => {
                    used.push(base.id);
                    base.depth + 1
                }
                _ => 0,
            };
            let sketch = plan.sketch.filter(|_| depth < DELTA_DEPTH_MAX);
            fresh.extend(sketch.map(|sketch| (plan.id, sketch)));
            pending.push(packed);
        }
        let done = self.append(&pending)?;
        similar.add(&fresh, &used);
        Ok(done)
    }

    fn plan<'a>(
        &self,
        similar: &Similar,
        id: BlockId,
        raw: &'a [u8],
    ) -> Result<Plan<'a>, StoreError> {
        let sketch = similar.sketch(raw);
        let mut base = None;
        for hit in sketch.iter().flat_map(|sketch| similar.bases(sketch)) {
            base = self.base_for(&BlockId(hit.id), raw)?;
            if base.is_some() {
                break;
            }
        }
        Ok(Plan {
            id,
            raw,
            sketch,
            base,
        })
    }

    /// The bytes of a block, if it may be the base of another.
    fn base_for(&self, id: &BlockId, raw: &[u8]) -> Result<Option<Found>, StoreError> {
        let depth = {
            let index = self
                .index
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let ratio = |location: Location| location.raw_len / DELTA_BASE_RATIO_MAX;
            match index.get(id) {
                Some(location) if ratio(location) as usize <= raw.len() => index.depth(id),
                _ => return Ok(None),
            }
        };
        if depth >= DELTA_DEPTH_MAX {
            return Ok(None);
        }
        let Some((location, header, stored)) = self.fetch_sound(id)? else {
            return Ok(None);
        };
        match self.unpack(id, &header, &stored)? {
            Ok(Unpacked { raw, bottom }) => Ok(Some(Found {
                id: *id,
                location,
                depth,
                bytes: raw.into_owned(),
                bottom,
            })),
            Err(reason) => {
                let error = self.condemn(id, &location, reason);
                tracing::warn!(%error, "a damaged block is no base");
                Ok(None)
            }
        }
    }

    /// Adds the sketch of a block that came whole, so that later ones find it.
    pub(crate) fn note(&self, id: &BlockId, raw: &[u8]) {
        if let Some(similar) = &self.similar
            && let Some(sketch) = similar.sketch(raw)
        {
            similar.add(&[(*id, sketch)], &[]);
        }
    }

    /// The block behind a record, verified; the bases of a delta are read and verified on the way. The
    /// inner error says what is wrong with the block.
    pub(crate) fn unpack<'a>(
        &self,
        id: &BlockId,
        header: &super::record::Header,
        stored: &'a [u8],
    ) -> Result<Result<Unpacked<'a>, &'static str>, StoreError> {
        let mut bottom = (header.stored_len, header.raw_len);
        let mut chain = Vec::new();
        let mut next = super::record::base_of(header.codec, stored);
        while let Some(base) = next {
            if chain.len() >= crate::limits::DELTA_CHAIN_MAX {
                return Ok(Err("it stands on too many deltas"));
            }
            let Some((location, header, stored)) = self.fetch_sound(&base)? else {
                return Ok(Err("its base is not here"));
            };
            next = super::record::base_of(header.codec, &stored);
            bottom = (header.stored_len, header.raw_len);
            chain.push((base, location, header, stored));
        }
        let mut below: Option<Vec<u8>> = None;
        while let Some((base, location, header, stored)) = chain.pop() {
            let (codec, raw_len) = (header.codec, header.raw_len);
            match codec::restore_checked(&base, codec, raw_len, &stored, below.as_deref()) {
                Ok(raw) => below = Some(raw.into_owned()),
                Err(reason) => {
                    let error = self.condemn(&base, &location, reason);
                    tracing::warn!(%error, "the base of a delta is damaged");
                    return Ok(Err("its base is damaged"));
                }
            }
        }
        let (codec, raw_len) = (header.codec, header.raw_len);
        let raw = codec::restore_checked(id, codec, raw_len, stored, below.as_deref());
        Ok(raw.map(|raw| Unpacked { raw, bottom }))
    }

    /// As [`Inner::fetch`]; a record whose header is damaged is as good as none.
    fn fetch_sound(
        &self,
        id: &BlockId,
    ) -> Result<Option<(Location, super::record::Header, bytes::Bytes)>, StoreError> {
        match self.fetch(id) {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(%error, "a base is damaged");
                Ok(None)
            }
            other => other,
        }
    }
}

/// The block as a delta if it has a base and that pays, else whole.
fn pack<'a>(plan: &'a Plan<'_>) -> Pending<'a> {
    let found = plan
        .base
        .as_ref()
        .and_then(|base| Some((base, codec::delta(&base.id, &base.bytes, plan.raw)?)));
    let Some((base, delta)) = found else {
        return Pending::whole(plan.id, plan.raw);
    };
    if !clear(base, delta.len(), plan.raw.len()) {
        let whole = Pending::whole(plan.id, plan.raw);
        if !pays(delta.len(), whole.stored.len()) {
            return whole;
        }
    }
    Pending {
        id: plan.id,
        codec: CODEC_DELTA,
        raw_len: plan.raw.len() as u32,
        stored: Cow::Owned(delta),
        base: Some(Base {
            id: base.id,
            made: Some((base.location, plan.raw)),
        }),
        moved_from: None,
    }
}

fn clear(base: &Found, delta: usize, raw: usize) -> bool {
    let (stored, plain) = base.bottom;
    let expected = raw as u64 * u64::from(stored) / u64::from(plain.max(1));
    (delta + PAYS_BYTES) as u64 * CLEAR_ONE_IN <= expected
}

fn pays(delta: usize, whole: usize) -> bool {
    delta + (whole / PAYS_ONE_IN).max(PAYS_BYTES) <= whole
}
