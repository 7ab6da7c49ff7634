//! The bytes of `docs/JOURNAL.md`. Stored on disk: what is here may not change without a new format version.

use mfn_wire::Service;

/// A file begins with this.
const MAGIC: &[u8; 4] = b"MFNJ";
/// The version of this format.
const VERSION: u16 = 1;
/// Bytes of the file header.
pub(crate) const FILE_HEADER_BYTES: usize = 24;
/// Bytes before each record's own.
pub(crate) const RECORD_HEADER_BYTES: usize = 8;
/// Most bytes of a record.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log,
    Snapshot,
}

impl FileKind {
    fn number(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Snapshot => 2,
        }
    }
}

/// What a file header may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileHeader {
    /// A good one, of this generation.
    Good { generation: u64 },
    /// Not all of its bytes are there.
    Short,
    /// It does not verify.
    Damaged(&'static str),
    /// It verifies, and is not ours.
    Foreign(&'static str),
}

/// Writes a file header.
pub(crate) fn file_header(
    kind: FileKind,
    service: Service,
    generation: u64,
) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[0..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6] = kind.number();
    bytes[7] = service as u8;
    bytes[8..16].copy_from_slice(&generation.to_le_bytes());
    // 16..20 is reserved and 0.
    let sum = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a file header.
pub(crate) fn read_file_header(bytes: &[u8], kind: FileKind, service: Service) -> FileHeader {
    let Some(bytes) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
        return FileHeader::Short;
    };
    if bytes[0..4] != MAGIC[..] {
        return FileHeader::Damaged("it does not begin with MFNJ");
    }
    if crc32fast::hash(&bytes[..20]) != u32_at(bytes, 20) {
        return FileHeader::Damaged("the file header does not match its checksum");
    }
    if u16::from_le_bytes([bytes[4], bytes[5]]) != VERSION || u32_at(bytes, 16) != 0 {
        return FileHeader::Foreign("a later version wrote it");
    }
    if bytes[6] != kind.number() {
        return FileHeader::Foreign("a log stands for a snapshot or a snapshot for a log");
    }
    if bytes[7] != service as u8 {
        return FileHeader::Foreign("another layer wrote it");
    }
    let generation = u64::from(u32_at(bytes, 8)) | u64::from(u32_at(bytes, 12)) << 32;
    FileHeader::Good { generation }
}

/// Writes the header of a record.
pub(crate) fn record_header(record: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
    let length = (record.len() as u32).to_le_bytes();
    let mut bytes = [0; RECORD_HEADER_BYTES];
    bytes[..4].copy_from_slice(&length);
    bytes[4..].copy_from_slice(&record_sum(length, record).to_le_bytes());
    bytes
}

/// The checksum of a record: over its length as well, so that a length cannot change unseen.
fn record_sum(length: [u8; 4], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(record);
    hasher.finalize()
}

/// The record at the start of the bytes, if a whole one that verifies stands there.
pub(crate) fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
    let length = u32_at(header, 0);
    if length as usize > RECORD_BYTES_MAX {
        return None;
    }
    let record = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length as usize)?;
    (record_sum(length.to_le_bytes(), record) == u32_at(header, 4)).then_some(record)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
