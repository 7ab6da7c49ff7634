//! Layer 2 for C: many wells in pools, each with a budget of bytes, a time to live, and eviction.

use mfn_dsr::{Applied, Op, PoolOptions, Registry, WhenFull};
use mfn_wire::Status;

use crate::dsr::{
    bytes_at, copy_snapshot, explained, mfn_dsr_explanation, mfn_dsr_match, mfn_dsr_options, null,
    numbers, read_options, with_scratch, write_matches,
};
use crate::guard::{Problem, guarded, problem};

/// Pools of wells. Made by mfn_dsr_pools_new or mfn_dsr_pools_restore, freed by mfn_dsr_pools_free. A pool has a number, and
/// in it each well.
///
/// Time is the caller's, in any unit that is that of ttl; it does not run backwards: an earlier one counts as the latest of
/// the pool. Of entries that must give way, those go first that were not inserted or touched for longest.
///
/// Threads: functions that take a `const struct mfn_dsr_pools *` may run at the same time as each other; one that takes
/// `struct mfn_dsr_pools *` must have the handle to itself. Any thread may call.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_dsr_pools {
    registry: Registry,
}

/// What a pool may hold. Start from MFN_DSR_POOL_OPTIONS_INIT: 64 MiB, for ever, and the oldest give way.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_pool_options {
    /// sizeof(struct mfn_dsr_pool_options) of the caller.
    pub struct_size: u32,
    /// How long an unused entry stays; 0: for ever.
    pub ttl: u32,
    /// Bytes of all wells of the pool together.
    pub bytes_max: u64,
    /// Not 0: what has no room is refused with MFN_LIMIT, and nothing gives way.
    pub refuses: u8,
    /// Must be 0.
    pub reserved: [u8; 7],
}

/// What a change did.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_applied {
    /// Entries that gave way to it.
    pub evicted: u64,
    /// Entries that had expired and went.
    pub expired: u64,
    /// 1: what it names was there before.
    pub existed: u32,
    /// 0.
    pub reserved: u32,
}

/// What a pool holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_pool_stats {
    /// Its wells, and the entries of all of them.
    pub wells: u64,
    pub entries: u64,
    /// Bytes of all wells, and the most that they may be.
    pub bytes: u64,
    pub bytes_max: u64,
    /// Entries that ever gave way, and that ever expired.
    pub evicted: u64,
    pub expired: u64,
}

/// Applies an operation and says what it did.
///
/// # Safety
/// `pools` is a live handle, alone, or NULL; `applied` points to a place for one, or is NULL.
unsafe fn apply(
    pools: *mut mfn_dsr_pools,
    op: &Op,
    applied: *mut mfn_dsr_applied,
) -> Result<Applied, Problem> {
    // SAFETY: the caller promises a live handle, alone, or NULL.
    let pools = unsafe { pools.as_mut() }.ok_or_else(|| null("pools"))?;
    let done = pools.registry.apply(op)?;
    if !applied.is_null() {
        let told = mfn_dsr_applied {
            evicted: done.evicted as u64,
            expired: done.expired as u64,
            existed: u32::from(done.existed),
            reserved: 0,
        };
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { applied.write(told) };
    }
    Ok(done)
}

/// The same for what must have been there.
fn there(done: Applied, what: &str) -> Result<(), Problem> {
    if done.existed {
        return Ok(());
    }
    Err(problem(
        Status::NOT_FOUND,
        format!("there is no such {what}"),
    ))
}

/// Makes a registry without any pool. On MFN_OK *pools is a handle that the caller owns.
///
/// # Safety
/// `pools` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pools_new(pools: *mut *mut mfn_dsr_pools) -> i32 {
    guarded(|| {
        if pools.is_null() {
            return Err(null("pools"));
        }
        let made = mfn_dsr_pools {
            registry: Registry::new(),
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { pools.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// Frees a registry with all that is in it. NULL is allowed.
///
/// # Safety
/// `pools` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pools_free(pools: *mut mfn_dsr_pools) {
    guarded(|| {
        if !pools.is_null() {
            // SAFETY: not NULL; the caller gives the handle up.
            drop(unsafe { Box::from_raw(pools) });
        }
        Ok(())
    });
}

/// Makes a pool, or gives one new limits, to which its entries may give way. `applied` may be NULL.
///
/// # Safety
/// `pools` is a live handle; `options` points to options of at least the size that they say; `applied` points to a place for
/// one, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_set(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    options: *const mfn_dsr_pool_options,
    applied: *mut mfn_dsr_applied,
) -> i32 {
    guarded(|| {
        if options.is_null() {
            return Err(null("options"));
        }
        // SAFETY: not NULL, and the caller promises at least the first field.
        let size = unsafe { (&raw const (*options).struct_size).read() };
        if size as usize != size_of::<mfn_dsr_pool_options>() {
            let known = size_of::<mfn_dsr_pool_options>();
            let text = format!("struct_size is {size}; this library knows {known}");
            return Err(problem(Status::INVALID_ARGUMENT, text));
        }
        // SAFETY: the caller promises as many bytes as struct_size says, which is the whole struct.
        let given = unsafe { options.read() };
        if given.reserved != [0; 7] {
            let text = "reserved bytes must be 0";
            return Err(problem(Status::INVALID_ARGUMENT, text));
        }
        let options = PoolOptions {
            bytes_max: given.bytes_max,
            ttl: given.ttl,
            when_full: if given.refuses == 0 {
                WhenFull::Evict
            } else {
                WhenFull::Refuse
            },
        };
        // SAFETY: the caller promises a live handle and room, or NULL.
        unsafe { apply(pools, &Op::SetPool { pool, options }, applied) }.map(drop)
    })
}

/// Removes a pool with all its wells. MFN_NOT_FOUND: there is none of that number.
///
/// # Safety
/// `pools` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_drop(pools: *mut mfn_dsr_pools, pool: u32) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let done = unsafe { apply(pools, &Op::DropPool { pool }, std::ptr::null_mut()) }?;
        there(done, "pool")
    })
}

/// What a pool holds. MFN_NOT_FOUND: there is none of that number.
///
/// # Safety
/// `pools` is a live handle; `stats` points to a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_stats_read(
    pools: *const mfn_dsr_pools,
    pool: u32,
    stats: *mut mfn_dsr_pool_stats,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let pools = unsafe { pools.as_ref() }.ok_or_else(|| null("pools"))?;
        if stats.is_null() {
            return Err(null("stats"));
        }
        let options = pools.registry.pools().find(|(id, _)| *id == pool);
        let (Some(read), Some((_, options))) = (pools.registry.stats(pool), options) else {
            return Err(problem(Status::NOT_FOUND, "there is no such pool"));
        };
        let made = mfn_dsr_pool_stats {
            wells: read.wells as u64,
            entries: read.entries as u64,
            bytes: read.bytes,
            bytes_max: options.bytes_max,
            evicted: read.evicted,
            expired: read.expired,
        };
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { stats.write(made) };
        Ok(())
    })
}

/// Makes an empty well in a pool; nothing happens when it is there with the same options. `applied` may be NULL.
///
/// Errors: MFN_NOT_FOUND (no such pool), MFN_ALREADY_EXISTS (it is there with other options), MFN_LIMIT (the pool is too
/// small for it).
///
/// # Safety
/// `pools` is a live handle; `options` points to options of at least the size that they say; `applied` points to a place for
/// one, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_well_new(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    well: u32,
    options: *const mfn_dsr_options,
    applied: *mut mfn_dsr_applied,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises options of at least the size that they say, or NULL.
        let options = unsafe { read_options(options) }?;
        let op = Op::CreateWell {
            pool,
            well,
            options,
        };
        // SAFETY: the caller promises a live handle and room, or NULL.
        unsafe { apply(pools, &op, applied) }.map(drop)
    })
}

/// Removes a well with all its entries. MFN_NOT_FOUND: there is none of that number.
///
/// # Safety
/// `pools` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_well_drop(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    well: u32,
) -> i32 {
    guarded(|| {
        let op = Op::DropWell { pool, well };
        // SAFETY: the caller promises a live handle or NULL.
        there(unsafe { apply(pools, &op, std::ptr::null_mut()) }?, "well")
    })
}

/// Adds a vector of dims numbers to a well, or replaces the one of that id. `applied` may be NULL.
///
/// Errors: MFN_NOT_FOUND (no such well), MFN_LIMIT (no room in a pool that refuses), and those of mfn_dsr_insert.
///
/// # Safety
/// `pools` is a live handle; `vector` points to `dims` numbers; `applied` points to a place for one, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_insert(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    well: u32,
    id: u64,
    vector: *const f32,
    dims: usize,
    now: u32,
    applied: *mut mfn_dsr_applied,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?.to_vec();
        let op = Op::Insert {
            pool,
            well,
            id,
            vector,
            now,
        };
        // SAFETY: the caller promises a live handle and room, or NULL.
        unsafe { apply(pools, &op, applied) }.map(drop)
    })
}

/// Says that an entry was used: it expires and gives way later. MFN_NOT_FOUND: it is not there, or has expired.
///
/// # Safety
/// `pools` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_touch(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    well: u32,
    id: u64,
    now: u32,
) -> i32 {
    guarded(|| {
        let op = Op::Touch {
            pool,
            well,
            id,
            now,
        };
        // SAFETY: the caller promises a live handle or NULL.
        there(unsafe { apply(pools, &op, std::ptr::null_mut()) }?, "entry")
    })
}

/// Removes an entry. MFN_NOT_FOUND: there is none of that id.
///
/// # Safety
/// `pools` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_remove(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    well: u32,
    id: u64,
) -> i32 {
    guarded(|| {
        let op = Op::Remove { pool, well, id };
        // SAFETY: the caller promises a live handle or NULL.
        there(unsafe { apply(pools, &op, std::ptr::null_mut()) }?, "entry")
    })
}

/// Lets time pass: looks at up to `most` places of each well of a pool for entries that have expired. `applied` may be NULL.
///
/// # Safety
/// `pools` is a live handle; `applied` points to a place for one, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_expire(
    pools: *mut mfn_dsr_pools,
    pool: u32,
    now: u32,
    most: u32,
    applied: *mut mfn_dsr_applied,
) -> i32 {
    guarded(|| {
        let op = Op::Expire { pool, now, most };
        // SAFETY: the caller promises a live handle and room, or NULL.
        unsafe { apply(pools, &op, applied) }.map(drop)
    })
}

/// As mfn_dsr_search, in a well of a pool, among the entries that have not expired.
///
/// # Safety
/// `pools` is a live handle; `vector` points to `dims` numbers; `matches` points to room for `k`; `found` points to a place
/// for a count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_search(
    pools: *const mfn_dsr_pools,
    pool: u32,
    well: u32,
    vector: *const f32,
    dims: usize,
    k: usize,
    least: f32,
    now: u32,
    matches: *mut mfn_dsr_match,
    found: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let pools = unsafe { pools.as_ref() }.ok_or_else(|| null("pools"))?;
        if found.is_null() || (matches.is_null() && k > 0) {
            return Err(null("found, and matches unless k is 0,"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let registry = &pools.registry;
        let answer =
            with_scratch(|scratch| registry.search(scratch, (pool, well), vector, k, least, now))?;
        // SAFETY: the caller promises room for k, and an answer has no more.
        unsafe { write_matches(&answer, matches) };
        // SAFETY: not NULL; the caller promises room for a count.
        unsafe { found.write(answer.len()) };
        Ok(())
    })
}

/// As mfn_dsr_explain, in a well of a pool.
///
/// # Safety
/// `pools` is a live handle; `vector` points to `dims` numbers; `explanation` points to a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pool_explain(
    pools: *const mfn_dsr_pools,
    pool: u32,
    well: u32,
    vector: *const f32,
    dims: usize,
    id: u64,
    explanation: *mut mfn_dsr_explanation,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let pools = unsafe { pools.as_ref() }.ok_or_else(|| null("pools"))?;
        if explanation.is_null() {
            return Err(null("explanation"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let registry = &pools.registry;
        let why = with_scratch(|scratch| registry.explain(scratch, (pool, well), vector, id))?;
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { explanation.write(explained(&why)) };
        Ok(())
    })
}

/// As mfn_dsr_snapshot, of all pools and wells.
///
/// # Safety
/// `pools` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a
/// length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pools_snapshot(
    pools: *const mfn_dsr_pools,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let pools = unsafe { pools.as_ref() }.ok_or_else(|| null("pools"))?;
        // SAFETY: the caller promises that room.
        unsafe { copy_snapshot(|| pools.registry.snapshot(), buffer, capacity, needed) }
    })
}

/// The pools of a snapshot, which may come from anyone. On MFN_OK *pools is a handle that the caller owns.
///
/// Errors: MFN_CORRUPT for bytes that are no snapshot or contradict themselves.
///
/// # Safety
/// `bytes` points to `length` bytes, or is NULL when that is 0; `pools` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_pools_restore(
    bytes: *const u8,
    length: usize,
    pools: *mut *mut mfn_dsr_pools,
) -> i32 {
    guarded(|| {
        if pools.is_null() {
            return Err(null("pools"));
        }
        // SAFETY: the caller promises that many bytes.
        let bytes = unsafe { bytes_at(bytes, length) }?;
        let made = mfn_dsr_pools {
            registry: Registry::restore(bytes)?,
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { pools.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// A handle may move between threads, and be read by several.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<mfn_dsr_pools>();
};
