//! The store, as the node opens it.

use std::path::Path;

use hypermesh_blocks::{Store, StoreError, StoreOptions};

use crate::config::Config;
use crate::units::format_size;

/// Opens the store with the node's configuration.
pub(crate) fn open(dir: &Path, config: &Config) -> Result<Store, StoreError> {
    Store::open(
        dir,
        StoreOptions {
            quota_bytes: config.quota,
            ..StoreOptions::default()
        },
    )
}

/// Says in one line what is in the store of a node that does not run, or what is wrong with it.
pub(crate) fn examine(dir: &Path) -> Result<String, String> {
    let stats = Store::open(dir, StoreOptions::default()).and_then(|store| store.stats());
    let stats = stats.map_err(|error| error.to_string())?;
    Ok(format!(
        "{} blocks in {}",
        stats.blocks,
        format_size(stats.stored_bytes)
    ))
}
