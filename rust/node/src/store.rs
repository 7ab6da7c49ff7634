//! The store, as the node opens it.

use std::path::Path;

use hypermesh_blocks::{Ignore, RebuildReport, Store, StoreError, StoreOptions};

use crate::config::Config;
use crate::dir::NodeDir;
use crate::node::NodeError;
use crate::units::format_size;

/// Opens the store with the node's configuration.
pub(crate) fn open(dir: &Path, config: &Config) -> Result<Store, StoreError> {
    Store::open(
        dir,
        StoreOptions {
            quota_bytes: config.quota,
            deltas: config.deltas,
            ..StoreOptions::default()
        },
    )
}

/// Makes the metadata of the store anew from its segments, if they are lost or damaged. Blocking; the node must not run.
///
/// # Errors
/// Each names what is in the way and what to do.
pub fn rebuild_store(dir: &NodeDir) -> Result<RebuildReport, NodeError> {
    dir.check()?;
    let _lock = dir.acquire()?;
    Ok(Store::rebuild(
        &dir.blocks(),
        StoreOptions::default(),
        &Ignore,
    )?)
}

/// Says in one line what is in the store of a node that does not run; or what is wrong with it, and the repair.
pub(crate) fn examine(dir: &Path) -> Result<String, (String, &'static str)> {
    // Only looked at: without the switch for deltas, nothing of the store's format changes.
    let options = StoreOptions {
        deltas: false,
        ..StoreOptions::default()
    };
    let stats = Store::open(dir, options).and_then(|store| store.stats());
    let stats = stats.map_err(|error| match error {
        StoreError::MetadataDamaged { path, reason } => (
            format!("{} cannot be used ({reason})", path.display()),
            "run `hypermesh fsck --rebuild`: it makes the database anew from the blocks, and pins every root it finds",
        ),
        other => (
            other.to_string(),
            "see to what it names, then run `hypermesh doctor` again; else restore a backup",
        ),
    })?;
    Ok(format!(
        "{} blocks in {}",
        stats.blocks,
        format_size(stats.stored_bytes)
    ))
}
