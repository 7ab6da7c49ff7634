//! The state after a decided block as a file, so that a restart need not apply all blocks again.
//!
//! It is written beside the agreement, by a thread that gives way to others: a clone of the state is free. A file is as good
//! as its proof ([`hypermesh_registry::load`]), whoever wrote it; one that is missing or damaged costs time, not truth.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use hypermesh_registry::{Genesis, Ledger, Link, MempoolLimits, Sealed, State, load, save};

use super::store::DecidedStore;
use crate::files;

/// What a height costs to apply beside its bytes: as much as so many bytes of transactions.
const HEIGHT_BYTES: u64 = 1_024;
/// What an entry of the state takes in a file, about, if its name is short. Before so many bytes of blocks as the state has nothing
/// is written again, so that about as much is written for snapshots as for blocks: more where names are long, since the blocks
/// after the last one are what a restart takes.
const ENTRY_BYTES: u64 = 128;
/// About a tenth of the processor time of a thread as all others are, where there is not enough.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// Files that are kept: the last one, and the one before it in case of damage.
const KEPT: usize = 2;
/// Bytes of a file that are buffered, and after how many pieces it is put on the disk: the log's flushes wait behind no more.
const BUFFER_BYTES: usize = 256 << 10;
const PIECES_SYNCED: u32 = 8;
const PREFIX: &str = "snapshot-";
/// The end of the name of a file that is not whole.
pub(crate) const UNFINISHED: &str = ".new";

/// When snapshots are made, and asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// After so many bytes of blocks, where a small state is.
    pub(crate) every: u64,
    /// So many heights behind others, one of theirs is asked for.
    pub(crate) behind: u64,
}

/// The state after a block, to be written.
struct Due {
    state: State,
    links: Vec<Link>,
    sealed: Sealed,
}

impl Due {
    fn height(&self) -> u64 {
        self.sealed.certificate.height.0
    }
}

/// Decides when the state is written, and has it written. Dropped, it waits until its thread has ended.
pub(crate) struct Snapshots {
    policy: Policy,
    directory: PathBuf,
    store: DecidedStore,
    /// Since the last one: bytes of blocks, and of heights.
    spent: u64,
    /// The one that goes first, and the newest that became due behind it.
    due: Option<Due>,
    next: Option<Due>,
    shared: Arc<Shared>,
    writer: Option<(SyncSender<Due>, JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The height of the newest file.
    last: AtomicU64,
    ended: AtomicBool,
}

impl Snapshots {
    /// Of a ledger that was made from the file of this height, or from the genesis.
    pub(crate) fn new(directory: &Path, policy: Policy, store: DecidedStore, height: u64) -> Self {
        let shared = Arc::new(Shared::default());
        shared.last.store(height, Ordering::Release);
        Self {
            policy,
            directory: directory.into(),
            store,
            spent: 0,
            due: None,
            next: None,
            shared,
            writer: None,
        }
    }

    /// The height of the newest file.
    pub(crate) fn last(&self) -> u64 {
        self.shared.last.load(Ordering::Acquire)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// A block of this length was applied. That and the state say whether this is a height after which it is written: nodes that
    /// count from the same height do so at the same ones, so that one can go on with the file that another began to send.
    pub(crate) fn decided(&mut self, ledger: &Ledger, bytes: usize) {
        let state = ledger.state();
        self.spent = self.spent.saturating_add(bytes as u64 + HEIGHT_BYTES);
        let large = (state.entries_len() as u64).saturating_mul(ENTRY_BYTES);
        if self.spent < self.policy.every.max(large) {
            return;
        }
        self.spent = 0;
        let due = ledger.last().map(|sealed| Due {
            state: state.clone(),
            links: ledger.links().to_vec(),
            sealed: sealed.clone(),
        });
        // One that still waits goes first, or none would be written where blocks come faster. Behind it, and of those that are
        // applied again at a start, only the last counts: it is written however long no block comes then.
        if self.due.is_some() && self.writer.is_some() {
            self.next = due;
        } else {
            self.due = due;
        }
    }

    /// Starts to write.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        let (to, all) = sync_channel(1);
        let (directory, shared) = (self.directory.clone(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new()
            .name("order-snapshot".into())
            .spawn(move || write_all(&directory, &all, &shared))?;
        self.writer = Some((to, thread));
        Ok(())
    }

    /// Has written what is due, once the store has its block: a file is never ahead of its own node's blocks.
    pub(crate) fn poll(&mut self) {
        let Some((to, _)) = &self.writer else {
            return;
        };
        let stored = self.store.stored();
        while let Some(due) = self.due.take_if(|due| due.height() <= stored) {
            if let Err(TrySendError::Full(due)) = to.try_send(due) {
                self.due = Some(due);
                return;
            }
            self.due = self.next.take();
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some((to, thread)) = self.writer.take() {
            drop(to);
            // It has logged what there was to say.
            let _ = thread.join();
        }
    }
}

/// The thread that writes.
fn write_all(directory: &Path, all: &Receiver<Due>, shared: &Shared) {
    give_way();
    while let Ok(due) = all.recv() {
        let (height, began) = (due.height(), Instant::now());
        let path = path_of(directory, height);
        match write(&path, &due, &shared.ended) {
            Ok(bytes) => {
                let seconds = began.elapsed().as_secs_f64();
                metrics::gauge!("hypermesh_order_snapshot_height").set(height as f64);
                metrics::gauge!("hypermesh_order_snapshot_bytes").set(bytes as f64);
                metrics::histogram!("hypermesh_order_snapshot_seconds").record(seconds);
                tracing::info!(height, bytes, seconds, "the decided state is written");
                shared.last.fetch_max(height, Ordering::AcqRel);
                prune(directory);
            }
            Err(_) if shared.ended.load(Ordering::Acquire) => return,
            // The blocks are there; a restart takes longer.
            Err(error) => {
                metrics::counter!("hypermesh_order_snapshot_failed").increment(1);
                tracing::warn!(%error, path = %path.display(), "the decided state could not be written");
            }
        }
    }
}

/// Lets other threads go first, but on a machine that is busy for long not all of them always: the longer a file takes, the more
/// blocks are applied after it at a restart. On Linux a thread has a niceness of its own; elsewhere it would be the whole process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS)
    {
        tracing::debug!(%error, "snapshots are written as all else is");
    }
}

fn write(path: &Path, due: &Due, ended: &AtomicBool) -> io::Result<u64> {
    let unfinished = unfinished(path);
    let written = write_beside(&unfinished, due, ended).and_then(|bytes| {
        install(&unfinished, path)?;
        Ok(bytes)
    });
    written.inspect_err(|_| discard(&unfinished))
}

fn write_beside(path: &Path, due: &Due, ended: &AtomicBool) -> io::Result<u64> {
    let to = BufWriter::with_capacity(BUFFER_BYTES, create(path)?);
    let mut pieces = 0;
    let pause = |to: &mut BufWriter<File>| {
        if ended.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        pieces += 1;
        if pieces % PIECES_SYNCED == 0 {
            to.flush()?;
            to.get_ref().sync_data()?;
        }
        Ok(())
    };
    let written = save(to, (&due.state, &due.links, &due.sealed), pause)?;
    let file = written
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// A file that nobody else may read, empty.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Gives a file that is whole and on the disk its name.
pub(crate) fn install(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    files::sync_parent(path)
}

pub(crate) fn discard(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "an unfinished snapshot stays");
        }
        _ => {}
    }
}

pub(crate) fn path_of(directory: &Path, height: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{height}"))
}

pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// The heights of the files that are here, newest first.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn heights(directory: &Path) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let height = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        all.extend(height.and_then(|height| height.parse::<u64>().ok()));
    }
    all.sort_unstable_by(|one, other| other.cmp(one));
    Ok(all)
}

/// Removes all but the newest.
fn prune(directory: &Path) {
    for height in heights(directory)
        .unwrap_or_default()
        .into_iter()
        .skip(KEPT)
    {
        discard(&path_of(directory, height));
    }
}

/// What the files of a directory gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Of the newest that is whole.
    pub(crate) ledger: Option<Ledger>,
    /// Newer ones that cannot be used, and why.
    pub(crate) unusable: Vec<(PathBuf, String)>,
}

/// The ledger of the newest file that is whole, of those from a height on.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn restore(
    directory: &Path,
    genesis: &Genesis,
    least: u64,
    threads: NonZeroUsize,
) -> io::Result<Found> {
    let mut found = Found::default();
    for height in heights(directory)?
        .into_iter()
        .take_while(|height| *height >= least)
    {
        let path = path_of(directory, height);
        let loaded = File::open(&path).map_err(Into::into).and_then(|file| {
            let file = BufReader::with_capacity(BUFFER_BYTES, file);
            load(file, genesis, MempoolLimits::default(), threads)
        });
        let reason = match loaded {
            Ok(ledger) if ledger.tip().height == height => {
                found.ledger = Some(ledger);
                break;
            }
            Ok(ledger) => format!("it is of height {}", ledger.tip().height),
            Err(error) => error.to_string(),
        };
        found.unusable.push((path, reason));
    }
    Ok(found)
}

/// Removes what a crash left unfinished.
pub(crate) fn tidy(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(UNFINISHED) {
            discard(&entry.path());
        }
    }
    Ok(())
}
