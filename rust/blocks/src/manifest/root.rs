//! The root block: what kind of thing a root names, where its content is, and its totals.

use super::directory::Target;
use super::index::IndexKind;
use super::{ContentRef, ManifestError, Reader};
use crate::limits::MODE_MASK;

const MAGIC: [u8; 4] = *b"hmr\x01";
const KIND_FILE: u8 = 1;
const KIND_DIRECTORY: u8 = 2;
/// A root block always has this length.
pub const ROOT_BYTES: usize = 88;

/// A decoded root block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootManifest {
    /// Permission bits of the top directory or the single file.
    pub mode: u16,
    /// A file or a directory.
    pub target: Target,
    /// What a reader may expect; extraction stops where the tree holds more.
    pub totals: Totals,
}

/// How much is below a root, the top itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    /// Sum of the files' sizes, holes included.
    pub content_bytes: u64,
}

/// The block of a root. `None` for a symlink, which cannot be a top.
pub fn encode_root(manifest: &RootManifest) -> Option<Vec<u8>> {
    let (kind, content) = match &manifest.target {
        Target::File(content) => (KIND_FILE, content),
        Target::Directory(content) => (KIND_DIRECTORY, content),
        Target::Symlink(_) => return None,
    };
    let mut out = Vec::with_capacity(ROOT_BYTES);
    out.extend_from_slice(&MAGIC);
    out.push(kind);
    out.push(0);
    out.extend_from_slice(&manifest.mode.to_le_bytes());
    content.put(&mut out);
    // Brings the totals to an offset that 8 divides.
    out.extend_from_slice(&[0; 3]);
    let Totals {
        files,
        directories,
        symlinks,
        content_bytes,
    } = manifest.totals;
    for total in [files, directories, symlinks, content_bytes] {
        out.extend_from_slice(&total.to_le_bytes());
    }
    Some(out)
}

/// Reads a root block.
pub fn decode_root(block: &[u8]) -> Result<RootManifest, ManifestError> {
    if block.len() != ROOT_BYTES {
        return Err(ManifestError("a root has another length"));
    }
    let mut reader = Reader(block);
    reader.magic(MAGIC)?;
    let kind = reader.u8()?;
    let reserved = reader.u8()?;
    let mode = reader.u16()?;
    let target = match kind {
        KIND_FILE => Target::File(ContentRef::take(&mut reader, IndexKind::File)?),
        KIND_DIRECTORY => Target::Directory(ContentRef::take(&mut reader, IndexKind::Directory)?),
        _ => return Err(ManifestError("a root is neither a file nor a directory")),
    };
    if reserved != 0 || reader.array::<3>()? != [0; 3] {
        return Err(ManifestError("a reserved field is not zero"));
    }
    if mode & !MODE_MASK != 0 {
        return Err(ManifestError("a mode has bits beyond the permissions"));
    }
    let totals = Totals {
        files: reader.u64()?,
        directories: reader.u64()?,
        symlinks: reader.u64()?,
        content_bytes: reader.u64()?,
    };
    reader.end()?;
    Ok(RootManifest {
        mode,
        target,
        totals,
    })
}
