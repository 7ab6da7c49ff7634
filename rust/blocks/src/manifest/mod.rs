//! Describes trees of content in blocks: roots, directories, and indexes of what needs many blocks.
//!
//! Data blocks are the plain bytes of files. The three kinds here start with a magic of four bytes,
//! and are read only where a reference says that one stands, so data can never pass for a manifest.
//! All numbers are little-endian. Decoders take hostile bytes: they check every length before they
//! use it, and accept one encoding of a thing only.

mod directory;
mod index;
mod root;

pub use directory::{DirectoryEntry, Target, decode_directory, encode_directory};
pub(crate) use directory::{check_name, encoded_len};
pub use index::{IndexEntry, IndexKind, decode_index, encode_index};
pub use root::{ROOT_BYTES, RootManifest, Totals, decode_root, encode_root};

use hypermesh_id::BlockId;

use crate::limits::{BLOCK_BYTES_MAX, INDEX_DEPTH_MAX};

/// A manifest that breaks a rule; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(pub &'static str);

/// The top block of some content, and how to read it.
///
/// At depth 0 the block is the content itself (a chunk, or one directory block). At depth `n` it is
/// an index block whose entries stand at depth `n - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRef {
    /// Bytes of a file, holes included; entries of a directory.
    pub size: u64,
    /// Levels of index blocks.
    pub depth: u8,
    /// Length of the top block in bytes; 0 only for an empty file, which has no block.
    pub block_len: u32,
    /// The top block; zeros for an empty file.
    pub id: BlockId,
}

impl ContentRef {
    /// The content of an empty file.
    pub const EMPTY: Self = Self {
        size: 0,
        depth: 0,
        block_len: 0,
        id: BlockId([0; 32]),
    };

    /// Whether there is no block at all.
    pub fn is_empty_file(&self) -> bool {
        self.block_len == 0
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.block_len.to_le_bytes());
        out.push(self.depth);
        out.extend_from_slice(&self.id.0);
    }

    fn take(reader: &mut Reader<'_>, of: IndexKind) -> Result<Self, ManifestError> {
        let size = reader.u64()?;
        let block_len = reader.u32()?;
        let depth = reader.u8()?;
        let id = BlockId(reader.array()?);
        let content = Self {
            size,
            depth,
            block_len,
            id,
        };
        if depth > INDEX_DEPTH_MAX {
            return Err(ManifestError("an index is deeper than allowed"));
        }
        if block_len as usize > BLOCK_BYTES_MAX {
            return Err(ManifestError("a block is longer than allowed"));
        }
        match of {
            IndexKind::File if size == 0 && content != Self::EMPTY => {
                Err(ManifestError("an empty file has a block"))
            }
            IndexKind::File if depth == 0 && size != u64::from(block_len) => {
                Err(ManifestError("a file of one block differs from it in size"))
            }
            _ if block_len == 0 && content != Self::EMPTY => {
                Err(ManifestError("a reference has no block"))
            }
            IndexKind::Directory if block_len == 0 => {
                Err(ManifestError("a directory has no block"))
            }
            _ => Ok(content),
        }
    }
}

/// Takes fields off the front of a block.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], ManifestError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(ManifestError("it ends inside a field"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (head, tail) = self
            .0
            .split_first_chunk()
            .ok_or(ManifestError("it ends inside a field"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, ManifestError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, ManifestError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ManifestError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ManifestError> {
        self.array().map(u64::from_le_bytes)
    }

    fn magic(&mut self, magic: [u8; 4]) -> Result<(), ManifestError> {
        if self.array::<4>()? == magic {
            return Ok(());
        }
        Err(ManifestError("it starts with another magic"))
    }

    fn end(&self) -> Result<(), ManifestError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ManifestError("bytes follow its end"))
    }
}
