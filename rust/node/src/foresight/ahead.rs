//! Fetches what is likely to be read next.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hypermesh_blocks::Store;
use hypermesh_id::Root;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::reads::{READERS_MAX, Reader, Reads, plain};
use crate::adviser::Together;
use crate::answer::blocking;
use crate::config::Config;
use crate::doors::{Fetches, Part, Target};
use crate::files;
use crate::receive::is_here;

/// Rounds of fetching ahead that run at once; what is foreseen meanwhile is not fetched.
const ROUNDS_MAX: usize = 4;
/// Reads that belong together: so many in a row at most, with pauses no longer than this.
const TOGETHER_MAX: usize = 16;
const TOGETHER: Duration = Duration::from_secs(5);
/// Paths that one round fetches, all at once.
const PATHS_MAX: usize = 6;
/// How often what was learned is saved. It is advice: what a crash loses is learned again.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// A path of a root.
type Key = (Root, Vec<u8>);

/// Learns from reads and fetches ahead, or does nothing. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Foresight(Option<Arc<Inner>>);

/// What a reader reads together: the group that is going on, and when its last read was.
struct Group {
    last: Instant,
    paths: Vec<Vec<u8>>,
}

struct Inner {
    store: Store,
    scheduler: Arc<dyn Fetches>,
    together: Together,
    reads: Mutex<Reads>,
    started: Instant,
    groups: Mutex<HashMap<Reader, Group>>,
    /// Most bytes that all rounds fetch at once.
    budget: u64,
    rounds: Arc<Semaphore>,
    under_way: Mutex<HashMap<Key, watch::Receiver<()>>>,
    /// Where what was learned is kept.
    file: PathBuf,
}

impl Foresight {
    /// What an earlier run learned in `file` is known; a damaged file is forgotten.
    pub(crate) fn open(
        config: &Config,
        file: PathBuf,
        store: Store,
        scheduler: Arc<dyn Fetches>,
        together: Together,
    ) -> Self {
        if !config.prefetch_enabled {
            return Self(None);
        }
        let Some(reads) = load(&file) else {
            return Self(None);
        };
        Self(Some(Arc::new(Inner {
            store,
            scheduler,
            together,
            reads: Mutex::new(reads),
            started: Instant::now(),
            groups: Mutex::default(),
            budget: config.prefetch_budget,
            rounds: Arc::new(Semaphore::new(ROUNDS_MAX)),
            under_way: Mutex::default(),
            file,
        })))
    }

    /// A file is about to be read. Begins to fetch what is likely next, and waits for the file itself if it is on its way.
    pub(crate) async fn read(&self, reader: Reader, root: Root, path: &[u8]) {
        let Some(inner) = &self.0 else { return };
        let key = (root, plain(path));
        let coming = inner.under_way().get(&key).cloned();
        let now = inner.started.elapsed().as_secs();
        let next = inner.reads().read(reader, &key.1, now);
        let together = inner.grouped(reader, &key.1);
        // First of all: while this one is waited for, the next are on their way.
        if let Ok(round) = Arc::clone(&inner.rounds).try_acquire_owned() {
            let (inner, path) = (Arc::clone(inner), key.1.clone());
            tokio::spawn(async move {
                let _round = round;
                inner.round(root, path, together, next).await;
            });
        }
        if let Some(mut coming) = coming {
            // It ends when the fetch does, however that ends.
            let _ = coming.changed().await;
        }
        let counts = {
            let mut reads = inner.reads();
            reads.was_ahead(root, &key.1);
            reads.counts()
        };
        metrics::counter!("hypermesh_reads").absolute(counts.reads);
        metrics::counter!("hypermesh_reads_foreseen").absolute(counts.foreseen);
    }

    /// Saves what was learned, now and then.
    pub(crate) async fn keep(self) {
        let mut tick = tokio::time::interval(SAVE_EVERY);
        tick.tick().await;
        loop {
            tick.tick().await;
            self.save().await;
        }
    }

    /// Saves what was learned.
    pub(crate) async fn save(&self) {
        let Some(inner) = self.0.clone() else { return };
        let saved = blocking(move || {
            let bytes = inner.reads().save();
            if let Err(error) = files::keep(&inner.file, &bytes) {
                tracing::warn!(%error, file = %inner.file.display(), "what was learned of reads was not saved");
            }
            Ok(())
        });
        drop(saved.await);
    }
}

fn load(file: &Path) -> Option<Reads> {
    let saved = files::read_bounded(file, Reads::SAVED_BYTES_MAX);
    if let Some(reads) = saved.as_deref().ok().and_then(Reads::load) {
        return Some(reads);
    }
    if !matches!(&saved, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        tracing::warn!(file = %file.display(), "what was learned of reads cannot be used; it is learned again");
    }
    let reads = Reads::new();
    reads
        .inspect_err(|error| tracing::error!(%error, "reads are not learned"))
        .ok()
}

impl Inner {
    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<()>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a path to the group that is going on. Answers the group before, when that has ended.
    fn grouped(&self, reader: Reader, path: &[u8]) -> Vec<Vec<u8>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let group = groups.entry(reader).or_insert_with(|| Group {
            last: now,
            paths: Vec::new(),
        });
        let ended = now.saturating_duration_since(group.last) >= TOGETHER
            || group.paths.len() >= TOGETHER_MAX;
        let before = if ended {
            std::mem::take(&mut group.paths)
        } else {
            Vec::new()
        };
        group.last = now;
        if !group.paths.iter().any(|other| other == path) {
            group.paths.push(path.to_vec());
        }
        if groups.len() > READERS_MAX {
            let silent = groups.iter().min_by_key(|(_, group)| group.last);
            let silent = silent.map(|(reader, _)| *reader);
            // Its reads are not learned as a group; the order of them is.
            silent.and_then(|reader| groups.remove(&reader));
        }
        before
    }

    /// Says that a path is under way until what this answers is dropped; `None` when it is already.
    fn begin(&self, key: &Key) -> Option<watch::Sender<()>> {
        let mut under_way = self.under_way();
        if under_way.contains_key(key) {
            return None;
        }
        let (ended, coming) = watch::channel(());
        under_way.insert(key.clone(), coming);
        Some(ended)
    }

    /// One round: what is likely next by layer 4, and what layer 3 knows to be read with this path, is fetched; then
    /// layer 3 learns what was read together.
    async fn round(
        self: Arc<Self>,
        root: Root,
        path: Vec<u8>,
        together: Vec<Vec<u8>>,
        mut paths: Vec<Vec<u8>>,
    ) {
        for other in self.together.read_with(&path).await {
            if !paths.contains(&other) {
                paths.push(other);
            }
        }
        paths.truncate(PATHS_MAX);
        let budget = self.budget / (ROUNDS_MAX * paths.len().max(1)) as u64;
        let mut fetches = JoinSet::new();
        for path in paths {
            fetches.spawn(Arc::clone(&self).path(root, path, budget));
        }
        if together.len() > 1 {
            self.together.read_together(together).await;
        }
        while fetches.join_next().await.is_some() {}
    }

    /// Fetches one path, unless that is under way already.
    async fn path(self: Arc<Self>, root: Root, path: Vec<u8>, budget: u64) {
        let key = (root, path);
        let Some(_ended) = self.begin(&key) else {
            return;
        };
        match self.fetch(root, &key.1, budget).await {
            Ok((bytes, whole)) => {
                metrics::counter!("hypermesh_ahead_bytes").increment(bytes);
                if bytes > 0 && whole {
                    self.reads().got_ahead(root, &key.1);
                    metrics::counter!("hypermesh_ahead").increment(1);
                }
            }
            Err(failure) => tracing::debug!(%failure, "nothing was fetched ahead"),
        }
        self.under_way().remove(&key);
    }

    /// Fetches what a path needs, at most so many bytes of it. Answers how many came, and whether all of it is here.
    async fn fetch(
        &self,
        root: Root,
        path: &[u8],
        budget: u64,
    ) -> Result<(u64, bool), mfn_local::Failure> {
        if is_here(&self.store, root, path).await? {
            return Ok((0, true));
        }
        let part = Part {
            target: Target::Path {
                root,
                path: path.to_vec(),
            },
            budget: Some(budget),
            at_once: true,
        };
        let bytes = self.scheduler.fetch(part).await?;
        Ok((bytes, is_here(&self.store, root, path).await?))
    }
}
