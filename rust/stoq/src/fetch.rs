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
use crate::offers::{Asked, Offers, Traffic};
use crate::streams::{open, read_counted};
use crate::tls::speaks_deltas;
use crate::{BlockSink, DeltaBlock, Endpoint, SinkError, Wanted, Wants};

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
    /// Bytes of the frames that asked for blocks, and of those that answered: what `wire_bytes` was wrapped in, and what
    /// the names of bases cost.
    pub asked_bytes: u64,
    pub answered_bytes: u64,
    /// Blocks that were accepted as deltas, the bytes in which they came, and their bytes uncompressed.
    pub delta_blocks: u64,
    pub delta_bytes: u64,
    pub delta_content_bytes: u64,
    /// In the order of preference.
    pub providers: Vec<ProviderBytes>,
}

/// What one provider gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderBytes {
    pub node: NodeId,
    pub bytes: u64,
    pub blocks: u64,
    /// How often it stalled, failed or refused, whatever it did after that.
    pub failures: u32,
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
    /// With whether bases were named for it.
    Block(BlockId, StoredBlock, bool),
    Delta(BlockId, DeltaBlock),
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
    body: Body,
}

/// How a block came.
enum Body {
    Whole(StoredBlock),
    Delta(DeltaBlock),
}

impl Body {
    /// Bytes as they travelled.
    fn bytes(&self) -> u64 {
        match self {
            Self::Whole(block) => block.bytes.len() as u64,
            Self::Delta(delta) => delta.frame.len() as u64,
        }
    }

    /// Memory that it takes until it is stored.
    fn held(&self) -> u32 {
        match self {
            Self::Whole(block) => block.raw_len.max(block.bytes.len() as u32),
            Self::Delta(delta) => delta.raw_len.max(delta.frame.len() as u32),
        }
    }
}

type Stored = Vec<(BlockId, NodeId, Size, Result<(), SinkError>)>;
type Polled = (
    Box<dyn Wants>,
    Result<Wanted, String>,
    Vec<(BlockId, Vec<BlockId>)>,
);

/// What a block that was handed to the sink takes.
struct Size {
    held: u32,
    /// Bytes as they travelled, of a delta.
    delta: Option<u64>,
}

impl Endpoint {
    /// Carries out a transfer. `observe` is told often how far it is, at every failure of a provider, and when the
    /// transfer ends, however it does; it must be quick. Dropped, the transfer ends and what was accepted stays.
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
            offers: Offers::default(),
            traffic: Arc::default(),
            news: false,
            report: FetchReport::default(),
        };
        let ended = running.run(incoming, &observe).await;
        // What the providers did is known however it ended.
        running.refresh_report();
        observe(&running.report);
        ended.map(|()| std::mem::take(&mut running.report))
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
    offers: Offers,
    traffic: Arc<Traffic>,
    /// Something happened that the report does not say yet.
    news: bool,
    report: FetchReport,
}

impl Running {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn run(
        &mut self,
        mut incoming: mpsc::Receiver<Event>,
        observe: &impl Fn(&FetchReport),
    ) -> Result<(), FetchError> {
        let mut was_held_up = false;
        loop {
            let held_up = self.unverified >= UNVERIFIED_BYTES_MAX;
            if was_held_up && !held_up {
                self.transfer.resumed(self.now());
            }
            was_held_up = held_up;
            self.start_work();
            if self.no_more && self.transfer.is_empty() {
                return Ok(());
            }
            if let Some(block) = self.transfer.lost() {
                self.refresh_report();
                return Err(FetchError::NoProviders {
                    block,
                    reasons: self.reasons(),
                });
            }
            if std::mem::take(&mut self.news) {
                self.refresh_report();
                observe(&self.report);
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
                    self.news = true;
                }
                Some(polled) = self.polling.join_next() => self.on_polled(polled)?,
                Some(ended) = self.requests.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        return Err(FetchError::Internal);
                    }
                }
                () = at(timeout), if !held_up => {
                    self.transfer.timeout(self.now());
                    self.news = true;
                }
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
                let named = match &wanted {
                    Ok(Wanted::Blocks(blocks)) => &blocks[..],
                    _ => &[],
                };
                let offers = named.iter().map(|block| (block.id, wants.bases(&block.id)));
                let offers = offers.filter(|(_, bases)| !bases.is_empty()).collect();
                (wants, wanted, offers)
            });
        }
        while let Some(request) = self.transfer.next_request(self.now()) {
            let (shared, events, id) = (Arc::clone(&self.shared), self.events.clone(), request.id);
            let asked = self.offers.beside(&request.blocks);
            let traffic = Arc::clone(&self.traffic);
            let task = carry_out(shared, request, asked, traffic, events);
            let handle = self.requests.spawn(task);
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
                let (mut wholes, mut deltas) = (Vec::new(), Vec::new());
                let (mut origins, mut of_deltas) = (Vec::new(), Vec::new());
                for Arrived { id, provider, body } in batch {
                    let size = Size {
                        held: body.held(),
                        delta: matches!(body, Body::Delta(_)).then(|| body.bytes()),
                    };
                    match body {
                        Body::Whole(block) => {
                            origins.push((id, provider, size));
                            wholes.push((id, block));
                        }
                        Body::Delta(delta) => {
                            of_deltas.push((id, provider, size));
                            deltas.push((id, delta));
                        }
                    }
                }
                let mut stored = Vec::with_capacity(origins.len() + of_deltas.len());
                for (origins, mut results) in [
                    (origins, sink.accept(wholes).into_iter()),
                    (of_deltas, sink.accept_deltas(deltas).into_iter()),
                ] {
                    stored.extend(origins.into_iter().map(|(id, provider, size)| {
                        let unanswered =
                            || Err(SinkError::Local("a block was not looked at".into()));
                        let result = results.next().unwrap_or_else(unanswered);
                        (id, provider, size, result)
                    }));
                }
                stored
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
            What::Block(id, block, offered) => {
                if offered {
                    self.offers.answered(false);
                }
                self.on_block(request, provider, id, Body::Whole(block));
            }
            What::Delta(id, delta) => {
                self.offers.answered(true);
                self.on_block(request, provider, id, Body::Delta(delta));
            }
            What::Missing(id) => self.transfer.missing(request, &id, now),
            What::Done => {
                self.handles.remove(&request);
                self.transfer.done(request);
                // It may have ended it early.
                self.news = true;
            }
            What::Failed(why) => {
                self.handles.remove(&request);
                self.news = true;
                tracing::debug!(node = %provider, why, "a request failed");
                self.transfer.failed(request, &why, now);
            }
            What::Broke(why) => {
                self.handles.remove(&request);
                self.news = true;
                tracing::warn!(node = %provider, why, "it broke the protocol");
                self.transfer.broke(&provider, why);
            }
        }
    }

    fn on_block(&mut self, request: RequestId, provider: NodeId, id: BlockId, body: Body) {
        let (bytes, now) = (body.bytes(), self.now());
        metrics::counter!("stoq_block_bytes_received").increment(bytes);
        match self.transfer.block(request, &id, bytes, now) {
            Verdict::Take => {
                self.unverified += body.held() as usize;
                self.arrived.push_back(Arrived { id, provider, body });
            }
            Verdict::Duplicate => {}
            Verdict::Unasked => {
                self.news = true;
                tracing::warn!(node = %provider, block = %id, "it sent what nobody asked for")
            }
        }
    }

    fn on_stored(&mut self, stored: Result<Stored, JoinError>) -> Result<(), FetchError> {
        for (id, provider, size, result) in stored.map_err(|_| FetchError::Internal)? {
            self.unverified -= size.held as usize;
            match result {
                Ok(()) => {
                    self.transfer.stored(&id);
                    self.offers.forget(&id);
                    self.received.push(id);
                    self.report.blocks += 1;
                    self.report.content_bytes += u64::from(size.held);
                    if let Some(bytes) = size.delta {
                        self.report.delta_blocks += 1;
                        self.report.delta_bytes += bytes;
                        self.report.delta_content_bytes += u64::from(size.held);
                    }
                }
                // It was here when it was offered.
                Err(SinkError::NoBase) => {
                    tracing::debug!(block = %id, "the base of a delta is gone; it is asked for whole");
                    self.offers.forget(&id);
                    self.transfer.again(&id);
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
        let (wants, wanted, offers) = polled.map_err(|_| FetchError::Internal)?;
        self.wants = Some(wants);
        self.offers.add(offers);
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
                failures: provider.failures,
                rate: provider.rate,
                dropped: is_dropped(&provider.state),
                state: words(&provider.state),
            })
            .collect();
        self.report.wire_bytes = providers.iter().map(|provider| provider.bytes).sum();
        self.report.providers = providers;
        self.traffic.note(&mut self.report);
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
async fn carry_out(
    shared: Arc<Shared>,
    request: Request,
    asked: Asked,
    traffic: Arc<Traffic>,
    events: mpsc::Sender<Event>,
) {
    let (id, provider) = (request.id, request.provider);
    let tell = |what| Event {
        request: id,
        provider,
        what,
    };
    let end = match ask_blocks(&shared, (id, provider), asked, &traffic, &events).await {
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
    (id, provider): (RequestId, NodeId),
    mut asked: Asked,
    traffic: &Traffic,
    events: &mpsc::Sender<Event>,
) -> Result<(), StoqError> {
    let connection = shared.connection(&provider)?;
    let timeout = shared.limits.answer_time;
    let token = shared.token(&provider, &connection).await?;
    let question = asked.question(token, shared.limits.deltas && speaks_deltas(&connection));
    traffic.asked(&question);
    let opened = tokio::time::timeout(timeout, open(&connection, &question)).await;
    let mut receive = opened.unwrap_or(Err(StoqError::Timeout))?;
    // No timeout from here on: the transfer notices a stall, and only it knows whether it was the one that waited.
    loop {
        let frame = read_counted(&mut receive).await?;
        traffic.answered(frame.as_ref().map_or(0, |(_, bytes)| *bytes));
        let what = match frame.map(|(message, _)| message) {
            Some(Message::Shard(Shard::Block { id, block })) => {
                What::Block(id, block, asked.offers(&id))
            }
            Some(Message::Shard(Shard::Delta { at, base, delta })) => {
                let (id, delta) = asked.delta(at, base, delta)?;
                What::Delta(id, delta)
            }
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
