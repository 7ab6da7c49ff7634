//! Directory blocks: runs of entries in the order of their names.

use super::index::IndexKind;
use super::{ContentRef, ManifestError, Reader};
use crate::limits::{
    BLOCK_BYTES_MAX, DIRECTORY_ENTRIES_MAX, MODE_MASK, NAME_BYTES_MAX, TARGET_BYTES_MAX,
};

const MAGIC: [u8; 4] = *b"hmd\x01";
const KIND_FILE: u8 = 1;
const KIND_DIRECTORY: u8 = 2;
const KIND_SYMLINK: u8 = 3;

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// 1 to 255 bytes, no `/`, no NUL, not `.` or `..`; any encoding.
    pub name: Vec<u8>,
    /// Permission bits; 0o777 for a symlink.
    pub mode: u16,
    pub target: Target,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    File(ContentRef),
    Directory(ContentRef),
    /// The text of the link, 1 to 4,095 bytes without NUL. Never followed by this crate.
    Symlink(Vec<u8>),
}

/// Bytes that the entry takes in a block.
pub(crate) fn encoded_len(entry: &DirectoryEntry) -> usize {
    let body = match &entry.target {
        Target::File(_) | Target::Directory(_) => 45,
        Target::Symlink(text) => 2 + text.len(),
    };
    4 + entry.name.len() + body
}

/// The block of these entries, which must be valid and in order (as [`decode_directory`] checks).
pub fn encode_directory(entries: &[DirectoryEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + entries.iter().map(encoded_len).sum::<usize>());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    for entry in entries {
        let kind = match entry.target {
            Target::File(_) => KIND_FILE,
            Target::Directory(_) => KIND_DIRECTORY,
            Target::Symlink(_) => KIND_SYMLINK,
        };
        out.push(kind);
        out.push(entry.name.len() as u8);
        out.extend_from_slice(&entry.mode.to_le_bytes());
        out.extend_from_slice(&entry.name);
        match &entry.target {
            Target::File(content) | Target::Directory(content) => content.put(&mut out),
            Target::Symlink(text) => {
                out.extend_from_slice(&(text.len() as u16).to_le_bytes());
                out.extend_from_slice(text);
            }
        }
    }
    out
}

/// Reads a directory block. Names are in strict order within it; whoever reads several blocks of
/// one directory checks the order across them.
pub fn decode_directory(block: &[u8]) -> Result<Vec<DirectoryEntry>, ManifestError> {
    if block.len() > BLOCK_BYTES_MAX {
        return Err(ManifestError("a block is longer than allowed"));
    }
    let mut reader = Reader(block);
    reader.magic(MAGIC)?;
    let count = usize::from(reader.u16()?);
    if reader.u16()? != 0 {
        return Err(ManifestError("a reserved field is not zero"));
    }
    if count > DIRECTORY_ENTRIES_MAX {
        return Err(ManifestError("a directory block has too many entries"));
    }
    let mut entries: Vec<DirectoryEntry> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = take_entry(&mut reader)?;
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err(ManifestError("names of a directory are not in order"));
        }
        entries.push(entry);
    }
    reader.end()?;
    Ok(entries)
}

fn take_entry(reader: &mut Reader<'_>) -> Result<DirectoryEntry, ManifestError> {
    let kind = reader.u8()?;
    let name_len = usize::from(reader.u8()?);
    let mode = reader.u16()?;
    let name = reader.bytes(name_len)?;
    check_name(name)?;
    if mode & !MODE_MASK != 0 {
        return Err(ManifestError("a mode has bits beyond the permissions"));
    }
    let target = match kind {
        KIND_FILE => Target::File(ContentRef::take(reader, IndexKind::File)?),
        KIND_DIRECTORY => Target::Directory(ContentRef::take(reader, IndexKind::Directory)?),
        KIND_SYMLINK => {
            let length = usize::from(reader.u16()?);
            if length == 0 || length > TARGET_BYTES_MAX {
                return Err(ManifestError("a symlink's text has a wrong length"));
            }
            let text = reader.bytes(length)?;
            if text.contains(&0) {
                return Err(ManifestError("a symlink's text has a zero byte"));
            }
            if mode != MODE_MASK {
                return Err(ManifestError("a symlink has a mode"));
            }
            Target::Symlink(text.to_vec())
        }
        _ => return Err(ManifestError("an entry has an unknown kind")),
    };
    Ok(DirectoryEntry {
        name: name.to_vec(),
        mode,
        target,
    })
}

/// Whether a name may stand in a directory: nothing that leads out of it.
pub(crate) fn check_name(name: &[u8]) -> Result<(), ManifestError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(ManifestError("a name has a wrong length"));
    }
    if name == b"." || name == b".." {
        return Err(ManifestError("a name is '.' or '..'"));
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(ManifestError("a name has a '/' or a zero byte"));
    }
    Ok(())
}
