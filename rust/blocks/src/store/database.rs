//! The embedded database on the store's own disk: opened again after a failed write, and its panics
//! on damaged bytes turned into errors.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageBackend,
    StorageError, WriteTransaction,
};

use crate::StoreError;
use crate::disk::{Disk, DiskFile};
use crate::limits::META_CACHE_BYTES;

/// First bytes of every database file.
const MAGIC: &[u8; 4] = b"redb";

/// One database file. Transactions of many threads run beside each other.
#[derive(Debug)]
pub(crate) struct Database {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Whether a sync failed: the kernel may have dropped pages that look written.
    lost: Arc<AtomicBool>,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Open(redb::Database),
    /// A read or write failed, for example because the disk was full. The next call opens it again:
    /// the database refuses everything until then, and what was committed is untouched.
    Closed,
    /// Its bytes make no sense. Nothing but a repair helps.
    Damaged(String),
}

impl Database {
    /// Opens a file that is there.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        Self::start(disk, path, false)
    }

    /// Makes a new file.
    pub(crate) fn create(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        Self::start(disk, path, true)
    }

    fn start(disk: &Arc<dyn Disk>, path: &Path, create: bool) -> Result<Self, StoreError> {
        let lost = Arc::new(AtomicBool::new(false));
        let database = open(&**disk, path, create, &lost)?;
        Ok(Self {
            disk: Arc::clone(disk),
            path: path.to_path_buf(),
            lost,
            state: RwLock::new(State::Open(database)),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.run(|database| work(&database.begin_read()?))
    }

    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.run(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(durability)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.ensure_open()?;
        let outcome = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Open(database) => catch_unwind(AssertUnwindSafe(|| work(database))),
                // Another thread's failure came between.
                State::Closed => Ok(Err(redb::Error::PreviousIo)),
                State::Damaged(reason) => return Err(damaged(&self.path, reason)),
            }
        };
        match outcome {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(panic) => {
                let reason = panic_text(&*panic);
                self.give_up(State::Damaged(reason.clone()));
                Err(damaged(&self.path, &reason))
            }
        }
    }

    fn ensure_open(&self) -> Result<(), StoreError> {
        let is_closed = |state: &State| matches!(state, State::Closed);
        if !is_closed(&self.state.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !is_closed(&state) {
            return Ok(());
        }
        if self.lost.load(Ordering::Acquire) {
            return Err(StoreError::LostWrites);
        }
        *state = State::Open(open(&*self.disk, &self.path, false, &self.lost)?);
        tracing::info!(database = %self.path.display(), "opened the metadata again");
        Ok(())
    }

    fn failed(&self, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Corrupted(reason) => {
                self.give_up(State::Damaged(reason.clone()));
                damaged(&self.path, &reason)
            }
            redb::Error::Io(error) => {
                tracing::warn!(database = %self.path.display(), %error,
                    "the metadata could not be read or written; the next call tries again");
                self.give_up(State::Closed);
                StoreError::io("commit to", &self.path, error)
            }
            redb::Error::PreviousIo => {
                self.give_up(State::Closed);
                metadata(&self.path, &"another call failed meanwhile; run this again")
            }
            other => metadata(&self.path, &other),
        }
    }

    fn give_up(&self, to: State) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_damaged = matches!(to, State::Damaged(_));
        let old = std::mem::replace(&mut *state, to);
        if is_damaged {
            // To close it would mean to write more of what makes no sense.
            std::mem::forget(old);
        } else {
            drop(old);
        }
    }
}

fn open(
    disk: &dyn Disk,
    path: &Path,
    create: bool,
    lost: &Arc<AtomicBool>,
) -> Result<redb::Database, StoreError> {
    let failed = |error| StoreError::io("open", path, error);
    let file = disk.open(path, create).map_err(failed)?;
    if !create {
        // An empty or zeroed file would be taken for a new one.
        let mut magic = [0; MAGIC.len()];
        let got = file.read_at(&mut magic, 0).map_err(failed)?;
        if got < magic.len() || magic != *MAGIC {
            return Err(damaged(path, "it is not a database"));
        }
    }
    let backend = Backend {
        file,
        lost: Arc::clone(lost),
    };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(META_CACHE_BYTES)
            // The file is small, and without this what was damaged is found by a panic, later.
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != io::ErrorKind::UnexpectedEof =>
        {
            Err(failed(error))
        }
        Ok(Err(error @ DatabaseError::UpgradeRequired(_))) => Err(metadata(path, &error)),
        Ok(Err(error)) => Err(damaged(path, &error.to_string())),
        Err(panic) => Err(damaged(path, &panic_text(&*panic))),
    }
}

fn metadata(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Metadata {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

pub(crate) fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::MetadataDamaged {
        path: path.to_path_buf(),
        // One line: the rest is for the database's authors.
        reason: reason.lines().next().unwrap_or_default().into(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("reading it failed ({})", text.unwrap_or("no reason given"))
}

/// A file of the store as the database uses it. The store's own lock keeps other processes out.
#[derive(Debug)]
struct Backend {
    file: Arc<dyn DiskFile>,
    lost: Arc<AtomicBool>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.file.read_at(out, offset)? == out.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file
            .sync()
            .inspect_err(|_| self.lost.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(data)], offset)
    }
}
