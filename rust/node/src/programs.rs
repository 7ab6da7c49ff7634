//! Where the programs are that a node starts.

use std::path::{Path, PathBuf};

/// A program: as configured, beside this one, or on the PATH.
pub(crate) fn find(name: &str, configured: Option<&Path>) -> Option<PathBuf> {
    let beside = || {
        std::env::current_exe()
            .ok()
            .and_then(|own| Some(own.parent()?.join(name)))
    };
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|program| program.is_file())
    };
    match configured {
        Some(program) => Some(program.to_owned()),
        None => beside()
            .filter(|program| program.is_file())
            .or_else(on_path),
    }
}
