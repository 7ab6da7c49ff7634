//! Counts what a put will read, so that its progress has an end.

use std::fs;
use std::path::Path;

use crate::limits::TREE_DEPTH_MAX;
use crate::{Observer, Phase, Progress, StoreError};

const ITEMS_PER_REPORT: u64 = 1_024;

/// Bytes of files and number of items below a path. Only a forecast: what cannot be read is left
/// out here and is an error later.
pub(crate) fn count(path: &Path, observer: &dyn Observer) -> Result<(u64, u64), StoreError> {
    let mut scan = Scan {
        observer,
        bytes: 0,
        items: 0,
    };
    if let Ok(meta) = fs::metadata(path) {
        scan.add(path, &meta, 0)?;
    }
    scan.report()?;
    Ok((scan.bytes, scan.items))
}

struct Scan<'a> {
    observer: &'a dyn Observer,
    bytes: u64,
    items: u64,
}

impl Scan<'_> {
    fn add(&mut self, path: &Path, meta: &fs::Metadata, depth: usize) -> Result<(), StoreError> {
        self.items += 1;
        if self.items.is_multiple_of(ITEMS_PER_REPORT) {
            self.report()?;
        }
        if meta.is_file() {
            self.bytes = self.bytes.saturating_add(meta.len());
        }
        if !meta.is_dir() || depth >= TREE_DEPTH_MAX {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(path) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            // Of a directory entry, this does not follow links.
            if let Ok(meta) = entry.metadata() {
                self.add(&entry.path(), &meta, depth + 1)?;
            }
        }
        Ok(())
    }

    fn report(&self) -> Result<(), StoreError> {
        if self.observer.cancelled() {
            return Err(StoreError::Cancelled);
        }
        self.observer.progress(&Progress {
            phase: Phase::Scan,
            bytes_done: self.bytes,
            bytes_total: 0,
            items_done: self.items,
            items_total: 0,
        });
        Ok(())
    }
}
