//! Records of flows, in pools with budgets, and the decision where to ask.

use std::fmt;
use std::ptr::{self, NonNull};

use mfn_ifr_sys as sys;
use mfn_ifr_sys::mfn_status;

use crate::{Digest, IfrError};

/// The smallest budget of a pool, in bytes.
pub const POOL_BYTES_MIN: u64 = sys::MFN_IFR_POOL_BYTES_MIN as u64;
/// The most pools of one [`Flows`].
pub const POOLS_MAX: u32 = sys::MFN_IFR_POOLS_MAX;

/// What is known of a key. Times are nanoseconds of any one clock of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// What it is about.
    pub key: Digest,
    /// Bytes of what the key stands for.
    pub size: u64,
    /// When it came into being.
    pub created_ns: u64,
    /// When it was last seen to change.
    pub updated_ns: u64,
    /// When it is over; 0: never.
    pub expires_ns: u64,
    /// The caller's: where it lies, whom it belongs to.
    pub reference: u64,
    /// Whose it is, by the caller's numbers.
    pub component: u16,
    /// What it is, by the caller's numbers.
    pub kind: u16,
    /// 0 to 7; the higher, the longer it stays when others must go.
    pub priority: u8,
}

impl FlowRecord {
    fn to_raw(self) -> sys::mfn_ifr_flow {
        sys::mfn_ifr_flow {
            key: self.key,
            size: self.size,
            created_ns: self.created_ns,
            updated_ns: self.updated_ns,
            expires_ns: self.expires_ns,
            reference: self.reference,
            component: self.component,
            kind: self.kind,
            priority: self.priority,
            heat: 0,
            reserved: [0; 2],
        }
    }

    fn from_raw(raw: &sys::mfn_ifr_flow) -> Self {
        Self {
            key: raw.key,
            size: raw.size,
            created_ns: raw.created_ns,
            updated_ns: raw.updated_ns,
            expires_ns: raw.expires_ns,
            reference: raw.reference,
            component: raw.component,
            kind: raw.kind,
            priority: raw.priority,
        }
    }
}

/// A layer behind this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// DSR: what resembles it?
    Similarity,
    /// ALM: what goes with it?
    Association,
    /// CPE: what comes next?
    Prediction,
}

impl Layer {
    fn number(self) -> u32 {
        match self {
            Self::Similarity => sys::MFN_IFR_LAYER_SIMILARITY,
            Self::Association => sys::MFN_IFR_LAYER_ASSOCIATION,
            Self::Prediction => sys::MFN_IFR_LAYER_PREDICTION,
        }
    }

    fn of(number: u32) -> Self {
        match number {
            sys::MFN_IFR_LAYER_ASSOCIATION => Self::Association,
            sys::MFN_IFR_LAYER_PREDICTION => Self::Prediction,
            _ => Self::Similarity,
        }
    }
}

/// What to do about a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoutingDecision {
    /// The live record of the key in the pool.
    FoundExact(FlowRecord),
    /// A record of the key, but expired or in another pool.
    FoundPartial {
        /// That record.
        record: FlowRecord,
        /// Where to ask for a better answer.
        next: Layer,
        /// 1 for a live record; for an expired one its life over the time since it began.
        confidence: f32,
    },
    /// Not here.
    RouteToLayers {
        /// Where to ask.
        next: Layer,
        /// How often that layer had an answer for this kind of key.
        confidence: f32,
    },
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Records, expired ones included until they are taken out.
    pub records: u64,
    /// Bytes held now.
    pub bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Records that went because others needed the room.
    pub evictions: u64,
    /// Records that were taken out because they had expired.
    pub expirations: u64,
}

/// What a pool does with a record that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Takes out expired records and cold ones; never refuses.
    Evict,
    /// Refuses it with [`IfrError::Limit`].
    Refuse,
}

/// Pools of records.
///
/// ```
/// use mfn_ifr::{FlowRecord, Flows, Layer, RoutingDecision, WhenFull};
///
/// let mut flows = Flows::new()?;
/// flows.add_pool(1, 1 << 20, WhenFull::Evict)?;
/// let record = FlowRecord { key: [7; 32], size: 4096, expires_ns: 2_000, priority: 5, ..FlowRecord::default() };
/// flows.put(1, &record, 1_000)?;
/// assert_eq!(flows.route(1, &[7; 32], 0, 1_500), RoutingDecision::FoundExact(record));
/// assert!(matches!(flows.route(1, &[7; 32], 0, 2_500), RoutingDecision::FoundPartial { .. }));
/// assert!(matches!(flows.route(1, &[8; 32], 0, 1_500), RoutingDecision::RouteToLayers { next: Layer::Similarity, .. }));
/// # Ok::<(), mfn_ifr::IfrError>(())
/// ```
pub struct Flows {
    handle: NonNull<sys::mfn_ifr_flows>,
}

// SAFETY: the handle owns its memory and is tied to no thread (ifr.h, "Threads").
unsafe impl Send for Flows {}
// SAFETY: methods on `&self` call only functions that take a const handle, which may run at the same time (ifr.h).
unsafe impl Sync for Flows {}

impl Flows {
    /// Makes a set of pools without any, keyed with a random secret.
    ///
    /// # Errors
    /// [`IfrError::OutOfMemory`], [`IfrError::NoRandomness`].
    pub fn new() -> Result<Self, IfrError> {
        let hash_key = crate::random_key()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the key has 16 bytes and the pointer is of a live variable.
        let status = unsafe { sys::mfn_ifr_flows_new(hash_key.as_ptr(), &mut handle) };
        done(status, 0)?;
        let handle = NonNull::new(handle).ok_or(IfrError::Unexpected(status))?;
        Ok(Self { handle })
    }

    /// Makes a pool of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`IfrError::Limit`] under [`POOL_BYTES_MIN`] and beyond [`POOLS_MAX`] pools, [`IfrError::PoolExists`],
    /// [`IfrError::OutOfMemory`].
    pub fn add_pool(&mut self, pool: u32, bytes_max: u64, full: WhenFull) -> Result<(), IfrError> {
        let flags = match full {
            WhenFull::Evict => 0,
            WhenFull::Refuse => sys::MFN_IFR_POOL_REFUSES,
        };
        // SAFETY: the handle is live and ours alone.
        let status =
            unsafe { sys::mfn_ifr_flows_add_pool(self.handle.as_ptr(), pool, bytes_max, flags) };
        done(status, bytes_max)
    }

    /// Forgets a pool with all its records.
    ///
    /// # Errors
    /// [`IfrError::NoPool`].
    pub fn drop_pool(&mut self, pool: u32) -> Result<(), IfrError> {
        // SAFETY: the handle is live and ours alone.
        done(
            unsafe { sys::mfn_ifr_flows_drop_pool(self.handle.as_ptr(), pool) },
            0,
        )
    }

    /// Sets a record and returns the one that it replaces.
    ///
    /// # Errors
    /// [`IfrError::NoPool`], [`IfrError::Limit`] from a pool that refuses, [`IfrError::OutOfMemory`];
    /// [`IfrError::Unexpected`] for a priority over 7.
    pub fn put(
        &mut self,
        pool: u32,
        record: &FlowRecord,
        now_ns: u64,
    ) -> Result<Option<FlowRecord>, IfrError> {
        let raw = record.to_raw();
        let mut old = FlowRecord::default().to_raw();
        let mut replaced = 0;
        // SAFETY: the handle is live and ours alone; the pointers are of live, distinct variables.
        let status = unsafe {
            sys::mfn_ifr_flows_put(
                self.handle.as_ptr(),
                pool,
                &raw,
                now_ns,
                &mut old,
                &mut replaced,
            )
        };
        done(status, 0)?;
        Ok((replaced != 0).then(|| FlowRecord::from_raw(&old)))
    }

    /// The live record of a key; reading warms it.
    pub fn get(&self, pool: u32, key: &Digest, now_ns: u64) -> Option<FlowRecord> {
        let mut record = FlowRecord::default().to_raw();
        // SAFETY: the handle is live and may be read by many; the key has its length.
        let status = unsafe {
            sys::mfn_ifr_flows_get(
                self.handle.as_ptr(),
                pool,
                key.as_ptr(),
                now_ns,
                &mut record,
            )
        };
        (status == mfn_status::MFN_OK).then(|| FlowRecord::from_raw(&record))
    }

    /// Forgets a key, expired or not, and returns its record.
    pub fn remove(&mut self, pool: u32, key: &Digest) -> Option<FlowRecord> {
        let mut record = FlowRecord::default().to_raw();
        // SAFETY: the handle is live and ours alone; the key has its length.
        let status = unsafe {
            sys::mfn_ifr_flows_remove(self.handle.as_ptr(), pool, key.as_ptr(), &mut record)
        };
        (status == mfn_status::MFN_OK).then(|| FlowRecord::from_raw(&record))
    }

    /// Takes out what has expired among the next `looks` records of a pool, in a circle, and returns how many.
    ///
    /// # Errors
    /// [`IfrError::NoPool`].
    pub fn expire(&mut self, pool: u32, now_ns: u64, looks: u64) -> Result<u64, IfrError> {
        let mut removed = 0;
        // SAFETY: the handle is live and ours alone; the pointer is of a live variable.
        let status = unsafe {
            sys::mfn_ifr_flows_expire(self.handle.as_ptr(), pool, now_ns, looks, &mut removed)
        };
        done(status, 0)?;
        Ok(removed)
    }

    /// Decides about a key of some kind: use the record that is here, or ask elsewhere.
    pub fn route(&self, pool: u32, key: &Digest, kind: u16, now_ns: u64) -> RoutingDecision {
        let mut raw = sys::mfn_ifr_decision {
            outcome: sys::MFN_IFR_ROUTE_TO_LAYERS,
            next_layer: sys::MFN_IFR_LAYER_SIMILARITY,
            confidence: 0.0,
            reserved: 0,
            record: FlowRecord::default().to_raw(),
        };
        // SAFETY: the handle is live and may be read by many; the key has its length; on an error `raw` stays as it is.
        unsafe {
            sys::mfn_ifr_flows_route(
                self.handle.as_ptr(),
                pool,
                key.as_ptr(),
                kind.into(),
                now_ns,
                &mut raw,
            )
        };
        let (record, next, confidence) = (
            FlowRecord::from_raw(&raw.record),
            Layer::of(raw.next_layer),
            raw.confidence,
        );
        match raw.outcome {
            sys::MFN_IFR_FOUND_EXACT => RoutingDecision::FoundExact(record),
            sys::MFN_IFR_FOUND_PARTIAL => RoutingDecision::FoundPartial {
                record,
                next,
                confidence,
            },
            _ => RoutingDecision::RouteToLayers { next, confidence },
        }
    }

    /// Tells whether a layer that was asked for a key of some kind had an answer.
    pub fn learn(&mut self, kind: u16, layer: Layer, found: bool) {
        // SAFETY: the handle is live and ours alone.
        unsafe {
            sys::mfn_ifr_flows_learn(
                self.handle.as_ptr(),
                kind.into(),
                layer.number(),
                found.into(),
            )
        };
    }

    /// What a pool holds.
    ///
    /// # Errors
    /// [`IfrError::NoPool`].
    pub fn pool_stats(&self, pool: u32) -> Result<PoolStats, IfrError> {
        let mut raw = sys::mfn_ifr_pool_stats {
            struct_size: size_of::<sys::mfn_ifr_pool_stats>() as u32,
            reserved: 0,
            records: 0,
            bytes: 0,
            bytes_max: 0,
            evictions: 0,
            expirations: 0,
        };
        // SAFETY: the handle is live and may be read by many; `raw` is as long as it says.
        let status = unsafe { sys::mfn_ifr_flows_pool_stats(self.handle.as_ptr(), pool, &mut raw) };
        done(status, 0)?;
        Ok(PoolStats {
            records: raw.records,
            bytes: raw.bytes,
            bytes_max: raw.bytes_max,
            evictions: raw.evictions,
            expirations: raw.expirations,
        })
    }
}

fn done(status: i32, bytes_max: u64) -> Result<(), IfrError> {
    match status {
        mfn_status::MFN_OK => Ok(()),
        mfn_status::MFN_NOT_FOUND => Err(IfrError::NoPool),
        mfn_status::MFN_ALREADY_EXISTS => Err(IfrError::PoolExists),
        other => Err(IfrError::of(other, bytes_max)),
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        // SAFETY: made by mfn_ifr_flows_new, freed here only, and nobody else has a reference.
        unsafe { sys::mfn_ifr_flows_free(self.handle.as_ptr()) };
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}
