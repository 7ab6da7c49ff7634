//! Compression where it pays.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;

use hypermesh_id::BlockId;
use zstd::bulk::{Compressor, Decompressor};

use super::record::{self, BASE_BYTES, CODEC_DELTA, CODEC_RAW, CODEC_ZSTD};
use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

/// Where zstd's own default stands; higher levels cost more than a disk saves.
const LEVEL: i32 = 3;
/// Blocks from this length on are sampled before they are compressed whole.
const SAMPLED_FROM_BYTES: usize = 16 * 1024;
const SAMPLE_BYTES: usize = 4 * 1024;
/// How zstd's trained dictionaries begin (RFC 8878, 5). A base is never one.
const DICTIONARY_MAGIC: [u8; 4] = 0xec30_a437_u32.to_le_bytes();

thread_local! {
    // A context holds hundreds of kilobytes: one per thread, not one per block.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    static DELTA_COMPRESSOR: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DELTA_DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// The compressed bytes, if they save at least 6 in 100.
pub(crate) fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        let compressor = slot.as_mut()?;
        if is_sampled(raw.len() as u32) && !samples_pay(compressor, raw) {
            return None;
        }
        // A failure to compress is no failure to store.
        let stored = compressor.compress(raw).ok()?;
        pays(stored.len(), raw.len()).then_some(stored)
    })
}

/// Whether a block of this length is sampled before it is compressed.
pub(crate) fn is_sampled(raw_len: u32) -> bool {
    raw_len as usize >= SAMPLED_FROM_BYTES
}

/// Looks at a sample of the middle, then of the start: media and archives fail both at once.
fn samples_pay(compressor: &mut Compressor<'_>, raw: &[u8]) -> bool {
    let middle = raw.len() / 2;
    [&raw[middle..middle + SAMPLE_BYTES], &raw[..SAMPLE_BYTES]]
        .into_iter()
        .any(|sample| {
            // A short sample finds fewer repeats than the whole block will: any saving counts.
            compressor
                .compress(sample)
                .is_ok_and(|small| small.len() < SAMPLE_BYTES)
        })
}

/// Whether the bytes are worth compressing, by two samples if there are many.
pub(crate) fn compressible(raw: &[u8]) -> bool {
    !is_sampled(raw.len() as u32)
        || COMPRESSOR.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = Compressor::new(LEVEL).ok();
            }
            let compressor = slot.as_mut();
            compressor.is_some_and(|compressor| samples_pay(compressor, raw))
        })
}

/// The id of the base and a frame with the base as its prefix. `None` where zstd fails, or would
/// take the base for one of its own dictionaries: no delta, then.
pub(crate) fn delta(id: &BlockId, base: &[u8], raw: &[u8]) -> Option<Vec<u8>> {
    if base.starts_with(&DICTIONARY_MAGIC) {
        return None;
    }
    DELTA_COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = CCtx::try_create();
        }
        let mut frame = Vec::with_capacity(compress_bound(raw.len()));
        let context = slot.as_mut()?;
        context
            .compress_using_dict(&mut frame, raw, base, LEVEL)
            .ok()?;
        let mut stored = Vec::with_capacity(BASE_BYTES + frame.len());
        stored.extend_from_slice(&id.0);
        stored.extend_from_slice(&frame);
        Some(stored)
    })
}

fn pays(stored: usize, raw: usize) -> bool {
    stored.saturating_mul(100) <= raw.saturating_mul(94)
}

/// The block behind stored bytes; a plain one is those bytes. Lengths are checked first, so a hostile
/// frame gets no more memory than a block may have.
pub(crate) fn restore<'a>(
    codec: u8,
    raw_len: u32,
    stored: &'a [u8],
    base: Option<&[u8]>,
) -> Result<Cow<'a, [u8]>, &'static str> {
    record::check_lengths(codec, raw_len, stored.len())?;
    let raw = match codec {
        CODEC_RAW => return Ok(Cow::Borrowed(stored)),
        CODEC_ZSTD => decompress(stored, raw_len as usize)
            .map_err(|_| "its compressed bytes are not valid")?,
        CODEC_DELTA => {
            let base = base.ok_or("it is a delta without its base")?;
            let frame = &stored[BASE_BYTES..];
            apply(base, frame, raw_len as usize).ok_or("its delta is not valid")?
        }
        _ => return Err("its codec is unknown"),
    };
    if raw.len() != raw_len as usize {
        return Err("its length differs from the announced one");
    }
    Ok(Cow::Owned(raw))
}

fn apply(base: &[u8], frame: &[u8], capacity: usize) -> Option<Vec<u8>> {
    DELTA_DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = DCtx::try_create();
        }
        let mut raw = Vec::with_capacity(capacity);
        let context = slot.as_mut()?;
        context.decompress_using_dict(&mut raw, frame, base).ok()?;
        Some(raw)
    })
}

/// The block behind stored bytes that anyone may have sent; the text says what is wrong with them.
/// Lengths are checked before memory is taken, and the bytes are those of `id`.
pub fn restore_checked<'a>(
    id: &BlockId,
    codec: u8,
    raw_len: u32,
    stored: &'a [u8],
    base: Option<&[u8]>,
) -> Result<Cow<'a, [u8]>, &'static str> {
    let raw = restore(codec, raw_len, stored, base)?;
    if BlockId::of(&raw) != *id {
        return Err("its bytes have another hash");
    }
    Ok(raw)
}

fn decompress(stored: &[u8], capacity: usize) -> io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new()?),
        };
        decompressor.decompress(stored, capacity)
    })
}
