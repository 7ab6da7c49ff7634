//! What was decided, in `decided.redb`: blocks by height, what became of their transactions, and where to find things.
//!
//! The log has every decision before this does, so it is written beside the agreement: a thread takes all that waits and
//! commits it at once. What is not committed yet is read from memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hypermesh_consensus::{Decided, Height};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const OUTCOMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outcomes");
const FINDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("finds");
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// In the table about it: after which height it begins.
const BEGINS_AFTER: &str = "begins after";
/// Decisions that come while others are written; agreement waits beyond that.
const WAITING_MAX: usize = 64;
/// How long decisions are gathered for one commit, and how many bytes of them: a commit costs as much as dozens of heights, and
/// the log has them meanwhile.
const GATHERED: Duration = Duration::from_millis(200);
const GATHERED_BYTES: usize = 4 << 20;
/// Blocks that are read while another is applied.
const READ_AHEAD: usize = 4;
/// Memory of the database.
const CACHE_BYTES: usize = 16 << 20;
/// Most results of one look.
const FOUND_MAX: usize = 4_096;

/// A store that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DecidedError {
    #[error(
        "{} cannot be used ({reason}): put back the disk's copy of the whole directory, never an older one, or have this node removed from the mesh and join with a new identity",
        path.display()
    )]
    Unusable { path: PathBuf, reason: String },
    #[error("{} is of another mesh than the genesis beside it", path.display())]
    OtherMesh { path: PathBuf },
    #[error("{}: the decision of height {height} is not there or not readable: {reason}", path.display())]
    Block {
        path: PathBuf,
        height: u64,
        reason: String,
    },
}

/// A key by which something is found, and what it leads to.
pub(crate) type Find = (Vec<u8>, Vec<u8>);

/// One decided height, and what is to be found by it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) decided: Decided,
    pub(crate) outcomes: Bytes,
    /// Keys and what they lead to.
    pub(crate) finds: Vec<Find>,
}

/// The decided blocks of a mesh. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DecidedStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    database: Database,
    waiting: Mutex<BTreeMap<u64, Arc<Entry>>>,
    stored: AtomicU64,
    /// Up to which height blocks may be missing.
    begins_after: AtomicU64,
    failed: Mutex<Option<DecidedError>>,
}

/// The end that adds to a store. Dropped, it waits until all is on the disk.
pub(crate) struct Writer {
    store: DecidedStore,
    to: Option<SyncSender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

enum Ask {
    /// There are so many bytes more.
    More(usize),
    /// Answers when all that was given before is on the disk.
    Sync(SyncSender<()>),
}

impl DecidedStore {
    /// Opens the store of a mesh, or makes it.
    ///
    /// # Errors
    /// When it is damaged or of another mesh.
    pub(crate) fn open(directory: &Path, mesh: &[u8; 32]) -> Result<(Self, Writer), DecidedError> {
        let path = directory.join("decided.redb");
        let unusable = |reason: String| DecidedError::Unusable {
            path: path.clone(),
            reason,
        };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder
            .create(&path)
            .map_err(|error| unusable(error.to_string()))?;
        private(&path).map_err(|error| unusable(error.to_string()))?;
        let (begins_after, stored) = first_look(&database, mesh)
            .map_err(|error| unusable(error.to_string()))?
            .ok_or_else(|| DecidedError::OtherMesh { path: path.clone() })?;
        let store = Self {
            shared: Arc::new(Shared {
                path,
                database,
                waiting: Mutex::default(),
                stored: AtomicU64::new(stored),
                begins_after: AtomicU64::new(begins_after),
                failed: Mutex::default(),
            }),
        };
        let writer = store.writer()?;
        Ok((store, writer))
    }

    /// The end that adds to it. The one before must have been dropped.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn writer(&self) -> Result<Writer, DecidedError> {
        let (to, asked) = sync_channel(WAITING_MAX);
        let store = self.clone();
        let thread = std::thread::Builder::new()
            .name("order-store".into())
            .spawn(move || store.write(&asked));
        Ok(Writer {
            store: self.clone(),
            to: Some(to),
            thread: Some(thread.map_err(|error| self.unusable(error.to_string()))?),
        })
    }

    /// The height after which all blocks are here, up to the last one. It is not 0 when this node went on from a snapshot of others;
    /// of the blocks up to it some may be here too.
    pub(crate) fn begins_after(&self) -> u64 {
        self.shared.begins_after.load(Ordering::Acquire)
    }

    /// Goes on after a height that is beyond the last one here. Waits for the disk.
    ///
    /// # Errors
    /// When it did not get there.
    pub(crate) fn begin_after(&self, height: u64) -> Result<(), DecidedError> {
        self.keep(BEGINS_AFTER, &height.to_le_bytes())?;
        self.shared.begins_after.store(height, Ordering::Release);
        self.shared.stored.fetch_max(height, Ordering::AcqRel);
        Ok(())
    }

    /// The last height on the disk, or the one after which it goes on.
    pub(crate) fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::Acquire)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.shared
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing more can be written, if so.
    pub(crate) fn failed(&self) -> Option<DecidedError> {
        self.shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A decided block and what became of its transactions. Reads the disk.
    ///
    /// # Errors
    /// When the disk's copy cannot be read.
    pub(crate) fn block(&self, height: Height) -> Result<Option<(Decided, Bytes)>, DecidedError> {
        if let Some(entry) = self.waiting().get(&height.0) {
            return Ok(Some((entry.decided.clone(), entry.outcomes.clone())));
        }
        let wrong = |reason: String| DecidedError::Block {
            path: self.shared.path.clone(),
            height: height.0,
            reason,
        };
        let read = || -> Result<_, redb::Error> {
            let reading = self.shared.database.begin_read()?;
            let block = reading.open_table(BLOCKS)?.get(height.0)?;
            let outcomes = reading.open_table(OUTCOMES)?.get(height.0)?;
            Ok(block.map(|block| {
                let outcomes = outcomes.map(|all| Bytes::copy_from_slice(all.value()));
                (block.value().to_vec(), outcomes.unwrap_or_default())
            }))
        };
        let Some((block, outcomes)) = read().map_err(|error| wrong(error.to_string()))? else {
            return Ok(None);
        };
        let decided = Decided::from_bytes(&block).map_err(|error| wrong(error.to_string()))?;
        if decided.certificate.height != height
            || hypermesh_consensus::BlockHash::of(&decided.body) != decided.certificate.block
        {
            return Err(wrong("the block is not the one that was decided".into()));
        }
        Ok(Some((decided, outcomes)))
    }

    /// The blocks after a height, up to the last one that is here, in order. Whoever takes them applies one while the next is read.
    ///
    /// # Errors
    /// When one is missing or damaged, or whoever takes them fails.
    pub(crate) fn each_after<E: From<DecidedError>>(
        &self,
        height: u64,
        mut take: impl FnMut(Decided) -> Result<(), E>,
    ) -> Result<(), E> {
        std::thread::scope(|scope| {
            let (to, all) = sync_channel(READ_AHEAD);
            scope.spawn(move || {
                for height in height + 1..=self.stored() {
                    let missing = || self.missing(height);
                    let block = self.block(Height(height));
                    let block = block.and_then(|block| block.ok_or_else(missing));
                    let is_last = block.is_err();
                    // Who takes them may have failed.
                    if to.send(block.map(|(decided, _)| decided)).is_err() || is_last {
                        return;
                    }
                }
            });
            all.into_iter().try_for_each(|block| take(block?))
        })
    }

    fn missing(&self, height: u64) -> DecidedError {
        DecidedError::Block {
            path: self.shared.path.clone(),
            height,
            reason: "it is not there".into(),
        }
    }

    /// What is found by keys that begin so, the last ones first, below a bound. Reads the disk.
    ///
    /// # Errors
    /// When the disk's copy cannot be read.
    pub(crate) fn find(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Find>, DecidedError> {
        let most = most.min(FOUND_MAX);
        let end = before.map_or_else(|| past(prefix), <[u8]>::to_vec);
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for entry in self.waiting().values() {
            for (key, value) in &entry.finds {
                if key.starts_with(prefix) && *key < end {
                    found.insert(key.clone(), value.clone());
                }
            }
        }
        let read = || -> Result<Vec<Find>, redb::Error> {
            let reading = self.shared.database.begin_read()?;
            let table = reading.open_table(FINDS)?;
            let range = table.range(prefix..&end[..])?;
            let mut all = Vec::new();
            for one in range.rev().take(most) {
                let (key, value) = one?;
                all.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(all)
        };
        let stored = read().map_err(|error| self.unusable(error.to_string()))?;
        found.extend(stored);
        Ok(found.into_iter().rev().take(most).collect())
    }

    /// Keeps something small beside the decisions, over restarts. Waits for the disk.
    ///
    /// # Errors
    /// When it did not get there.
    pub(crate) fn keep(&self, name: &str, value: &[u8]) -> Result<(), DecidedError> {
        let write = || -> Result<(), redb::Error> {
            let writing = begin(&self.shared.database)?;
            writing.open_table(ABOUT)?.insert(name, value)?;
            Ok(writing.commit()?)
        };
        write().map_err(|error| self.unusable(error.to_string()))
    }

    /// What was kept so.
    ///
    /// # Errors
    /// When the disk's copy cannot be read.
    pub(crate) fn kept(&self, name: &str) -> Result<Option<Bytes>, DecidedError> {
        let read = || -> Result<_, redb::Error> {
            let reading = self.shared.database.begin_read()?;
            let value = reading.open_table(ABOUT)?.get(name)?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        };
        read().map_err(|error| self.unusable(error.to_string()))
    }

    /// Names the file, and what to do.
    pub(crate) fn unusable(&self, reason: String) -> DecidedError {
        DecidedError::Unusable {
            path: self.shared.path.clone(),
            reason,
        }
    }

    /// Waits until enough is there for one commit, or somebody waits for it.
    fn gather(&self, first: Ask, asked: &Receiver<Ask>) -> Vec<SyncSender<()>> {
        let until = Instant::now() + GATHERED;
        let mut ask = first;
        let mut bytes = 0;
        loop {
            bytes += match ask {
                Ask::Sync(done) => return vec![done],
                Ask::More(bytes) => bytes,
            };
            if bytes >= GATHERED_BYTES {
                return Vec::new();
            }
            let left = until.saturating_duration_since(Instant::now());
            match asked.recv_timeout(left) {
                Ok(next) => ask = next,
                Err(_) => return Vec::new(),
            }
        }
    }

    /// The thread that writes.
    fn write(&self, asked: &Receiver<Ask>) {
        while let Ok(first) = asked.recv() {
            let syncs = self.gather(first, asked);
            let batch: Vec<Arc<Entry>> = self.waiting().values().cloned().collect();
            if let Some(last) = batch.last() {
                let last = last.decided.certificate.height.0;
                if let Err(error) = commit(&self.shared.database, &batch) {
                    tracing::error!(%error, "decisions cannot be stored");
                    *self
                        .shared
                        .failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(DecidedError::Unusable {
                        path: self.shared.path.clone(),
                        reason: error.to_string(),
                    });
                    return;
                }
                metrics::histogram!("hypermesh_order_stored_heights").record(batch.len() as f64);
                self.shared.stored.store(last, Ordering::Release);
                let mut waiting = self.waiting();
                *waiting = waiting.split_off(&(last + 1));
            }
            for done in syncs {
                // Who asked may be gone.
                let _ = done.send(());
            }
        }
    }
}

impl Writer {
    /// Adds a decision. Waits only when very many wait for the disk already.
    ///
    /// # Errors
    /// When the disk took no more.
    pub(crate) fn add(&self, entry: Entry) -> Result<(), DecidedError> {
        let height = entry.decided.certificate.height.0;
        let bytes = entry.decided.body.len();
        self.store.waiting().insert(height, Arc::new(entry));
        self.ask(Ask::More(bytes))
    }

    /// Waits until all is on the disk.
    ///
    /// # Errors
    /// When it did not get there.
    pub(crate) fn sync(&self) -> Result<(), DecidedError> {
        let (done, wait) = sync_channel(1);
        self.ask(Ask::Sync(done))?;
        wait.recv().map_err(|_| self.why())
    }

    fn ask(&self, ask: Ask) -> Result<(), DecidedError> {
        let sent = self.to.as_ref().map(|to| to.send(ask));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.why()),
        }
    }

    fn why(&self) -> DecidedError {
        self.store.failed().unwrap_or(DecidedError::Unusable {
            path: self.store.shared.path.clone(),
            reason: "its thread has ended".into(),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.to.take());
        if let Some(thread) = self.thread.take() {
            // It has said why, if it failed.
            let _ = thread.join();
        }
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// After which height it begins and the last one; none when the store is of another mesh.
fn first_look(database: &Database, mesh: &[u8; 32]) -> Result<Option<(u64, u64)>, redb::Error> {
    let writing = begin(database)?;
    let (mut begins_after, mut height) = (0, 0);
    let mut is_ours = true;
    {
        let mut about = writing.open_table(ABOUT)?;
        let known = about.get("mesh")?.map(|known| known.value().to_vec());
        match known {
            Some(known) => is_ours = known == mesh,
            None => drop(about.insert("mesh", &mesh[..])?),
        }
        if let Some(kept) = about.get(BEGINS_AFTER)?
            && let Ok(bytes) = kept.value().try_into()
        {
            begins_after = u64::from_le_bytes(bytes);
        }
        writing.open_table(OUTCOMES)?;
        writing.open_table(FINDS)?;
        let blocks = writing.open_table(BLOCKS)?;
        if let Some((last, _)) = blocks.last()? {
            height = last.value();
        }
    }
    writing.commit()?;
    Ok(is_ours.then_some((begins_after, height.max(begins_after))))
}

/// Begins a change, which is wholly on the disk or not at all.
///
/// Each brings along which pages are free. Without that, who opens the file after a crash has to walk through all of it, which is
/// every block that was ever decided.
fn begin(database: &Database) -> Result<redb::WriteTransaction, redb::Error> {
    let mut writing = database.begin_write()?;
    writing.set_quick_repair(true);
    Ok(writing)
}

fn commit(database: &Database, batch: &[Arc<Entry>]) -> Result<(), redb::Error> {
    let writing = begin(database)?;
    {
        let mut blocks = writing.open_table(BLOCKS)?;
        let mut outcomes = writing.open_table(OUTCOMES)?;
        let mut finds = writing.open_table(FINDS)?;
        for entry in batch {
            let height = entry.decided.certificate.height.0;
            blocks.insert(height, &entry.decided.to_bytes()[..])?;
            outcomes.insert(height, &entry.outcomes[..])?;
            for (key, value) in &entry.finds {
                finds.insert(&key[..], &value[..])?;
            }
        }
    }
    writing.commit()?;
    Ok(())
}

/// The first key after all that begin so.
fn past(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing of ours begins with all ones.
    vec![u8::MAX; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermesh_consensus::{BlockHash, Certificate, Round};

    fn entry(height: u64) -> Entry {
        let body = Bytes::from(vec![height as u8; 100]);
        Entry {
            decided: Decided {
                certificate: Certificate {
                    height: Height(height),
                    round: Round::ZERO,
                    block: BlockHash::of(&body),
                    signatures: Vec::new(),
                },
                body,
            },
            outcomes: Bytes::from_static(b"done"),
            finds: vec![(
                [b"name/", &height.to_be_bytes()[..]].concat(),
                height.to_string().into_bytes(),
            )],
        }
    }

    #[test]
    fn decisions_are_there_before_and_after_the_disk_has_them() {
        let place = tempfile::tempdir().unwrap();
        let (store, writer) = DecidedStore::open(place.path(), &[1; 32]).unwrap();
        for height in 1..=100 {
            writer.add(entry(height)).unwrap();
            let (decided, outcomes) = store.block(Height(height)).unwrap().unwrap();
            assert_eq!(
                (decided, &outcomes[..]),
                (entry(height).decided, &b"done"[..])
            );
        }
        writer.sync().unwrap();
        assert_eq!(store.stored(), 100);
        let found = store.find(b"name/", None, 3).unwrap();
        let values: Vec<&[u8]> = found.iter().map(|(_, value)| &value[..]).collect();
        assert_eq!(values, [&b"100"[..], b"99", b"98"]);
        let before = store.find(b"name/", Some(&found[2].0), 1).unwrap();
        assert_eq!(before[0].1, b"97");
        assert!(store.block(Height(101)).unwrap().is_none());
        drop((writer, store));
        let (store, _writer) = DecidedStore::open(place.path(), &[1; 32]).unwrap();
        assert_eq!(store.stored(), 100);
        assert_eq!(store.block(Height(7)).unwrap().unwrap().0, entry(7).decided);
        drop((store, _writer));
        let other = DecidedStore::open(place.path(), &[2; 32]).map(|_| ());
        assert!(matches!(other, Err(DecidedError::OtherMesh { .. })));
    }

    #[test]
    fn blocks_are_read_ahead_in_order_until_one_is_missing() {
        let place = tempfile::tempdir().unwrap();
        let (store, writer) = DecidedStore::open(place.path(), &[1; 32]).unwrap();
        for height in (1..=20).filter(|height| *height != 15) {
            writer.add(entry(height)).unwrap();
        }
        writer.sync().unwrap();
        let mut heights = Vec::new();
        let ended = store.each_after::<DecidedError>(3, |decided| {
            heights.push(decided.certificate.height.0);
            Ok(())
        });
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("height 15"), "{text}");
        assert!(heights.into_iter().eq(4..15));
        // Who takes them may end it.
        let mut taken = 0;
        let ended = store.each_after(0, |_| {
            taken += 1;
            Err(store.unusable("enough".into()))
        });
        assert!(ended.is_err() && taken == 1);
        assert!(store.each_after::<DecidedError>(20, |_| Ok(())).is_ok());
    }

    /// Opening a file that a crash left takes no walk through all blocks.
    #[test]
    fn a_crash_needs_no_repair() {
        let place = tempfile::tempdir().unwrap();
        let (store, writer) = DecidedStore::open(place.path(), &[1; 32]).unwrap();
        for turn in 0..3 {
            (turn * 10 + 1..=turn * 10 + 10).for_each(|height| writer.add(entry(height)).unwrap());
            writer.sync().unwrap();
        }
        store.keep("something", b"kept").unwrap();
        // As it is on the disk, while it is open.
        let crashed = place.path().join("crashed.redb");
        std::fs::copy(place.path().join("decided.redb"), &crashed).unwrap();
        let mut builder = Database::builder();
        builder.set_repair_callback(|_| panic!("it is repaired"));
        let database = builder.open(&crashed).unwrap();
        let reading = database.begin_read().unwrap();
        let blocks = reading.open_table(BLOCKS).unwrap();
        let last = blocks.last().unwrap();
        assert_eq!(last.unwrap().0.value(), 30);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("decided.redb");
        std::fs::write(&path, vec![0x5a; 8192]).unwrap();
        let error = DecidedStore::open(place.path(), &[1; 32]).map(|_| ());
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("decided.redb") && text.contains("put back"),
            "{text}"
        );
    }
}
