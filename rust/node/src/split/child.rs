//! The process of one component.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hypermesh_id::NodeId;
use mfn_local::run_dir;
use mfn_wire::Service;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{ORDER, UP};
use crate::adviser::Together;
use crate::component::{Component, Host, Stop};
use crate::config::Config;
use crate::dir::NodeDir;
use crate::memory::Layers;
use crate::metrics::Other;
use crate::node::{NodeError, raise_descriptors};
use crate::peers::PeerBook;
use crate::receive::Receiver;
use crate::remote::gossip::RemoteGossip;
use crate::remote::{Remote, socket};
use crate::report::{Held, Process};
use crate::{components, identity, store};

/// Which component to be.
#[derive(Clone, Debug)]
pub struct ComponentOptions {
    /// Name of one of the five components.
    pub name: String,
    /// The node's id, which only the transport finds out by itself: it alone reads the key.
    pub node: Option<NodeId>,
    /// When the node was started, in Unix nanoseconds.
    pub started: u64,
    /// How often its process was started again since then.
    pub restarts: u64,
}

/// Runs one component until standard input ends, or SIGINT or SIGTERM. To be started by [`super::run_split`], which reads
/// the one line on standard output.
///
/// # Errors
/// When it does not start.
pub fn run_component(
    dir: &NodeDir,
    config: &Config,
    options: &ComponentOptions,
) -> Result<(), NodeError> {
    let service = ORDER
        .into_iter()
        .find(|service| service.name() == options.name)
        .ok_or_else(|| NodeError::NoComponent(options.name.clone()))?;
    // Whatever ends the parent ends this process as well. Were it gone already, standard input would have ended.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| NodeError::Start(error.into()))?;
    // First of all that is opened: the kernel lets go of it last.
    let _member = dir.join_members()?;
    raise_descriptors();
    // For the doors of threads that block, so that what they move is not on the component's own thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("doors")
        .enable_all()
        .build()
        .map_err(NodeError::Start)?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(NodeError::Start)?,
            signal(SignalKind::terminate()).map_err(NodeError::Start)?,
        )
    };
    let (stop, stopping) = Stop::new();
    let base = config.run_base.clone();
    let host = Host {
        run_dir: dir.run_dir_below(&base.unwrap_or_else(run_dir::default_base))?,
        stop: stopping,
        process: Arc::new(Process::new(Some(service), options.restarts)),
    };
    let started = start(service, &host, (dir, config), options, runtime.handle());
    let said = match &started {
        Ok(_) => UP.to_owned(),
        Err(error) => {
            tracing::error!(component = service.name(), %error, "the component does not start");
            error.to_string().replace('\n', " ")
        }
    };
    // A parent that is gone does not read it.
    let _ = writeln!(std::io::stdout().lock(), "{said}");
    let all = started?;
    tracing::debug!(component = service.name(), "the component is up");
    let mut ended = input_ended();
    runtime.block_on(async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // Its sender is the thread that reads.
            _ = ended.changed() => {}
        }
    });
    // Without receivers all of them have ended already.
    let _ = stop.send(true);
    for component in all.into_iter().rev() {
        component.join();
    }
    runtime.shutdown_background();
    Ok(())
}

/// Rings when standard input ends.
fn input_ended() -> watch::Receiver<()> {
    let (ended, receiver) = watch::channel(());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut buffer), Ok(1..)) {}
        ended.send_replace(());
    });
    receiver
}

/// The doors of this process, which its status shows.
struct Doors<'a> {
    run_dir: &'a Path,
    runtime: &'a Handle,
    pools: Mutex<Vec<mfn_local::Pool>>,
}

impl Doors<'_> {
    fn to(&self, service: Service) -> Arc<Remote> {
        let remote = Remote::new(service, self.run_dir, self.runtime.clone());
        self.pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(remote.pool().clone());
        Arc::new(remote)
    }
}

fn start(
    service: Service,
    host: &Host,
    own: (&NodeDir, &Config),
    options: &ComponentOptions,
    runtime: &Handle,
) -> Result<Vec<Component>, NodeError> {
    let (dir, config) = own;
    let doors = Doors {
        run_dir: &host.run_dir,
        runtime,
        pools: Mutex::default(),
    };
    let known = || options.node.ok_or(NodeError::NoId);
    let components = match service {
        Service::State => {
            let store = store::open(&dir.blocks(), config)?;
            let receiver = Receiver::new(store, config.transfer_deltas);
            let together = Together::at(config, &host.run_dir);
            let scheduler = doors.to(Service::Scheduler);
            vec![components::state(host, own, receiver, scheduler, together)?]
        }
        Service::Transport => {
            let key = Arc::new(identity::load(&dir.identity())?);
            let id = identity::node_id(&key);
            let book = Arc::new(PeerBook::open(&dir.peers(), id, &config.peers)?);
            let state = doors.to(Service::State);
            vec![components::transport(host, config, (id, key), book, state)?.0]
        }
        Service::Scheduler => {
            let (state, network) = (doors.to(Service::State), doors.to(Service::Transport));
            vec![components::scheduler(host, own, known()?, state, network)?.0]
        }
        Service::Metrics => {
            let layers = Layers::open(dir, config);
            let mut all = components::layers(host, &layers)?;
            let other = |service| Other {
                service,
                socket: socket(service, &host.run_dir),
                pool: doors.to(service).pool().clone(),
            };
            let others = ORDER.into_iter().filter(|other| *other != service);
            let others = (others.map(other).collect(), Some(parent()));
            let about = (known()?, options.started);
            all.push(components::metrics(host, own, about, layers, others)?);
            all
        }
        _ => {
            let gossip = Arc::new(RemoteGossip::new(doors.to(Service::Transport)));
            let key = Arc::new(identity::load(&dir.identity())?);
            let id = identity::node_id(&key);
            vec![components::consensus(
                host,
                (dir, config),
                (id, key),
                gossip,
            )?]
        }
    };
    let pools = doors.pools.into_inner();
    host.process
        .has(Held(pools.unwrap_or_else(PoisonError::into_inner)));
    Ok(components)
}

/// The process that watches over this one.
fn parent() -> u32 {
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    u32::try_from(parent).unwrap_or_default()
}
