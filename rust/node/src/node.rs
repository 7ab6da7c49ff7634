//! The composition root: makes the parts, joins them, stops them in order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hypermesh_blocks::StoreError;
use hypermesh_id::NodeId;
use mfn_local::{LocalError, run_dir};
use rustix::process::{Resource, Rlimit};
use stoq::StoqError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::answer::unix_ns;
use crate::component::{Component, Host, Stop};
use crate::config::Config;
use crate::dir::{DirError, DirLock, NodeDir};
use crate::doors::Gossip;
use crate::identity::{self, IdentityError};
use crate::memory::Layers;
use crate::peers::{PeerBook, PeersError};
use crate::receive::Receiver;
use crate::report::Process;
use crate::{components, store};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    #[error("{0}")]
    Dir(#[from] DirError),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Peers(#[from] PeersError),
    #[error("{0}")]
    Socket(#[from] LocalError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Transport(#[from] StoqError),
    #[error("could not start a thread or its runtime: {0}")]
    Start(std::io::Error),
    #[error("cannot serve metrics on {address}: {source}; change metrics.http in config.toml")]
    MetricsHttp {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the {0} component ended while it started; its log says why")]
    Died(&'static str),
    #[error("the {name} component does not start: {reason}")]
    Component { name: &'static str, reason: String },
    #[error("'{0}' is not a component: write transport, state, scheduler, consensus or metrics")]
    NoComponent(String),
    #[error("this component must be told the node's id: `hypermesh up --split` starts it so")]
    NoId,
}

/// A running node. Dropped without [`Node::stop`], its threads end with the process.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    listen: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// In the order in which they stop: who asks others before who answers.
    components: Vec<Component>,
    _lock: DirLock,
}

impl Node {
    /// Starts a node in its directory. Blocking; everything answers when this returns.
    ///
    /// # Errors
    /// Each names what is in the way and what to do.
    pub fn start(dir: &NodeDir, config: &Config) -> Result<Self, NodeError> {
        Self::start_through(dir, config, |gossip| gossip)
    }

    /// The same, with something between what is agreed and who hears it.
    pub(crate) fn start_through(
        dir: &NodeDir,
        config: &Config,
        between: impl FnOnce(Arc<dyn Gossip>) -> Arc<dyn Gossip>,
    ) -> Result<Self, NodeError> {
        dir.check()?;
        let lock = dir.acquire()?;
        let key = Arc::new(identity::load(&dir.identity())?);
        let id = identity::node_id(&key);
        let book = Arc::new(PeerBook::open(&dir.peers(), id, &config.peers)?);
        let run_dir = dir.run_dir_below(
            &config
                .run_base
                .clone()
                .unwrap_or_else(run_dir::default_base),
        )?;
        run_dir::ensure(&run_dir)?;
        dir.link_run(&run_dir)?;
        let store = store::open(&dir.blocks(), config)?;
        let (stop, stopping) = Stop::new();
        let host = Host {
            run_dir,
            stop: stopping,
            process: Arc::new(Process::new(None, 0)),
        };
        let own = (dir, config);
        let receiver = Receiver::new(store, config.transfer_deltas);
        let state = Arc::new(receiver.clone());
        let (transport, endpoint, (network, gossip)) = components::transport(
            &host,
            config,
            (id, Arc::clone(&key)),
            book,
            Arc::clone(&state) as _,
        )?;
        let (scheduler, fetcher, adviser) = components::scheduler(&host, own, id, state, network)?;
        let together = adviser.together();
        let state = components::state(&host, own, receiver, Arc::new(fetcher), together)?;
        let mut components = vec![
            transport,
            scheduler,
            state,
            components::consensus(&host, (dir, config), (id, key), between(gossip))?,
        ];
        let layers = Layers::open(dir, config);
        components.extend(components::layers(&host, &layers)?);
        let alone = (Vec::new(), None);
        let metrics = components::metrics(&host, own, (id, unix_ns()), layers, alone)?;
        components.push(metrics);
        let listen = endpoint.local_addrs();

        // The transport serves the others, so it stops last.
        components.reverse();
        Ok(Self {
            id,
            listen,
            stop,
            components,
            _lock: lock,
        })
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The addresses that it listens on.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Stops it: no new calls, accepted ones end or are cut off after the drain, connections are closed.
    pub fn stop(self) {
        // Without receivers all components have ended already.
        let _ = self.stop.send(true);
        for component in self.components {
            component.join();
        }
    }
}

/// Takes as many file descriptors as the system grants: a connection is one, and shells grant few at first.
pub(crate) fn raise_descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Runs a node until SIGINT or SIGTERM. A second one ends the process at once.
///
/// # Errors
/// When it does not start.
pub fn run(dir: &NodeDir, config: &Config) -> Result<(), NodeError> {
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeError::Start)?;
    // Before the node starts, so that no signal finds it unprepared.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(NodeError::Start)?,
            signal(SignalKind::terminate()).map_err(NodeError::Start)?,
        )
    };
    let node = Node::start(dir, config)?;
    let addresses = node
        .listen()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    tracing::info!(node = %node.id(), listen = %addresses, dir = %dir.path().display(), "the node is up");
    runtime.block_on(async {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    });
    tracing::info!("stopping; a second signal ends the process at once");
    let stopped = Arc::new(Mutex::new(false));
    std::thread::spawn({
        let stopped = Arc::clone(&stopped);
        move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            });
            if !*stopped.lock().unwrap_or_else(PoisonError::into_inner) {
                std::process::exit(1);
            }
        }
    });
    node.stop();
    *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
    tracing::info!("stopped");
    Ok(())
}
