//! The bodies of pools of records.

use alloc::vec::Vec;

use super::{BodyError, DIGEST_BYTES, take_array, take_u32, take_u64, take_zeros};

/// Bytes of an `IfrRecord`.
pub const RECORD_BYTES: usize = 80;
/// The highest priority of a record.
pub const PRIORITY_MAX: u8 = 7;

/// An `IfrPool`: a pool of records or of values, and what it does when its budget is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Not 0, which is the table.
    pub pool_id: u32,
    /// Refuses a record that does not fit; else evicts a cold one.
    pub refuses: bool,
    /// Holds keys with values in place of records: get, put and their like are about it. It refuses what does not fit in
    /// any case.
    pub values: bool,
    /// At least 1 MiB.
    pub bytes_max: u64,
}

/// Flags of a pool.
const REFUSES: u32 = 1;
const VALUES: u32 = 2;

impl Pool {
    /// The body of pool_drop and pool_stats.
    pub fn named(pool_id: u32) -> Self {
        Self {
            pool_id,
            refuses: false,
            values: false,
            bytes_max: 0,
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.pool_id.to_le_bytes());
        let flags = match (self.values, self.refuses) {
            (true, _) => REFUSES | VALUES,
            (false, true) => REFUSES,
            (false, false) => 0,
        };
        out.extend(flags.to_le_bytes());
        out.extend(self.bytes_max.to_le_bytes());
    }

    /// Reads the body of pool_add.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut rest = body;
        let pool_id = take_u32(&mut rest)?;
        const BOTH: u32 = REFUSES | VALUES;
        let (refuses, values) = match take_u32(&mut rest)? {
            0 => (false, false),
            REFUSES => (true, false),
            BOTH => (true, true),
            _ => return Err(BodyError::Layout),
        };
        let bytes_max = take_u64(&mut rest)?;
        end(rest)?;
        Ok(Self {
            pool_id,
            refuses,
            values,
            bytes_max,
        })
    }
}

fn end(rest: &[u8]) -> Result<(), BodyError> {
    rest.is_empty().then_some(()).ok_or(BodyError::Layout)
}

/// An `IfrPoolStats`. What a later version appends is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Records, or keys with values.
    pub records: u64,
    /// Memory held now, and at most.
    pub bytes: u64,
    pub bytes_max: u64,
    /// Records that were evicted while they lived, since the daemon started.
    pub evictions: u64,
    /// Records that were taken out when their time was over, since then.
    pub expirations: u64,
}

impl PoolStats {
    /// Reads the answer to pool_stats.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut rest = body;
        Ok(Self {
            records: take_u64(&mut rest)?,
            bytes: take_u64(&mut rest)?,
            bytes_max: take_u64(&mut rest)?,
            evictions: take_u64(&mut rest)?,
            expirations: take_u64(&mut rest)?,
        })
    }
}

/// Reads an `IfrPools`: every pool, in no order, and what it holds. What a later version appends to each is skipped.
pub fn decode_pools(body: &[u8]) -> Result<Vec<(Pool, PoolStats)>, BodyError> {
    let mut rest = body;
    let (count, entry_bytes) = (take_u32(&mut rest)? as usize, take_u32(&mut rest)? as usize);
    if entry_bytes < POOL_ENTRY_BYTES || Some(rest.len()) != count.checked_mul(entry_bytes) {
        return Err(BodyError::Layout);
    }
    let entries = rest.chunks_exact(entry_bytes);
    let entries = entries.map(|entry| {
        let (pool, stats) = entry.split_at(POOL_BYTES);
        Ok((Pool::decode(pool)?, PoolStats::decode(stats)?))
    });
    entries.collect()
}

const POOL_BYTES: usize = 16;
const POOL_ENTRY_BYTES: usize = POOL_BYTES + 40;

/// An `IfrRecord`: what is known of a digest. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    pub key: [u8; DIGEST_BYTES],
    /// Bytes of what the key stands for.
    pub size: u64,
    /// 0 in a put: as the record that it replaces, else now.
    pub created_ns: u64,
    /// 0 in a put: now.
    pub updated_ns: u64,
    /// 0: never.
    pub expires_ns: u64,
    /// The caller's: where it lies, whom it belongs to.
    pub reference: u64,
    pub component: u16,
    pub kind: u16,
    /// 0 to [`PRIORITY_MAX`]; the higher, the longer it stays.
    pub priority: u8,
}

impl FlowRecord {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.key);
        for number in [
            self.size,
            self.created_ns,
            self.updated_ns,
            self.expires_ns,
            self.reference,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.component.to_le_bytes());
        out.extend(self.kind.to_le_bytes());
        out.extend([self.priority, 0, 0, 0]);
    }

    fn take(rest: &mut &[u8]) -> Result<Self, BodyError> {
        let record = Self {
            key: *take_array(rest)?,
            size: take_u64(rest)?,
            created_ns: take_u64(rest)?,
            updated_ns: take_u64(rest)?,
            expires_ns: take_u64(rest)?,
            reference: take_u64(rest)?,
            component: take_array(rest).map(|bytes| u16::from_le_bytes(*bytes))?,
            kind: take_array(rest).map(|bytes| u16::from_le_bytes(*bytes))?,
            priority: take_array::<1>(rest)?[0],
        };
        take_zeros(rest, 3)?;
        if record.priority > PRIORITY_MAX {
            return Err(BodyError::Layout);
        }
        Ok(record)
    }

    /// The body of an answer about one record: that, or nothing.
    pub fn decode_answer(body: &[u8]) -> Result<Option<Self>, BodyError> {
        if body.is_empty() {
            return Ok(None);
        }
        let mut rest = body;
        let record = Self::take(&mut rest)?;
        end(rest)?;
        Ok(Some(record))
    }
}

/// Appends an `IfrFlowPut`: a record for a pool. A `ttl_ns` that is not 0 replaces `expires_ns`, counted from when the
/// daemon takes it.
pub fn encode_flow_put(pool_id: u32, ttl_ns: u64, record: &FlowRecord, out: &mut Vec<u8>) {
    out.extend(pool_id.to_le_bytes());
    out.extend([0; 4]);
    out.extend(ttl_ns.to_le_bytes());
    record.encode(out);
}

/// Reads an `IfrFlowPut`: pool, life and record.
pub fn decode_flow_put(body: &[u8]) -> Result<(u32, u64, FlowRecord), BodyError> {
    let mut rest = body;
    let pool_id = take_u32(&mut rest)?;
    take_zeros(&mut rest, 4)?;
    let ttl_ns = take_u64(&mut rest)?;
    let record = FlowRecord::take(&mut rest)?;
    end(rest)?;
    Ok((pool_id, ttl_ns, record))
}

/// Appends an `IfrRoute`: a key of some kind, and the pool that is looked at first.
pub fn encode_route(pool_id: u32, kind: u16, key: &[u8; DIGEST_BYTES], out: &mut Vec<u8>) {
    out.extend(pool_id.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend([0; 2]);
    out.extend(key);
}

/// Appends an `IfrExpire`: how many records of a pool are looked at.
pub fn encode_expire(pool_id: u32, looks: u32, out: &mut Vec<u8>) {
    out.extend(pool_id.to_le_bytes());
    out.extend(looks.to_le_bytes());
}

/// Reads the answer to flow_expire: how many records were looked at, and how many of them taken out.
pub fn decode_expired(body: &[u8]) -> Result<(u32, u32), BodyError> {
    let mut rest = body;
    let (looked, expired) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
    take_zeros(&mut rest, 8)?;
    end(rest)?;
    if expired > looked {
        return Err(BodyError::Layout);
    }
    Ok((looked, expired))
}

/// A layer behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    Similarity = 2,
    Association = 3,
    Prediction = 4,
}

impl Layer {
    fn of(number: u32) -> Result<Self, BodyError> {
        match number {
            2 => Ok(Self::Similarity),
            3 => Ok(Self::Association),
            4 => Ok(Self::Prediction),
            _ => Err(BodyError::Layout),
        }
    }
}

/// Appends an `IfrLearn`: whether a layer that was asked for a key of some kind had an answer.
pub fn encode_learn(kind: u16, layer: Layer, found: bool, out: &mut Vec<u8>) {
    out.extend(kind.to_le_bytes());
    out.extend([layer as u8, u8::from(found), 0, 0, 0, 0]);
}

/// An `IfrDecision`: use the record that is here, or ask elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoutingDecision {
    /// The live record of this key in this pool.
    FoundExact(FlowRecord),
    /// A record of this key, but expired, or in another pool.
    FoundPartial {
        record: FlowRecord,
        /// 1 for a live one; for an expired one the share that its life has of the time since it began.
        confidence: f32,
        /// Who may know more.
        next: Layer,
    },
    /// Nothing is here.
    RouteToLayers {
        next: Layer,
        /// How often that layer had an answer for this kind of key.
        confidence: f32,
    },
}

impl RoutingDecision {
    /// Reads the answer to flow_route.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut rest = body;
        let outcome = take_u32(&mut rest)?;
        let layer = take_u32(&mut rest)?;
        let confidence = f32::from_bits(take_u32(&mut rest)?);
        take_zeros(&mut rest, 4)?;
        let record = FlowRecord::take(&mut rest)?;
        end(rest)?;
        if !(0.0..=1.0).contains(&confidence) {
            return Err(BodyError::Layout);
        }
        match outcome {
            0 if layer == 0 => Ok(Self::FoundExact(record)),
            1 => Ok(Self::FoundPartial {
                record,
                confidence,
                next: Layer::of(layer)?,
            }),
            2 if record == FlowRecord::default() => Ok(Self::RouteToLayers {
                next: Layer::of(layer)?,
                confidence,
            }),
            _ => Err(BodyError::Layout),
        }
    }
}
