//! Opens a store: takes its lock, finds its segments, repairs what a crash left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::FlockOperation;

use super::append::Active;
use super::files::Files;
use super::index::Index;
use super::lease::Gate;
use super::meta::Meta;
use super::{Inner, StoreOptions, scan, sidecar};
use crate::StoreError;
use crate::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX};

pub(crate) fn open(dir: &Path, options: StoreOptions) -> Result<Inner, StoreError> {
    let failed = |error| StoreError::io("open", dir, error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let lock = lock(dir)?;
    let segments = dir.join("segments");
    options.disk.create_dir(&segments).map_err(failed)?;
    let segment_bytes = options.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
    let inner = Inner {
        meta: Meta::open(&dir.join("meta.redb"))?,
        files: Files::new(options.disk, segments),
        index: RwLock::new(Index::new(options.index_bytes_max)?),
        active: Mutex::new(Active::default()),
        appended: AtomicU64::new(0),
        synced: Mutex::new(0),
        gate: Arc::new(Gate::default()),
        segment_bytes: segment_bytes.clamp(1, SEGMENT_BYTES_MAX),
        quota_bytes: options.quota_bytes,
        _lock: lock,
    };
    inner.load()?;
    Ok(inner)
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| StoreError::io("open", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(dir.to_path_buf())),
        Err(error) => Err(StoreError::io("lock", &path, error.into())),
    }
}

impl Inner {
    fn load(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("list", &self.files.dir, error);
        let names = self.files.disk.list(&self.files.dir).map_err(failed)?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| Files::number_of(name, "seg"))
            .collect();
        numbers.sort_unstable();
        let sealed: std::collections::BTreeMap<u32, u64> =
            self.meta.sealed()?.into_iter().collect();
        self.clear_leftovers(&names, &numbers)?;
        for gone in sealed
            .keys()
            .filter(|number| numbers.binary_search(number).is_err())
        {
            self.meta.set_sealed(*gone, None)?;
        }
        let last = numbers.last().copied();
        for number in numbers {
            match sealed.get(&number) {
                Some(length) => self.load_sealed(number, *length)?,
                None => self.load_unsealed(number, Some(number) == last)?,
            }
        }
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers are not used twice: a sidecar can then never belong to another segment.
        let newest = sealed.keys().next_back().copied().max(last);
        active.next = newest
            .map_or(Some(0), |number| number.checked_add(1))
            .unwrap_or(u32::MAX);
        Ok(())
    }

    /// Removes what an interrupted call left behind.
    fn clear_leftovers(
        &self,
        names: &[std::ffi::OsString],
        numbers: &[u32],
    ) -> Result<(), StoreError> {
        for name in names {
            let orphan = Files::number_of(name, "tmp").is_some()
                || Files::number_of(name, "idx")
                    .is_some_and(|number| numbers.binary_search(&number).is_err());
            if orphan {
                let path = self.files.dir.join(name);
                let removed = self.files.disk.remove(&path);
                removed.map_err(|error| StoreError::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    fn load_sealed(&self, number: u32, sealed_length: u64) -> Result<(), StoreError> {
        let path = self.files.segment_path(number);
        let failed = |error| StoreError::io("read", &path, error);
        let file = self.files.get(number)?;
        let length = file.length().map_err(failed)?;
        if length != sealed_length {
            tracing::warn!(segment = %path.display(), length, sealed_length,
                "a sealed segment changed its length; run fsck");
        }
        let listed = sidecar::read(
            &*self.files.disk,
            &self.files.sidecar_path(number),
            number,
            length,
        )
        .map_err(failed)?;
        let rows = match listed {
            Some(rows) => rows,
            None => {
                tracing::info!(segment = %path.display(), "listing the segment's records again");
                self.seal_file(number, &*file, length)?
            }
        };
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.segments.entry(number).or_default().length = length;
        rows.iter()
            .try_for_each(|(id, location)| index.insert(id, *location))
    }

    /// Checks every record of a segment that was being written when the store was last used, and
    /// cuts a torn end off.
    fn load_unsealed(&self, number: u32, newest: bool) -> Result<(), StoreError> {
        let path = self.files.segment_path(number);
        let failed = |error| StoreError::io("read", &path, error);
        let file = self.files.get(number)?;
        let mut rows = Vec::new();
        let scan =
            scan::scan(&*file, number, true, &mut |found| rows.push(found)).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        if scan.end < length {
            tracing::warn!(segment = %path.display(), from = scan.end, to = length,
                "cutting off a record that was not finished");
            file.set_len(scan.end).map_err(failed)?;
        }
        if scan.unreadable > 0 {
            tracing::warn!(segment = %path.display(), bytes = scan.unreadable,
                "part of a segment is unreadable; run fsck --repair");
        }
        // What is indexed now may be acknowledged by a later put without being written again.
        file.sync().map_err(failed)?;
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.segments.entry(number).or_default().length = scan.end;
            for found in &rows {
                // A damaged record is indexed so that fsck can name it, but hides no good one.
                if found.intact || index.get(&found.id).is_none() {
                    index.insert(&found.id, found.location)?;
                }
            }
        }
        if newest && scan.end < self.segment_bytes {
            let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.segment = Some((number, file));
            active.length = scan.end;
            return Ok(());
        }
        self.seal_file(number, &*file, scan.end).map(drop)
    }
}

/// Whether a directory holds a store.
pub fn is_store(dir: &Path) -> bool {
    fs::metadata(dir.join("meta.redb")).is_ok_and(|meta| meta.is_file())
}
