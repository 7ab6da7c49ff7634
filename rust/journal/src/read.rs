//! Reads the two files back.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use mfn_wire::Service;

use crate::error::JournalError;
use crate::format::{
    FILE_HEADER_BYTES, FileHeader, FileKind, RECORD_BYTES_MAX, RECORD_HEADER_BYTES,
    read_file_header, record_at,
};

/// What is read back, in the order in which it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A part of the snapshot. All of these come first.
    Snapshot(&'a [u8]),
    /// What was committed after it.
    Log(&'a [u8]),
}

impl<'a> Record<'a> {
    /// The bytes that were written.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Snapshot(bytes) | Self::Log(bytes) => bytes,
        }
    }
}

/// Takes a record back; the text says what is wrong with it.
pub(crate) type Take<'a> = dyn FnMut(Record<'_>) -> Result<(), String> + 'a;

/// What stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRead {
    /// Bytes that hold records; what is behind them was never acknowledged.
    pub(crate) good_bytes: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) records: u64,
}

/// A file under way.
struct Reader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    length: u64,
    offset: u64,
    /// The record that was read last, its header before it.
    buffer: Vec<u8>,
}

/// What stands at the reader's place.
enum Next {
    Record,
    End,
    /// No record that verifies.
    Bad,
}

impl<'a> Reader<'a> {
    /// Opens a file and reads its header; none when there is no file.
    fn open(path: &'a Path) -> Result<Option<(Self, Vec<u8>)>, JournalError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(path, error)),
        };
        let length = file.metadata().map_err(|e| io_error(path, e))?.len();
        let mut reader = Self {
            path,
            file: BufReader::with_capacity(1 << 16, file),
            length,
            offset: 0,
            buffer: Vec::new(),
        };
        let header = reader.take(FILE_HEADER_BYTES.min(length as usize))?;
        Ok(Some((reader, header)))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; count];
        self.file
            .read_exact(&mut bytes)
            .map_err(|error| io_error(self.path, error))?;
        self.offset += count as u64;
        Ok(bytes)
    }

    /// Reads the next record into the buffer. A bad one is not passed over.
    fn next(&mut self) -> Result<Next, JournalError> {
        let left = self.length - self.offset;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < RECORD_HEADER_BYTES as u64 {
            return Ok(Next::Bad);
        }
        self.buffer.resize(RECORD_HEADER_BYTES, 0);
        self.file
            .read_exact(&mut self.buffer)
            .map_err(|error| io_error(self.path, error))?;
        let length = u32::from_le_bytes([
            self.buffer[0],
            self.buffer[1],
            self.buffer[2],
            self.buffer[3],
        ]) as usize;
        // The length is believed only as far as the file and the limit go.
        if length > RECORD_BYTES_MAX || (length + RECORD_HEADER_BYTES) as u64 > left {
            return Ok(Next::Bad);
        }
        self.buffer.resize(RECORD_HEADER_BYTES + length, 0);
        self.file
            .read_exact(&mut self.buffer[RECORD_HEADER_BYTES..])
            .map_err(|error| io_error(self.path, error))?;
        if record_at(&self.buffer).is_none() {
            return Ok(Next::Bad);
        }
        self.offset += self.buffer.len() as u64;
        Ok(Next::Record)
    }

    fn record(&self) -> &[u8] {
        &self.buffer[RECORD_HEADER_BYTES..]
    }

    /// Where the record in the buffer begins.
    fn record_offset(&self) -> u64 {
        self.offset - self.buffer.len() as u64
    }

    fn corrupt(&self, what: &'static str) -> JournalError {
        JournalError::Corrupt {
            path: self.path.to_owned(),
            offset: self.offset,
            what,
        }
    }

    fn give(&self, record: Record<'_>, take: &mut Take<'_>) -> Result<(), JournalError> {
        take(record).map_err(|text| JournalError::Refused {
            path: self.path.to_owned(),
            offset: self.record_offset(),
            text,
        })
    }
}

/// Reads a snapshot; its generation, or none when there is no snapshot.
pub(crate) fn snapshot(
    path: &Path,
    service: Service,
    take: &mut Take<'_>,
) -> Result<Option<u64>, JournalError> {
    let Some((mut reader, header)) = Reader::open(path)? else {
        return Ok(None);
    };
    let generation = match read_file_header(&header, FileKind::Snapshot, service) {
        FileHeader::Good { generation } => generation,
        FileHeader::Foreign(what) => return Err(foreign(path, what)),
        // It was renamed only after all of it was synced.
        FileHeader::Short => return Err(reader.corrupt("the file header is cut off")),
        FileHeader::Damaged(what) => return Err(reader.corrupt(what)),
    };
    loop {
        match reader.next()? {
            Next::Record if reader.record().is_empty() => break,
            Next::Record => reader.give(Record::Snapshot(reader.record()), take)?,
            Next::Bad => return Err(reader.corrupt("a record does not match its checksum")),
            Next::End => return Err(reader.corrupt("the record that ends a snapshot is missing")),
        }
    }
    if reader.offset != reader.length {
        return Err(reader.corrupt("bytes stand behind the end of the snapshot"));
    }
    Ok(Some(generation))
}

/// Only the generation of a log, or none when there is no log that says one.
pub(crate) fn log_generation(path: &Path, service: Service) -> Result<Option<u64>, JournalError> {
    let Some((reader, header)) = Reader::open(path)? else {
        return Ok(None);
    };
    match read_file_header(&header, FileKind::Log, service) {
        FileHeader::Good { generation } => Ok(Some(generation)),
        FileHeader::Foreign(what) => Err(foreign(path, what)),
        FileHeader::Short => Err(reader.corrupt("the file header is cut off")),
        FileHeader::Damaged(what) => Err(reader.corrupt(what)),
    }
}

/// Reads a log up to its torn end, if it has one.
pub(crate) fn log(path: &Path, take: &mut Take<'_>) -> Result<LogRead, JournalError> {
    let Some((mut reader, _)) = Reader::open(path)? else {
        return Err(io_error(path, io::ErrorKind::NotFound.into()));
    };
    let mut records = 0;
    loop {
        match reader.next()? {
            Next::Record if reader.record().is_empty() => {
                return Err(reader.corrupt("an empty record stands in a log"));
            }
            Next::Record => {
                reader.give(Record::Log(reader.record()), take)?;
                records += 1;
            }
            Next::End => break,
            Next::Bad => {
                if holds_a_record(&mut reader)? {
                    return Err(
                        reader.corrupt("a record does not match its checksum, and more follow")
                    );
                }
                break;
            }
        }
    }
    Ok(LogRead {
        good_bytes: reader.offset,
        torn_bytes: reader.length - reader.offset,
        records,
    })
}

/// Whether a record that verifies stands anywhere behind the bad one at the reader's place. A writer begins a record
/// only when the one before is on disk, so a torn record is the last one: what follows it is damage.
fn holds_a_record(reader: &mut Reader<'_>) -> Result<bool, JournalError> {
    let rest = reader.length - reader.offset;
    if rest > (RECORD_BYTES_MAX + RECORD_HEADER_BYTES) as u64 {
        // More than one record can leave behind.
        return Ok(true);
    }
    reader
        .file
        .seek(SeekFrom::Start(reader.offset))
        .map_err(|error| io_error(reader.path, error))?;
    let mut rest = vec![0; rest as usize];
    reader
        .file
        .read_exact(&mut rest)
        .map_err(|error| io_error(reader.path, error))?;
    let mut hashed = 0;
    for at in 1..rest.len() {
        let Some(length) = rest[at..].first_chunk::<4>() else {
            break;
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || RECORD_HEADER_BYTES + length > rest.len() - at {
            continue;
        }
        hashed += length;
        if hashed > SEARCHED_BYTES_MAX {
            return Ok(true);
        }
        if record_at(&rest[at..]).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn io_error(path: &Path, error: io::Error) -> JournalError {
    JournalError::Io {
        path: path.to_owned(),
        error,
    }
}

fn foreign(path: &Path, what: &'static str) -> JournalError {
    JournalError::Foreign {
        path: path.to_owned(),
        what,
    }
}

/// Bytes that are hashed in search of a record behind a bad one. Bytes that were made to cost more are called damage.
const SEARCHED_BYTES_MAX: usize = 1 << 30;
