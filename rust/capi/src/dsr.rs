//! Layer 2 for C: similarity wells and the anomaly mode.

use std::cell::RefCell;
use std::ffi::c_char;

use mfn_dsr::{Detector, DsrError, Explanation, Match, Options, Precision, Scratch, Well};
use mfn_wire::Status;

use crate::guard::{Problem, copy_text, guarded, problem};

/// Major version in the high 16 bits, minor in the low ones.
pub const MFN_DSR_ABI_VERSION: u32 = 0x0001_0001;
/// The longest vector, in numbers.
pub const MFN_DSR_DIMS_MAX: u32 = 4096;
/// The most results of one search.
pub const MFN_DSR_K_MAX: u32 = 16384;
/// A precision: one byte per number.
pub const MFN_DSR_PRECISION_BYTES: u8 = 0;
/// A precision: four bytes per number.
pub const MFN_DSR_PRECISION_FLOATS: u8 = 1;
/// No neuron: in mfn_dsr_explanation.
pub const MFN_DSR_NONE: u32 = u32::MAX;

const _: () = assert!(MFN_DSR_DIMS_MAX as usize == mfn_dsr::DIMS_MAX);
const _: () = assert!(MFN_DSR_K_MAX as usize == mfn_dsr::K_MAX);

/// Vectors under ids. Made by mfn_dsr_well_new or mfn_dsr_well_restore, freed by mfn_dsr_well_free.
///
/// Threads: functions that take a `const struct mfn_dsr_well *` may run at the same time as each other; one that takes
/// `struct mfn_dsr_well *` must have the handle to itself. Any thread may call.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_dsr_well {
    well: Well,
}

/// A threshold of novelty. Made by mfn_dsr_detector_new, freed by mfn_dsr_detector_free. Any thread may use it.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_dsr_detector {
    detector: Detector,
}

/// How to make a well. Start from MFN_DSR_OPTIONS_INIT and set dims.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_options {
    /// sizeof(struct mfn_dsr_options) of the caller.
    pub struct_size: u32,
    /// Numbers of every vector, 1 to MFN_DSR_DIMS_MAX.
    pub dims: u32,
    /// The seed of all that is drawn: the same calls with the same seed make the same well.
    pub seed: u64,
    /// Recall of the ten nearest that approximate answers aim at, .5 to .999; 0 is .95.
    pub recall: f32,
    /// MFN_DSR_PRECISION_*.
    pub precision: u8,
    /// Not 0: compare with every entry, always.
    pub exact: u8,
    /// Must be 0.
    pub reserved: [u8; 2],
}

/// One entry that is like the query.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_match {
    /// The entry.
    pub id: u64,
    /// Its cosine with the query, -1 to 1.
    pub similarity: f32,
    /// 0.
    pub reserved: u32,
}

/// Why an entry is, or is not, among what a search finds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_explanation {
    /// The exact cosine of query and entry.
    pub similarity: f32,
    /// Neurons that fired for the query; 0 while answers are exact.
    pub fired: u32,
    /// Of those, how many fire for the entry as well.
    pub overlap: u32,
    /// The neuron that owns the entry, or MFN_DSR_NONE.
    pub owner: u32,
    /// The owner's place in the firing order, from 0, or MFN_DSR_NONE: it did not fire and the search missed the entry.
    pub owner_fired: u32,
    /// 1: the entry was compared exactly.
    pub compared: u32,
}

/// What a well holds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_stats {
    /// Entries.
    pub entries: u64,
    /// Bytes held, room for growth included.
    pub bytes: u64,
    /// Neurons that compete; 0 while answers are exact.
    pub neurons: u64,
    /// Neurons whose members a search looks at.
    pub winners: u64,
    /// Candidates that a search for ten compares exactly.
    pub refine: u64,
    /// Recall that the last calibration measured.
    pub recall: f32,
    /// 0.
    pub reserved: u32,
}

/// What a detector says of a vector.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mfn_dsr_verdict {
    /// The share of normal vectors that score as high or higher.
    pub p_value: f64,
    /// One minus the mean similarity to the nearest entries.
    pub score: f32,
    /// 1: the score is above the threshold.
    pub novel: u32,
}

thread_local! {
    /// Room for this thread's searches.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl From<DsrError> for Problem {
    fn from(error: DsrError) -> Self {
        let status = match &error {
            DsrError::Budget { .. } => Status::LIMIT,
            DsrError::UnknownId { .. } | DsrError::UnknownWell { .. } => Status::NOT_FOUND,
            DsrError::WellExists { .. } => Status::ALREADY_EXISTS,
            DsrError::TooFew { .. } => Status::NOT_READY,
            DsrError::Malformed { .. } => Status::CORRUPT,
            _ => Status::INVALID_ARGUMENT,
        };
        problem(status, error.to_string())
    }
}

pub(crate) fn null(what: &str) -> Problem {
    problem(Status::INVALID_ARGUMENT, format!("{what} must not be NULL"))
}

/// The numbers at a pointer.
///
/// # Safety
/// `vector` points to `dims` numbers, or is NULL.
pub(crate) unsafe fn numbers<'a>(vector: *const f32, dims: usize) -> Result<&'a [f32], Problem> {
    if vector.is_null() {
        return Err(null("vector"));
    }
    if dims > mfn_dsr::DIMS_MAX {
        let text = format!("a vector of {dims} numbers is longer than MFN_DSR_DIMS_MAX");
        return Err(problem(Status::INVALID_ARGUMENT, text));
    }
    // SAFETY: not NULL; the caller promises that many numbers, few enough by the check above.
    Ok(unsafe { std::slice::from_raw_parts(vector, dims) })
}

/// The options of a well.
///
/// # Safety
/// `options` points to options of at least the size that they say, or is NULL.
pub(crate) unsafe fn read_options(options: *const mfn_dsr_options) -> Result<Options, Problem> {
    if options.is_null() {
        return Err(null("options"));
    }
    // SAFETY: not NULL, and the caller promises at least the first field.
    let size = unsafe { (&raw const (*options).struct_size).read() };
    if size as usize != size_of::<mfn_dsr_options>() {
        let text = format!(
            "struct_size is {size}; this library knows {}",
            size_of::<mfn_dsr_options>()
        );
        return Err(problem(Status::INVALID_ARGUMENT, text));
    }
    // SAFETY: the caller promises as many bytes as struct_size says, which is the whole struct.
    let given = unsafe { options.read() };
    if given.reserved != [0; 2] {
        return Err(problem(
            Status::INVALID_ARGUMENT,
            "reserved bytes must be 0",
        ));
    }
    let mut options = Options::new(given.dims as usize);
    options.seed = given.seed;
    options.exact = given.exact != 0;
    if given.recall != 0.0 {
        options.recall = given.recall;
    }
    options.precision = match given.precision {
        MFN_DSR_PRECISION_BYTES => Precision::Bytes,
        MFN_DSR_PRECISION_FLOATS => Precision::Floats,
        other => {
            return Err(problem(
                Status::INVALID_ARGUMENT,
                format!("precision {other} is unknown"),
            ));
        }
    };
    Ok(options)
}

/// The same for C.
pub(crate) fn explained(why: &Explanation) -> mfn_dsr_explanation {
    mfn_dsr_explanation {
        similarity: why.similarity,
        fired: why.fired.len() as u32,
        overlap: why.overlap as u32,
        owner: why.owner.map_or(MFN_DSR_NONE, u32::from),
        owner_fired: why.owner_fired.map_or(MFN_DSR_NONE, |at| at as u32),
        compared: u32::from(why.compared),
    }
}

/// Writes what a search found.
///
/// # Safety
/// `matches` points to room for all of it.
pub(crate) unsafe fn write_matches(answer: &[Match], matches: *mut mfn_dsr_match) {
    for (at, one) in answer.iter().enumerate() {
        let one = mfn_dsr_match {
            id: one.id,
            similarity: one.similarity,
            reserved: 0,
        };
        // SAFETY: the caller promises room for all.
        unsafe { matches.add(at).write(one) };
    }
}

/// Copies a snapshot.
///
/// # Safety
/// `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
pub(crate) unsafe fn copy_snapshot(
    snapshot: impl FnOnce() -> Vec<u8>,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> Result<(), Problem> {
    if needed.is_null() || (buffer.is_null() && capacity > 0) {
        return Err(null("needed, and buffer unless capacity is 0,"));
    }
    let bytes = snapshot();
    // SAFETY: not NULL; the caller promises room for a length.
    unsafe { needed.write(bytes.len()) };
    if capacity < bytes.len() {
        return Err(problem(
            Status::NO_SPACE,
            format!("the snapshot takes {} bytes", bytes.len()),
        ));
    }
    // SAFETY: the buffer has room for all of it, and is not the vector.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
    Ok(())
}

/// The bytes at a pointer.
///
/// # Safety
/// `bytes` points to `length` bytes, or is NULL.
pub(crate) unsafe fn bytes_at<'a>(bytes: *const u8, length: usize) -> Result<&'a [u8], Problem> {
    if length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(null("bytes"));
    }
    if length > isize::MAX as usize {
        return Err(problem(Status::INVALID_ARGUMENT, "no buffer is that long"));
    }
    // SAFETY: not NULL; the caller promises that many bytes, fewer than isize::MAX by the check above.
    Ok(unsafe { std::slice::from_raw_parts(bytes, length) })
}

/// Runs a search with this thread's scratch.
pub(crate) fn with_scratch<T>(
    body: impl FnOnce(&mut Scratch) -> Result<T, DsrError>,
) -> Result<T, Problem> {
    SCRATCH.with(|scratch| Ok(body(&mut scratch.borrow_mut())?))
}

/// The version of this header that the library was built with. Compare its high 16 bits with MFN_DSR_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn mfn_dsr_abi_version() -> u32 {
    MFN_DSR_ABI_VERSION
}

/// Makes an empty well. On MFN_OK *well is a handle that the caller owns.
///
/// # Safety
/// `options` points to options of at least the size that they say; `well` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_well_new(
    options: *const mfn_dsr_options,
    well: *mut *mut mfn_dsr_well,
) -> i32 {
    guarded(|| {
        if well.is_null() {
            return Err(null("well"));
        }
        // SAFETY: the caller promises options of at least the size that they say, or NULL.
        let options = unsafe { read_options(options) }?;
        let made = mfn_dsr_well {
            well: Well::new(options)?,
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { well.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// Frees a well. NULL is allowed.
///
/// # Safety
/// `well` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_well_free(well: *mut mfn_dsr_well) {
    guarded(|| {
        if !well.is_null() {
            // SAFETY: not NULL; the caller gives the handle up.
            drop(unsafe { Box::from_raw(well) });
        }
        Ok(())
    });
}

/// Adds a vector of dims numbers, or replaces the one of that id; *replaced becomes 1 or 0, NULL is allowed there.
///
/// Errors: MFN_INVALID_ARGUMENT for another length than the well's, NaN, infinities and vectors of length zero.
///
/// # Safety
/// `well` is a live handle; `vector` points to `dims` numbers; `replaced` points to a place for a byte, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_insert(
    well: *mut mfn_dsr_well,
    id: u64,
    vector: *const f32,
    dims: usize,
    replaced: *mut u8,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle, alone, or NULL.
        let well = unsafe { well.as_mut() }.ok_or_else(|| null("well"))?;
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let was_there = well.well.insert(id, vector)?;
        if !replaced.is_null() {
            // SAFETY: not NULL; the caller promises room for a byte.
            unsafe { replaced.write(u8::from(was_there)) };
        }
        Ok(())
    })
}

/// Removes an entry. MFN_NOT_FOUND: there is none of that id.
///
/// # Safety
/// `well` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_remove(well: *mut mfn_dsr_well, id: u64) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle, alone, or NULL.
        let well = unsafe { well.as_mut() }.ok_or_else(|| null("well"))?;
        if well.well.remove(id) {
            Ok(())
        } else {
            Err(DsrError::UnknownId { id }.into())
        }
    })
}

/// The k entries most like a vector whose cosine is at least `least`, best first; -1 takes all.
///
/// `matches` has room for k; *found becomes how many were written. At most MFN_DSR_K_MAX.
///
/// # Safety
/// `well` is a live handle; `vector` points to `dims` numbers; `matches` points to room for `k`; `found` points to a
/// place for a count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_search(
    well: *const mfn_dsr_well,
    vector: *const f32,
    dims: usize,
    k: usize,
    least: f32,
    matches: *mut mfn_dsr_match,
    found: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        if found.is_null() || (matches.is_null() && k > 0) {
            return Err(null("found, and matches unless k is 0,"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let answer = with_scratch(|scratch| well.well.search(scratch, vector, k, least))?;
        // SAFETY: the caller promises room for k, and an answer has no more.
        unsafe { write_matches(&answer, matches) };
        // SAFETY: not NULL; the caller promises room for a count.
        unsafe { found.write(answer.len()) };
        Ok(())
    })
}

/// Says how a search for the vector would come to the entry, or why it would miss it. MFN_NOT_FOUND: no such entry.
///
/// # Safety
/// `well` is a live handle; `vector` points to `dims` numbers; `explanation` points to a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_explain(
    well: *const mfn_dsr_well,
    vector: *const f32,
    dims: usize,
    id: u64,
    explanation: *mut mfn_dsr_explanation,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        if explanation.is_null() {
            return Err(null("explanation"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let why = with_scratch(|scratch| well.well.explain(scratch, vector, id))?;
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { explanation.write(explained(&why)) };
        Ok(())
    })
}

/// The winner code of a vector: the first `winners` neurons that fire, in order. *fired becomes how many were written:
/// fewer where there are fewer, none while answers are exact.
///
/// # Safety
/// `well` is a live handle; `vector` points to `dims` numbers; `neurons` points to room for `winners`; `fired` points
/// to a place for a count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_fire(
    well: *const mfn_dsr_well,
    vector: *const f32,
    dims: usize,
    winners: usize,
    neurons: *mut u16,
    fired: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        if fired.is_null() || (neurons.is_null() && winners > 0) {
            return Err(null("fired, and neurons unless winners is 0,"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let spikes = with_scratch(|scratch| well.well.fire(scratch, vector, winners))?;
        let count = spikes.len().min(winners);
        for (at, spike) in spikes.iter().take(count).enumerate() {
            // SAFETY: the caller promises room for `winners`.
            unsafe { neurons.add(at).write(spike.neuron) };
        }
        // SAFETY: not NULL; the caller promises room for a count.
        unsafe { fired.write(count) };
        Ok(())
    })
}

/// What a well holds.
///
/// # Safety
/// `well` is a live handle; `stats` points to a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_stats_read(
    well: *const mfn_dsr_well,
    stats: *mut mfn_dsr_stats,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        if stats.is_null() {
            return Err(null("stats"));
        }
        let read = well.well.stats();
        let made = mfn_dsr_stats {
            entries: read.entries as u64,
            bytes: read.bytes as u64,
            neurons: read.neurons as u64,
            winners: read.winners as u64,
            refine: read.refine as u64,
            recall: read.recall,
            reserved: 0,
        };
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { stats.write(made) };
        Ok(())
    })
}

/// Copies all that the well holds and has learned. *needed becomes the room that it takes.
///
/// MFN_NO_SPACE: the buffer is smaller; nothing was copied. NULL with capacity 0 asks for the size.
///
/// # Safety
/// `well` is a live handle; `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place
/// for a length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_snapshot(
    well: *const mfn_dsr_well,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        // SAFETY: the caller promises that room.
        unsafe { copy_snapshot(|| well.well.snapshot(), buffer, capacity, needed) }
    })
}

/// The well of a snapshot, which may come from anyone. On MFN_OK *well is a handle that the caller owns.
///
/// Errors: MFN_CORRUPT for bytes that are no snapshot or contradict themselves.
///
/// # Safety
/// `bytes` points to `length` bytes, or is NULL when that is 0; `well` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_well_restore(
    bytes: *const u8,
    length: usize,
    well: *mut *mut mfn_dsr_well,
) -> i32 {
    guarded(|| {
        if well.is_null() {
            return Err(null("well"));
        }
        // SAFETY: the caller promises that many bytes.
        let bytes = unsafe { bytes_at(bytes, length) }?;
        let made = mfn_dsr_well {
            well: Well::restore(bytes)?,
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { well.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// Takes a threshold of novelty from `count` held-out normal vectors that are not in the well, row after row.
///
/// A normal vector is then called novel with probability at most `rate`; at least 1 / rate - 1 vectors are needed, else
/// MFN_NOT_READY. The score is one minus the mean similarity to the `neighbours` nearest entries; 0 is 1. On MFN_OK *detector is
/// a handle that the caller owns.
///
/// # Safety
/// `well` is a live handle; `vectors` points to `count * dims` numbers; `detector` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_detector_new(
    well: *const mfn_dsr_well,
    vectors: *const f32,
    count: usize,
    dims: usize,
    neighbours: usize,
    rate: f64,
    detector: *mut *mut mfn_dsr_detector,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises a live handle or NULL.
        let well = unsafe { well.as_ref() }.ok_or_else(|| null("well"))?;
        if detector.is_null() || vectors.is_null() {
            return Err(null("vectors and detector"));
        }
        let total = count
            .checked_mul(dims)
            .filter(|total| *total <= isize::MAX as usize / 4);
        let (Some(total), true) = (total, dims > 0) else {
            return Err(problem(
                Status::INVALID_ARGUMENT,
                "count and dims name no buffer",
            ));
        };
        // SAFETY: not NULL; the caller promises that many numbers, fewer than isize::MAX bytes by the check above.
        let all = unsafe { std::slice::from_raw_parts(vectors, total) };
        let made = mfn_dsr_detector {
            detector: with_scratch(|scratch| {
                Detector::calibrate(
                    &well.well,
                    scratch,
                    all.chunks_exact(dims),
                    neighbours,
                    rate,
                )
            })?,
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { detector.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// Judges a vector against the well that the detector was made with.
///
/// # Safety
/// `detector` and `well` are live handles; `vector` points to `dims` numbers; `verdict` points to a place for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_judge(
    detector: *const mfn_dsr_detector,
    well: *const mfn_dsr_well,
    vector: *const f32,
    dims: usize,
    verdict: *mut mfn_dsr_verdict,
) -> i32 {
    guarded(|| {
        // SAFETY: the caller promises live handles or NULL.
        let (detector, well) = unsafe { (detector.as_ref(), well.as_ref()) };
        let (Some(detector), Some(well)) = (detector, well) else {
            return Err(null("detector and well"));
        };
        if verdict.is_null() {
            return Err(null("verdict"));
        }
        // SAFETY: the caller promises that many numbers.
        let vector = unsafe { numbers(vector, dims) }?;
        let judged = with_scratch(|scratch| detector.detector.judge(&well.well, scratch, vector))?;
        let made = mfn_dsr_verdict {
            p_value: judged.p_value,
            score: judged.score,
            novel: u32::from(judged.novel),
        };
        // SAFETY: not NULL; the caller promises room for one.
        unsafe { verdict.write(made) };
        Ok(())
    })
}

/// Frees a detector. NULL is allowed.
///
/// # Safety
/// `detector` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_detector_free(detector: *mut mfn_dsr_detector) {
    if !detector.is_null() {
        // SAFETY: not NULL; the caller gives the handle up.
        drop(unsafe { Box::from_raw(detector) });
    }
}

/// Copies the text of this thread's last error, with a closing zero byte; empty after a success.
///
/// *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied.
///
/// # Safety
/// `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_dsr_last_error(
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> i32 {
    // SAFETY: the caller promises what `copy_text` asks for.
    unsafe { copy_text(buffer, capacity, needed) }
}

/// Wells are read by several threads at once.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<mfn_dsr_well>();
    shared::<mfn_dsr_detector>();
};
