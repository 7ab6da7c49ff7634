//! The process that watches over the others. It serves nothing, opens no store and reads no key.

use std::ffi::OsString;
use std::time::Duration;

use mfn_alm::{Output, Supervisor, SupervisorOptions};
use mfn_local::{Client, ConnectOptions, run_dir};
use mfn_wire::{Service, method, pb};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ComponentCommand, ORDER, UP};
use crate::answer::unix_ns;
use crate::config::Config;
use crate::dir::NodeDir;
use crate::node::{NodeError, raise_descriptors};
use crate::remote::socket;

/// How long a component may take to stop: its calls drain, its daemon saves.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the transport may take to say who the node is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// A component's process.
struct Child {
    service: Service,
    supervisor: Supervisor,
}

/// Runs a node as one process for each component, until SIGINT or SIGTERM. A second one ends all at once.
///
/// # Errors
/// When one of them does not start; the others are stopped then.
pub fn run_split(
    dir: &NodeDir,
    config: &Config,
    command: &ComponentCommand,
) -> Result<(), NodeError> {
    raise_descriptors();
    // One thread, this one: children are tied to the life of the thread that makes them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeError::Start)?;
    runtime.block_on(async {
        // Before the first child starts, so that no signal finds us unprepared.
        let mut asked = Asked::new()?;
        dir.check()?;
        let _lock = dir.acquire()?;
        let base = config.run_base.clone();
        let run_dir = dir.run_dir_below(&base.unwrap_or_else(run_dir::default_base))?;
        run_dir::ensure(&run_dir)?;
        dir.link_run(&run_dir)?;
        let mut children = Vec::new();
        let starting = start(&run_dir, config, command, &mut children);
        let started = tokio::select! {
            started = starting => Some(started),
            () = asked.wait() => None,
        };
        let result = match started {
            Some(Ok(status)) => {
                tracing::info!(node = %status.node_id, listen = %status.listen.join(", "), dir = %dir.path().display(), "the node is up, each component a process");
                asked.wait().await;
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        tracing::info!("stopping; a second signal ends the processes at once");
        tokio::select! {
            () = stop(children) => {}
            // The kernel ends the children with this process.
            () = asked.wait() => std::process::exit(1),
        }
        tracing::info!("stopped");
        result
    })
}

/// Starts all, each when what it asks is there. Those that were started are in `children` whatever comes of it.
async fn start(
    run_dir: &std::path::Path,
    config: &Config,
    command: &ComponentCommand,
    children: &mut Vec<Child>,
) -> Result<pb::TransportStatus, NodeError> {
    let started = unix_ns();
    let mut known = None;
    for service in ORDER {
        let mut arguments = command.arguments.clone();
        arguments.extend([service.name().into(), "--started".into()]);
        arguments.push(started.to_string().into());
        let own = arguments.clone();
        if service == Service::Transport {
            arguments.extend(listen(config.listen.iter().map(ToString::to_string)));
        }
        if let Some(pb::TransportStatus { node_id, .. }) = &known {
            arguments.extend(["--node".into(), OsString::from(node_id)]);
        }
        let supervisor = Supervisor::start(SupervisorOptions {
            name: service.name().into(),
            counts: Some("--restarts"),
            output: Output::Own,
            stop_timeout: STOP_TIMEOUT,
            ..SupervisorOptions::new(command.program.clone(), arguments)
        });
        children.push(Child {
            service,
            supervisor,
        });
        let failed = |reason| NodeError::Component {
            name: service.name(),
            reason,
        };
        if let Some(child) = children.last_mut() {
            let said = child.supervisor.started().await.map_err(failed)?;
            if said != UP {
                return Err(failed(said));
            }
        }
        if service == Service::Transport {
            let status = about(run_dir).await.map_err(failed)?;
            // Peers know by now where the system let it listen.
            if let Some(child) = children.last() {
                let listen = listen(status.listen.iter().cloned());
                child.supervisor.set_arguments([own, listen].concat());
            }
            known = Some(status);
        }
    }
    known.ok_or(NodeError::NoId)
}

fn listen(addresses: impl Iterator<Item = String>) -> Vec<OsString> {
    let option = |address: String| [OsString::from("--listen"), address.into()];
    addresses.flat_map(option).collect()
}

/// Who the node is, and where it listens, as its transport says.
async fn about(run_dir: &std::path::Path) -> Result<pb::TransportStatus, String> {
    let (service, options) = (Service::Transport, ConnectOptions::default());
    let client = Client::connect(&socket(service, run_dir), service, options)
        .await
        .map_err(|error| error.to_string())?;
    let asked = client.ask(method::transport::STATUS, &(), STATUS_TIMEOUT);
    asked.await.map_err(|error| error.to_string())
}

/// Stops all: who asks others before who answers.
async fn stop(children: Vec<Child>) {
    // Who stopped us may have stopped them as well.
    for child in &children {
        child.supervisor.let_end();
    }
    for child in children.into_iter().rev() {
        let name = child.service.name();
        tracing::debug!(component = name, "stopping");
        child.supervisor.stop().await;
    }
}

/// Signals that ask this process to end.
struct Asked {
    interrupt: Signal,
    terminate: Signal,
}

impl Asked {
    fn new() -> Result<Self, NodeError> {
        let on = |kind| signal(kind).map_err(NodeError::Start);
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
