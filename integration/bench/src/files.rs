//! Real trees to put, and what directories take.

use std::fs;
use std::path::{Path, PathBuf};

use crate::record::BenchError;

/// Bytes of all regular files below `directory`; symlinks are not followed.
pub(crate) fn disk_bytes(directory: &Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        total += match (kind.is_dir(), kind.is_file()) {
            (true, _) => disk_bytes(&entry.path())?,
            (_, true) => entry.metadata()?.len(),
            _ => 0,
        };
    }
    Ok(total)
}

/// A real tree of source and binary files: `$BENCH_TREE`, else the Zig toolchain's own directory.
pub(crate) fn real_tree(root: &Path) -> Result<PathBuf, BenchError> {
    if let Some(path) = std::env::var_os("BENCH_TREE") {
        return Ok(path.into());
    }
    let zig = root.join(".tools/bin/zig");
    let home = fs::canonicalize(&zig)
        .ok()
        .and_then(|path| path.parent().map(PathBuf::from));
    home.ok_or_else(|| {
        BenchError::new(format!(
            "no tree to put: {} is not there; run ./make setup, or name a tree in BENCH_TREE",
            zig.display()
        ))
    })
}
