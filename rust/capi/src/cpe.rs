//! Layer 4, prediction, for C.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use ::mfn_cpe::{CpeError, EXPERTS, Engine, Op};
use mfn_wire::Status;

/// Major version in the high 16 bits, minor in the low ones.
pub const MFN_CPE_ABI_VERSION: u32 = 0x0001_0001;
/// Most items of one prediction; a larger capacity is not filled.
pub const MFN_CPE_ITEMS_MAX: usize = 52;
/// Experts of the panel, and the places of their names: mfn_cpe_expert_name.
pub const MFN_CPE_EXPERTS: usize = 9;
/// Horizons of a series: 1, 4, 16 and 64 samples.
pub const MFN_CPE_HORIZONS: usize = 4;
/// Quantiles of a forecast: 0.5, 0.9 and 0.99.
pub const MFN_CPE_QUANTILES: usize = 3;
/// The prediction is not sure enough to be a claim.
pub const MFN_CPE_SILENT: u32 = 1;
/// The sample repeats the one before and was not learned.
pub const MFN_CPE_STALE: u32 = 1;
/// The sample came after a gap.
pub const MFN_CPE_GAP: u32 = 2;
/// The series has left its level.
pub const MFN_CPE_CHANGED: u32 = 4;
/// The new level is one that was known.
pub const MFN_CPE_RETURNED: u32 = 8;

/// Pools of streams and series. Made by mfn_cpe_new or mfn_cpe_restore, freed by mfn_cpe_free.
///
/// Threads: one at a time per handle, any thread. After MFN_PANIC only mfn_cpe_free may follow.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_cpe {
    engine: Engine,
    poisoned: AtomicBool,
}

/// A symbol that may come next.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_item {
    pub symbol: u64,
    pub probability: f64,
}

/// What else a prediction says. The probabilities of all items, other and unseen add up to 1.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_prediction {
    pub struct_size: u32,
    /// MFN_CPE_SILENT or 0.
    pub flags: u32,
    /// Probability of a known symbol that is not among the items.
    pub other: f64,
    /// Probability of a symbol that was never seen and is not among the items.
    pub unseen: f64,
    /// Mean and 0.9 quantile of the time until the next event, in the caller's unit; negative while unknown.
    pub wait_mean: f64,
    pub wait_p90: f64,
}

/// Why a symbol has its probability: the experts' votes and weights, by number.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_explanation {
    pub struct_size: u32,
    /// 1 when some source proposed the symbol; votes are 0 otherwise.
    pub proposed: u32,
    pub probability: f64,
    pub votes: [f64; MFN_CPE_EXPERTS],
    pub weights: [f64; MFN_CPE_EXPERTS],
}

/// What a stream has scored so far, each event predicted before it was learned.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_scores {
    pub struct_size: u32,
    pub reserved: u32,
    pub events: u64,
    pub hits_at_1: u64,
    pub hits_at_5: u64,
    pub none: u64,
    pub unseen: u64,
    pub silent: u64,
    pub backwards: u64,
    /// Sums over all events.
    pub log_loss_bits: f64,
    pub brier: f64,
    /// 0 is perfect.
    pub calibration_error: f64,
    /// How many bits log_loss_bits may exceed that of the best expert by.
    pub regret_bound_bits: f64,
    /// Bytes that the stream holds.
    pub bytes: u64,
}

/// What a sample did.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_sampled {
    pub struct_size: u32,
    /// MFN_CPE_STALE, MFN_CPE_GAP, MFN_CPE_CHANGED, MFN_CPE_RETURNED.
    pub flags: u32,
    /// Medians of the level that was left and of the samples since; with MFN_CPE_CHANGED only.
    pub from: f64,
    pub to: f64,
    /// How many samples ago the change was.
    pub samples_ago: u64,
}

/// What a lane of a series will be.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct mfn_cpe_forecast {
    pub struct_size: u32,
    pub reserved: u32,
    /// Samples ahead, by horizon.
    pub samples_ahead: [u64; MFN_CPE_HORIZONS],
    /// Values by horizon and quantile.
    pub quantiles: [[f64; MFN_CPE_QUANTILES]; MFN_CPE_HORIZONS],
}

fn status(error: &CpeError) -> Status {
    match error {
        CpeError::Absent { .. } => Status::NOT_FOUND,
        CpeError::Budget { .. } | CpeError::Pools(_) => Status::NO_SPACE,
        CpeError::Truncated(_) | CpeError::Version { .. } | CpeError::Invalid(_) => {
            Status::BAD_BODY
        }
        _ => Status::INVALID_ARGUMENT,
    }
}

/// Runs the body of an export on a handle: no panic crosses the border, and a handle that met one is closed to all
/// but free.
pub(crate) fn guarded(
    handle: Option<&mut mfn_cpe>,
    body: impl FnOnce(&mut Engine) -> Result<(), Status>,
) -> i32 {
    let Some(handle) = handle else {
        return Status::INVALID_ARGUMENT.0;
    };
    if handle.poisoned.load(Ordering::Relaxed) {
        return Status::PANIC.0;
    }
    let engine = &mut handle.engine;
    match std::panic::catch_unwind(AssertUnwindSafe(|| body(engine))) {
        Ok(Ok(())) => Status::OK.0,
        Ok(Err(status)) => status.0,
        Err(_) => {
            handle.poisoned.store(true, Ordering::Relaxed);
            Status::PANIC.0
        }
    }
}

/// Writes as much of a struct as the caller's is long; struct_size, which stands first, stays as the caller set it.
///
/// # Safety
/// `out` points to a struct of `T` or an older, shorter one whose first field says its size.
pub(crate) unsafe fn give<T: Copy>(out: *mut T, value: &T) -> Result<(), Status> {
    if out.is_null() {
        return Err(Status::INVALID_ARGUMENT);
    }
    // SAFETY: not NULL; the caller promises a struct that starts with its size.
    let size = unsafe { out.cast::<u32>().read() } as usize;
    if size < 8 || size > size_of::<T>() {
        return Err(Status::INVALID_ARGUMENT);
    }
    // SAFETY: both sides have at least `size` bytes: the caller's by its own word, ours by the check.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>().add(4),
            out.cast::<u8>().add(4),
            size - 4,
        );
    }
    Ok(())
}

/// The version of this header that the library was built with. Compare its high 16 bits with MFN_CPE_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn mfn_cpe_abi_version() -> u32 {
    MFN_CPE_ABI_VERSION
}

/// Makes an empty engine. On MFN_OK *cpe is a handle that the caller owns.
///
/// # Safety
/// `cpe` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_new(cpe: *mut *mut mfn_cpe) -> i32 {
    if cpe.is_null() {
        return Status::INVALID_ARGUMENT.0;
    }
    let made = mfn_cpe {
        engine: Engine::new(),
        poisoned: AtomicBool::new(false),
    };
    // SAFETY: not NULL; the caller promises room for a pointer.
    unsafe { cpe.write(Box::into_raw(Box::new(made))) };
    Status::OK.0
}

/// Frees an engine. NULL is allowed.
///
/// # Safety
/// `cpe` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_free(cpe: *mut mfn_cpe) {
    if !cpe.is_null() {
        // SAFETY: not NULL; the caller gives the handle up.
        drop(unsafe { Box::from_raw(cpe) });
    }
}

pub(crate) fn apply(engine: &mut Engine, op: &Op) -> Result<(), Status> {
    engine.apply(op).map(drop).map_err(|error| status(&error))
}

/// Learns that a symbol came next in a lane of a stream, at a time in any unit. Stream and pool are made when they are
/// not there. MFN_INVALID_ARGUMENT: the number belongs to a series.
///
/// # Safety
/// `cpe` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_observe(
    cpe: *mut mfn_cpe,
    pool: u32,
    stream: u64,
    lane: u32,
    symbol: u64,
    time: u64,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        apply(
            engine,
            &Op::Observe {
                pool,
                stream,
                lane,
                symbol,
                time,
            },
        )
    })
}

/// What may come next in a lane of a stream, asked at a time: at most `capacity` items, the likeliest first.
///
/// *count becomes how many there are. prediction may be NULL. MFN_NOT_FOUND: there is no such stream.
///
/// # Safety
/// `cpe` is a live handle; `items` points to `capacity` items, or is NULL when that is 0; `count` points to a place for
/// a length; `prediction` points to a struct whose struct_size is set, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_predict(
    cpe: *mut mfn_cpe,
    pool: u32,
    stream: u64,
    lane: u32,
    now: u64,
    items: *mut mfn_cpe_item,
    capacity: usize,
    count: *mut usize,
    prediction: *mut mfn_cpe_prediction,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        if count.is_null() || (items.is_null() && capacity > 0) {
            return Err(Status::INVALID_ARGUMENT);
        }
        let stream = engine
            .stream(pool, stream)
            .map_err(|error| status(&error))?;
        let given = stream.predict(lane, capacity, now);
        if !prediction.is_null() {
            let wait = given
                .wait
                .map_or((-1.0, -1.0), |wait| (wait.mean, wait.p90));
            let rest = mfn_cpe_prediction {
                struct_size: 0,
                flags: if given.silent { MFN_CPE_SILENT } else { 0 },
                other: given.other.into(),
                unseen: given.unseen.into(),
                wait_mean: wait.0,
                wait_p90: wait.1,
            };
            // SAFETY: the caller promises a struct whose size is set.
            unsafe { give(prediction, &rest) }?;
        }
        for (at, item) in given.items.iter().enumerate() {
            let item = mfn_cpe_item {
                symbol: item.symbol,
                probability: item.probability.into(),
            };
            // SAFETY: no more items come than were asked for, and the caller promises room for these.
            unsafe { items.add(at).write(item) };
        }
        // SAFETY: not NULL; the caller promises room for a length.
        unsafe { count.write(given.items.len()) };
        Ok(())
    })
}

/// Why a symbol has its probability in a lane. MFN_NOT_FOUND: there is no such stream.
///
/// # Safety
/// `cpe` is a live handle; `explanation` points to a struct whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_explain(
    cpe: *mut mfn_cpe,
    pool: u32,
    stream: u64,
    lane: u32,
    symbol: u64,
    explanation: *mut mfn_cpe_explanation,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        let stream = engine
            .stream(pool, stream)
            .map_err(|error| status(&error))?;
        let why = stream.explain(lane, symbol);
        let mut given = mfn_cpe_explanation {
            proposed: u32::from(why.proposed),
            probability: why.probability.into(),
            ..Default::default()
        };
        for (at, vote) in why.votes.iter().enumerate() {
            given.votes[at] = vote.probability.into();
            given.weights[at] = vote.weight;
        }
        // SAFETY: the caller promises a struct whose size is set, or NULL.
        unsafe { give(explanation, &given) }
    })
}

/// The name of an expert of the panel, static; NULL for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn mfn_cpe_expert_name(expert: usize) -> *const std::ffi::c_char {
    const NAMES: [&std::ffi::CStr; MFN_CPE_EXPERTS] = [
        c"ranking",
        c"corrected ranking",
        c"order 1",
        c"order 2",
        c"order 3",
        c"repetition",
        c"stride",
        c"runs",
        c"recency",
    ];
    NAMES
        .get(expert)
        .map_or(std::ptr::null(), |name| name.as_ptr())
}

/// What a stream has scored. MFN_NOT_FOUND: there is no such stream.
///
/// # Safety
/// `cpe` is a live handle; `scores` points to a struct whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_scores_read(
    cpe: *mut mfn_cpe,
    pool: u32,
    stream: u64,
    scores: *mut mfn_cpe_scores,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        let stream = engine
            .stream(pool, stream)
            .map_err(|error| status(&error))?;
        let known = stream.scores();
        let given = mfn_cpe_scores {
            struct_size: 0,
            reserved: 0,
            events: known.events,
            hits_at_1: known.hits_at_1,
            hits_at_5: known.hits_at_5,
            none: known.none,
            unseen: known.unseen,
            silent: known.silent,
            backwards: known.backwards,
            log_loss_bits: known.log_loss_bits,
            brier: known.brier,
            calibration_error: known.calibration_error(),
            regret_bound_bits: stream.regret_bits(),
            bytes: stream.bytes() as u64,
        };
        // SAFETY: the caller promises a struct whose size is set, or NULL.
        unsafe { give(scores, &given) }
    })
}

/// Takes in a sample of a lane of a series at a time. Series and pool are made when they are not there.
///
/// sampled may be NULL. MFN_INVALID_ARGUMENT: the value is not finite or beyond 1e150 either way, the time is before the
/// lane's last one, or the number belongs to a stream; nothing has changed then.
///
/// # Safety
/// `cpe` is a live handle; `sampled` points to a struct whose struct_size is set, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_sample(
    cpe: *mut mfn_cpe,
    pool: u32,
    series: u64,
    lane: u32,
    time: u64,
    value: f64,
    sampled: *mut mfn_cpe_sampled,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        let op = Op::Sample {
            pool,
            series,
            lane,
            time,
            value,
        };
        let did = engine
            .apply(&op)
            .map_err(|error| status(&error))?
            .sampled
            .unwrap_or_default();
        if sampled.is_null() {
            return Ok(());
        }
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let mut given = mfn_cpe_sampled {
            flags: flag(did.stale, MFN_CPE_STALE) | flag(did.gap, MFN_CPE_GAP),
            ..Default::default()
        };
        if let Some(change) = did.change {
            given.flags |= MFN_CPE_CHANGED | flag(change.returned, MFN_CPE_RETURNED);
            given.from = change.from;
            given.to = change.to;
            given.samples_ago = change.samples_ago as u64;
        }
        // SAFETY: the caller promises a struct whose size is set.
        unsafe { give(sampled, &given) }
    })
}

/// What a lane of a series will be. MFN_NOT_FOUND: there is no such series, or its lane has no samples.
///
/// # Safety
/// `cpe` is a live handle; `forecast` points to a struct whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_forecast_read(
    cpe: *mut mfn_cpe,
    pool: u32,
    series: u64,
    lane: u32,
    forecast: *mut mfn_cpe_forecast,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        let series = engine
            .series(pool, series)
            .map_err(|error| status(&error))?;
        let known = series.forecast(lane).ok_or(Status::NOT_FOUND)?;
        let mut given = mfn_cpe_forecast::default();
        for (at, horizon) in known.iter().enumerate() {
            given.samples_ahead[at] = horizon.samples_ahead as u64;
            given.quantiles[at] = horizon.quantiles;
        }
        // SAFETY: the caller promises a struct whose size is set, or NULL.
        unsafe { give(forecast, &given) }
    })
}

/// Forgets a stream or series. MFN_NOT_FOUND: there is none.
///
/// # Safety
/// `cpe` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_forget(cpe: *mut mfn_cpe, pool: u32, id: u64) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        apply(engine, &Op::Forget { pool, id })
    })
}

/// Forgets every member that was not written to for longer than its pool's ttl.
///
/// # Safety
/// `cpe` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_expire(cpe: *mut mfn_cpe, now: u64) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        apply(engine, &Op::Expire { now })
    })
}

/// Copies the whole state into a buffer; the caller adds a checksum to what it stores.
///
/// *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied. NULL and 0 ask for
/// the size.
///
/// # Safety
/// `cpe` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place
/// for a length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_snapshot(
    cpe: *mut mfn_cpe,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> i32 {
    // SAFETY: the caller promises a live handle or NULL.
    guarded(unsafe { cpe.as_mut() }, |engine| {
        if needed.is_null() || (buffer.is_null() && capacity > 0) {
            return Err(Status::INVALID_ARGUMENT);
        }
        let bytes = engine.snapshot();
        // SAFETY: not NULL; the caller promises room for a length.
        unsafe { needed.write(bytes.len()) };
        if capacity < bytes.len() {
            return Err(Status::NO_SPACE);
        }
        // SAFETY: the buffer has room for all bytes, and nobody else writes to it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
        Ok(())
    })
}

/// Makes an engine of a snapshot. On MFN_OK *cpe is a handle that the caller owns. MFN_BAD_BODY: the bytes are damaged,
/// cut off, or of another version.
///
/// # Safety
/// `bytes` points to `count` bytes, or is NULL when that is 0; `cpe` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_cpe_restore(
    bytes: *const u8,
    count: usize,
    cpe: *mut *mut mfn_cpe,
) -> i32 {
    if cpe.is_null() || (bytes.is_null() && count > 0) || count > isize::MAX as usize {
        return Status::INVALID_ARGUMENT.0;
    }
    let bytes = if count == 0 {
        &[]
    } else {
        // SAFETY: not NULL; the caller promises that many bytes, fewer than isize::MAX by the check above.
        unsafe { std::slice::from_raw_parts(bytes, count) }
    };
    match std::panic::catch_unwind(|| Engine::restore(bytes)) {
        Ok(Ok(engine)) => {
            let made = mfn_cpe {
                engine,
                poisoned: AtomicBool::new(false),
            };
            // SAFETY: not NULL; the caller promises room for a pointer.
            unsafe { cpe.write(Box::into_raw(Box::new(made))) };
            Status::OK.0
        }
        Ok(Err(error)) => status(&error).0,
        Err(_) => Status::PANIC.0,
    }
}

/// What C sees of the numbers of mfn-cpe is what they are.
const _: () = {
    assert!(MFN_CPE_ITEMS_MAX == ::mfn_cpe::ITEMS_MAX);
    assert!(MFN_CPE_EXPERTS == EXPERTS.len());
    assert!(MFN_CPE_HORIZONS == ::mfn_cpe::HORIZONS.len());
    assert!(MFN_CPE_QUANTILES == ::mfn_cpe::QUANTILES.len());
};

/// A handle may move between threads.
const _: fn() = || {
    fn sent<T: Send>() {}
    sent::<mfn_cpe>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_have_their_own_names() {
        for (number, expert) in EXPERTS.iter().enumerate() {
            // SAFETY: the names are static strings, and there is one for each number.
            let name = unsafe { std::ffi::CStr::from_ptr(mfn_cpe_expert_name(number)) };
            assert_eq!(name.to_str(), Ok(expert.name()));
        }
    }
}
