//! What each component consists of, given the doors to the others. The same in one process and in several.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hypermesh_id::NodeId;
use mfn_wire::Service;
use stoq::{Endpoint, EndpointConfig, Limits};
use tokio::sync::{mpsc, watch};

use crate::adviser::{Adviser, TELL_EVERY, Together};
use crate::component::{Component, Host, Parts};
use crate::config::Config;
use crate::consensus::ConsensusService;
use crate::dir::NodeDir;
use crate::doors::{Fetches, Gossip, Intakes, Network, Receives};
use crate::exact::Exact;
use crate::fetch::Fetcher;
use crate::foresight::Foresight;
use crate::gossip::{self, OrderedView};
use crate::http;
use crate::membership::Membership;
use crate::memory::Layers;
use crate::metrics::{Memory, MetricsService, Other};
use crate::network::Direct;
use crate::node::NodeError;
use crate::order::snapshots::Policy;
use crate::peers::PeerBook;
use crate::receive::Receiver;
use crate::scheduler::SchedulerService;
use crate::state::StateService;
use crate::transport::{TransportService, advertised};

/// The transport, as the scheduler and consensus ask it.
pub(crate) type TransportDoors = (Arc<dyn Network>, Arc<dyn Gossip>);

/// The endpoint, and the task that dials whom the node gets to know. The only component that has the node's key.
pub(crate) fn transport(
    host: &Host,
    config: &Config,
    (me, key): (NodeId, Arc<SigningKey>),
    book: Arc<PeerBook>,
    state: Arc<dyn Intakes>,
) -> Result<(Component, Endpoint, TransportDoors), NodeError> {
    let (config, process) = (config.clone(), Arc::clone(&host.process));
    let (component, (endpoint, doors)) = host.start(Service::Transport, move || async move {
        let membership = Membership {
            me,
            key: Arc::clone(&key),
            book,
            ordered: OrderedView::default(),
            changed: watch::channel(()).0,
        };
        let (hearing, told) = mpsc::unbounded_channel();
        let endpoint = Endpoint::bind(
            EndpointConfig {
                hearing: Some(hearing),
                listen: config.listen.clone(),
                software: concat!("hypermesh/", env!("CARGO_PKG_VERSION")).into(),
                limits: Limits {
                    deltas: config.transfer_deltas,
                    ..Limits::default()
                },
                ..EndpointConfig::new((*key).clone())
            },
            Arc::new(membership.clone()),
            state.source(),
        )?;
        process.has(endpoint.clone());
        let advertised = advertised(&config.advertise, &endpoint.local_addrs());
        endpoint.advertise(advertised.clone());
        let network = Arc::new(Direct {
            endpoint: endpoint.clone(),
            state,
        });
        let gossip = Arc::new(gossip::Direct::new(
            me,
            endpoint.clone(),
            membership.clone(),
            advertised.clone(),
            told,
        ));
        let following = membership.clone().follow(endpoint.clone());
        let service = TransportService {
            me,
            key,
            endpoint: endpoint.clone(),
            network: Arc::clone(&network),
            gossip: Arc::clone(&gossip),
            membership,
            advertised,
        };
        let closing = endpoint.clone();
        let parts = Parts {
            handler: Arc::new(service),
            beside: Box::pin(following),
            closing: Box::pin(async move { closing.close().await }),
        };
        let doors: TransportDoors = (network, gossip);
        Ok((parts, (endpoint, doors)))
    })?;
    Ok((component, endpoint, doors))
}

/// Jobs, and the adviser with its daemon.
pub(crate) fn scheduler(
    host: &Host,
    (dir, config): (&NodeDir, &Config),
    me: NodeId,
    state: Arc<dyn Receives>,
    network: Arc<dyn Network>,
) -> Result<(Component, Fetcher, Adviser), NodeError> {
    let (config, process) = (config.clone(), Arc::clone(&host.process));
    let (alm_dir, run_dir) = (dir.alm(), host.run_dir.clone());
    let serving = dir.memory().join("serving");
    let own = dir.path().to_path_buf();
    let (component, (fetcher, adviser)) = host.start(Service::Scheduler, move || async move {
        let adviser = Adviser::start(me, &config, (&alm_dir, serving), &run_dir);
        process.has(adviser.clone());
        let fetcher = Fetcher {
            state,
            network: Arc::clone(&network),
            adviser: adviser.clone(),
            peer_wait: config.peer_wait,
            deltas: config.transfer_deltas,
        };
        let service = SchedulerService {
            fetcher: fetcher.clone(),
            adviser: adviser.clone(),
            jobs: Arc::default(),
            own,
        };
        let closing = adviser.clone();
        let parts = Parts {
            handler: Arc::new(service),
            beside: Box::pin(tell_links(network, adviser.clone())),
            closing: Box::pin(async move { closing.stop().await }),
        };
        Ok((parts, (fetcher, adviser)))
    })?;
    Ok((component, fetcher, adviser))
}

/// The store, and what is foreseen of its reads.
pub(crate) fn state(
    host: &Host,
    (dir, config): (&NodeDir, &Config),
    receiver: Receiver,
    scheduler: Arc<dyn Fetches>,
    together: Together,
) -> Result<Component, NodeError> {
    let store = receiver.store().clone();
    host.process.has(store.clone());
    let foresight = Foresight::open(
        config,
        dir.memory().join("reads"),
        store.clone(),
        Arc::clone(&scheduler),
        together,
    );
    let service = StateService {
        store,
        receiver,
        scheduler,
        foresight: foresight.clone(),
        dir: dir.path().to_owned(),
    };
    let (component, ()) = host.start(Service::State, move || async move {
        let parts = Parts {
            handler: Arc::new(service),
            beside: Box::pin(foresight.clone().keep()),
            closing: Box::pin(async move { foresight.save().await }),
        };
        Ok((parts, ()))
    })?;
    Ok(component)
}

/// What the mesh has decided. Whoever signs has the key, so this component does.
pub(crate) fn consensus(
    host: &Host,
    (dir, config): (&NodeDir, &Config),
    (me, key): (NodeId, Arc<SigningKey>),
    gossip: Arc<dyn Gossip>,
) -> Result<Component, NodeError> {
    let directory = dir.consensus();
    let snapshots = Policy {
        every: config.snapshot_every,
        behind: config.snapshot_behind,
    };
    let (component, ()) = host.start(Service::Consensus, move || async move {
        let service = ConsensusService::open((me, key), directory, snapshots, gossip).await;
        let mut parts = Parts::only(Arc::new(service.clone()));
        parts.beside = Box::pin(service.keep());
        Ok((parts, ()))
    })?;
    Ok(component)
}

/// The layers dsr and cpe, each on its socket.
pub(crate) fn layers(host: &Host, layers: &Layers) -> Result<Vec<Component>, NodeError> {
    let start = |(service, layer)| {
        let (component, ()) =
            host.start(service, move || async move { Ok((Parts::only(layer), ())) })?;
        Ok(component)
    };
    layers.served().into_iter().map(start).collect()
}

/// How the node is, and `ifrd`. Started last, and asked first by `hypermesh status`: who reaches it finds all others.
pub(crate) fn metrics(
    host: &Host,
    (dir, config): (&NodeDir, &Config),
    (me, started): (NodeId, u64),
    layers: Layers,
    (others, parent): (Vec<Other>, Option<u32>),
) -> Result<Component, NodeError> {
    let (config, process) = (config.clone(), Arc::clone(&host.process));
    let (ifr_dir, run_dir): (PathBuf, PathBuf) = (dir.memory().join("ifr"), host.run_dir.clone());
    let (component, ()) = host.start(Service::Metrics, move || async move {
        let exact = Exact::start(&config, &ifr_dir, &run_dir);
        process.has(Memory {
            layers,
            exact: exact.clone(),
        });
        let service = MetricsService {
            id: me,
            started,
            process,
            others: others.into(),
            parent,
        };
        let mut parts = Parts::only(Arc::new(service.clone()));
        parts.closing = Box::pin(async move { exact.stop().await });
        if let Some(address) = config.metrics_http {
            parts.beside = Box::pin(http::serve(http::bind(address).await?, service));
        }
        Ok((parts, ()))
    })?;
    Ok(component)
}

/// Tells the adviser what the transport measures, again and again, and saves what it learned.
async fn tell_links(network: Arc<dyn Network>, adviser: Adviser) {
    let mut tick = tokio::time::interval(TELL_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // While nobody is connected there is nothing to tell.
        if let Ok(links) = network.connected(Vec::new(), Duration::ZERO).await {
            adviser.tell(&links).await;
        }
        adviser.keep().await;
    }
}
