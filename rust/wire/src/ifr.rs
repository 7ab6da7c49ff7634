//! The fixed bodies of the ifr service: `docs/PROTOCOL.md`, "Bodies of ifr".
//!
//! Requests: [`Key`] alone, with a [`Value`], or many of them in one [`Keys`]. Answers: [`Found`], [`Done`], [`Stats`].
//! Decoding borrows and checks everything first; encoding appends to a buffer. Pools of records: [`FlowRecord`],
//! [`RoutingDecision`], [`Pool`].

mod flow;

pub use flow::{
    FlowRecord, Layer, PRIORITY_MAX, Pool, PoolStats, RECORD_BYTES, RoutingDecision,
    decode_expired, decode_flow_put, decode_pools, encode_expire, encode_flow_put, encode_learn,
    encode_route,
};

use alloc::vec::Vec;
use core::fmt;

use crate::{Status, ifr_key, limits};

pub const DIGEST_BYTES: usize = 32;
pub const VALUE_BYTES: usize = 16;
/// Keys of one batch.
pub const BATCH_KEYS_MAX: usize = limits::IFR_BATCH_KEYS_MAX as usize;
/// Bytes of a byte key.
pub const KEY_BYTES_MAX: usize = limits::IFR_KEY_BYTES_MAX as usize;

/// What a key maps to; its meaning is the caller's.
pub type Value = [u8; VALUE_BYTES];

/// A key; two kinds are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// 32 bytes that are evenly spread, such as a BLAKE3 hash.
    Digest(&'a [u8; DIGEST_BYTES]),
    /// At most 64 KiB of any form.
    Bytes(&'a [u8]),
}

impl<'a> Key<'a> {
    /// The bytes, without the kind.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Key::Digest(digest) => *digest,
            Key::Bytes(bytes) => bytes,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Key::Digest(_) => ifr_key::DIGEST,
            Key::Bytes(_) => ifr_key::BYTES,
        }
    }
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is not laid out as the method's body.
    Layout,
    /// A batch has 1 to [`BATCH_KEYS_MAX`] keys, all of one kind.
    BatchSize,
    /// A byte key is longer than [`KEY_BYTES_MAX`].
    KeyTooLong,
}

impl BodyError {
    /// The status that says the same on the wire.
    pub fn status(self) -> Status {
        match self {
            Self::Layout => Status::BAD_BODY,
            Self::BatchSize | Self::KeyTooLong => Status::LIMIT,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str("the body is not laid out as this method's"),
            Self::BatchSize => write!(
                f,
                "a batch has 1 to {BATCH_KEYS_MAX} keys, all of one kind; send several"
            ),
            Self::KeyTooLong => write!(f, "a byte key has at most {KEY_BYTES_MAX} bytes"),
        }
    }
}

impl core::error::Error for BodyError {}

/// Takes that many bytes off the front.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], BodyError> {
    let (front, after) = rest.split_at_checked(count).ok_or(BodyError::Layout)?;
    *rest = after;
    Ok(front)
}

fn take_array<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], BodyError> {
    let (front, after) = rest.split_first_chunk().ok_or(BodyError::Layout)?;
    *rest = after;
    Ok(front)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, BodyError> {
    take_array(rest).map(|bytes| u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, BodyError> {
    take_array(rest).map(|bytes| u64::from_le_bytes(*bytes))
}

fn take_zeros(rest: &mut &[u8], count: usize) -> Result<(), BodyError> {
    let zeros = take(rest, count)?;
    zeros
        .iter()
        .all(|byte| *byte == 0)
        .then_some(())
        .ok_or(BodyError::Layout)
}

/// Pool and kind of what follows.
fn take_head(rest: &mut &[u8]) -> Result<(u32, u8), BodyError> {
    let pool_id = take_u32(rest)?;
    let [kind] = *take_array(rest)?;
    take_zeros(rest, 3)?;
    if kind != ifr_key::DIGEST && kind != ifr_key::BYTES {
        return Err(BodyError::Layout);
    }
    Ok((pool_id, kind))
}

fn put_head(out: &mut Vec<u8>, pool_id: u32, kind: u8) {
    out.extend(pool_id.to_le_bytes());
    out.extend([kind, 0, 0, 0]);
}

/// The key that fills the rest.
fn last_key(rest: &[u8], kind: u8) -> Result<Key<'_>, BodyError> {
    if kind == ifr_key::BYTES {
        return if rest.len() <= KEY_BYTES_MAX {
            Ok(Key::Bytes(rest))
        } else {
            Err(BodyError::KeyTooLong)
        };
    }
    rest.try_into()
        .map(Key::Digest)
        .map_err(|_| BodyError::Layout)
}

/// Appends an `IfrKey`: the body of get and remove.
pub fn encode_key(pool_id: u32, key: Key<'_>, out: &mut Vec<u8>) {
    put_head(out, pool_id, key.kind());
    out.extend(key.bytes());
}

/// Reads an `IfrKey`: pool and key.
pub fn decode_key(body: &[u8]) -> Result<(u32, Key<'_>), BodyError> {
    let mut rest = body;
    let (pool_id, kind) = take_head(&mut rest)?;
    Ok((pool_id, last_key(rest, kind)?))
}

/// Appends an `IfrPut`: the body of put.
pub fn encode_put(pool_id: u32, key: Key<'_>, value: &Value, out: &mut Vec<u8>) {
    put_head(out, pool_id, key.kind());
    out.extend(value);
    out.extend(key.bytes());
}

/// Reads an `IfrPut`: pool, key and value.
pub fn decode_put(body: &[u8]) -> Result<(u32, Key<'_>, &Value), BodyError> {
    let mut rest = body;
    let (pool_id, kind) = take_head(&mut rest)?;
    let value = take_array(&mut rest)?;
    Ok((pool_id, last_key(rest, kind)?, value))
}

/// Many keys in one body, each with a value in an `IfrEntries`, without in an `IfrKeys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys<'a> {
    pub pool_id: u32,
    /// All of one kind.
    pub items: Vec<(Key<'a>, Option<&'a Value>)>,
}

/// Appends an `IfrKeys`: the body of get_many, remove_many and may_contain.
pub fn encode_keys<'a>(
    pool_id: u32,
    keys: impl IntoIterator<Item = Key<'a>>,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    encode_batch(pool_id, keys.into_iter().map(|key| (key, None)), out)
}

/// Appends an `IfrEntries`: the body of put_many.
pub fn encode_entries<'a>(
    pool_id: u32,
    entries: impl IntoIterator<Item = (Key<'a>, &'a Value)>,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    let items = entries.into_iter().map(|(key, value)| (key, Some(value)));
    encode_batch(pool_id, items, out)
}

/// Appends a batch; nothing when it is refused.
fn encode_batch<'a>(
    pool_id: u32,
    items: impl Iterator<Item = (Key<'a>, Option<&'a Value>)>,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    let start = out.len();
    let done = append_batch(pool_id, items, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn append_batch<'a>(
    pool_id: u32,
    items: impl Iterator<Item = (Key<'a>, Option<&'a Value>)>,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    let start = out.len();
    let (mut kind, mut count) = (0, 0u32);
    put_head(out, pool_id, kind);
    out.extend([0; 8]);
    for (key, value) in items {
        if count as usize == BATCH_KEYS_MAX || (count > 0 && kind != key.kind()) {
            return Err(BodyError::BatchSize);
        }
        kind = key.kind();
        count += 1;
        if let Some(value) = value {
            out.extend(value);
        }
        if let Key::Bytes(bytes) = key {
            let length = u32::try_from(bytes.len()).map_err(|_| BodyError::KeyTooLong)?;
            if bytes.len() > KEY_BYTES_MAX {
                return Err(BodyError::KeyTooLong);
            }
            out.extend(length.to_le_bytes());
        }
        out.extend(key.bytes());
    }
    if count == 0 {
        return Err(BodyError::BatchSize);
    }
    let written = [(4, [kind, 0, 0, 0]), (8, count.to_le_bytes())];
    for (at, bytes) in written {
        if let Some(place) = out.get_mut(start + at..start + at + 4) {
            place.copy_from_slice(&bytes);
        }
    }
    Ok(())
}

/// Reads an `IfrKeys`, or an `IfrEntries` when values stand before the keys.
pub fn decode_keys(body: &[u8], with_values: bool) -> Result<Keys<'_>, BodyError> {
    let mut rest = body;
    let (pool_id, kind) = take_head(&mut rest)?;
    let count = take_u32(&mut rest)? as usize;
    take_zeros(&mut rest, 4)?;
    if count == 0 || count > BATCH_KEYS_MAX {
        return Err(BodyError::BatchSize);
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let value = if with_values {
            Some(take_array(&mut rest)?)
        } else {
            None
        };
        let key = if kind == ifr_key::DIGEST {
            Key::Digest(take_array(&mut rest)?)
        } else {
            let length = take_u32(&mut rest)? as usize;
            if length > KEY_BYTES_MAX {
                return Err(BodyError::KeyTooLong);
            }
            Key::Bytes(take(&mut rest, length)?)
        };
        items.push((key, value));
    }
    if !rest.is_empty() {
        return Err(BodyError::Layout);
    }
    Ok(Keys { pool_id, items })
}

/// The body of an answer to one key: a value, or nothing.
pub fn decode_value(body: &[u8]) -> Result<Option<Value>, BodyError> {
    if body.is_empty() {
        return Ok(None);
    }
    body.try_into().map(Some).map_err(|_| BodyError::Layout)
}

/// An `IfrFound` or an `IfrValues`: the answer to a batch of keys, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    count: usize,
    found: usize,
    bits: &'a [u8],
    values: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the answer; `with_values` for get_many.
    pub fn decode(body: &'a [u8], with_values: bool) -> Result<Self, BodyError> {
        let mut rest = body;
        let count = take_u32(&mut rest)? as usize;
        let found = take_u32(&mut rest)? as usize;
        if count == 0 || count > BATCH_KEYS_MAX {
            return Err(BodyError::BatchSize);
        }
        let bits = take(&mut rest, count.div_ceil(64) * 8)?;
        let values = take(&mut rest, if with_values { count * VALUE_BYTES } else { 0 })?;
        let (mut ones, mut beyond) = (0, false);
        for (at, byte) in bits.iter().enumerate() {
            ones += byte.count_ones() as usize;
            let rest_of_count = count.saturating_sub(8 * at).min(8);
            beyond |= u32::from(*byte) >> rest_of_count != 0;
        }
        if ones != found || beyond || !rest.is_empty() {
            return Err(BodyError::Layout);
        }
        Ok(Self {
            count,
            found,
            bits,
            values,
        })
    }

    /// How many keys were asked for.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no key was asked for, which no answer says.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many of them are there.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Whether that key is there.
    pub fn is_found(&self, index: usize) -> bool {
        index < self.count
            && self
                .bits
                .get(index / 8)
                .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// The value of that key; `None` when it is absent, and for answers without values.
    pub fn value(&self, index: usize) -> Option<&'a Value> {
        if !self.is_found(index) {
            return None;
        }
        self.values.get(index * VALUE_BYTES..)?.first_chunk()
    }
}

/// An `IfrDone`: how far a batch of puts came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Entries that were put, from the first on.
    pub done: u32,
    /// How many of them replaced a value.
    pub replaced: u32,
    /// Why the next one was not; [`Status::OK`] when all were.
    pub status: Status,
}

impl Done {
    /// Reads the answer to put_many.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut rest = body;
        let done = Self {
            done: take_u32(&mut rest)?,
            replaced: take_u32(&mut rest)?,
            status: Status(take_u32(&mut rest)?.cast_signed()),
        };
        take_zeros(&mut rest, 4)?;
        if !rest.is_empty() || done.status.0 > 0 {
            return Err(BodyError::Layout);
        }
        Ok(done)
    }
}

/// An `IfrStats`: numbers in the order of the specification. What a later version appends is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub digest_entries: u64,
    pub bytes_entries: u64,
    /// Memory held now, and at most.
    pub bytes: u64,
    pub bytes_max: u64,
    /// Entries that fit before some segment is rebuilt or split.
    pub capacity: u64,
    pub segments: u64,
    pub filter_bytes: u64,
    /// Keys that the filter had no room for.
    pub filter_homeless: u64,
    pub requests: u64,
    pub errors: u64,
    pub connections: u64,
    /// Of the journal; 0 without one.
    pub generation: u64,
    pub log_bytes: u64,
    pub snapshot_bytes: u64,
    /// How often the log was forced to the disk.
    pub syncs: u64,
    /// Keys that get and get_many looked up, and how many of them were here; both 0 from a daemon that does not say.
    pub looked: u64,
    pub found: u64,
    /// Of all pools of records together: how many, what they hold, their budgets, and what they lost since the daemon started.
    pub pools: u64,
    pub records: u64,
    pub pools_bytes: u64,
    pub pools_bytes_max: u64,
    pub evictions: u64,
    pub expirations: u64,
}

impl Stats {
    /// Reads the answer to stats.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut rest = body;
        let mut stats = Self::default();
        for field in [
            &mut stats.digest_entries,
            &mut stats.bytes_entries,
            &mut stats.bytes,
            &mut stats.bytes_max,
            &mut stats.capacity,
            &mut stats.segments,
            &mut stats.filter_bytes,
            &mut stats.filter_homeless,
            &mut stats.requests,
            &mut stats.errors,
            &mut stats.connections,
            &mut stats.generation,
            &mut stats.log_bytes,
            &mut stats.snapshot_bytes,
            &mut stats.syncs,
        ] {
            *field = take_u64(&mut rest)?;
        }
        for field in [
            &mut stats.looked,
            &mut stats.found,
            &mut stats.pools,
            &mut stats.records,
            &mut stats.pools_bytes,
            &mut stats.pools_bytes_max,
            &mut stats.evictions,
            &mut stats.expirations,
        ] {
            *field = take_u64(&mut rest).unwrap_or_default();
        }
        Ok(stats)
    }
}
