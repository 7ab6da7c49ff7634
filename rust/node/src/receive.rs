//! Sessions: what a fetch wants of the store, and what becomes of the blocks that it brings. Without network.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hypermesh_blocks::{
    Closure, ExtractReport, Observer, Progress, RootInfo, Store, StoreError, Wanted,
};
use hypermesh_id::{BlockId, Root};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::{Status, pb};
use stoq::{BlockSink, BlockSource, DeltaBlock, SinkError, StoredBlock, Wants};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::answer::{blocking, progress_message, store_failure};
use crate::arriving::{Arriving, EndOnDrop};
use crate::doors::{
    Intake, Intakes, Opened, Order, Received, Receives, Target, Totals, Trouble, Watcher,
};
use crate::intake::{Source, StoreSink};
use crate::older::{Recent, closure_beside, path_beside};

/// Sessions at once, of gets and of parts that reads miss.
const SESSIONS_MAX: usize = 1_024;

/// Opens sessions on a store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receiver {
    store: Store,
    /// Whether blocks may come as deltas.
    deltas: bool,
    /// Trees that were read, beside which paths are fetched.
    recent: Recent,
    open: Arc<Mutex<HashMap<u64, Arc<Session>>>>,
}

/// One fetch, as the store sees it.
pub(crate) struct Session {
    store: Store,
    wants: Mutex<Want>,
    sink: StoreSink,
    trouble: Trouble,
    totals: watch::Sender<Totals>,
    /// Whether everything came, once that was said.
    end: watch::Sender<Option<bool>>,
    /// A root that is being recorded.
    recording: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    runtime: Handle,
}

/// What is wanted still.
enum Want {
    Tree {
        closure: Box<Closure>,
        /// Taken when it is recorded.
        remember: Option<(Root, RootInfo)>,
        /// Bytes that may still be asked for.
        budget: u64,
    },
    Block {
        id: BlockId,
        asked: bool,
        here: bool,
    },
}

impl Receiver {
    pub(crate) fn new(store: Store, deltas: bool) -> Self {
        Self {
            store,
            deltas,
            recent: Recent::default(),
            open: Arc::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Something of a tree was read.
    pub(crate) fn note(&self, root: Root) {
        self.recent.note(root);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is open.
    pub(crate) fn session(&self, id: u64) -> Result<Arc<Session>, Failure> {
        let session = self.sessions().get(&id).cloned();
        session.ok_or_else(|| Failure::new(Status::NOT_FOUND, "this fetch has ended"))
    }

    fn add(&self, session: &Arc<Session>) -> Result<Open<'_>, Failure> {
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS_MAX {
            let text = format!("{SESSIONS_MAX} fetches are under way already; wait for one to end");
            return Err(Failure::new(Status::BUSY, text));
        }
        // By chance: one of a store that was started anew is never taken for one of before.
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::new(Status::IO, format!("no random bytes: {error}")))?;
        let id = u64::from_le_bytes(bytes).max(1);
        sessions.insert(id, Arc::clone(session));
        Ok(Open { receiver: self, id })
    }

    async fn run(
        self,
        order: Order,
        opened: oneshot::Sender<Opened>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> Result<Received, Failure> {
        let Order {
            target,
            destination,
            budget,
        } = order;
        let destination = destination.zip(watcher);
        // Until its root is recorded nothing names these blocks; and what a look finds here is to be here until the end.
        let _lease = match target {
            Target::Block(_) => None,
            _ => Some(self.lease().await?),
        };
        let tree = match target {
            Target::Tree { root, pin, .. } => Some((root, pin)),
            _ => None,
        };
        if let Some((root, pin)) = tree
            && let Some(totals) = self.whole(root).await?
        {
            self.record(root, true, pin).await?;
            let extraction = destination.map(|(path, watcher)| {
                let store = self.store.clone();
                tokio::task::spawn_blocking(move || store.extract(&root, &path, &Told(watcher)))
            });
            let extracted = ended(extraction).await?;
            return Ok(Received { totals, extracted });
        }
        let arriving = Arc::new(Arriving::default());
        let writes_out = tree.is_some() && destination.is_some();
        let want = self.want(&target, budget).await?;
        let offered = writes_out.then(|| Arc::clone(&arriving));
        let session = Arc::new(Session::new(&self.store, want, offered));
        let open = self.add(&session)?;
        let end_of_arrivals = EndOnDrop(&arriving);
        let fetching = Arc::new(AtomicBool::new(true));
        let mut extraction = tree.zip(destination).map(|((root, _), to)| {
            let later = Later {
                watcher: to.1,
                earlier: Arc::clone(&fetching),
            };
            self.extract_arriving(root, to.0, Arc::clone(&arriving), later)
        });
        let mut end = session.end.subscribe();
        // One that does not wait for it any more drops this future as well.
        let _ = opened.send(Opened {
            session: open.id,
            totals: session.totals.subscribe(),
        });
        let complete = tokio::select! {
            end = end.wait_for(Option::is_some) => end.is_ok_and(|end| *end == Some(true)),
            // It waits for the fetch, unless it cannot be done at all.
            early = early(&mut extraction) => return Err(failure_of(early)),
        };
        drop(open);
        let kept = match target {
            Target::Block(_) => Ok(()),
            _ => self.keep(&session, tree.filter(|_| complete)).await,
        };
        fetching.store(false, Ordering::Relaxed);
        arriving.end(complete && kept.is_ok());
        drop(end_of_arrivals);
        // A failed fetch leaves nothing at the destination before it is reported.
        let extracted = ended(extraction).await;
        kept?;
        if !complete {
            return Err(Failure::new(
                Status::CLOSED,
                "the fetch ended; what arrived is kept",
            ));
        }
        let totals = *session.totals.borrow();
        Ok(Received {
            totals,
            extracted: extracted?,
        })
    }

    /// Keeps `gc` away until it is dropped.
    async fn lease(&self) -> Result<hypermesh_blocks::Lease, Failure> {
        let store = self.store.clone();
        blocking(move || Ok(store.lease()))
            .await
            .map_err(store_failure)
    }

    async fn want(&self, target: &Target, budget: Option<u64>) -> Result<Want, Failure> {
        let (closure, remember) = match target {
            Target::Block(id) => {
                return Ok(Want::Block {
                    id: *id,
                    asked: false,
                    here: false,
                });
            }
            Target::Path { root, path } => {
                let closure = if self.deltas {
                    path_beside(&self.store, &self.recent, *root, path).await?
                } else {
                    Closure::path(*root, path).map_err(store_failure)?
                };
                (closure, None)
            }
            Target::Tree { root, base, pin } => {
                let closure = if self.deltas {
                    closure_beside(&self.store, *root, *base).await?
                } else {
                    Closure::new(*root)
                };
                // Remembered before it is whole, so that gc keeps what arrives until the next try.
                (closure, Some((*root, info(false, *pin))))
            }
        };
        Ok(Want::Tree {
            closure: Box::new(closure),
            remember,
            budget: budget.unwrap_or(u64::MAX),
        })
    }

    /// Whether everything of a tree is here already.
    async fn whole(&self, root: Root) -> Result<Option<Totals>, Failure> {
        let store = self.store.clone();
        let walked = blocking(move || {
            let mut closure = Closure::new(root);
            let wanted = closure.poll(&store, 1)?;
            Ok(matches!(wanted, Wanted::Done).then(|| totals(&closure)))
        });
        walked.await.map_err(store_failure)
    }

    fn extract_arriving(
        &self,
        root: Root,
        path: PathBuf,
        arriving: Arc<Arriving>,
        watcher: Later,
    ) -> JoinHandle<Result<ExtractReport, StoreError>> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            store.extract_arriving(&root, &path, &watcher, &*arriving)
        })
    }

    /// Waits until what came is on disk, and records the tree if it is whole now.
    async fn keep(&self, session: &Session, whole: Option<(Root, bool)>) -> Result<(), Failure> {
        let store = self.store.clone();
        let synced = blocking(move || store.sync()).await;
        let recording = session
            .recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let recorded = match recording {
            Some(recording) => recording
                .await
                .unwrap_or(Err(StoreError::Internal("a blocking call"))),
            None => Ok(()),
        };
        synced.and(recorded).map_err(store_failure)?;
        match whole {
            Some((root, pin)) => self.record(root, true, pin).await,
            None => Ok(()),
        }
    }

    async fn record(&self, root: Root, complete: bool, pin: bool) -> Result<(), Failure> {
        let store = self.store.clone();
        blocking(move || store.record_root(&root, info(complete, pin)))
            .await
            .map_err(store_failure)
    }
}

impl Receives for Receiver {
    fn receive(
        &self,
        order: Order,
        opened: oneshot::Sender<Opened>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> BoxFuture<Result<Received, Failure>> {
        Box::pin(self.clone().run(order, opened, watcher))
    }

    fn received(&self, session: u64, complete: bool) -> BoxFuture<Result<(), Failure>> {
        let told = self.session(session).map(|session| session.over(complete));
        Box::pin(std::future::ready(told))
    }
}

impl Intakes for Receiver {
    fn source(&self) -> Arc<dyn BlockSource> {
        Arc::new(Source(self.store.clone()))
    }

    fn intake(&self, session: u64) -> Result<Intake, Failure> {
        let session = self.session(session)?;
        Ok(Intake {
            wants: Box::new(Asked(Arc::clone(&session))),
            trouble: session.trouble.clone(),
            sink: session,
        })
    }
}

impl Session {
    /// Needs a runtime.
    fn new(store: &Store, want: Want, arriving: Option<Arc<Arriving>>) -> Self {
        let trouble = Trouble::default();
        Self {
            store: store.clone(),
            wants: Mutex::new(want),
            sink: StoreSink::new(store, &trouble, arriving),
            trouble,
            totals: watch::channel(Totals::default()).0,
            end: watch::channel(None).0,
            recording: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// No more comes. The first word counts.
    fn over(&self, complete: bool) {
        self.end.send_modify(|end| {
            end.get_or_insert(complete);
        });
    }

    fn wants(&self) -> MutexGuard<'_, Want> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At most `max` blocks that are wanted. Blocking.
    pub(crate) fn poll(&self, max: usize) -> Result<stoq::Wanted, Failure> {
        let mut wants = self.wants();
        let (closure, remember, budget) = match &mut *wants {
            Want::Tree {
                closure,
                remember,
                budget,
            } => (closure, remember, budget),
            Want::Block { id, asked, here } => {
                return Ok(match (std::mem::replace(asked, true), *here) {
                    (false, _) => {
                        let raw_len = hypermesh_blocks::limits::BLOCK_BYTES_MAX as u32;
                        stoq::Wanted::Blocks(vec![stoq::BlockRef { id: *id, raw_len }])
                    }
                    (true, false) => stoq::Wanted::Waiting,
                    (true, true) => stoq::Wanted::Done,
                });
            }
        };
        let wanted = closure.poll(&self.store, max).map_err(store_failure)?;
        // Here, and the closure would have refused it if it were no root. Recording waits for the disk, so not on this
        // thread.
        if let Some((root, info)) = remember.take_if(|(root, _)| self.store.contains(&root.0)) {
            let store = self.store.clone();
            let recording = self
                .runtime
                .spawn_blocking(move || store.record_root(&root, info));
            *self
                .recording
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(recording);
        }
        self.totals.send_replace(totals(closure));
        Ok(match wanted {
            Wanted::Blocks(blocks) if !affords(budget, &blocks) => stoq::Wanted::Done,
            Wanted::Blocks(blocks) => stoq::Wanted::Blocks(
                blocks
                    .into_iter()
                    .map(|block| stoq::BlockRef {
                        id: block.id,
                        raw_len: block.raw_len,
                    })
                    .collect(),
            ),
            Wanted::Waiting => stoq::Wanted::Waiting,
            Wanted::Done => stoq::Wanted::Done,
        })
    }

    /// A block has been taken in.
    pub(crate) fn note(&self, id: &BlockId) {
        match &mut *self.wants() {
            Want::Tree { closure, .. } => closure.received(id),
            Want::Block { id: own, here, .. } => *here |= own == id,
        }
    }

    /// Blocks against which one that was just named may come as a delta, the likeliest first. Blocking.
    pub(crate) fn bases(&self, id: &BlockId) -> Vec<BlockId> {
        match &mut *self.wants() {
            Want::Tree { closure, .. } => closure.bases(&self.store, id),
            Want::Block { .. } => Vec::new(),
        }
    }

    /// What failed here, if anything did.
    pub(crate) fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

impl BlockSink for Session {
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>> {
        self.sink.accept(blocks)
    }
    fn accept_deltas(&self, deltas: Vec<(BlockId, DeltaBlock)>) -> Vec<Result<(), SinkError>> {
        self.sink.accept_deltas(deltas)
    }
}

/// A session as a transfer asks it.
struct Asked(Arc<Session>);

impl Wants for Asked {
    fn poll(&mut self, max: usize) -> Result<stoq::Wanted, String> {
        self.0
            .poll(max)
            .map_err(|failure| self.0.trouble.note(failure))
    }
    fn received(&mut self, id: &BlockId) {
        self.0.note(id);
    }
    fn bases(&self, id: &BlockId) -> Vec<BlockId> {
        self.0.bases(id)
    }
}

/// Whether the budget has room for these; it is spent on them then. The first ones of a file are worth something without
/// the rest, some of these are not.
fn affords(budget: &mut u64, blocks: &[hypermesh_blocks::BlockRef]) -> bool {
    let bytes = blocks.iter().map(|block| u64::from(block.raw_len)).sum();
    let left = budget.checked_sub(bytes);
    *budget = left.unwrap_or_default();
    left.is_some()
}

/// A session that can be asked; dropped, it cannot.
struct Open<'a> {
    receiver: &'a Receiver,
    id: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.receiver.sessions().remove(&self.id);
    }
}

fn totals(closure: &Closure) -> Totals {
    Totals {
        known: closure.known_totals(),
        present: closure.present(),
    }
}

fn info(complete: bool, pin: bool) -> RootInfo {
    RootInfo {
        complete,
        pin,
        source: Vec::new(),
    }
}

type Extraction = JoinHandle<Result<ExtractReport, StoreError>>;
type Extracted = Result<Result<ExtractReport, StoreError>, JoinError>;

/// What an extraction did; nothing if there is none.
async fn ended(extraction: Option<Extraction>) -> Result<ExtractReport, Failure> {
    let Some(extraction) = extraction else {
        return Ok(ExtractReport::default());
    };
    match extraction.await {
        Ok(Ok(report)) => Ok(report),
        failed => Err(failure_of(failed)),
    }
}

/// Waits for the end of an extraction; for ever if there is none.
async fn early(extraction: &mut Option<Extraction>) -> Extracted {
    match extraction {
        Some(extraction) => extraction.await,
        None => std::future::pending().await,
    }
}

fn failure_of(extracted: Extracted) -> Failure {
    let error = match extracted {
        Ok(Err(error)) => error,
        _ => StoreError::Internal("a blocking call"),
    };
    store_failure(error)
}

/// Tells a watcher of an extraction.
struct Told(Arc<dyn Watcher>);

impl Observer for Told {
    fn progress(&self, progress: &Progress) {
        self.0.report(progress_message(progress));
    }
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Tells of an extraction once the fetch before it has ended: until then the fetch is what is waited for.
struct Later {
    watcher: Arc<dyn Watcher>,
    earlier: Arc<AtomicBool>,
}

impl Observer for Later {
    fn progress(&self, progress: &Progress) {
        if !self.earlier.load(Ordering::Relaxed) {
            self.watcher.report(progress_message(progress));
        }
    }
    fn cancelled(&self) -> bool {
        self.watcher.is_cancelled()
    }
}

/// Whether all that a path needs is in the store.
pub(crate) async fn is_here(store: &Store, root: Root, path: &[u8]) -> Result<bool, Failure> {
    let mut closure = Closure::path(root, path).map_err(store_failure)?;
    let store = store.clone();
    let here = blocking(move || Ok(matches!(closure.poll(&store, 1)?, Wanted::Done)));
    here.await.map_err(store_failure)
}

/// Progress of a fetch in the words of the local wire.
pub(crate) fn fetch_progress(report: &stoq::FetchReport, totals: Totals) -> pb::Progress {
    pb::Progress {
        phase: "fetch".into(),
        // What arrived counts as present at the next look at the tree.
        bytes_done: totals.present.1.max(report.content_bytes),
        bytes_total: totals.known.1,
        items_done: totals.present.0.max(report.blocks),
        items_total: totals.known.0,
        providers: crate::fetch::provider_bytes(report),
        delta_blocks: report.delta_blocks,
        delta_bytes: report.delta_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermesh_blocks::{Ignore, StoreOptions};

    fn order(destination: Option<PathBuf>) -> Order {
        Order {
            target: Target::Tree {
                root: Root(BlockId([7; 32])),
                base: None,
                pin: true,
            },
            destination,
            budget: None,
        }
    }

    struct Nobody;

    impl Watcher for Nobody {
        fn report(&self, _progress: pb::Progress) {}
        fn is_cancelled(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_session_ends_with_the_call_that_opened_it() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store"), StoreOptions::default()).unwrap();
        let receiver = Receiver::new(store.clone(), true);
        let copy = place.path().join("copy");
        let (opened, session) = oneshot::channel();
        let watcher: Arc<dyn Watcher> = Arc::new(Nobody);
        let mut receiving = receiver.receive(order(Some(copy.clone())), opened, Some(watcher));
        let id = tokio::select! {
            ended = &mut receiving => panic!("{ended:?}"),
            opened = session => opened.unwrap().session,
        };
        let wanted = receiver.session(id).unwrap();
        let polled = tokio::task::spawn_blocking(move || wanted.poll(10)).await;
        assert!(matches!(polled.unwrap(), Ok(stoq::Wanted::Blocks(blocks)) if blocks.len() == 1));
        drop(receiving);
        assert_eq!(
            receiver.session(id).err().unwrap().status,
            Status::NOT_FOUND
        );
        assert!(receiver.intake(id).is_err());
        let told = receiver.received(id, true).await.unwrap_err();
        assert_eq!(told.status, Status::NOT_FOUND);
        // Its lease is gone as well: gc has nothing to wait for.
        let swept = tokio::task::spawn_blocking(move || store.gc(false, &Ignore)).await;
        assert_eq!(swept.unwrap().unwrap().removed_blocks, 0);
        assert!(!copy.exists());
    }

    #[tokio::test]
    async fn a_session_that_is_told_of_its_end_says_what_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("store"), StoreOptions::default()).unwrap();
        let receiver = Receiver::new(store, true);
        let (opened, session) = oneshot::channel();
        let mut receiving = receiver.receive(order(None), opened, None);
        let id = tokio::select! {
            ended = &mut receiving => panic!("{ended:?}"),
            opened = session => opened.unwrap().session,
        };
        receiver.received(id, false).await.unwrap();
        // The first word counts.
        receiver.received(id, true).await.unwrap();
        let failure = receiving.await.unwrap_err();
        assert_eq!(failure.status, Status::CLOSED);
        assert!(receiver.session(id).is_err());
    }
}
