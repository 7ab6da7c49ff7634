//! What the components ask of each other: one trait for each that asks another.
//!
//! Each door has two forms. In one process it is the other component's own object ([`crate::receive::Receiver`],
//! [`crate::network::Direct`], [`crate::fetch::Fetcher`]); between processes it is a pool of connections to the other's
//! socket ([`crate::remote`]), whose methods lead to that same object. So the components are the same code in both shapes.
//!
//! The arrows: transport asks state (for blocks that others want, and where fetched ones go), the scheduler asks both,
//! and state asks the scheduler for what is missing; consensus tells and hears through the transport. Blocks go from transport to state and never through the scheduler.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hypermesh_blocks::ExtractReport;
use hypermesh_id::{BlockId, NodeId, Root};
use mfn_local::{BoxFuture, Failure};
use mfn_wire::pb;
use stoq::{BlockSink, BlockSource, Class, FetchReport, Told, Wants};
use tokio::sync::{mpsc, oneshot, watch};

use crate::adviser::Link;

/// State, as the transport asks it.
pub(crate) trait Intakes: Send + Sync {
    /// Blocks for other nodes.
    fn source(&self) -> Arc<dyn BlockSource>;
    /// Where the blocks of an open session go, and which ones it wants.
    fn intake(&self, session: u64) -> Result<Intake, Failure>;
}

/// The two ends of a session that a transfer needs.
pub(crate) struct Intake {
    pub(crate) wants: Box<dyn Wants>,
    pub(crate) sink: Arc<dyn BlockSink>,
    pub(crate) trouble: Trouble,
}

/// What failed on this side of a transfer, which hands only a text on: the first failure with its status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Failure>>>);

impl Trouble {
    /// Keeps the failure if it is the first; answers its text.
    pub(crate) fn note(&self, failure: Failure) -> String {
        let text = failure.text.clone();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(failure);
        text
    }

    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// State, as the scheduler asks it.
pub(crate) trait Receives: Send + Sync {
    /// Gets an order into the store and out of it. Unless all of it is here, `opened` gets the session to which its blocks
    /// are to be brought; then this waits for the word that no more come. Dropped, the session ends.
    fn receive(
        &self,
        order: Order,
        opened: oneshot::Sender<Opened>,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> BoxFuture<Result<Received, Failure>>;
    /// No more blocks come for a session.
    fn received(&self, session: u64, complete: bool) -> BoxFuture<Result<(), Failure>>;
}

/// The transport, as the scheduler asks it.
pub(crate) trait Network: Send + Sync {
    /// Connected peers among the chosen ones, or among all when none is chosen. Waits for a first one: a node that just
    /// started is still connecting.
    fn connected(
        &self,
        chosen: Vec<NodeId>,
        wait: Duration,
    ) -> BoxFuture<Result<Vec<Link>, Failure>>;
    /// Which of these say that they have a block.
    fn holders(
        &self,
        asked: Vec<NodeId>,
        block: BlockId,
    ) -> BoxFuture<Result<Vec<NodeId>, Failure>>;
    /// Moves what a session wants, and tells how far it is. Dropped, the transfer ends.
    fn fetch(
        &self,
        session: u64,
        providers: Vec<NodeId>,
        observe: Arc<dyn Fn(&FetchReport) + Send + Sync>,
    ) -> BoxFuture<Result<FetchReport, Failure>>;
}

/// The transport, as consensus asks it.
pub(crate) trait Gossip: Send + Sync {
    /// Tells peers. Never waits: what does not fit is dropped and counted.
    fn tell(&self, tells: Vec<Tell>);
    /// What peers tell from now on, and who they are. A newer call ends an older one.
    fn hear(&self) -> BoxFuture<Result<mpsc::Receiver<Heard>, Failure>>;
    /// Who belongs to the mesh by what is decided.
    fn order(&self, ordered: Ordered) -> BoxFuture<Result<(), Failure>>;
    /// Redeems an invitation.
    fn join(&self, text: String) -> BoxFuture<Result<Joined, Failure>>;
}

/// Something to tell: to some peers, or to all that are connected when none is named.
#[derive(Clone, Debug)]
pub struct Tell {
    pub to: Vec<NodeId>,
    pub class: Class,
    pub content: Bytes,
}

/// What is heard.
#[derive(Debug)]
pub(crate) enum Heard {
    Told(Word),
    Peers(Peers),
}

/// What a peer told. Until it is dropped it counts against what may be heard of that peer.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) from: NodeId,
    pub(crate) class: Class,
    pub(crate) content: Bytes,
    /// In the transport's process. Held, never looked at.
    _told: Option<Told>,
}

impl From<Told> for Word {
    fn from(told: Told) -> Self {
        Self {
            from: told.from,
            class: told.class,
            content: told.content.clone(),
            _told: Some(told),
        }
    }
}

impl Word {
    /// What came another way than by this process's transport.
    pub(crate) fn of(from: NodeId, class: Class, content: Bytes) -> Self {
        Self {
            from,
            class,
            content,
            _told: None,
        }
    }
}

/// Who there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    pub(crate) connected: Vec<NodeId>,
    /// Who redeemed an invitation of this node, and where it is reached.
    pub(crate) invited: Vec<(NodeId, Vec<SocketAddr>)>,
    /// Where this node is reached.
    pub(crate) own: Vec<SocketAddr>,
}

/// Who belongs to the mesh by what is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) members: Vec<(NodeId, Vec<SocketAddr>)>,
    pub(crate) removed: Vec<NodeId>,
    /// What the mesh was founded with: told to those who join.
    pub(crate) genesis: Bytes,
}

/// What the issuer of an invitation answered.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) issuer: NodeId,
    pub(crate) introduced: u32,
    /// Of its mesh; empty when it runs an older version.
    pub(crate) genesis: Bytes,
}

/// The scheduler, as state asks it.
pub(crate) trait Fetches: Send + Sync {
    /// Gets a part of a tree into the store; answers how many bytes came. Dropped, the fetch ends.
    fn fetch(&self, part: Part) -> BoxFuture<Result<u64, Failure>>;
}

/// A part that is missing.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) target: Target,
    /// Most bytes that are asked for.
    pub(crate) budget: Option<u64>,
    /// Only if a peer is connected now.
    pub(crate) at_once: bool,
}

/// What to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All of a tree, beside an older one; remembered as soon as its root block is here and is one, so that what arrives
    /// outlives an interruption.
    Tree {
        root: Root,
        base: Option<Root>,
        pin: bool,
    },
    /// What a path of a tree needs.
    Path { root: Root, path: Vec<u8> },
    /// One block.
    Block(BlockId),
}

impl Target {
    /// The block by which holders are recognised.
    pub(crate) fn first(&self) -> BlockId {
        match self {
            Self::Tree { root, .. } | Self::Path { root, .. } => root.0,
            Self::Block(id) => *id,
        }
    }
}

/// What to get, and where it goes besides the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) target: Target,
    /// Of a tree: written out while it comes.
    pub(crate) destination: Option<PathBuf>,
    /// Most bytes that are asked for, the first ones.
    pub(crate) budget: Option<u64>,
}

/// A session that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: u64,
    pub(crate) totals: watch::Receiver<Totals>,
}

/// What a session knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Blocks and bytes that the root is known to have.
    pub(crate) known: (u64, u64),
    /// Blocks and bytes of them that are here, those that arrived included.
    pub(crate) present: (u64, u64),
}

/// What became of an order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) totals: Totals,
    pub(crate) extracted: ExtractReport,
}

/// Who wants to know how far a job is.
pub(crate) trait Watcher: Send + Sync {
    /// Never waits.
    fn report(&self, progress: pb::Progress);
    /// Nobody wants it any more.
    fn is_cancelled(&self) -> bool;
}
