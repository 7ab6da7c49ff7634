//! Makes the metadata anew from the segments, when it was lost or damaged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hypermesh_id::{BlockId, Root};

use super::meta::{Meta, RootRecord};
use super::open::{META, META_NEW, assemble, lock, segment_numbers};
use super::{Store, StoreOptions, sidecar};
use crate::gc::report;
use crate::limits::ROOTS_MAX;
use crate::manifest::{ROOT_BYTES, decode_root};
use crate::{Closure, Observer, Phase, StoreError, Wanted};

/// Where a damaged database is kept.
const META_ASIDE: &str = "meta.redb.damaged";
/// The source note of a root that was found.
const SOURCE: &[u8] = b"found by fsck --rebuild";

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// False when the metadata is well: nothing was changed then.
    pub needed: bool,
    /// Roots whose blocks are all here; they are pinned now.
    pub whole: u64,
    /// Roots that lack blocks; they are pinned as unfinished gets.
    pub partly: u64,
    /// Roots beyond the number that a store remembers.
    pub left_out: u64,
    /// Where the damaged database is now.
    pub set_aside: Option<PathBuf>,
}

impl Store {
    /// Makes the metadata of a store that is not open anew, if it is missing or damaged.
    ///
    /// The segments hold every block, and among them every root that was acknowledged. Which of them
    /// were pinned was in the database alone, so all of them are pinned: whoever does not want one
    /// can unpin it, and whoever wanted one that was collected could not get it back.
    pub fn rebuild(
        dir: &Path,
        options: StoreOptions,
        observer: &dyn Observer,
    ) -> Result<RebuildReport, StoreError> {
        let lock = lock(dir)?;
        let disk = Arc::clone(&options.disk);
        let (path, fresh) = (dir.join(META), dir.join(META_NEW));
        let names = disk
            .list(dir)
            .map_err(|error| StoreError::io("list", dir, error))?;
        let is_there = names.iter().any(|name| name == META);
        if is_there {
            // Every row of it is read: half of a database is no database.
            let looked = Meta::open(&disk, &path)
                .and_then(|meta| Ok((meta.roots()?.len(), meta.sealed()?.len())));
            match looked {
                Ok(_) => return Ok(RebuildReport::default()),
                Err(StoreError::MetadataDamaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let meta = Meta::create_at(&disk, &fresh)?;
        // Held by both until the new database is in place.
        let held = lock
            .try_clone()
            .map_err(|error| StoreError::io("lock", dir, error))?;
        let store = Store {
            inner: Arc::new(assemble(dir, options, held, meta)?),
        };
        store.seal_listed()?;
        store.inner.load()?;
        let mut done = RebuildReport {
            needed: true,
            ..RebuildReport::default()
        };
        let found = store.find_roots(observer)?;
        let kept = &found[..found.len().min(ROOTS_MAX)];
        done.left_out = (found.len() - kept.len()) as u64;
        done.whole = kept.iter().filter(|record| record.complete).count() as u64;
        done.partly = kept.len() as u64 - done.whole;
        store.inner.meta.add_roots(kept)?;
        drop(store);
        if is_there {
            let aside = dir.join(META_ASIDE);
            disk.rename(&path, &aside)
                .map_err(|error| StoreError::io("rename", &path, error))?;
            done.set_aside = Some(aside);
        }
        disk.rename(&fresh, &path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|error| StoreError::io("rename", &fresh, error))?;
        Ok(done)
    }

    /// Segments with an intact sidecar of their length were sealed: only sealing writes one.
    fn seal_listed(&self) -> Result<(), StoreError> {
        let files = &self.inner.files;
        for number in segment_numbers(files)? {
            let path = files.segment_path(number);
            let failed = |error| StoreError::io("read", &path, error);
            let length = files.get(number)?.length().map_err(failed)?;
            let listed = sidecar::read(&*files.disk, &files.sidecar_path(number), number, length);
            if listed.map_err(failed)?.is_some() {
                self.inner.meta.set_sealed(number, Some(length))?;
            }
        }
        Ok(())
    }

    /// Every block that reads as a root and is one, the whole ones first.
    ///
    /// A file of somebody's can hold the bytes of a root as well. That pins more than was pinned,
    /// never less.
    fn find_roots(&self, observer: &dyn Observer) -> Result<Vec<RootRecord>, StoreError> {
        let mut candidates: Vec<BlockId> = Vec::new();
        self.inner
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .for_each(&mut |id, location| {
                if location.raw_len as usize == ROOT_BYTES {
                    candidates.push(id);
                }
            });
        let added = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut found = Vec::new();
        for (number, id) in candidates.into_iter().enumerate() {
            report(observer, Phase::Check, number as u64, 0)?;
            let block = match self.read(&id) {
                Ok(Some(block)) => block,
                Ok(None) => continue,
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::warn!(%error, "this may have been a root");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(manifest) = decode_root(&block) else {
                continue;
            };
            let root = Root(id);
            let complete = match Closure::new(root).poll(self, 1) {
                Ok(wanted) => wanted == Wanted::Done,
                // No put made it, and no get of it can end.
                Err(StoreError::Manifest { .. } | StoreError::Limit { .. }) => continue,
                Err(error) => return Err(error),
            };
            found.push(RootRecord {
                root,
                pinned: true,
                complete,
                added,
                content_bytes: manifest.totals.content_bytes,
                source: SOURCE.to_vec(),
            });
        }
        found.sort_by_key(|record| !record.complete);
        Ok(found)
    }
}
