//! One journal: the log at its end, and the steps that replace it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfn_wire::Service;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::error::JournalError;
use crate::format::{
    FILE_HEADER_BYTES, FileKind, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, file_header, record_header,
};
use crate::read::{self, Record, io_error};

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A commit returns when its bytes are on disk: they survive loss of power.
    #[default]
    Sync,
    /// A commit returns when the operating system has its bytes: they survive the end of the process, and loss of power
    /// may take the latest of them. For what can be learned again.
    Process,
}

/// How a journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The layer that it belongs to.
    pub service: Service,
    pub durability: Durability,
}

/// What was found when a journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records of the log, after the snapshot.
    pub log_records: u64,
    /// Bytes of a record that was being written when the process ended. They were cut off; nobody was told that they
    /// are kept.
    pub torn_bytes: u64,
}

/// A snapshot and the log after it, in a directory of their own.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    options: Options,
    log: File,
    generation: u64,
    log_bytes: u64,
    recovered: Recovered,
    /// Up to here the disk has room for the log; 0 while that is not known.
    reserved: u64,
    /// Whether the file system can promise room.
    can_reserve: bool,
    /// A write failed for want of room, and none has gone well since.
    short: bool,
    /// A write failed in a way that leaves the end of the log unknown.
    failed: bool,
    /// Held while this lives, and let go by the system when the process ends, however it ends.
    _lock: File,
}

impl Journal {
    /// Opens the journal of a directory, which is made (mode 0700) if it is not there. `take` gets every record in the
    /// order in which it was written; its error text becomes [`JournalError::Refused`].
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when bytes that were acknowledged are damaged: nothing is changed then.
    /// [`JournalError::InUse`] while somebody else, in this process or another, has it open.
    pub fn open(
        directory: &Path,
        options: Options,
        mut take: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Self, JournalError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| io_error(directory, error))?;
        // Before anything is read: who has it open writes.
        let lock = lock(&directory.join(LOCK))?;
        let found = load(directory, options.service, &mut take)?;
        remove(&directory.join(SNAPSHOT_NEW))?;
        remove(&directory.join(LOG_NEW))?;
        let (log, recovered) = (open_log(directory, &found)?, found.recovered);
        Ok(Self {
            directory: directory.to_owned(),
            options,
            log,
            generation: found.generation,
            log_bytes: found.log_bytes,
            recovered,
            reserved: 0,
            can_reserve: true,
            short: false,
            failed: false,
            _lock: lock,
        })
    }

    /// Reads everything again, as [`Journal::open`] does, for a caller whose memory is ahead of what is kept: after a commit
    /// that failed.
    ///
    /// # Errors
    /// As those of opening. [`JournalError::Failed`] where nobody knows what is kept.
    pub fn read_again(
        &mut self,
        mut take: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        let found = load(&self.directory, self.options.service, &mut take)?;
        if (found.generation, found.log_bytes) != (self.generation, self.log_bytes) {
            // Nobody else writes here.
            self.failed = true;
            return Err(JournalError::Failed);
        }
        Ok(())
    }

    /// Makes sure, before anything is changed, that the next record, of at most so many bytes, will find room, as far as the
    /// file system can promise that.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk is full. Nothing is changed, and it may be tried again.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        let bytes = bytes + RECORD_HEADER_BYTES as u64;
        let end = self.log_bytes + bytes;
        let failed = |error| Err(io_error(&self.directory.join(LOG), error));
        if self.can_reserve && end > self.reserved {
            // Ahead, so that it is seldom asked; where that is too much, what is needed.
            for ahead in [RESERVED_BYTES, 0] {
                match allocate(&self.log, self.log_bytes, bytes + ahead) {
                    Ok(()) => {
                        self.reserved = end + ahead;
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                        self.can_reserve = false;
                        break;
                    }
                    Err(error) if ahead == 0 => return failed(error),
                    Err(_) => {}
                }
            }
        }
        if self.short {
            // A promise was not kept, or there was none: it is tried, with bytes that are no record.
            let zeros = vec![0; usize::try_from(bytes).unwrap_or(RECORD_BYTES_MAX)];
            let tried = write_at_end(&self.log, self.log_bytes, &[&zeros[..], &[]]);
            if let Err(error) = self.log.set_len(self.log_bytes) {
                self.failed = true;
                return failed(error);
            }
            self.reserved = 0;
            return tried.or_else(failed);
        }
        Ok(())
    }

    /// What was found when it was opened.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Bytes of the log, its header included.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Adds one record. When this returns it is kept, as [`Durability`] says.
    ///
    /// # Errors
    /// After [`JournalError::Io`] the record is not kept and the journal can be used ([`JournalError::is_full`] says whether
    /// it is room that it wants); where that cannot be made sure,
    /// every later call answers [`JournalError::Failed`].
    pub fn commit(&mut self, record: &[u8]) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if record.is_empty() || record.len() > RECORD_BYTES_MAX {
            return Err(JournalError::RecordLength(record.len()));
        }
        let header = record_header(record);
        let parts = [&header[..], record];
        if let Err(error) = write_at_end(&self.log, self.log_bytes, &parts) {
            // A full disk: what got there must not stand in the way of the next record.
            self.failed = self.log.set_len(self.log_bytes).is_err();
            (self.short, self.reserved) = (true, 0);
            return Err(io_error(&self.directory.join(LOG), error));
        }
        if self.options.durability == Durability::Sync
            && let Err(error) = self.log.sync_data()
        {
            // What of it is on disk nobody knows, and asking again does not tell.
            self.failed = true;
            return Err(io_error(&self.directory.join(LOG), error));
        }
        self.log_bytes += (header.len() + record.len()) as u64;
        self.short = false;
        Ok(())
    }

    /// Whether the log has grown so long that a snapshot of `live_bytes` should replace it: it is more than
    /// four times as long and more than 16 MiB, so the work of writing snapshots stays below that of the log.
    pub fn wants_snapshot(&self, live_bytes: u64) -> bool {
        self.log_bytes > LOG_BYTES_MIN.max(live_bytes.saturating_mul(4))
    }

    /// Replaces snapshot and log by a snapshot of these records and an empty log. A crash at any point leaves the old
    /// state or the new one, which say the same.
    ///
    /// # Errors
    /// As [`Journal::commit`]; the old state is then still there.
    pub fn snapshot(
        &mut self,
        records: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        let generation = self.generation + 1;
        let (path, new) = (
            self.directory.join(SNAPSHOT),
            self.directory.join(SNAPSHOT_NEW),
        );
        write_snapshot(&new, self.options.service, generation, records).inspect_err(|_| {
            // It would be removed at the next opening as well.
            let _ = fs::remove_file(&new);
        })?;
        // Both are on disk before the first is renamed: that takes no room, so a full disk leaves the old state.
        prepare_log(&self.directory, self.options.service, generation).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })?;
        fs::rename(&new, &path).map_err(|error| io_error(&path, error))?;
        // From here on the old log does not count: a failure must not let records go there.
        self.failed = true;
        sync_directory(&self.directory)?;
        use_log(&self.directory)?;
        let log = self.directory.join(LOG);
        self.log = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&log)
            .map_err(|error| io_error(&log, error))?;
        self.generation = generation;
        self.log_bytes = FILE_HEADER_BYTES as u64;
        self.reserved = 0;
        self.failed = false;
        Ok(())
    }
}

/// What a directory holds.
struct Found {
    generation: u64,
    log_bytes: u64,
    recovered: Recovered,
}

fn load(
    directory: &Path,
    service: Service,
    take: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Found, JournalError> {
    let log_path = directory.join(LOG);
    let snapshot = read::snapshot(&directory.join(SNAPSHOT), service, take)?;
    let log = read::log_generation(&log_path, service)?;
    let generation = snapshot.unwrap_or(0);
    let mut recovered = Recovered::default();
    let mut log_bytes = FILE_HEADER_BYTES as u64;
    match log {
        Some(found) if found > generation => {
            return Err(JournalError::Corrupt {
                path: log_path,
                offset: 0,
                what: "the snapshot that this log continues is missing",
            });
        }
        Some(found) if found == generation => {
            let found = read::log(&log_path, take)?;
            recovered = Recovered {
                log_records: found.records,
                torn_bytes: found.torn_bytes,
            };
            log_bytes = found.good_bytes;
        }
        // The process ended between the new snapshot and its log: all that the old log holds is in the snapshot.
        Some(_) => new_log(directory, service, generation)?,
        None if snapshot.is_none() => new_log(directory, service, generation)?,
        // A log is only ever replaced, so it was taken away.
        None => {
            return Err(JournalError::Corrupt {
                path: log_path,
                offset: 0,
                what: "the log that follows the snapshot is missing",
            });
        }
    }
    Ok(Found {
        generation,
        log_bytes,
        recovered,
    })
}

/// The log, to write to, without the record that was being written when the process ended.
fn open_log(directory: &Path, found: &Found) -> Result<File, JournalError> {
    let path = directory.join(LOG);
    let log = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| io_error(&path, error))?;
    if found.recovered.torn_bytes > 0 {
        tracing::warn!(
            log = %path.display(),
            bytes = found.recovered.torn_bytes,
            "cut off a record that was being written when the process ended; it was never acknowledged"
        );
        log.set_len(found.log_bytes)
            .and_then(|()| log.sync_all())
            .map_err(|error| io_error(&path, error))?;
    }
    Ok(log)
}

fn write_at_end(log: &File, offset: u64, parts: &[&[u8]; 2]) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    // One write for small records; the header of a large one does not matter.
    if parts[1].len() <= 1 << 16 {
        log.write_all_at(&parts.concat(), offset)
    } else {
        log.write_all_at(parts[0], offset)?;
        log.write_all_at(parts[1], offset + parts[0].len() as u64)
    }
}

fn write_snapshot(
    path: &Path,
    service: Service,
    generation: u64,
    records: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<(), JournalError> {
    let failed = |error| io_error(path, error);
    let file = create(path)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    out.write_all(&file_header(FileKind::Snapshot, service, generation))
        .map_err(failed)?;
    for record in records {
        let record = record.as_ref();
        if record.is_empty() || record.len() > RECORD_BYTES_MAX {
            return Err(JournalError::RecordLength(record.len()));
        }
        out.write_all(&record_header(record)).map_err(failed)?;
        out.write_all(record).map_err(failed)?;
    }
    out.write_all(&record_header(&[])).map_err(failed)?;
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Makes an empty log the journal's log, durably.
fn new_log(directory: &Path, service: Service, generation: u64) -> Result<(), JournalError> {
    prepare_log(directory, service, generation)?;
    use_log(directory)
}

fn prepare_log(directory: &Path, service: Service, generation: u64) -> Result<(), JournalError> {
    let new = directory.join(LOG_NEW);
    let mut file = create(&new)?;
    file.write_all(&file_header(FileKind::Log, service, generation))
        .and_then(|()| file.sync_all())
        .map_err(|error| io_error(&new, error))
}

fn use_log(directory: &Path) -> Result<(), JournalError> {
    let (path, new) = (directory.join(LOG), directory.join(LOG_NEW));
    fs::rename(&new, &path).map_err(|error| io_error(&path, error))?;
    sync_directory(directory)
}

/// Room on the disk behind the end of a file, which stays where it is.
fn allocate(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    loop {
        return match fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes) {
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => other.map_err(io::Error::from),
        };
    }
}

fn create(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error(path, error))
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        _ => Ok(()),
    }
}

fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|error| io_error(directory, error))
}

/// The lock of a directory. The file stays: whoever removed it would let two in.
fn lock(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io_error(path, error)),
    }
}

const LOCK: &str = "lock";
const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_NEW: &str = "snapshot.tmp";
const LOG: &str = "log";
const LOG_NEW: &str = "log.tmp";

/// Room that is taken ahead of the log's end.
const RESERVED_BYTES: u64 = 256 << 10;
/// A shorter log is never replaced: reading it back is quick.
const LOG_BYTES_MIN: u64 = 16 << 20;
