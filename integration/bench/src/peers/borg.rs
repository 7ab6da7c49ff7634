//! `borg create`: the other deduplicating store that people put directories into.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::record::BenchError;

/// The version that answers, or why there is none.
pub(crate) fn version() -> Result<String, BenchError> {
    let output = Command::new("borg")
        .arg("--version")
        .output()
        .map_err(|error| {
            BenchError::new(format!(
                "borg: {error} (Debian: apt-get install borgbackup)"
            ))
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(format!("{}, zstd 3", text.trim()))
}

/// Makes a repository without encryption, and its caches beside it, in a directory.
pub(crate) fn init(place: &Path) -> Result<(), BenchError> {
    run(place, &["init", "-e", "none"], None)
}

/// Adds an archive of a tree; answers the wall time.
pub(crate) fn create(place: &Path, name: &str, tree: &Path) -> Result<Duration, BenchError> {
    let start = Instant::now();
    run(place, &["create", "-C", "zstd,3"], Some((name, tree)))?;
    Ok(start.elapsed())
}

/// Bytes that the repository takes.
pub(crate) fn bytes(place: &Path) -> Result<u64, BenchError> {
    Ok(crate::files::disk_bytes(&place.join("repository"))?)
}

fn run(place: &Path, words: &[&str], archive: Option<(&str, &Path)>) -> Result<(), BenchError> {
    let repository = place.join("repository");
    let mut command = Command::new("borg");
    command
        .env("BORG_BASE_DIR", place)
        .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
        .args(words)
        .stdin(Stdio::null());
    match archive {
        Some((name, tree)) => {
            let target = format!("{}::{name}", repository.display());
            command.arg(target).arg(tree)
        }
        None => command.arg(&repository),
    };
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(BenchError::new(format!("borg: {}", text.trim())))
}
