//! Opens a store: takes its lock, finds its segments, repairs what a crash left.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::FlockOperation;

use super::append::Active;
use super::database::damaged;
use super::files::Files;
use super::index::Index;
use super::lease::Gate;
use super::meta::Meta;
use super::similar::Similar;
use super::{Inner, StoreOptions, scan, sidecar};
use crate::StoreError;
use crate::disk::Disk;
use crate::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX};

/// Name of the metadata database.
pub(crate) const META: &str = "meta.redb";
/// Name of one that is being made.
pub(crate) const META_NEW: &str = "meta.redb.new";

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
    let meta = metadata(dir, &options.disk)?;
    let inner = assemble(dir, options, lock, meta)?;
    inner.load()?;
    inner.load_sketches()?;
    Ok(inner)
}

/// The database of a store, made if the store is new.
fn metadata(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Meta, StoreError> {
    let path = dir.join(META);
    let names = disk.list(dir);
    let names = names.map_err(|error| StoreError::io("list", dir, error))?;
    if !names.iter().any(|name| name == META) {
        let files = Files::new(Arc::clone(disk), dir.join("segments"));
        if !segment_numbers(&files)?.is_empty() {
            // With an empty one in its place, the next gc would remove every block.
            return Err(damaged(&path, "it is missing, and there are blocks"));
        }
        // Under another name until it is whole: one that is there is never half made.
        let fresh = dir.join(META_NEW);
        drop(Meta::create_at(disk, &fresh)?);
        disk.rename(&fresh, &path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| StoreError::io("rename", &fresh, error))?;
    }
    Meta::open(disk, &path)
}

/// A store with nothing in its index yet.
pub(crate) fn assemble(
    dir: &Path,
    options: StoreOptions,
    lock: File,
    meta: Meta,
) -> Result<Inner, StoreError> {
    let segment_bytes = options.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT);
    Ok(Inner {
        meta,
        files: Files::new(options.disk, dir.join("segments")),
        index: RwLock::new(Index::new(options.index_bytes_max)?),
        active: Mutex::new(Active::default()),
        appended: AtomicU64::new(0),
        synced: Mutex::new(0),
        gate: Arc::new(Gate::default()),
        segment_bytes: segment_bytes.clamp(1, SEGMENT_BYTES_MAX),
        quota_bytes: options.quota_bytes,
        similar: options
            .deltas
            .then(|| Similar::new(options.sketches_bytes_max)),
        _lock: lock,
    })
}

/// The numbers of the segments that are there, in order.
pub(crate) fn segment_numbers(files: &Files) -> Result<Vec<u32>, StoreError> {
    let names = files.disk.list(&files.dir);
    let names = names.map_err(|error| StoreError::io("list", &files.dir, error))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| Files::number_of(name, "seg"))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn lock(dir: &Path) -> Result<File, StoreError> {
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
    pub(crate) fn load(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("list", &self.files.dir, error);
        let names = self.files.disk.list(&self.files.dir).map_err(failed)?;
        let numbers = segment_numbers(&self.files)?;
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
        self.load_deltas()?;
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers are not used twice: a sidecar can then never belong to another segment.
        let newest = sealed.keys().next_back().copied().max(last);
        active.next = newest
            .map_or(Some(0), |number| number.checked_add(1))
            .unwrap_or(u32::MAX);
        Ok(())
    }

    /// Leaves out what cannot be read, and marks the store as one that may have deltas.
    fn load_deltas(&self) -> Result<(), StoreError> {
        let (stranded, deltas) = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            (index.drop_stranded(), index.deltas())
        };
        if stranded > 0 {
            tracing::warn!(
                stranded,
                "deltas without their bases count as absent; run fsck"
            );
        }
        if self.similar.is_some() || deltas > 0 {
            self.meta.allow_deltas()?;
        }
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
            .try_for_each(|row| index.insert(&row.id, row.location, row.base))
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
                    index.insert(&found.id, found.location, found.base)?;
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
    fs::metadata(dir.join(META)).is_ok_and(|meta| meta.is_file())
}
