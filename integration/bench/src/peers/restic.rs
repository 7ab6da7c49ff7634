//! `restic backup`: what people put a directory into a deduplicating store with.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::record::BenchError;

/// The version that answers, or why there is none.
pub(crate) fn version() -> Result<String, BenchError> {
    let output = Command::new("restic")
        .arg("version")
        .output()
        .map_err(|error| {
            BenchError::new(format!("restic: {error} (Debian: apt-get install restic)"))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// Makes a fresh repository in `repository` and backs `tree` up into it.
/// Answers the wall time of the backup alone and the bytes that the repository takes.
pub(crate) fn backup(repository: &Path, tree: &Path) -> Result<(Duration, u64), BenchError> {
    init(repository)?;
    Ok((
        add(repository, tree)?,
        crate::files::disk_bytes(repository)?,
    ))
}

/// Makes an empty repository.
pub(crate) fn init(repository: &Path) -> Result<(), BenchError> {
    run(repository, &["init".as_ref()])
}

/// Backs a tree up into a repository; answers the wall time.
pub(crate) fn add(repository: &Path, tree: &Path) -> Result<Duration, BenchError> {
    let start = Instant::now();
    run(repository, &["backup".as_ref(), tree.as_os_str()])?;
    Ok(start.elapsed())
}

fn run(repository: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(), BenchError> {
    let output = Command::new("restic")
        .env("RESTIC_PASSWORD", "benchmark")
        .args(["--quiet", "--no-cache", "--repo"])
        .arg(repository)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::new(format!(
        "restic: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
