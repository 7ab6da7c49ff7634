//! Segment files: their names, and the ones that are open.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::limits::SEGMENT_HANDLES_MAX;

#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    open: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self {
            disk,
            dir,
            open: Mutex::default(),
        }
    }

    pub(crate) fn segment_path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08x}.seg"))
    }

    pub(crate) fn sidecar_path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08x}.idx"))
    }

    /// The number of a segment from its file name.
    pub(crate) fn number_of(name: &OsStr, extension: &str) -> Option<u32> {
        let path = Path::new(name);
        let stem = path.file_stem()?.to_str()?;
        if path.extension()? != extension || stem.len() != 8 {
            return None;
        }
        u32::from_str_radix(stem, 16).ok()
    }

    /// The file of a segment, opened if it is not.
    pub(crate) fn get(&self, number: u32) -> Result<Arc<dyn DiskFile>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = self.segment_path(number);
        let file = self
            .disk
            .open(&path, false)
            .map_err(|error| StoreError::io("open", &path, error))?;
        if open.len() >= SEGMENT_HANDLES_MAX {
            // The oldest: newer segments are the ones that are written and read right after.
            open.pop_first();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Makes a new, empty segment whose name is durable.
    pub(crate) fn create(&self, number: u32) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = self.segment_path(number);
        let failed = |error| StoreError::io("create", &path, error);
        let file = self.disk.open(&path, true).map_err(failed)?;
        self.disk.sync_dir(&self.dir).map_err(failed)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Removes a segment and its sidecar.
    pub(crate) fn remove(&self, number: u32) -> Result<(), StoreError> {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        for path in [self.segment_path(number), self.sidecar_path(number)] {
            match self.disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
