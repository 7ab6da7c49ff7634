//! Real trees to put, files of noise, and what directories and processes take.

use std::fs::{self, File};
use std::io::Write;
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

/// Writes a file of bytes that no compression shortens; others for another number.
pub(crate) fn noise(path: &Path, bytes: u64, number: u64) -> Result<(), BenchError> {
    let mut file = File::create(path)?;
    let mut source = blake3::Hasher::new()
        .update(&number.to_le_bytes())
        .finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        source.fill(&mut buffer);
        file.write_all(&buffer)?;
    }
    Ok(())
}

/// Resident memory of a process in megabytes: `VmRSS:` is now, `VmHWM:` at most.
pub(crate) fn resident(pid: u32, field: &str) -> Result<f64, BenchError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0 / 1e6)
        .ok_or_else(|| BenchError::new(format!("no {field} in /proc/{pid}/status")))
}
