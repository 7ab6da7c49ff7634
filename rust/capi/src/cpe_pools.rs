//! Layer 4 for C: the pools of streams and series, and their limits.

use ::mfn_cpe::{Op, PoolOptions};
use mfn_wire::Status;

use crate::cpe::{apply, give, guarded, mfn_cpe};

/// Limits of a pool. Set struct_size to sizeof(struct mfn_cpe_pool_options); a field that is 0 has the default named.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_pool_options {
    pub struct_size: u32,
    /// 1 when a sample that repeats the one before is stale.
    pub repeats_are_stale: u32,
    /// Bytes of all members together; 0: 256 MiB.
    pub bytes_max: u64,
    /// Time after its last write at which mfn_cpe_expire forgets a member; 0: never.
    pub ttl: u64,
    /// Bytes of each stream, at least 256 KiB; 0: 16 MiB.
    pub stream_bytes_max: u64,
    /// Lanes of each stream and series; 0: 64.
    pub lanes_max: u32,
    /// A prediction is silent when its first item is less likely, 0 to 1.
    pub claim_min: f32,
    /// The least change of level that counts, in the unit of the samples.
    pub change_min: f64,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_pool_stats {
    pub struct_size: u32,
    pub reserved: u32,
    pub streams: u64,
    pub series: u64,
    /// Bytes of all members, and the most that they may be.
    pub bytes: u64,
    pub bytes_max: u64,
    /// Members that gave way since the pool was made.
    pub evicted: u64,
}

/// Makes a pool, or gives one new limits. MFN_INVALID_ARGUMENT: a limit is out of its range. MFN_NO_SPACE: a stream
/// does not fit, or there are too many pools.
///
/// # Safety
/// `cpe` is a live handle; `options` points to options whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_pool_set(
    cpe: *mut mfn_cpe,
    pool: u32,
    options: *const mfn_cpe_pool_options,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        // SAFETY: the caller promises options whose first field says their size.
        let given = unsafe { read_options(options) }?;
        let default = PoolOptions::default();
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let options = PoolOptions {
            bytes_max: or(given.bytes_max, default.bytes_max),
            ttl: given.ttl,
            stream_bytes_max: or(given.stream_bytes_max, default.stream_bytes_max),
            lanes_max: or(given.lanes_max.into(), default.lanes_max.into()) as u32,
            claim_min: given.claim_min,
            change_min: given.change_min,
            repeats_are_stale: given.repeats_are_stale == 1,
        };
        apply(engine, &Op::Pool { pool, options })
    })
}

/// Forgets a pool with all its members. MFN_NOT_FOUND: there is none of that number.
///
/// # Safety
/// `cpe` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_pool_drop(cpe: *mut mfn_cpe, pool: u32) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        apply(engine, &Op::DropPool { pool })
    })
}

/// What a pool holds. MFN_NOT_FOUND: there is none of that number.
///
/// # Safety
/// `cpe` is a live handle; `stats` points to a struct whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_pool_stats_read(
    cpe: *mut mfn_cpe,
    pool: u32,
    stats: *mut mfn_cpe_pool_stats,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        let read = engine.pool(pool).ok_or(Status::NOT_FOUND)?;
        let given = mfn_cpe_pool_stats {
            struct_size: 0,
            reserved: 0,
            streams: read.streams,
            series: read.series,
            bytes: read.bytes,
            bytes_max: read.options.bytes_max,
            evicted: read.evicted,
        };
        // SAFETY: the caller promises a struct whose size is set, or NULL.
        unsafe { give(stats, &given) }
    })
}

/// Reads options of this version or an older, shorter one.
///
/// # Safety
/// `options` is NULL or points to as many bytes as its first field says.
unsafe fn read_options(
    options: *const mfn_cpe_pool_options,
) -> Result<mfn_cpe_pool_options, Status> {
    let mut given = mfn_cpe_pool_options::default();
    if options.is_null() {
        return Err(Status::INVALID_ARGUMENT);
    }
    // SAFETY: not NULL; the caller promises a struct that starts with its size.
    let size = unsafe { options.cast::<u32>().read() } as usize;
    if !(8..=size_of::<mfn_cpe_pool_options>()).contains(&size) {
        return Err(Status::INVALID_ARGUMENT);
    }
    // SAFETY: the caller's has `size` bytes by its own word, ours by the check; every bit pattern is a value.
    unsafe {
        std::ptr::copy_nonoverlapping(
            options.cast::<u8>(),
            std::ptr::from_mut(&mut given).cast::<u8>(),
            size,
        );
    }
    if given.repeats_are_stale > 1 {
        return Err(Status::INVALID_ARGUMENT);
    }
    Ok(given)
}
