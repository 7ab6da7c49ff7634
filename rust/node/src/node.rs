//! The composition root: makes the parts, joins them, stops them in order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use hypermesh_blocks::{Store, StoreError};
use hypermesh_id::NodeId;
use mfn_local::{LocalError, run_dir};
use mfn_wire::Service;
use rustix::process::{Resource, Rlimit};
use stoq::{Endpoint, EndpointConfig, Limits, StoqError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::adviser::{Adviser, Link, TELL_EVERY};
use crate::answer::unix_ns;
use crate::component::{Component, Parts, Stop};
use crate::config::Config;
use crate::consensus::ConsensusService;
use crate::dir::{DirError, DirLock, NodeDir};
use crate::exact::Exact;
use crate::fetch::{Fetcher, StoreSource};
use crate::foresight::Foresight;
use crate::identity::{self, IdentityError};
use crate::membership::Membership;
use crate::memory::Layers;
use crate::metrics::{MetricsService, Views};
use crate::older::Recent;
use crate::peers::{PeerBook, PeersError};
use crate::scheduler::SchedulerService;
use crate::state::StateService;
use crate::transport::{TransportService, advertised};
use crate::{http, metrics, store};

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
        let started = unix_ns();
        let recorder = metrics::recorder();
        let (stop, stopping) = Stop::new();
        let views = Views::default();
        let mut components = Vec::new();
        let mut add = |component: Component| {
            views
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(component.view());
            components.push(component);
        };

        let (transport, endpoint) =
            Component::start(Service::Transport, &run_dir, stopping.clone(), {
                let (config, store) = (config.clone(), store.clone());
                move || transport(id, key, book, config, store)
            })?;
        add(transport);

        let (scheduler, (fetcher, adviser)) =
            Component::start(Service::Scheduler, &run_dir, stopping.clone(), {
                let (config, store, endpoint) = (config.clone(), store.clone(), endpoint.clone());
                let (places, run_dir) =
                    ((dir.alm(), dir.memory().join("serving")), run_dir.clone());
                let own = dir.path().to_path_buf();
                move || async move {
                    let (alm_dir, serving) = places;
                    let adviser = Adviser::start(id, &config, (&alm_dir, serving), &run_dir);
                    let fetcher = Arc::new(Fetcher {
                        store: store.clone(),
                        endpoint: endpoint.clone(),
                        adviser: adviser.clone(),
                        peer_wait: config.peer_wait,
                        deltas: config.transfer_deltas,
                        recent: Recent::default(),
                    });
                    let service = SchedulerService {
                        store,
                        fetcher: Arc::clone(&fetcher),
                        adviser: adviser.clone(),
                        jobs: Arc::default(),
                        own,
                    };
                    let closing = adviser.clone();
                    let parts = Parts {
                        handler: Arc::new(service),
                        beside: Box::pin(tell_links(endpoint, adviser.clone())),
                        closing: Box::pin(async move { closing.stop().await }),
                    };
                    Ok((parts, (fetcher, adviser)))
                }
            })?;
        add(scheduler);

        let (state, ()) = Component::start(Service::State, &run_dir, stopping.clone(), {
            let foresight =
                Foresight::open(config, dir.memory().join("reads"), Arc::clone(&fetcher));
            let service = StateService {
                store: store.clone(),
                fetcher,
                foresight: foresight.clone(),
                dir: dir.path().to_owned(),
            };
            move || async move {
                let parts = Parts {
                    handler: Arc::new(service),
                    beside: Box::pin(foresight.clone().keep()),
                    closing: Box::pin(async move { foresight.save().await }),
                };
                Ok((parts, ()))
            }
        })?;
        add(state);

        let (consensus, ()) =
            Component::start(Service::Consensus, &run_dir, stopping.clone(), || async {
                Ok((Parts::only(Arc::new(ConsensusService)), ()))
            })?;
        add(consensus);

        let memory = Layers::open(dir, config);
        for (service, layer) in memory.served() {
            let (component, ()) = Component::start(service, &run_dir, stopping.clone(), {
                move || async move { Ok((Parts::only(layer), ())) }
            })?;
            add(component);
        }

        // Last, and asked first by `hypermesh status`: who reaches it finds all others.
        let listen = endpoint.local_addrs();
        let (component, ()) = Component::start(Service::Metrics, &run_dir, stopping, {
            let views = Arc::clone(&views);
            let (ifr_dir, run_dir) = (dir.memory().join("ifr"), run_dir.clone());
            let config = config.clone();
            let service = move |exact| MetricsService {
                id,
                started,
                views,
                store,
                endpoint,
                adviser,
                memory,
                exact,
                recorder,
            };
            move || async move {
                let exact = Exact::start(&config, &ifr_dir, &run_dir);
                let service = service(exact.clone());
                let mut parts = Parts::only(Arc::new(service.clone()));
                parts.closing = Box::pin(async move { exact.stop().await });
                if let Some(address) = config.metrics_http {
                    parts.beside = Box::pin(http::serve(http::bind(address).await?, service));
                }
                Ok((parts, ()))
            }
        })?;
        add(component);

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

/// The transport's parts: the endpoint, and the task that dials whom the node gets to know.
async fn transport(
    me: NodeId,
    key: Arc<SigningKey>,
    book: Arc<PeerBook>,
    config: Config,
    store: Store,
) -> Result<(Parts, Endpoint), NodeError> {
    let membership = Membership {
        me,
        key: Arc::clone(&key),
        book,
        changed: watch::channel(()).0,
    };
    let endpoint = Endpoint::bind(
        EndpointConfig {
            listen: config.listen.clone(),
            software: concat!("hypermesh/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits {
                deltas: config.transfer_deltas,
                ..Limits::default()
            },
            ..EndpointConfig::new((*key).clone())
        },
        Arc::new(membership.clone()),
        Arc::new(StoreSource(store)),
    )?;
    let advertised = advertised(&config.advertise, &endpoint.local_addrs());
    endpoint.advertise(advertised.clone());
    let following = membership.clone().follow(endpoint.clone());
    let service = TransportService {
        me,
        key,
        endpoint: endpoint.clone(),
        membership,
        advertised,
    };
    let closing = endpoint.clone();
    let parts = Parts {
        handler: Arc::new(service),
        beside: Box::pin(following),
        closing: Box::pin(async move { closing.close().await }),
    };
    Ok((parts, endpoint))
}

/// Tells the adviser what the transport measures, again and again, and saves what it learned.
async fn tell_links(endpoint: Endpoint, adviser: Adviser) {
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let links: Vec<Link> = endpoint
            .peers()
            .into_iter()
            .filter(|peer| peer.connected)
            .map(|peer| Link {
                peer: peer.node,
                round_trip: peer.rtt,
            })
            .collect();
        adviser.tell(&links).await;
        adviser.keep().await;
    }
}

/// Takes as many file descriptors as the system grants: a connection is one, and shells grant few at first.
fn raise_descriptors() {
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
