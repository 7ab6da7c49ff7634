//! Fetches what is likely to be read next.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hypermesh_blocks::Closure;
use hypermesh_id::Root;
use tokio::sync::{Semaphore, watch};

use super::reads::{Reads, plain};
use crate::answer::{blocking, store_failure};
use crate::config::Config;
use crate::fetch::{Fetcher, Order};
use crate::files;

/// Rounds of fetching ahead that run at once; what is foreseen meanwhile is not fetched.
const ROUNDS_MAX: usize = 2;
/// Reads that are further apart than this are not linked.
const TOGETHER: Duration = Duration::from_secs(5);
/// How often what was learned is saved. It is advice: what a crash loses is learned again.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// A path of a root.
type Key = (Root, Vec<u8>);

/// Learns from reads and fetches ahead, or does nothing. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Foresight(Option<Arc<Inner>>);

struct Inner {
    fetcher: Arc<Fetcher>,
    reads: Mutex<Reads>,
    started: Instant,
    last: Mutex<Option<(Instant, Vec<u8>)>>,
    /// Most bytes that one round fetches.
    budget: u64,
    rounds: Arc<Semaphore>,
    under_way: Mutex<HashMap<Key, watch::Receiver<()>>>,
    /// Where what was learned is kept.
    file: PathBuf,
}

impl Foresight {
    /// What an earlier run learned in `file` is known; a damaged file is forgotten.
    pub(crate) fn open(config: &Config, file: PathBuf, fetcher: Arc<Fetcher>) -> Self {
        if !config.prefetch_enabled {
            return Self(None);
        }
        let Some(reads) = load(&file) else {
            return Self(None);
        };
        Self(Some(Arc::new(Inner {
            fetcher,
            reads: Mutex::new(reads),
            started: Instant::now(),
            last: Mutex::default(),
            budget: config.prefetch_budget,
            rounds: Arc::new(Semaphore::new(ROUNDS_MAX)),
            under_way: Mutex::default(),
            file,
        })))
    }

    /// A file is about to be read. Waits for it if it is being fetched ahead, and begins to fetch what is likely next.
    pub(crate) async fn read(&self, root: Root, path: &[u8]) {
        let Some(inner) = &self.0 else { return };
        let path = plain(path);
        let coming = inner.under_way().get(&(root, path.clone())).cloned();
        if let Some(mut coming) = coming {
            // It ends when the fetch does, however that ends.
            let _ = coming.changed().await;
        }
        let next = inner
            .reads()
            .read(root, &path, inner.started.elapsed().as_secs());
        metrics::counter!("hypermesh_reads").absolute(inner.reads().counts().reads);
        metrics::counter!("hypermesh_reads_foreseen").absolute(inner.reads().counts().foreseen);
        let before = inner.follow(&path);
        let Ok(round) = Arc::clone(&inner.rounds).try_acquire_owned() else {
            return;
        };
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            let _round = round;
            inner.round(root, path, before, next).await;
        });
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
            if let Err(error) = files::replace(&inner.file, &bytes) {
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
    if !matches!(&saved, Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
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

    /// The path that was read a moment before this one.
    fn follow(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace((Instant::now(), path.to_vec()));
        before
            .filter(|(at, before)| at.elapsed() < TOGETHER && before != path)
            .map(|(_, before)| before)
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

    /// One round: layer 3 learns what was read together, and is asked where layer 4 is silent; what comes out of it is
    /// fetched.
    async fn round(&self, root: Root, path: Vec<u8>, before: Option<Vec<u8>>, next: Vec<Vec<u8>>) {
        let adviser = &self.fetcher.adviser;
        let next = if next.is_empty() {
            adviser.read_with(&path).await
        } else {
            next
        };
        if let Some(before) = before {
            adviser.read_together(before, path).await;
        }
        let mut left = self.budget;
        for path in next {
            if self.fetcher.is_alone() || left == 0 {
                return;
            }
            let key = (root, path);
            let Some(_ended) = self.begin(&key) else {
                continue;
            };
            match self.fetch(root, &key.1, left).await {
                Ok((bytes, whole)) => {
                    left = left.saturating_sub(bytes);
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
    }

    /// Fetches what a path needs, at most so many bytes of it. Answers how many came, and whether all of it is here.
    async fn fetch(
        &self,
        root: Root,
        path: &[u8],
        budget: u64,
    ) -> Result<(u64, bool), mfn_local::Failure> {
        if self.fetcher.is_here(root, path).await? {
            return Ok((0, true));
        }
        let order = Order {
            budget: Some(budget),
            ..Order::new(Closure::path(root, path).map_err(store_failure)?, root.0)
        };
        let (report, _) = self.fetcher.fetch(order, None).await?;
        Ok((
            report.content_bytes,
            self.fetcher.is_here(root, path).await?,
        ))
    }
}
