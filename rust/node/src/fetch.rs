//! Gets blocks from peers into the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypermesh_blocks::limits::COMMIT_BYTES;
use hypermesh_blocks::{Closure, IngestError, Lease, RootInfo, Sent, Store, StoreError, Wanted};
use hypermesh_id::{BlockId, NodeId, Root};
use mfn_local::{Cancelled, Failure};
use mfn_wire::{Status, pb};
use stoq::{BlockSink, Endpoint, Fetch, FetchError, FetchReport, ProviderBytes, SinkError, Wants};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::adviser::{Adviser, Link};
use crate::answer::{blocking, store_failure};
use crate::arriving::Arriving;
use crate::older::{Recent, path_beside};
use crate::progress::ProgressSink;
use crate::serving::End;

/// Fetches; one for all components.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(crate) store: Store,
    pub(crate) endpoint: Endpoint,
    pub(crate) adviser: Adviser,
    /// How long to wait for a first connected peer.
    pub(crate) peer_wait: Duration,
    /// Whether blocks may come as deltas.
    pub(crate) deltas: bool,
    /// Trees that were read, beside which paths are fetched.
    pub(crate) recent: Recent,
}

/// What a fetch is to get, and who is told of it.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) closure: Closure,
    /// The block by which holders are recognised.
    pub(crate) first: BlockId,
    /// Recorded as soon as its root block is here and is one, so that what arrives outlives an interruption.
    pub(crate) remember: Option<(Root, RootInfo)>,
    /// Who may be asked; nobody for every connected peer.
    pub(crate) chosen: &'a [NodeId],
    pub(crate) progress: Option<&'a ProgressSink>,
    /// Gets every block that comes.
    pub(crate) arriving: Option<Arc<Arriving>>,
    /// Blocks of at most so many bytes are asked for, the first ones.
    pub(crate) budget: Option<u64>,
}

impl Order<'_> {
    /// Everything that the closure wants, of anyone; nobody is told.
    pub(crate) fn new(closure: Closure, first: BlockId) -> Self {
        Self {
            closure,
            first,
            remember: None,
            chosen: &[],
            progress: None,
            arriving: None,
            budget: None,
        }
    }
}

/// What a closure knows of itself while a fetch has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Blocks and bytes that the root is known to have.
    pub(crate) known: (u64, u64),
    /// Blocks and bytes of them that are here, those that arrived included.
    pub(crate) present: (u64, u64),
}

impl Fetcher {
    /// Whether no peer is connected.
    pub(crate) fn is_alone(&self) -> bool {
        !self.endpoint.peers().iter().any(|peer| peer.connected)
    }

    /// Whether all that a path needs is in the store.
    pub(crate) async fn is_here(&self, root: Root, path: &[u8]) -> Result<bool, Failure> {
        let mut closure = Closure::path(root, path).map_err(store_failure)?;
        let store = self.store.clone();
        let here = blocking(move || Ok(matches!(closure.poll(&store, 1)?, Wanted::Done)));
        here.await.map_err(store_failure)
    }

    /// What a path needs; as deltas against what is here of it, where that is wanted.
    pub(crate) async fn path(&self, root: Root, path: &[u8]) -> Result<Closure, Failure> {
        if self.deltas {
            path_beside(&self.store, &self.recent, root, path).await
        } else {
            Closure::path(root, path).map_err(store_failure)
        }
    }

    /// Keeps `gc` away until it is dropped.
    pub(crate) async fn lease(&self) -> Result<Lease, Failure> {
        let store = self.store.clone();
        blocking(move || Ok(store.lease()))
            .await
            .map_err(store_failure)
    }

    /// Gets everything that the order's closure wants, unless it is cancelled.
    pub(crate) async fn fetch(
        &self,
        order: Order<'_>,
        cancelled: Option<Cancelled>,
    ) -> Result<(FetchReport, Totals), Failure> {
        let Order {
            closure,
            first,
            remember,
            chosen,
            progress,
            arriving,
            budget,
        } = order;
        // Until its root is recorded nothing names these blocks.
        let _lease = self.lease().await?;
        let providers = self.providers(first, chosen, cancelled.as_ref()).await?;
        let totals = Arc::new(Mutex::new(Totals::default()));
        let local = Arc::new(Mutex::new(None));
        let recording = Arc::new(Mutex::new(None));
        let wants = ClosureWants {
            closure,
            store: self.store.clone(),
            totals: Arc::clone(&totals),
            local: Arc::clone(&local),
            remember,
            recording: Arc::clone(&recording),
            runtime: Handle::current(),
            budget: budget.unwrap_or(u64::MAX),
        };
        let sink = StoreSink::new(&self.store, &local, arriving);
        let fetch = Fetch {
            providers,
            wants: Box::new(wants),
            sink: Arc::new(sink),
        };
        let observe = |report: &FetchReport| {
            if let Some(progress) = progress {
                let totals = *totals.lock().unwrap_or_else(PoisonError::into_inner);
                progress.report(fetch_progress(report, totals));
            }
        };
        let fetched = self
            .transfer(fetch, observe, cancelled.as_ref(), &local)
            .await;
        let store = self.store.clone();
        let synced = blocking(move || store.sync()).await;
        let recording = recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let recorded = match recording {
            Some(recording) => recording
                .await
                .unwrap_or(Err(StoreError::Internal("a blocking call"))),
            None => Ok(()),
        };
        let report = fetched?;
        synced.and(recorded).map_err(store_failure)?;
        let totals = *totals.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((report, totals))
    }

    /// Gets what a path needs, without progress.
    pub(crate) async fn fetch_quietly(
        &self,
        closure: Closure,
        first: BlockId,
        cancelled: Cancelled,
    ) -> Result<(), Failure> {
        let order = Order::new(closure, first);
        self.fetch(order, Some(cancelled)).await.map(drop)
    }

    /// Gets one block.
    pub(crate) async fn fetch_block(
        &self,
        id: BlockId,
        cancelled: Cancelled,
    ) -> Result<(), Failure> {
        let providers = self.providers(id, &[], Some(&cancelled)).await?;
        let local = Arc::new(Mutex::new(None));
        let fetch = Fetch {
            providers,
            wants: Box::new(OneBlock {
                id,
                asked: false,
                here: false,
            }),
            sink: Arc::new(StoreSink::new(&self.store, &local, None)),
        };
        self.transfer(fetch, |_| {}, Some(&cancelled), &local)
            .await
            .map(drop)
    }

    /// Carries out a transfer. However it ends, the adviser learns what the providers did.
    async fn transfer(
        &self,
        fetch: Fetch,
        observe: impl Fn(&FetchReport) + Send,
        cancelled: Option<&Cancelled>,
        local: &LocalFailure,
    ) -> Result<FetchReport, Failure> {
        let mut learning = Learning {
            adviser: &self.adviser,
            providers: Mutex::default(),
            end: End::Cancelled,
        };
        let fetched = {
            let seen = &learning;
            let observe = move |report: &FetchReport| {
                observe(report);
                seen.saw(&report.providers);
            };
            tokio::select! {
                fetched = self.endpoint.fetch(fetch, observe) => fetched,
                () = gone(cancelled) => {
                    return Err(Failure::new(Status::CANCELLED, "cancelled; what arrived is kept"));
                }
            }
        };
        learning.end = End::Ended;
        drop(learning);
        // At once: who asks next is not to be sent to a liar again.
        self.adviser.tell(&self.links(&[])).await;
        fetched.map_err(|error| fetch_failure(error, local))
    }

    /// Peers that have the block, the one to prefer first.
    async fn providers(
        &self,
        first: BlockId,
        chosen: &[NodeId],
        cancelled: Option<&Cancelled>,
    ) -> Result<Vec<NodeId>, Failure> {
        let links = self.connected(chosen, cancelled).await?;
        let asked: Vec<NodeId> = links.iter().map(|link| link.peer).collect();
        let holders = self.endpoint.who_has(&asked, &[first]).await;
        let holders: BTreeMap<NodeId, Vec<bool>> = holders.into_iter().collect();
        let having: Vec<Link> = links
            .into_iter()
            .filter(|link| {
                holders
                    .get(&link.peer)
                    .is_some_and(|has| has.first() == Some(&true))
            })
            .collect();
        if having.is_empty() {
            let text = format!(
                "none of the {} connected peers has block {first}; connect the node that has it (`hypermesh peers` shows who is away)",
                asked.len()
            );
            return Err(Failure::new(Status::UNREACHABLE, text));
        }
        Ok(self.adviser.rank(having).await)
    }

    /// Links to the connected peers among the chosen ones, or to all.
    fn links(&self, chosen: &[NodeId]) -> Vec<Link> {
        let peers = self.endpoint.peers().into_iter();
        peers
            .filter(|peer| peer.connected && (chosen.is_empty() || chosen.contains(&peer.node)))
            .map(|peer| Link {
                peer: peer.node,
                round_trip: peer.rtt,
            })
            .collect()
    }

    /// Connected peers among the chosen ones, or among all. Waits for a first one: a node that just started is still
    /// connecting.
    async fn connected(
        &self,
        chosen: &[NodeId],
        cancelled: Option<&Cancelled>,
    ) -> Result<Vec<Link>, Failure> {
        let until = Instant::now() + self.peer_wait;
        let mut changes = self.endpoint.changes();
        loop {
            let links = self.links(chosen);
            if !links.is_empty() {
                return Ok(links);
            }
            let peers = self.endpoint.peers();
            if !peers
                .iter()
                .any(|peer| chosen.is_empty() || chosen.contains(&peer.node))
            {
                let text =
                    "this node knows no such peer; `hypermesh join` makes it a member of a mesh";
                return Err(Failure::new(Status::UNREACHABLE, text));
            }
            let left = until.saturating_duration_since(Instant::now());
            let changed = tokio::select! {
                changed = tokio::time::timeout(left, changes.changed()) => changed,
                () = gone(cancelled) => return Err(Failure::new(Status::CANCELLED, "cancelled")),
            };
            if !matches!(changed, Ok(Ok(()))) {
                let text = format!(
                    "no peer was connected within {}; `hypermesh peers` says why",
                    crate::units::format_duration(self.peer_wait)
                );
                return Err(Failure::new(Status::UNREACHABLE, text));
            }
        }
    }
}

/// Tells the adviser what providers did when it is dropped: a fetch whose caller goes away ends without a word.
struct Learning<'a> {
    adviser: &'a Adviser,
    providers: Mutex<Vec<ProviderBytes>>,
    end: End,
}

impl Learning<'_> {
    fn saw(&self, providers: &[ProviderBytes]) {
        let mut seen = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.clear();
        seen.extend_from_slice(providers);
    }
}

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        let providers = self
            .providers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        self.adviser.served(providers, self.end);
    }
}

/// Waits until nobody waits any more; for ever where nobody does from the start.
async fn gone(cancelled: Option<&Cancelled>) {
    match cancelled {
        Some(cancelled) => cancelled.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Progress of a fetch in the words of the local wire.
fn fetch_progress(report: &FetchReport, totals: Totals) -> pb::Progress {
    pb::Progress {
        phase: "fetch".into(),
        // What arrived counts as present at the next look at the tree.
        bytes_done: totals.present.1.max(report.content_bytes),
        bytes_total: totals.known.1,
        items_done: totals.present.0.max(report.blocks),
        items_total: totals.known.0,
        providers: provider_bytes(report),
        delta_blocks: report.delta_blocks,
        delta_bytes: report.delta_bytes,
    }
}

pub(crate) fn provider_bytes(report: &FetchReport) -> Vec<pb::ProviderBytes> {
    report
        .providers
        .iter()
        .map(|provider| pb::ProviderBytes {
            node_id: provider.node.to_string(),
            bytes: provider.bytes,
            blocks: provider.blocks,
            state: provider.state.clone(),
        })
        .collect()
}

/// What failed on this side. The transport hands only its text on.
type LocalFailure = Arc<Mutex<Option<Failure>>>;

/// Keeps the first failure with its status; answers its text.
fn note(local: &LocalFailure, error: StoreError) -> String {
    let text = error.to_string();
    local
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(|| store_failure(error));
    text
}

fn fetch_failure(error: FetchError, local: &LocalFailure) -> Failure {
    let status = match &error {
        FetchError::NoProviders { .. } => Status::UNREACHABLE,
        FetchError::Local(_) | FetchError::Wants(_) => {
            let failure = local.lock().unwrap_or_else(PoisonError::into_inner).take();
            failure.map_or(Status::IO, |failure| failure.status)
        }
        _ => Status::CLOSED,
    };
    if status == Status::CORRUPT {
        // Nothing of it can ever be used.
        return Failure::new(status, error.to_string());
    }
    Failure::new(status, format!("{error}; what arrived is kept"))
}

/// A root that is being recorded.
type Recording = JoinHandle<Result<(), StoreError>>;

/// A closure over the store as the transport asks it.
struct ClosureWants {
    closure: Closure,
    store: Store,
    totals: Arc<Mutex<Totals>>,
    local: LocalFailure,
    /// Taken when it is recorded.
    remember: Option<(Root, RootInfo)>,
    recording: Arc<Mutex<Option<Recording>>>,
    runtime: Handle,
    /// Bytes that may still be asked for.
    budget: u64,
}

impl ClosureWants {
    /// Whether the budget has room for these; it is spent on them then. The first ones of a file are worth something
    /// without the rest, some of these are not.
    fn affords(&mut self, blocks: &[hypermesh_blocks::BlockRef]) -> bool {
        let bytes = blocks.iter().map(|block| u64::from(block.raw_len)).sum();
        let left = self.budget.checked_sub(bytes);
        self.budget = left.unwrap_or_default();
        left.is_some()
    }
}

impl Wants for ClosureWants {
    fn poll(&mut self, max: usize) -> Result<stoq::Wanted, String> {
        let wanted = self
            .closure
            .poll(&self.store, max)
            .map_err(|error| note(&self.local, error))?;
        // Here, and the closure would have refused it if it were no root. Recording waits for the disk, so not on
        // this thread.
        let (store, remember) = (&self.store, &mut self.remember);
        if let Some((root, info)) = remember.take_if(|(root, _)| store.contains(&root.0)) {
            let store = store.clone();
            let recording = self
                .runtime
                .spawn_blocking(move || store.record_root(&root, info));
            *self
                .recording
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(recording);
        }
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = Totals {
            known: self.closure.known_totals(),
            present: self.closure.present(),
        };
        Ok(match wanted {
            Wanted::Blocks(blocks) if !self.affords(&blocks) => stoq::Wanted::Done,
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

    fn received(&mut self, id: &BlockId) {
        self.closure.received(id);
    }

    fn bases(&self, id: &BlockId) -> Vec<BlockId> {
        self.closure.bases(&self.store, id)
    }
}

struct OneBlock {
    id: BlockId,
    asked: bool,
    here: bool,
}

impl Wants for OneBlock {
    fn poll(&mut self, _max: usize) -> Result<stoq::Wanted, String> {
        Ok(
            match (std::mem::replace(&mut self.asked, true), self.here) {
                (false, _) => {
                    let raw_len = hypermesh_blocks::limits::BLOCK_BYTES_MAX as u32;
                    stoq::Wanted::Blocks(vec![stoq::BlockRef {
                        id: self.id,
                        raw_len,
                    }])
                }
                (true, false) => stoq::Wanted::Waiting,
                (true, true) => stoq::Wanted::Done,
            },
        )
    }

    fn received(&mut self, id: &BlockId) {
        self.here |= *id == self.id;
    }
}

/// The store as the transport hands it blocks.
struct StoreSink {
    store: Store,
    /// Who writes it out meanwhile.
    arriving: Option<Arc<Arriving>>,
    local: LocalFailure,
    /// Stored bytes since the last sync began.
    unsynced: AtomicU64,
    syncing: Arc<AtomicBool>,
    runtime: Handle,
}

impl StoreSink {
    /// Needs a runtime.
    fn new(store: &Store, local: &LocalFailure, arriving: Option<Arc<Arriving>>) -> Self {
        Self {
            store: store.clone(),
            arriving,
            local: Arc::clone(local),
            unsynced: AtomicU64::new(0),
            syncing: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Lets the disk write while the network brings more: the sync at the end then waits for the rest only.
    fn sync_behind(&self, bytes: u64) {
        let unsynced = self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unsynced < COMMIT_BYTES || self.syncing.swap(true, Ordering::Relaxed) {
            return;
        }
        self.unsynced.store(0, Ordering::Relaxed);
        let (store, syncing) = (self.store.clone(), Arc::clone(&self.syncing));
        self.runtime.spawn_blocking(move || {
            // A store that lost writes says so at every later sync; the one at the end is asked.
            if let Err(error) = store.sync() {
                tracing::warn!(%error, "a sync during a transfer failed");
            }
            syncing.store(false, Ordering::Relaxed);
        });
    }
}

impl BlockSink for StoreSink {
    fn accept(&self, blocks: Vec<(BlockId, stoq::StoredBlock)>) -> Vec<Result<(), SinkError>> {
        let same = |(id, block): (BlockId, stoq::StoredBlock)| {
            let block = hypermesh_blocks::StoredBlock {
                codec: block.codec,
                raw_len: block.raw_len,
                bytes: block.bytes,
            };
            (id, block)
        };
        let blocks: Vec<_> = blocks.into_iter().map(same).collect();
        let bytes: usize = blocks.iter().map(|(_, block)| block.bytes.len()).sum();
        let offer = &mut |id: &BlockId, raw: &bytes::Bytes| {
            if let Some(arriving) = &self.arriving {
                arriving.offer(id, raw);
            }
        };
        let answers = match self.store.ingest_many(&blocks, offer) {
            Ok(answers) => answers,
            Err(error) => {
                let failed = Err(SinkError::Local(note(&self.local, error)));
                return vec![failed; blocks.len()];
            }
        };
        if let Some(arriving) = &self.arriving {
            arriving.stored(answers.len() as u64);
        }
        self.sync_behind(bytes as u64);
        let answer = |answer: Result<_, IngestError>| match answer {
            Ok(_) => Ok(()),
            Err(IngestError::Mismatch { .. }) => Err(SinkError::Mismatch),
            Err(IngestError::Store(error)) => Err(SinkError::Local(note(&self.local, error))),
            Err(error) => Err(SinkError::Local(error.to_string())),
        };
        answers.into_iter().map(answer).collect()
    }

    fn accept_deltas(
        &self,
        deltas: Vec<(BlockId, stoq::DeltaBlock)>,
    ) -> Vec<Result<(), SinkError>> {
        let take = |(id, delta): &(BlockId, stoq::DeltaBlock)| {
            let offer = &mut |id: &BlockId, raw: &bytes::Bytes| {
                if let Some(arriving) = &self.arriving {
                    arriving.offer(id, raw);
                }
            };
            let came = (delta.raw_len, &delta.frame[..]);
            match self.store.ingest_delta(id, &delta.base, came, offer) {
                Ok(_) => Ok(delta.frame.len()),
                Err(IngestError::Mismatch { .. }) => Err(SinkError::Mismatch),
                Err(IngestError::NoBase { .. }) => Err(SinkError::NoBase),
                Err(IngestError::Store(error)) => Err(SinkError::Local(note(&self.local, error))),
                Err(error) => Err(SinkError::Local(error.to_string())),
            }
        };
        let taken: Vec<Result<usize, SinkError>> = deltas.iter().map(take).collect();
        if let Some(arriving) = &self.arriving {
            arriving.stored(taken.iter().flatten().count() as u64);
        }
        self.sync_behind(taken.iter().flatten().sum::<usize>() as u64);
        taken.into_iter().map(|taken| taken.map(drop)).collect()
    }
}

/// The store as other nodes read it.
pub(crate) struct StoreSource(pub(crate) Store);

impl stoq::BlockSource for StoreSource {
    fn has(&self, ids: &[BlockId]) -> Vec<bool> {
        self.0.contains_many(ids)
    }

    fn read_raw(&self, id: &BlockId) -> Result<Option<bytes::Bytes>, String> {
        match self.0.read(id) {
            Ok(block) => Ok(block),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read_against(
        &self,
        id: &BlockId,
        bases: &[BlockId],
        work: &mut u64,
    ) -> Result<Option<stoq::Sent>, String> {
        match self.0.read_against(id, bases, work) {
            Ok(sent) => Ok(sent.map(|sent| match sent {
                Sent::Whole(block) => stoq::Sent::Whole(travelling(block)),
                Sent::Delta {
                    base,
                    raw_len,
                    frame,
                } => stoq::Sent::Delta {
                    base,
                    delta: stoq::Delta { raw_len, frame },
                },
            })),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn read(&self, id: &BlockId) -> Result<Option<stoq::StoredBlock>, String> {
        match self.0.read_stored(id) {
            Ok(block) => Ok(block.map(travelling)),
            // It counts as absent from now on; whoever asks gets it elsewhere.
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn travelling(block: hypermesh_blocks::StoredBlock) -> stoq::StoredBlock {
    stoq::StoredBlock {
        codec: block.codec,
        raw_len: block.raw_len,
        bytes: block.bytes,
    }
}
