//! One transfer: carries out what [`Transfer`] decides.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hypermesh_id::{BlockId, NodeId};
use stoq_proto::{
    BlockRef, Cause, Message, ProviderState, Request, RequestId, Shard, StoredBlock, Transfer,
    Verdict,
};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use crate::endpoint::Shared;
use crate::error::{FetchError, StoqError};
use crate::streams::{open, read};
use crate::{BlockSink, Endpoint, SinkError, Wanted, Wants};

/// What to fetch, from whom, and where it goes.
pub struct Fetch {
    /// In the order in which to prefer them.
    pub providers: Vec<NodeId>,
    pub wants: Box<dyn Wants>,
    pub sink: Arc<dyn BlockSink>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

/// What a transfer moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Blocks that were accepted.
    pub blocks: u64,
    /// Their bytes, uncompressed.
    pub content_bytes: u64,
    /// Bytes of blocks as they travelled, wrong and repeated ones included.
    pub wire_bytes: u64,
    /// In the order of preference.
    pub providers: Vec<ProviderBytes>,
}

/// What one provider gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderBytes {
    pub node: NodeId,
    pub bytes: u64,
    pub blocks: u64,
    /// How often it stalled, failed or refused.
    pub strikes: u32,
    /// Bytes per second that it has shown lately; 0 while unknown.
    pub rate: u64,
    /// Whether it gave wrong bytes or broke the protocol.
    pub dropped: bool,
    /// `active`, or why it is paused or out.
    pub state: String,
}

/// Frames that wait for the transfer; behind them the network waits.
const EVENTS_MAX: usize = 64;
/// Bytes of blocks that wait to be verified; beyond them nothing is read.
const UNVERIFIED_BYTES_MAX: usize = 16 << 20;
/// Threads that verify and store, and blocks that one takes at once.
const STORERS: usize = 2;
const STORE_BATCH: usize = 32;
/// Blocks named in one look at what is wanted.
const POLL_MAX: usize = 512;

/// What a request's task has to say.
struct Event {
    request: RequestId,
    provider: NodeId,
    what: What,
}

enum What {
    Block(BlockId, StoredBlock),
    Missing(BlockId),
    Done,
    /// The provider is away, slow or unwilling.
    Failed(String),
    Broke(String),
}

/// A block that waits to be verified.
struct Arrived {
    id: BlockId,
    provider: NodeId,
    block: StoredBlock,
}

type Stored = Vec<(BlockId, NodeId, u32, Result<(), SinkError>)>;
type Polled = (Box<dyn Wants>, Result<Wanted, String>);

impl Endpoint {
    /// Carries out a transfer. `observe` is told often how far it is; it must be quick. Dropped, the transfer ends and
    /// what was accepted stays.
    ///
    /// # Errors
    /// When a block can be had from no provider, or this side fails.
    pub async fn fetch(
        &self,
        fetch: Fetch,
        observe: impl Fn(&FetchReport) + Send,
    ) -> Result<FetchReport, FetchError> {
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let transfer = Transfer::new(
            self.shared.limits.transfer,
            &fetch.providers,
            Duration::ZERO,
        );
        let mut running = Running {
            shared: Arc::clone(&self.shared),
            started: Instant::now(),
            transfer,
            events,
            requests: JoinSet::new(),
            handles: HashMap::new(),
            arrived: VecDeque::new(),
            unverified: 0,
            storers: JoinSet::new(),
            sink: fetch.sink,
            polling: JoinSet::new(),
            wants: Some(fetch.wants),
            received: Vec::new(),
            no_more: false,
            waiting: false,
            report: FetchReport::default(),
        };
        running.run(incoming, observe).await
    }
}

struct Running {
    shared: Arc<Shared>,
    started: Instant,
    transfer: Transfer,
    events: mpsc::Sender<Event>,
    requests: JoinSet<()>,
    handles: HashMap<RequestId, AbortHandle>,
    arrived: VecDeque<Arrived>,
    unverified: usize,
    storers: JoinSet<Stored>,
    sink: Arc<dyn BlockSink>,
    polling: JoinSet<Polled>,
    /// Away while it is being polled.
    wants: Option<Box<dyn Wants>>,
    /// Accepted blocks that `wants` does not know of yet.
    received: Vec<BlockId>,
    no_more: bool,
    /// It has nothing to name until a block is received.
    waiting: bool,
    report: FetchReport,
}

impl Running {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn run(
        &mut self,
        mut incoming: mpsc::Receiver<Event>,
        observe: impl Fn(&FetchReport),
    ) -> Result<FetchReport, FetchError> {
        let mut was_held_up = false;
        loop {
            let held_up = self.unverified >= UNVERIFIED_BYTES_MAX;
            if was_held_up && !held_up {
                self.transfer.resumed(self.now());
            }
            was_held_up = held_up;
            self.start_work();
            if self.no_more && self.transfer.is_empty() {
                self.refresh_report();
                observe(&self.report);
                return Ok(std::mem::take(&mut self.report));
            }
            if let Some(block) = self.transfer.lost() {
                self.refresh_report();
                return Err(FetchError::NoProviders {
                    block,
                    reasons: self.reasons(),
                });
            }
            let timeout = self.transfer.poll_timeout().map(|at| self.started + at);
            tokio::select! {
                Some(event) = incoming.recv(), if !held_up => {
                    self.on_event(event);
                    // What else is there already costs no wake-up.
                    while self.unverified < UNVERIFIED_BYTES_MAX && let Ok(event) = incoming.try_recv() {
                        self.on_event(event);
                    }
                }
                Some(stored) = self.storers.join_next() => {
                    self.on_stored(stored)?;
                    self.refresh_report();
                    observe(&self.report);
                }
                Some(polled) = self.polling.join_next() => self.on_polled(polled)?,
                Some(ended) = self.requests.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        return Err(FetchError::Internal);
                    }
                }
                () = at(timeout), if !held_up => self.transfer.timeout(self.now()),
            }
        }
    }

    /// Starts whatever can be started now.
    fn start_work(&mut self) {
        let room = self.transfer.room().min(POLL_MAX);
        let has_news = !self.received.is_empty();
        // Many blocks are handed over at once where there is enough to do meanwhile.
        let worth = room > 0 && (!self.waiting || has_news);
        if !self.no_more
            && worth
            && let Some(mut wants) = self.wants.take()
        {
            let received = std::mem::take(&mut self.received);
            self.polling.spawn_blocking(move || {
                received.iter().for_each(|id| wants.received(id));
                let wanted = wants.poll(room);
                (wants, wanted)
            });
        }
        while let Some(request) = self.transfer.next_request(self.now()) {
            let (shared, events, id) = (Arc::clone(&self.shared), self.events.clone(), request.id);
            let handle = self.requests.spawn(carry_out(shared, request, events));
            self.handles.insert(id, handle);
        }
        for id in self.transfer.take_cancelled() {
            if let Some(handle) = self.handles.remove(&id) {
                handle.abort();
            }
        }
        while !self.arrived.is_empty() && self.storers.len() < STORERS {
            let batch: Vec<Arrived> = self
                .arrived
                .drain(..self.arrived.len().min(STORE_BATCH))
                .collect();
            let sink = Arc::clone(&self.sink);
            self.storers.spawn_blocking(move || {
                let (mut blocks, mut origins) = (Vec::new(), Vec::new());
                for Arrived {
                    id,
                    provider,
                    block,
                } in batch
                {
                    origins.push((id, provider, held(block.raw_len, block.bytes.len()) as u32));
                    blocks.push((id, block));
                }
                let mut results = sink.accept(blocks).into_iter();
                let answered = |(id, provider, size)| {
                    let unanswered = || Err(SinkError::Local("a block was not looked at".into()));
                    (
                        id,
                        provider,
                        size,
                        results.next().unwrap_or_else(unanswered),
                    )
                };
                origins.into_iter().map(answered).collect()
            });
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now();
        let Event {
            request,
            provider,
            what,
        } = event;
        match what {
            What::Block(id, block) => {
                let bytes = block.bytes.len() as u64;
                metrics::counter!("stoq_block_bytes_received").increment(bytes);
                match self.transfer.block(request, &id, bytes, now) {
                    Verdict::Take => {
                        self.unverified += held(block.raw_len, block.bytes.len());
                        self.arrived.push_back(Arrived {
                            id,
                            provider,
                            block,
                        });
                    }
                    Verdict::Duplicate => {}
                    Verdict::Unasked => {
                        tracing::warn!(node = %provider, block = %id, "it sent what nobody asked for")
                    }
                }
            }
            What::Missing(id) => self.transfer.missing(request, &id, now),
            What::Done => {
                self.handles.remove(&request);
                self.transfer.done(request);
            }
            What::Failed(why) => {
                self.handles.remove(&request);
                tracing::debug!(node = %provider, why, "a request failed");
                self.transfer.failed(request, &why, now);
            }
            What::Broke(why) => {
                self.handles.remove(&request);
                tracing::warn!(node = %provider, why, "it broke the protocol");
                self.transfer.broke(&provider, why);
            }
        }
    }

    fn on_stored(&mut self, stored: Result<Stored, JoinError>) -> Result<(), FetchError> {
        for (id, provider, size, result) in stored.map_err(|_| FetchError::Internal)? {
            self.unverified -= size as usize;
            match result {
                Ok(()) => {
                    self.transfer.stored(&id);
                    self.received.push(id);
                    self.report.blocks += 1;
                    self.report.content_bytes += u64::from(size);
                }
                Err(SinkError::Mismatch) => {
                    metrics::counter!("stoq_wrong_blocks").increment(1);
                    tracing::warn!(node = %provider, block = %id, "it served wrong bytes");
                    self.transfer.wrong(&id, &provider);
                }
                Err(SinkError::Local(reason)) => return Err(FetchError::Local(reason)),
            }
        }
        Ok(())
    }

    fn on_polled(&mut self, polled: Result<Polled, JoinError>) -> Result<(), FetchError> {
        let (wants, wanted) = polled.map_err(|_| FetchError::Internal)?;
        self.wants = Some(wants);
        self.waiting = false;
        match wanted.map_err(FetchError::Wants)? {
            Wanted::Blocks(blocks) => self.transfer.add(blocks.into_iter().map(capped)),
            Wanted::Waiting => self.waiting = true,
            Wanted::Done => self.no_more = true,
        }
        Ok(())
    }

    fn refresh_report(&mut self) {
        let providers: Vec<ProviderBytes> = self
            .transfer
            .report()
            .into_iter()
            .map(|provider| ProviderBytes {
                node: provider.node,
                bytes: provider.bytes,
                blocks: provider.blocks,
                strikes: provider.strikes,
                rate: provider.rate,
                dropped: is_dropped(&provider.state),
                state: words(&provider.state),
            })
            .collect();
        self.report.wire_bytes = providers.iter().map(|provider| provider.bytes).sum();
        self.report.providers = providers;
    }

    /// Why each provider is out, in one line.
    fn reasons(&self) -> String {
        let all: Vec<String> = self
            .report
            .providers
            .iter()
            .map(|provider| format!("{}: {}", provider.node, provider.state))
            .collect();
        if all.is_empty() {
            "none was named".into()
        } else {
            all.join("; ")
        }
    }
}

/// A length that a manifest claims, within what a block can have.
fn capped(block: BlockRef) -> BlockRef {
    BlockRef {
        raw_len: block.raw_len.min(stoq_proto::BLOCK_BYTES_MAX),
        ..block
    }
}

/// Memory that a block takes until it is stored.
fn held(raw_len: u32, stored: usize) -> usize {
    (raw_len as usize).max(stored)
}

fn is_dropped(state: &ProviderState) -> bool {
    matches!(
        state,
        ProviderState::Out(Cause::WrongBytes | Cause::Broken(_))
    )
}

fn words(state: &ProviderState) -> String {
    match state {
        ProviderState::Active => "active".into(),
        ProviderState::Paused { why, .. } => format!("paused: {why}"),
        ProviderState::Out(cause) if is_dropped(state) => format!("dropped: {cause}"),
        ProviderState::Out(cause) => format!("gave up: {cause}"),
    }
}

async fn at(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => tokio::time::sleep_until(timeout).await,
        None => std::future::pending().await,
    }
}

/// Carries out one request and says what comes of it.
async fn carry_out(shared: Arc<Shared>, request: Request, events: mpsc::Sender<Event>) {
    let (id, provider) = (request.id, request.provider);
    let tell = |what| Event {
        request: id,
        provider,
        what,
    };
    let end = match ask_blocks(&shared, request, &events).await {
        Ok(()) => What::Done,
        Err(StoqError::Broken(why)) => What::Broke(why),
        // Whoever reads the reason reads the provider's id beside it.
        Err(StoqError::NotConnected(_)) => What::Failed("it is not connected".into()),
        Err(error) => What::Failed(error.to_string()),
    };
    // A transfer that has ended does not listen.
    let _ = events.send(tell(end)).await;
}

async fn ask_blocks(
    shared: &Arc<Shared>,
    request: Request,
    events: &mpsc::Sender<Event>,
) -> Result<(), StoqError> {
    let Request {
        id,
        provider,
        blocks,
    } = request;
    let connection = shared.connection(&provider)?;
    let timeout = shared.limits.answer_time;
    let token = shared.token(&provider, &connection).await?;
    let ids = blocks.iter().map(|block| block.id).collect();
    let question = Message::Shard(Shard::Blocks { token, ids });
    let opened = tokio::time::timeout(timeout, open(&connection, &question)).await;
    let mut receive = opened.unwrap_or(Err(StoqError::Timeout))?;
    // No timeout from here on: the transfer notices a stall, and only it knows whether it was the one that waited.
    loop {
        let what = match read(&mut receive).await? {
            Some(Message::Shard(Shard::Block { id, block })) => What::Block(id, block),
            Some(Message::Shard(Shard::Missing { id })) => What::Missing(id),
            Some(Message::Done) => return Ok(()),
            Some(Message::Error { status, text }) => {
                shared.forget_token(&provider);
                return Err(StoqError::Refused { status, text });
            }
            Some(_) => return Err(StoqError::Broken("a frame that answers nothing".into())),
            None => return Err(StoqError::Broken("it ended an answer early".into())),
        };
        if events
            .send(Event {
                request: id,
                provider,
                what,
            })
            .await
            .is_err()
        {
            return Ok(());
        }
    }
}
