//! The log of agreement on the disk: what must be there before a vote is told, and the decisions until the store has them.
//!
//! Two files take turns. Each is a row of frames, padded to sectors, so that no write touches what is on the disk already; a
//! frame is all that one flush brings. A file is written over from its beginning only when the store has every decision of
//! it; so files keep their size, and a flush is one write and one wait for the device.
//!
//! A frame that is not whole is the end, as if it had not been written: nothing that follows from it was told. One that is
//! followed by a whole one of the same generation is damage, and stops the node. Each generation has a random number in all
//! its headers, so that nobody can have a frame put into a block that looks like one of the log.
//!
//! Header (48 bytes, little-endian): magic 4, CRC-32 of what follows in the header 4, generation 8, random number 8, number in
//! the generation 8, length 4, CRC-32 of the content 4, zeros 8. Content: entries {kind 1, length 4, bytes}.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hypermesh_consensus::{BlockHash, Decided, DecodeError, Record};

const MAGIC: [u8; 4] = *b"HMLG";
const HEADER: usize = 48;
/// Frames begin at multiples of this.
const SECTOR: u64 = 4_096;
/// From this length on the other file is used next, and most that is read of one.
const TURN_BYTES: u64 = 8 << 20;
const FILE_BYTES_MAX: u64 = 512 << 20;
/// By how much a file grows at once, so that few flushes have to record its new size.
const GROWTH: u64 = 512 << 10;
const NAMES: [&str; 2] = ["log.even", "log.odd"];

/// A log that cannot be used, or not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFileError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is missing: without it this node might vote twice; put the file back, or have this node removed from the mesh and join with a new identity",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} is damaged at byte {offset}, and what follows it is whole: put back the disk's copy, never an older one, or have this node removed from the mesh and join with a new identity",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64 },
    #[error("{} cannot be understood at byte {offset}: {reason}", path.display())]
    Content {
        path: PathBuf,
        offset: u64,
        reason: String,
    },
    #[error(
        "the log begins with height {first}, but decided.redb ends with {stored}: put back decided.redb as it was, never an older copy"
    )]
    Gap { first: u64, stored: u64 },
}

/// What a log held.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Decisions that the store does not have, in order.
    pub(crate) decided: Vec<Decided>,
    /// Records of the height that is not decided.
    pub(crate) records: Vec<Record>,
}

#[derive(Debug)]
pub(crate) struct Log {
    files: [(PathBuf, File, u64); 2],
    current: usize,
    generation: u64,
    random: u64,
    number: u64,
    offset: u64,
    /// Entries that are not written yet; whether some wait for a flush.
    entries: Vec<u8>,
    /// The blocks of this height that the log has.
    bodies: Vec<Bytes>,
    /// A height is under way.
    open: bool,
    /// A decision is among the entries that are not written yet.
    holds_decision: bool,
    /// Something was written and not synced.
    unsynced: bool,
}

/// The kind of a record that is a block.
const RECORD_OF_BLOCK: u8 = 6;

const BEGIN: u8 = 1;
const RECORDS: u8 = 2;
const DECIDED: u8 = 3;
/// A decision whose block is among the records of its height.
const DECIDED_ABOVE: u8 = 4;

impl Log {
    /// Opens the log of a node whose store has the decisions up to `stored`; makes it for one that is `new`.
    ///
    /// # Errors
    /// When it is not there or damaged, with the file, the place and the repair.
    pub(crate) fn open(
        directory: &Path,
        stored: u64,
        new: bool,
    ) -> Result<(Self, Recovered), LogFileError> {
        let paths = NAMES.map(|name| directory.join(name));
        if !new && let Some(path) = paths.iter().find(|path| !path.exists()) {
            return Err(LogFileError::Missing { path: path.clone() });
        }
        let mut regions = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            let io = |source| LogFileError::Io {
                path: path.clone(),
                source,
            };
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(new)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io)?;
            let size = file.metadata().map_err(io)?.len();
            if size > FILE_BYTES_MAX {
                return Err(io(io::Error::other("it is longer than a log can be")));
            }
            let mut content = vec![0; size as usize];
            file.read_exact_at(&mut content, 0).map_err(io)?;
            regions.push(Region::read(&content));
            files.push((path, file, size));
        }
        let [even, odd] = [0, 1].map(|at| regions[at].generation);
        let current = usize::from(odd > even);
        let recovered = recover(&files, &regions, current, stored)?;
        let region = &regions[current];
        let mut files = files.into_iter();
        let (Some(first), Some(second)) = (files.next(), files.next()) else {
            return Err(LogFileError::Missing {
                path: directory.into(),
            });
        };
        let open = !recovered.records.is_empty();
        let bodies = recovered.records.iter().filter_map(|record| match record {
            Record::Block { body, .. } => Some(body.clone()),
            _ => None,
        });
        let mut log = Self {
            bodies: bodies.collect(),
            files: [first, second],
            current,
            generation: region.generation,
            random: region.random,
            number: region.frames.len() as u64,
            offset: region.end,
            entries: Vec::new(),
            open,
            holds_decision: false,
            unsynced: false,
        };
        if log.generation == 0 {
            log.turn()?;
        }
        Ok((log, recovered))
    }

    /// Whether the other file should be used from here on, for which the store must have all decisions.
    pub(crate) fn is_long(&self) -> bool {
        !self.open && self.offset >= TURN_BYTES
    }

    /// Goes on in the other file. The store must have all decisions.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn turn(&mut self) -> Result<(), LogFileError> {
        self.flush()?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| LogFileError::Io {
            path: self.files[0].0.clone(),
            source: io::Error::other(error.to_string()),
        })?;
        self.generation += 1;
        self.current = (self.generation % 2) as usize;
        self.random = u64::from_le_bytes(random);
        (self.number, self.offset) = (0, 0);
        Ok(())
    }

    /// A height begins.
    pub(crate) fn begin(&mut self) {
        self.open = true;
        self.bodies.clear();
        self.entry(BEGIN, &[]);
    }

    pub(crate) fn append(&mut self, record: &[u8]) {
        // After length and sum comes the kind, and a block's bytes are the last of its record.
        if record.get(8) == Some(&RECORD_OF_BLOCK) {
            self.bodies.push(Bytes::copy_from_slice(record));
        }
        self.entry(RECORDS, record);
    }

    pub(crate) fn decided(&mut self, decided: &Decided) {
        let is_here = |record: &Bytes| record.ends_with(&decided.body);
        if self.open && !decided.body.is_empty() && self.bodies.iter().any(is_here) {
            let certificate = Decided {
                certificate: decided.certificate.clone(),
                body: Bytes::new(),
            };
            self.entry(DECIDED_ABOVE, &certificate.to_bytes());
        } else {
            self.entry(DECIDED, &decided.to_bytes());
        }
        self.open = false;
        self.holds_decision = true;
        self.bodies.clear();
    }

    /// Hands a decision that waits for the next flush to the system, so that it outlives this process. Whether it outlives the
    /// machine is no matter: a quorum has synced what it follows from, and says it again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn settle(&mut self) -> Result<(), LogFileError> {
        match self.holds_decision {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Puts on the disk what was appended. Blocks.
    ///
    /// # Errors
    /// When it cannot be written: nothing may be told then.
    pub(crate) fn flush(&mut self) -> Result<bool, LogFileError> {
        if !self.entries.is_empty() {
            self.write()?;
        }
        if !self.unsynced {
            return Ok(false);
        }
        let (path, file, _) = &self.files[self.current];
        file.sync_data().map_err(|source| LogFileError::Io {
            path: path.clone(),
            source,
        })?;
        self.unsynced = false;
        Ok(true)
    }

    /// Writes the entries as one frame.
    fn write(&mut self) -> Result<(), LogFileError> {
        let mut frame = vec![0; HEADER];
        frame.append(&mut self.entries);
        let length = (frame.len() - HEADER) as u32;
        frame[8..16].copy_from_slice(&self.generation.to_le_bytes());
        frame[16..24].copy_from_slice(&self.random.to_le_bytes());
        frame[24..32].copy_from_slice(&self.number.to_le_bytes());
        frame[32..36].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&frame[HEADER..]);
        frame[36..40].copy_from_slice(&sum.to_le_bytes());
        let sum = crc32fast::hash(&frame[8..HEADER]);
        frame[..4].copy_from_slice(&MAGIC);
        frame[4..8].copy_from_slice(&sum.to_le_bytes());
        frame.resize(frame.len().next_multiple_of(SECTOR as usize), 0);
        let end = self.offset + frame.len() as u64;
        let (path, file, size) = &mut self.files[self.current];
        let mut write = || {
            if end > *size {
                let grown = end.next_multiple_of(GROWTH);
                file.write_all_at(&vec![0; (grown - *size) as usize], *size)?;
                *size = grown;
            }
            file.write_all_at(&frame, self.offset)
        };
        write().map_err(|source| LogFileError::Io {
            path: path.clone(),
            source,
        })?;
        self.offset = end;
        self.number += 1;
        self.holds_decision = false;
        self.unsynced = true;
        Ok(())
    }

    fn entry(&mut self, kind: u8, content: &[u8]) {
        self.entries.push(kind);
        self.entries.extend((content.len() as u32).to_le_bytes());
        self.entries.extend(content);
    }
}

/// One file as it was found.
#[derive(Debug, Default)]
struct Region {
    generation: u64,
    random: u64,
    /// Contents of the frames from the beginning, and where each begins.
    frames: Vec<(u64, Bytes)>,
    end: u64,
    /// The first frame that is not whole though a later one is.
    damage: Option<u64>,
}

struct Header {
    generation: u64,
    random: u64,
    number: u64,
}

/// The frame at a place, if it is whole.
fn frame_at(content: &[u8], offset: usize) -> Option<(Header, Bytes, usize)> {
    let header = content.get(offset..offset + HEADER)?;
    let u64_at = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?))
    };
    let u32_at = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
    };
    if header[..4] != MAGIC || crc32fast::hash(&header[8..]) != u32_at(4)? {
        return None;
    }
    let length = u32_at(32)? as usize;
    let start = offset + HEADER;
    let body = content.get(start..start.checked_add(length)?)?;
    if crc32fast::hash(body) != u32_at(36)? {
        return None;
    }
    let end = (start + length).next_multiple_of(SECTOR as usize);
    let header = Header {
        generation: u64_at(8)?,
        random: u64_at(16)?,
        number: u64_at(24)?,
    };
    Some((header, Bytes::copy_from_slice(body), end))
}

impl Region {
    fn read(content: &[u8]) -> Self {
        // The newest generation of which a frame is whole, wherever it stands: its beginning may be what is damaged.
        let mut newest: Option<Header> = None;
        let places = || (0..content.len()).step_by(SECTOR as usize);
        for offset in places() {
            if let Some((header, _, _)) = frame_at(content, offset)
                && newest
                    .as_ref()
                    .is_none_or(|newest| header.generation > newest.generation)
            {
                newest = Some(header);
            }
        }
        let Some(newest) = newest else {
            return Self::default();
        };
        let is_its = |header: &Header| {
            header.generation == newest.generation && header.random == newest.random
        };
        let mut region = Self {
            generation: newest.generation,
            random: newest.random,
            ..Self::default()
        };
        let mut offset = 0;
        while let Some((header, body, end)) = frame_at(content, offset)
            && is_its(&header)
            && header.number == region.frames.len() as u64
        {
            region.frames.push((offset as u64, body));
            offset = end;
        }
        region.end = offset as u64;
        let count = region.frames.len() as u64;
        let later = places()
            .filter(|place| *place >= offset)
            .filter_map(|place| frame_at(content, place))
            .any(|(header, _, _)| is_its(&header) && header.number >= count);
        region.damage = later.then_some(region.end);
        region
    }
}

/// One thing that a log says, and where.
enum Entry {
    Begin,
    Records(Bytes),
    Decided(Decided),
    DecidedAbove(Decided),
}

fn entries(path: &Path, region: &Region) -> Result<Vec<Entry>, LogFileError> {
    let mut all = Vec::new();
    for (offset, frame) in &region.frames {
        let wrong = |reason: String| LogFileError::Content {
            path: path.into(),
            offset: *offset,
            reason,
        };
        let decided = |content: &[u8]| {
            Decided::from_bytes(content).map_err(|error: DecodeError| wrong(error.to_string()))
        };
        let mut rest = &frame[..];
        while let [kind, a, b, c, d, after @ ..] = rest {
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let content = after
                .get(..length)
                .ok_or_else(|| wrong("an entry is cut short".into()))?;
            rest = &after[length..];
            all.push(match *kind {
                BEGIN => Entry::Begin,
                RECORDS => Entry::Records(frame.slice_ref(content)),
                DECIDED => Entry::Decided(decided(content)?),
                DECIDED_ABOVE => Entry::DecidedAbove(decided(content)?),
                other => return Err(wrong(format!("kind {other} is unknown"))),
            });
        }
        if !rest.is_empty() {
            return Err(wrong("an entry is cut short".into()));
        }
    }
    Ok(all)
}

/// Puts together what the store lacks, and the height under way.
fn recover(
    files: &[(PathBuf, File, u64)],
    regions: &[Region],
    current: usize,
    stored: u64,
) -> Result<Recovered, LogFileError> {
    let mut recovered = replay(&files[current].0, &regions[current], stored)?;
    let next = recovered.decided.first().map_or_else(
        || match recovered.records.first() {
            Some(Record::Height(height)) => Some(height.0),
            _ => None,
        },
        |decided| Some(decided.certificate.height.0),
    );
    let other = 1 - current;
    let follows = regions[other].generation + 1 == regions[current].generation;
    if next.is_some_and(|next| next > stored + 1) && follows {
        let mut before = replay(&files[other].0, &regions[other], stored)?;
        before.decided.append(&mut recovered.decided);
        recovered.decided = before.decided;
    }
    let mut expected = stored + 1;
    for decided in &recovered.decided {
        if decided.certificate.height.0 != expected {
            return Err(LogFileError::Gap {
                first: decided.certificate.height.0,
                stored: expected - 1,
            });
        }
        expected += 1;
    }
    if let Some(Record::Height(height)) = recovered.records.first() {
        if height.0 > expected {
            return Err(LogFileError::Gap {
                first: height.0,
                stored: expected - 1,
            });
        }
        if height.0 < expected {
            recovered.records.clear();
        }
    }
    Ok(recovered)
}

fn replay(path: &Path, region: &Region, stored: u64) -> Result<Recovered, LogFileError> {
    if let Some(offset) = region.damage {
        return Err(LogFileError::Damaged {
            path: path.into(),
            offset,
        });
    }
    let wrong = |reason: String| LogFileError::Content {
        path: path.into(),
        offset: region.end,
        reason,
    };
    // Of the height under way, as they were appended.
    let mut bytes = Vec::new();
    let read = |bytes: &[u8]| match Record::read(bytes) {
        Ok((records, whole)) if whole == bytes.len() => Ok(records),
        Ok(_) => Err(wrong("its last record is cut short".into())),
        Err(error) => Err(wrong(error.to_string())),
    };
    let mut decided = Vec::new();
    for entry in entries(path, region)? {
        let one = match entry {
            Entry::Begin => {
                bytes.clear();
                continue;
            }
            Entry::Records(more) => {
                bytes.extend(more);
                continue;
            }
            Entry::Decided(one) => one,
            Entry::DecidedAbove(one) if one.certificate.height.0 <= stored => one,
            Entry::DecidedAbove(one) => {
                let block = one.certificate.block;
                let body = read(&bytes)?.into_iter().find_map(|record| match record {
                    Record::Block { body, .. } if BlockHash::of(&body) == block => Some(body),
                    _ => None,
                });
                let body = body.ok_or_else(|| {
                    wrong("a decided block is not among the records of its height".into())
                })?;
                Decided { body, ..one }
            }
        };
        bytes.clear();
        if one.certificate.height.0 > stored {
            decided.push(one);
        }
    }
    let records = read(&bytes)?;
    Ok(Recovered { decided, records })
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
