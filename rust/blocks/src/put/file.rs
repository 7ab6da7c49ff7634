//! Reads one file into the pipeline: stretches of zeros become holes, the rest is cut.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::pipeline::{BATCH_BYTES, read_full};
use super::walk::{Step, Walk, failed};
use crate::StoreError;
use crate::chunk;
use crate::limits::HOLE_GRAIN_BYTES;

const GRAIN: u64 = HOLE_GRAIN_BYTES as u64;

/// How reading a file ended.
pub(crate) enum Read {
    /// All of it.
    Whole(Stat),
    /// It has content and says that it has none, as files of `/proc` do. How much there is would
    /// only be known at its end, which some of them never reach.
    Sizeless,
    /// Something wrote to it meanwhile.
    Changed,
    /// It is not there any more, or not a file.
    Gone,
}

/// Reads the file `name` in `parent`. Where its zeros are decides about holes, not how its file
/// system keeps them: equal bytes get equal roots.
pub(crate) fn read(
    walk: &mut Walk<'_>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<Read, StoreError> {
    // Not blocking, in case a pipe took the file's place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(handle) => Arc::new(File::from(handle)),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(Read::Gone),
        Err(error) => return Err(failed("open", path, error)),
    };
    let before = rustix::fs::fstat(&file).map_err(|error| failed("look at", path, error))?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Ok(Read::Gone);
    }
    let size = u64::try_from(before.st_size).unwrap_or(0);
    if size == 0 && !matches!(read_full(&file, &mut [0], 0), Ok(0)) {
        let after = rustix::fs::fstat(&file).map_err(|error| failed("look at", path, error))?;
        return Ok(if same(&before, &after) {
            Read::Sizeless
        } else {
            Read::Changed
        });
    }
    let sparse = (before.st_blocks as u64).saturating_mul(512) < size;
    let mut offset = 0;
    while offset < size {
        if sparse {
            let skipped = skip_hole(&file, offset, size, path)?;
            if skipped > 0 {
                end_run(walk)?;
                walk.queue(Step::Hole(skipped));
                walk.bytes_read += skipped;
                offset += skipped;
                continue;
            }
        }
        let got = stretch(walk, &file, offset, size, path)?;
        if got == 0 {
            // Shorter than it was.
            walk.pipeline.abandon();
            return Ok(Read::Changed);
        }
        offset += got;
        walk.bytes_read += got;
        walk.drain()?;
        if got >= GRAIN {
            walk.report()?;
        }
    }
    end_run(walk)?;
    let after = rustix::fs::fstat(&file).map_err(|error| failed("look at", path, error))?;
    if same(&before, &after) {
        Ok(Read::Whole(after))
    } else {
        Ok(Read::Changed)
    }
}

/// Bytes from `offset` that the file system knows to be a hole, in whole grains.
fn skip_hole(file: &File, offset: u64, size: u64, path: &Path) -> Result<u64, StoreError> {
    let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data.min(size),
        Err(Errno::NXIO) => size,
        // This file system does not tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
        Err(error) => return Err(failed("look for holes in", path, error)),
    };
    Ok((data.saturating_sub(offset) / GRAIN) * GRAIN)
}

/// Reads on from `offset`, which is a multiple of the grain, and cuts. Answers the bytes read.
fn stretch(
    walk: &mut Walk<'_>,
    file: &Arc<File>,
    offset: u64,
    size: u64,
    path: &Path,
) -> Result<u64, StoreError> {
    let left = size - offset;
    let (from, want, got) = if left >= BATCH_BYTES as u64 {
        let after = left - BATCH_BYTES as u64;
        let next = if after >= BATCH_BYTES as u64 {
            BATCH_BYTES
        } else {
            0
        };
        let loaded = walk.pipeline.load(file, offset, BATCH_BYTES, next)?;
        let (from, got) = loaded.map_err(|error| StoreError::io("read", path, error))?;
        (from, BATCH_BYTES, got)
    } else {
        let room = (walk.pipeline.room() as u64 / GRAIN) * GRAIN;
        let want = room.min(left) as usize;
        let from = walk.pipeline.grow(want);
        let got = read_full(file, walk.pipeline.tail(from), offset);
        (
            from,
            want,
            got.map_err(|error| StoreError::io("read", path, error))?,
        )
    };
    if got < want {
        walk.pipeline.abandon();
        return Ok(0);
    }
    // Runs of data end where a grain of zeros starts.
    let mut at = from;
    while at < from + want {
        let end = (at + HOLE_GRAIN_BYTES).min(from + want);
        let whole = end - at == HOLE_GRAIN_BYTES;
        if whole && chunk::is_zero(walk.pipeline.bytes(at..end)) {
            let count = walk.pipeline.cut_to(at);
            chunks(walk, count);
            walk.pipeline.skip_to(end);
            walk.queue(Step::Hole(GRAIN));
        }
        at = end;
    }
    let count = walk.pipeline.cut(false)?;
    chunks(walk, count);
    Ok(want as u64)
}

fn end_run(walk: &mut Walk<'_>) -> Result<(), StoreError> {
    let count = walk.pipeline.cut(true)?;
    chunks(walk, count);
    walk.drain()
}

fn chunks(walk: &mut Walk<'_>, count: usize) {
    (0..count).for_each(|_| walk.queue(Step::Chunk));
}

/// Whether a file is as it was: its content is what lies between these two looks.
fn same(before: &Stat, after: &Stat) -> bool {
    let key = |stat: &Stat| {
        (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    key(before) == key(after)
}
