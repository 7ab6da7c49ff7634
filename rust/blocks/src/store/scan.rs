//! Reads a segment from its start to its end, past damage.

use std::io;

use hypermesh_id::BlockId;

use super::record::{BASE_BYTES, CODEC_DELTA, HEADER_BYTES, Header, Location, MAGIC, base_of};
use crate::disk::DiskFile;

/// Bytes that are read at once where all are wanted, and where records lie close to each other.
const WINDOW_BYTES: usize = 1 << 20;
/// Bytes that are read at once where only headers are wanted and lie far apart.
const WINDOW_BYTES_MIN: usize = 4096;

/// One record as a scan finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanned {
    pub(crate) id: BlockId,
    pub(crate) location: Location,
    /// What it is a delta against.
    pub(crate) base: Option<BlockId>,
    /// False when the stored bytes fail their checksum. Always true where they are not read.
    pub(crate) intact: bool,
}

/// What a scan says about the segment as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// End of the last intact record.
    pub(crate) end: u64,
    /// Bytes before `end` that belong to no record.
    pub(crate) unreadable: u64,
}

/// Calls `found` for each record. With `bytes`, the stored bytes are read and checked as well.
pub(crate) fn scan(
    file: &dyn DiskFile,
    segment: u32,
    bytes: bool,
    found: &mut dyn FnMut(Scanned),
) -> io::Result<Scan> {
    let mut window = Window {
        file,
        length: file.length()?,
        start: 0,
        bytes: Vec::new(),
        next: if bytes {
            WINDOW_BYTES
        } else {
            WINDOW_BYTES_MIN
        },
        next_min: if bytes {
            WINDOW_BYTES
        } else {
            WINDOW_BYTES_MIN
        },
    };
    let (mut result, mut offset) = (Scan::default(), 0);
    let mut gap = 0;
    // Records with bad bytes are told only when an intact one follows: at the end they are torn.
    let mut suspects: Vec<Scanned> = Vec::new();
    while offset < window.length {
        let header = window.at(offset, HEADER_BYTES)?.and_then(Header::decode);
        let whole = header.filter(|header| header.record_bytes() <= window.length - offset);
        let (Some(header), Ok(short)) = (whole, u32::try_from(offset)) else {
            let next = window.next_header(offset + 1)?.unwrap_or(window.length);
            gap += next - offset;
            offset = next;
            continue;
        };
        let location = Location {
            segment,
            offset: short,
            stored_len: header.stored_len,
            raw_len: header.raw_len,
        };
        let intact = !bytes
            || window
                .at(offset + HEADER_BYTES as u64, header.stored_len as usize)?
                .is_some_and(|stored| crc32fast::hash(stored) == header.stored_crc);
        let base = if header.codec == CODEC_DELTA {
            let stored = window.at(offset + HEADER_BYTES as u64, BASE_BYTES)?;
            stored.and_then(|stored| base_of(header.codec, stored))
        } else {
            None
        };
        offset += header.record_bytes();
        let scanned = Scanned {
            id: header.id,
            location,
            base,
            intact,
        };
        if !intact {
            suspects.push(scanned);
            continue;
        }
        suspects.drain(..).for_each(&mut *found);
        found(scanned);
        result = Scan {
            end: offset,
            unreadable: result.unreadable + gap,
        };
        gap = 0;
    }
    Ok(result)
}

struct Window<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    /// How much to read next: more as long as what is wanted follows what was read.
    next: usize,
    next_min: usize,
}

impl Window<'_> {
    /// The bytes at an offset, or `None` past the end.
    fn at(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let inside =
            offset >= self.start && offset + count as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            if offset + count as u64 > self.length {
                return Ok(None);
            }
            let end = self.start + self.bytes.len() as u64;
            let follows = offset <= end + self.next as u64;
            self.next = if follows {
                (2 * self.next).min(WINDOW_BYTES)
            } else {
                self.next_min
            };
            let want = (self.length - offset).min(self.next.max(count) as u64) as usize;
            self.bytes.resize(want, 0);
            let got = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(got);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + count))
    }

    /// Where the next intact header starts, at `from` or after it.
    fn next_header(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        while from + HEADER_BYTES as u64 <= self.length {
            let count = (self.length - from).min(WINDOW_BYTES as u64) as usize;
            let Some(bytes) = self.at(from, count)? else {
                return Ok(None);
            };
            let hit = bytes
                .windows(HEADER_BYTES)
                .position(|window| window.starts_with(&MAGIC) && Header::decode(window).is_some());
            if let Some(hit) = hit {
                return Ok(Some(from + hit as u64));
            }
            from += (count - HEADER_BYTES + 1) as u64;
        }
        Ok(None)
    }
}
