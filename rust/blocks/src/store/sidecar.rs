//! The list of a sealed segment's records, beside it: opening reads this instead of the segment.
//!
//! A segment without deltas has a list of version 1: rows. In version 2 the rows are followed by the
//! bases of those that are deltas.
//!
//! It only repeats what the segment says. One that is missing or damaged is written anew.

use std::io::{self, IoSlice};
use std::path::Path;

use hypermesh_id::BlockId;

use super::record::Location;
use crate::disk::Disk;
use crate::limits::{BLOCK_BYTES_MAX, SEGMENT_BYTES_MAX};

const MAGIC: [u8; 3] = *b"hmx";
const VERSION_PLAIN: u8 = 1;
const VERSION_DELTAS: u8 = 2;
const HEAD_BYTES: usize = 16;
const ROW_BYTES: usize = 44;
const HASH_BYTES: usize = 32;
/// Number of a row, and the base of its block.
const BASE_ROW_BYTES: usize = 36;

/// One record of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: BlockId,
    pub location: Location,
    /// What it is a delta against.
    pub base: Option<BlockId>,
}

/// Writes a sidecar: whole or not at all.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    segment_bytes: u64,
    rows: &[Row],
) -> io::Result<()> {
    let mut out = Vec::with_capacity(HEAD_BYTES + rows.len() * ROW_BYTES + HASH_BYTES);
    let deltas = rows.iter().any(|row| row.base.is_some());
    out.extend_from_slice(&MAGIC);
    out.push(if deltas {
        VERSION_DELTAS
    } else {
        VERSION_PLAIN
    });
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    out.extend_from_slice(&segment_bytes.to_le_bytes());
    for Row { id, location, .. } in rows {
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&location.offset.to_le_bytes());
        out.extend_from_slice(&location.stored_len.to_le_bytes());
        out.extend_from_slice(&location.raw_len.to_le_bytes());
    }
    for (number, row) in rows.iter().enumerate() {
        if let Some(base) = row.base {
            out.extend_from_slice(&(number as u32).to_le_bytes());
            out.extend_from_slice(&base.0);
        }
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    let fresh = path.with_extension("tmp");
    let file = disk.open(&fresh, true)?;
    file.set_len(0)?;
    file.write_at(&[IoSlice::new(&out)], 0)?;
    file.sync()?;
    disk.rename(&fresh, path)
}

/// Reads a sidecar. `None` when it is not there, damaged, or of another length of the segment.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    segment: u32,
    segment_bytes: u64,
) -> io::Result<Option<Vec<Row>>> {
    let file = match disk.open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A record takes more than a row does, so no honest sidecar is longer than its segment may be.
    let length = file.length()?;
    if length > SEGMENT_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(decode(&bytes, segment, segment_bytes))
}

/// Decodes a sidecar's bytes.
pub fn decode(bytes: &[u8], segment: u32, segment_bytes: u64) -> Option<Vec<Row>> {
    let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(body) != *hash {
        return None;
    }
    let (magic, rest) = body.split_first_chunk::<3>()?;
    let (version, rest) = rest.split_first()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if *magic != MAGIC || u64::from_le_bytes(*length) != segment_bytes {
        return None;
    }
    let (rows, bases) = rest.split_at_checked(count.checked_mul(ROW_BYTES)?)?;
    let mut rows: Vec<Row> = rows
        .chunks_exact(ROW_BYTES)
        .map(|row| decode_row(row, segment, segment_bytes))
        .collect::<Option<_>>()?;
    match *version {
        VERSION_PLAIN if bases.is_empty() => {}
        VERSION_DELTAS if bases.len().is_multiple_of(BASE_ROW_BYTES) => {
            for part in bases.chunks_exact(BASE_ROW_BYTES) {
                let (number, base) = part.split_first_chunk::<4>()?;
                let row = rows.get_mut(u32::from_le_bytes(*number) as usize)?;
                row.base = Some(BlockId(base.try_into().ok()?));
            }
        }
        _ => return None,
    }
    Some(rows)
}

fn decode_row(row: &[u8], segment: u32, segment_bytes: u64) -> Option<Row> {
    let (id, rest) = row.split_first_chunk::<32>()?;
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let location = Location {
        segment,
        offset: number(0)?,
        stored_len: number(4)?,
        raw_len: number(8)?,
    };
    let fits = u64::from(location.offset) + location.record_bytes() <= segment_bytes
        && location.raw_len as usize <= BLOCK_BYTES_MAX
        && location.stored_len <= location.raw_len;
    fits.then_some(Row {
        id: BlockId(*id),
        location,
        base: None,
    })
}
