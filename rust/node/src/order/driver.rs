//! Runs a replica: gives it time, what peers tell and what is submitted, and carries out what it wants, in its order.
//!
//! It has a thread of its own, which waits for the disk where the agreement has to: the component's socket answers meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hypermesh_consensus::{
    Config, Decided, DecodeError, Evidence, Height, Machine, MeshId, Message, Output, Replica,
    ReplicaError, Round, Sign, Voters,
};
use hypermesh_id::NodeId;
use stoq::Class;
use tokio::sync::{mpsc, watch};

use super::beginning::{Beginning, Phase};
use super::log::{Log, LogFileError, Recovered};
use super::standing::Standings;
use super::store::{DecidedError, DecidedStore, Entry, Find, Writer};
use crate::doors::{Gossip, Heard, Tell, Word};

/// Messages that are taken in before what follows from them is carried out.
const BATCH_MAX: usize = 64;
/// Decisions from the disk that are sent to one question, and their bytes; one more still fits.
const SENT_AT_ONCE: u64 = 16;
const SENT_BYTES: usize = 4 << 20;

/// The name under which the store keeps proofs against voters.
pub(crate) const EVIDENCE: &str = "evidence";

/// What is ordered, as the node runs it.
pub(crate) trait Orders: Machine + Send + Sized + 'static {
    /// It is about to run. What it does elsewhere comes back to it by `asks`.
    ///
    /// # Errors
    /// When a thread could not be started.
    fn begin(&mut self, asks: &mpsc::Sender<Ask<Self>>) -> std::io::Result<()>;
    /// What became of the transactions of a height, right after it was applied.
    fn applied(&mut self, height: Height) -> Applied;
    /// What a peer told that is no message of the agreement. The text says what is wrong with it.
    fn heard(&mut self, from: NodeId, content: &[u8]) -> Result<(), &'static str>;
    /// A peer said that it works on a height, which proves nothing.
    fn works_on(&mut self, from: NodeId, height: Height);
    /// A proof against a voter. Answers all such proofs, to be kept under [`EVIDENCE`], if there is something new to keep.
    fn evidence(&mut self, evidence: Evidence) -> Option<Bytes>;
    /// Something to tell peers. It is asked after each batch of what was heard or asked, until there is nothing.
    fn poll_tell(&mut self) -> Option<Tell>;
    /// Something that a peer told and that only later turned out to be wrong.
    fn poll_fault(&mut self) -> Option<(NodeId, &'static str)>;
}

/// See [`Orders::applied`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    pub(crate) outcomes: Bytes,
    /// Keys by which it is found, and what they lead to.
    pub(crate) finds: Vec<Find>,
}

/// Why a node takes no part in what is decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("{0}")]
    Log(#[from] LogFileError),
    #[error("{0}")]
    Store(#[from] DecidedError),
    #[error("{0}")]
    Replica(#[from] ReplicaError),
    #[error(
        "the block of height {height} in decided.redb breaks the rules ({reason}): put back the disk's copy, or update this node"
    )]
    Rules { height: u64, reason: String },
    #[error("could not start a thread or its runtime: {0}")]
    Start(std::io::Error),
}

/// What others see of it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) voters: Voters,
    pub(crate) decided: Option<Arc<Decided>>,
    pub(crate) connected: BTreeSet<NodeId>,
    /// What those that are connected said last that they work on.
    pub(crate) heights: BTreeMap<NodeId, Height>,
    /// Who redeemed an invitation of this node, and where it is reached.
    pub(crate) invited: Vec<(NodeId, Vec<SocketAddr>)>,
    /// What was refused and dropped, by kind.
    pub(crate) counted: BTreeMap<&'static str, u64>,
    /// What peers did that no honest one does.
    pub(crate) standings: Standings,
    /// Why it stopped.
    pub(crate) failed: Option<String>,
}

/// Something to do with the machine, between two messages; afterwards the agreement looks whether there is work.
pub(crate) type Ask<M> = Box<dyn FnOnce(&mut M) + Send>;

/// A replica on its thread. Dropped, it stops.
pub(crate) struct Running<M> {
    pub(crate) asks: mpsc::Sender<Ask<M>>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) store: DecidedStore,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl<M> Running<M> {
    /// Stops it, and waits until its files are closed. Blocks.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // What it has to say, its view says.
            let _ = thread.join();
        }
    }
}

impl<M> Drop for Running<M> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a replica is started with.
pub(crate) struct Start<'a, S> {
    pub(crate) directory: &'a Path,
    pub(crate) store: (DecidedStore, Writer),
    /// Whether the mesh was founded or joined just now, so that nothing can be missing.
    pub(crate) new: bool,
    pub(crate) config: Config,
    pub(crate) signer: S,
    pub(crate) gossip: Arc<dyn Gossip>,
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// How long it took so far.
    pub(crate) beginning: Beginning,
}

/// Opens the files, catches up with them, and starts. `machine` makes what is ordered, with the blocks of the store applied, and
/// says who votes next.
///
/// # Errors
/// When a file is missing or damaged; its text names file, place and repair.
pub(crate) fn start<M: Orders, S: Sign>(
    from: Start<'_, S>,
    machine: impl FnOnce(&DecidedStore) -> Result<(M, Voters), OrderError>,
) -> Result<Running<M>, OrderError> {
    let mesh = from.config.mesh;
    let (store, writer) = from.store;
    let (log, Recovered { decided, records }) =
        Log::open(from.directory, store.stored(), from.new)?;
    let mut beginning = from.beginning;
    beginning.ended(Phase::Log);
    let (mut machine, mut voters) = machine(&store)?;
    let mut last = match store.stored() {
        0 => None,
        height => store
            .block(Height(height))?
            .map(|(decided, _)| Arc::new(decided)),
    };
    let mut height = Height(store.stored());
    for one in decided {
        height = one.certificate.height;
        if let Err(reason) = machine.check(height, &one.body) {
            let height = height.0;
            return Err(OrderError::Rules { height, reason });
        }
        voters = machine.apply(&one);
        let Applied { outcomes, finds } = machine.applied(height);
        last = Some(Arc::new(one.clone()));
        writer.add(Entry {
            decided: one,
            outcomes,
            finds,
        })?;
    }
    beginning.ended(Phase::Blocks);
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    machine.begin(&asks).map_err(OrderError::Start)?;
    let height = Height(height.0.saturating_add(1));
    let signer = from.signer;
    let here = (height, voters.clone());
    let replica = Replica::new(from.config, signer, machine, here, records, 0)?;
    let (view_to, view) = watch::channel(View {
        height,
        round: replica.round(),
        voters,
        decided: last,
        connected: BTreeSet::new(),
        heights: BTreeMap::new(),
        invited: Vec::new(),
        counted: BTreeMap::new(),
        standings: Standings::default(),
        failed: None,
    });
    let (stop, stopping) = watch::channel(false);
    let driver = Driver {
        replica,
        log,
        writer,
        store: store.clone(),
        gossip: from.gossip,
        mesh,
        started: Instant::now(),
        began: Instant::now(),
        view: view_to,
        tells: Vec::new(),
        unvoted: Some((height, beginning)),
    };
    let heard = from.heard;
    let thread = std::thread::Builder::new()
        .name("order".into())
        .spawn(move || driver.run(heard, asked, stopping))
        .map_err(OrderError::Start)?;
    Ok(Running {
        asks,
        view,
        store,
        stop,
        thread: Mutex::new(Some(thread)),
    })
}

/// Asks of the socket that wait.
const ASKS_MAX: usize = 1_024;

struct Driver<M, S> {
    replica: Replica<M, S>,
    log: Log,
    writer: Writer,
    store: DecidedStore,
    gossip: Arc<dyn Gossip>,
    mesh: MeshId,
    started: Instant,
    /// When the last height was decided.
    began: Instant,
    view: watch::Sender<View>,
    /// What is told once what it follows from is on the disk.
    tells: Vec<Tell>,
    /// The height that it began with, until it votes on a later one.
    unvoted: Option<(Height, Beginning)>,
}

impl<M: Orders, S: Sign> Driver<M, S> {
    fn run(
        mut self,
        heard: mpsc::Receiver<Heard>,
        asked: mpsc::Receiver<Ask<M>>,
        stop: watch::Receiver<bool>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(self.decide(heard, asked, stop)),
            Err(error) => Err(OrderError::Start(error)),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "this node takes no part in what is decided any more");
            self.view
                .send_modify(|view| view.failed = Some(error.to_string()));
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn decide(
        &mut self,
        mut heard: mpsc::Receiver<Heard>,
        mut asked: mpsc::Receiver<Ask<M>>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), OrderError> {
        loop {
            self.replica.wake(self.now())?;
            self.carry_out()?;
            let (now, deadline) = (self.now(), self.replica.deadline());
            if deadline <= now {
                self.replica.elapsed(now)?;
                self.carry_out()?;
            }
            let wait = Duration::from_nanos(self.replica.deadline().saturating_sub(self.now()));
            tokio::select! {
                // Its sender is whoever started this.
                _ = stop.changed() => return Ok(()),
                one = heard.recv() => {
                    let Some(one) = one else { return Ok(()) };
                    self.take(one)?;
                    for _ in 1..BATCH_MAX {
                        let Ok(one) = heard.try_recv() else { break };
                        self.take(one)?;
                    }
                }
                Some(ask) = asked.recv() => {
                    ask(self.replica.machine_mut());
                    for _ in 1..BATCH_MAX {
                        let Ok(ask) = asked.try_recv() else { break };
                        ask(self.replica.machine_mut());
                    }
                }
                () = tokio::time::sleep(wait) => self.replica.elapsed(self.now())?,
            }
        }
    }

    /// A peer did what is not to be done.
    fn fault(&mut self, node: NodeId, kind: &'static str) {
        self.count(kind);
        let now = self.now();
        self.view.send_modify(|view| {
            if view.standings.fault(now, node, kind) {
                metrics::counter!("hypermesh_order_muted").increment(1);
                tracing::warn!(%node, kind, "a peer goes on with what no honest one does; it is not listened to for a while");
            }
        });
    }

    /// Whether what a peer tells is worth reading.
    fn hears(&self, node: &NodeId) -> bool {
        let (now, mut is_heard) = (self.now(), true);
        if self.view.borrow().standings.of(node).mute {
            self.view
                .send_modify(|view| is_heard = view.standings.hears(now, node));
        }
        is_heard
    }

    fn count(&self, kind: &'static str) {
        metrics::counter!("hypermesh_order_refused", "kind" => kind).increment(1);
        self.view
            .send_modify(|view| *view.counted.entry(kind).or_default() += 1);
    }

    fn take(&mut self, heard: Heard) -> Result<(), OrderError> {
        match heard {
            Heard::Told(word) if !self.hears(&word.from) => {
                self.count("mute");
                Ok(())
            }
            Heard::Told(word) => self.word(&word),
            Heard::Peers(peers) => {
                let connected: BTreeSet<NodeId> = peers.connected.into_iter().collect();
                let before = self.view.borrow().connected.clone();
                let new: Vec<NodeId> = connected.difference(&before).copied().collect();
                if !new.is_empty() {
                    self.began(Phase::Peers);
                    // So that who is behind, here or there, knows at once.
                    let status = Message::Status(self.replica.height());
                    self.tell(new, &status);
                }
                let invited = peers.invited;
                self.view.send_modify(|view| {
                    view.heights.retain(|node, _| connected.contains(node));
                    view.connected = connected;
                    view.invited = invited;
                });
                Ok(())
            }
        }
    }

    fn word(&mut self, word: &Word) -> Result<(), OrderError> {
        match Message::decode(&word.content, &self.mesh) {
            Ok(message) => {
                if let Message::Status(height) = message {
                    self.view.send_if_modified(|view| {
                        view.connected.contains(&word.from)
                            && view.heights.insert(word.from, height) != Some(height)
                    });
                    self.replica.machine_mut().works_on(word.from, height);
                }
                let now = self.now();
                self.replica.message(now, word.from, message)?;
            }
            Err(DecodeError::OtherMesh(_)) => self.fault(word.from, "foreign"),
            Err(DecodeError::Unknown { what: "kind", .. }) => {
                if let Err(kind) = self.replica.machine_mut().heard(word.from, &word.content) {
                    self.fault(word.from, kind);
                }
            }
            Err(_) => self.fault(word.from, "malformed"),
        }
        Ok(())
    }

    fn tell(&mut self, to: Vec<NodeId>, message: &Message) {
        let class = match message {
            Message::Block(_) | Message::Decided(_) => Class::Blocks,
            Message::Retold(_) => Class::Gossip,
            _ => Class::Votes,
        };
        self.tells.push(Tell {
            to,
            class,
            content: message.encode(&self.mesh),
        });
    }

    fn tell_all_that_waits(&mut self) {
        if !self.tells.is_empty() {
            self.gossip.tell(std::mem::take(&mut self.tells));
        }
    }

    /// Carries out what the replica wants, in its order.
    fn carry_out(&mut self) -> Result<(), OrderError> {
        while let Some(tell) = self.replica.machine_mut().poll_tell() {
            self.tells.push(tell);
        }
        while let Some((node, kind)) = self.replica.machine_mut().poll_fault() {
            self.fault(node, kind);
        }
        let mut is_news = false;
        while let Some(output) = self.replica.poll_output() {
            is_news = true;
            match output {
                Output::NewLog => {
                    if self.log.is_long() {
                        // The other file is written over: the store must have what is in it.
                        self.writer.sync()?;
                        self.log.turn()?;
                    }
                    self.log.begin();
                }
                Output::Append(record) => self.log.append(&record),
                Output::Flush => {
                    // What does not depend on it need not wait for the disk.
                    self.tell_all_that_waits();
                    let began = Instant::now();
                    if self.log.flush()? {
                        metrics::histogram!("hypermesh_order_flush_seconds")
                            .record(began.elapsed().as_secs_f64());
                    }
                }
                // It is in the log before any vote of the next height: its flush takes this along.
                Output::Decided(decided) => self.decided(decided)?,
                Output::Broadcast(message) => {
                    self.voting(&message);
                    self.tell(Vec::new(), &message);
                }
                Output::Send(to, message) => self.tell(vec![to], &message),
                Output::SendDecided(to, height) => self.send_decided(to, height)?,
                Output::Evidence(evidence) => {
                    self.count("evidence");
                    tracing::warn!(culprit = %evidence.culprit(), height = %evidence.height(), "a voter said two things where it may say one");
                    if let Some(all) = self.replica.machine_mut().evidence(evidence) {
                        self.store.keep(EVIDENCE, &all)?;
                    }
                }
                Output::Fault(node, fault) => {
                    let kind = match fault {
                        hypermesh_consensus::Fault::Forged => "forged",
                        hypermesh_consensus::Fault::UnaskedBlock => "unasked_block",
                        hypermesh_consensus::Fault::BadBlock => "bad_block",
                        hypermesh_consensus::Fault::BadDecision => "bad_decision",
                        _ => "fault",
                    };
                    self.fault(node, kind);
                    tracing::debug!(%node, %fault, "a peer does what no honest one does");
                }
                _ => {}
            }
        }
        self.tell_all_that_waits();
        self.log.settle()?;
        if is_news {
            let (height, round) = (self.replica.height(), self.replica.round());
            let voters = self.replica.voters().clone();
            metrics::gauge!("hypermesh_order_height").set(height.0 as f64);
            metrics::gauge!("hypermesh_order_round").set(round.as_i64() as f64);
            self.view.send_modify(|view| {
                view.height = height;
                view.round = round;
                view.voters = voters;
            });
        }
        Ok(())
    }

    /// Notes how long the start took so far.
    fn began(&mut self, phase: Phase) {
        if let Some((_, beginning)) = &mut self.unvoted {
            beginning.ended(phase);
        }
    }

    /// Notes when this node votes for the first time, on a height of which its log said nothing.
    fn voting(&mut self, message: &Message) {
        let Message::Vote(vote) = message else {
            return;
        };
        let height = vote.statement.height;
        let is_first = |(begun, _): &mut (Height, Beginning)| height > *begun;
        if let Some((_, mut beginning)) = self.unvoted.take_if(is_first) {
            beginning.ended(Phase::Vote);
            let story = beginning.story();
            tracing::info!(%height, story, "this node votes for the first time since its start");
            let now = crate::answer::unix_ns() as f64 / 1e9;
            metrics::gauge!("hypermesh_order_first_vote_time_seconds").set(now);
        }
    }

    fn decided(&mut self, decided: Decided) -> Result<(), OrderError> {
        self.began(Phase::Decision);
        self.log.decided(&decided);
        let height = decided.certificate.height;
        let Applied { outcomes, finds } = self.replica.machine_mut().applied(height);
        metrics::histogram!("hypermesh_order_height_seconds")
            .record(self.began.elapsed().as_secs_f64());
        metrics::histogram!("hypermesh_order_rounds")
            .record(decided.certificate.round.as_i64() as f64);
        self.began = Instant::now();
        let last = Arc::new(decided.clone());
        self.view.send_modify(|view| view.decided = Some(last));
        self.writer.add(Entry {
            decided,
            outcomes,
            finds,
        })?;
        Ok(())
    }

    fn send_decided(&mut self, to: NodeId, from: Height) -> Result<(), OrderError> {
        let mut bytes = 0;
        for height in from.0..from.0.saturating_add(SENT_AT_ONCE) {
            let Some((decided, _)) = self.store.block(Height(height))? else {
                break;
            };
            bytes += decided.body.len();
            self.tell(vec![to], &Message::Decided(decided));
            if bytes >= SENT_BYTES {
                break;
            }
        }
        Ok(())
    }
}
