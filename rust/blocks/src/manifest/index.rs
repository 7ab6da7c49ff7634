//! Index blocks: the parts of a file or a directory that does not fit one block.

use hypermesh_id::BlockId;

use super::{ContentRef, ManifestError, Reader};
use crate::limits::{
    BLOCK_BYTES_MAX, CHUNK_BYTES_MAX, DIRECTORY_ENTRIES_MAX, INDEX_DEPTH_MAX, INDEX_ENTRIES_MAX,
};

const MAGIC: [u8; 4] = *b"hmi\x01";
const ENTRY_BYTES: usize = 44;

/// What the leaves below an index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Chunks of a file; sizes are bytes.
    File,
    /// Directory blocks; sizes are entries.
    Directory,
}

impl IndexKind {
    fn number(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
        }
    }
}

/// One part: a block one level down, or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Bytes of the file or entries of the directory below this part.
    pub size: u64,
    /// Length of the block; 0 for a hole.
    pub block_len: u32,
    /// The block; zeros for a hole.
    pub id: BlockId,
}

impl IndexEntry {
    /// A stretch of zeros that no block holds.
    pub fn hole(size: u64) -> Self {
        Self {
            size,
            block_len: 0,
            id: BlockId([0; 32]),
        }
    }

    /// Whether this part is a hole.
    pub fn is_hole(&self) -> bool {
        self.block_len == 0
    }
}

/// The block of these parts, which must be valid (as [`decode_index`] checks).
pub fn encode_index(kind: IndexKind, depth: u8, entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + entries.len() * ENTRY_BYTES);
    out.extend_from_slice(&MAGIC);
    out.push(kind.number());
    out.push(depth);
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.size.to_le_bytes());
        out.extend_from_slice(&entry.block_len.to_le_bytes());
        out.extend_from_slice(&entry.id.0);
    }
    out
}

/// Reads the index block that `expected` refers to: kind, depth and the sum of the sizes must be as
/// it says.
pub fn decode_index(
    block: &[u8],
    kind: IndexKind,
    expected: &ContentRef,
) -> Result<Vec<IndexEntry>, ManifestError> {
    let mut reader = Reader(block);
    reader.magic(MAGIC)?;
    if reader.u8()? != kind.number() {
        return Err(ManifestError("an index is of another kind"));
    }
    let depth = reader.u8()?;
    if depth == 0 || depth > INDEX_DEPTH_MAX || depth != expected.depth {
        return Err(ManifestError(
            "an index has another depth than its reference says",
        ));
    }
    let count = usize::from(reader.u16()?);
    if count == 0 || count > INDEX_ENTRIES_MAX {
        return Err(ManifestError("an index has a wrong number of entries"));
    }
    let mut body = Reader(reader.bytes(count * ENTRY_BYTES)?);
    reader.end()?;
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(count);
    let mut sum = 0_u64;
    for _ in 0..count {
        let entry = IndexEntry {
            size: body.u64()?,
            block_len: body.u32()?,
            id: BlockId(body.array()?),
        };
        check_entry(&entry, kind, depth)?;
        if entry.is_hole() && entries.last().is_some_and(IndexEntry::is_hole) {
            return Err(ManifestError("two holes follow each other"));
        }
        sum = sum
            .checked_add(entry.size)
            .ok_or(ManifestError("sizes overflow"))?;
        entries.push(entry);
    }
    if sum != expected.size {
        return Err(ManifestError(
            "an index has another size than its reference says",
        ));
    }
    Ok(entries)
}

fn check_entry(entry: &IndexEntry, kind: IndexKind, depth: u8) -> Result<(), ManifestError> {
    if entry.size == 0 {
        return Err(ManifestError("a part of an index is empty"));
    }
    if entry.is_hole() {
        if kind == IndexKind::Directory || depth != 1 || entry.id != BlockId([0; 32]) {
            return Err(ManifestError("a hole stands where none may"));
        }
        return Ok(());
    }
    if entry.block_len as usize > BLOCK_BYTES_MAX {
        return Err(ManifestError("a block is longer than allowed"));
    }
    if depth > 1 {
        return Ok(());
    }
    match kind {
        IndexKind::File
            if entry.size != u64::from(entry.block_len)
                || entry.block_len as usize > CHUNK_BYTES_MAX =>
        {
            Err(ManifestError("a chunk differs from its block in size"))
        }
        IndexKind::Directory if entry.size > DIRECTORY_ENTRIES_MAX as u64 => {
            Err(ManifestError("a directory block has too many entries"))
        }
        _ => Ok(()),
    }
}
