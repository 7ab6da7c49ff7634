//! Runs one component: a thread, its own single-threaded runtime, its socket.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use mfn_local::{Handler, Server, ServerConfig, ServerStats};
use mfn_wire::Service;
use tokio::sync::watch;

use crate::node::NodeError;
use crate::report::{Process, Reporting};

/// What a component does while it serves, besides answering.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a component consists of, made on its own runtime.
pub(crate) struct Parts {
    pub(crate) handler: Arc<dyn Handler>,
    /// Runs beside the socket; dropped when the socket has drained.
    pub(crate) beside: Work,
    /// Runs last, when nobody asks any more.
    pub(crate) closing: Work,
}

impl Parts {
    /// A component that only answers.
    pub(crate) fn only(handler: Arc<dyn Handler>) -> Self {
        Self {
            handler,
            beside: Box::pin(std::future::pending()),
            closing: Box::pin(std::future::ready(())),
        }
    }
}

/// Where components run.
pub(crate) struct Host {
    /// Of the sockets.
    pub(crate) run_dir: PathBuf,
    pub(crate) stop: Stop,
    pub(crate) process: Arc<Process>,
}

/// A running component.
#[derive(Debug)]
pub(crate) struct Component {
    service: Service,
    thread: JoinHandle<()>,
}

/// What others see of a component. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) service: Service,
    pub(crate) socket: PathBuf,
    stats: Arc<ServerStats>,
    running: Arc<AtomicBool>,
}

impl View {
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
    pub(crate) fn connections(&self) -> u64 {
        self.stats.connections.load(Ordering::Relaxed)
    }
    pub(crate) fn requests(&self) -> u64 {
        self.stats.requests.load(Ordering::Relaxed)
    }
    pub(crate) fn accepted(&self) -> u64 {
        self.stats.accepted.load(Ordering::Relaxed)
    }
    pub(crate) fn denied(&self) -> u64 {
        self.stats.denied.load(Ordering::Relaxed)
    }
    pub(crate) fn violations(&self) -> u64 {
        self.stats.violations.load(Ordering::Relaxed)
    }
    pub(crate) fn errors(&self) -> u64 {
        self.stats.errors.load(Ordering::Relaxed)
    }
}

/// Says that a component's thread has ended, however it ended.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The word that stops all components.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for the word.
    pub(crate) async fn wait(mut self) {
        // Without a sender nobody could say it any more, so it counts as said.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Host {
    /// Starts a component and waits until its socket is bound. `make` runs on the component's runtime; what it
    /// returns besides the parts comes back to the caller.
    pub(crate) fn start<T, F>(
        &self,
        service: Service,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(Component, T), NodeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<(Parts, T), NodeError>>,
    {
        let socket = self.run_dir.join(service.socket_name());
        let config = ServerConfig {
            software: concat!("hypermesh/", env!("CARGO_PKG_VERSION")).into(),
            ..ServerConfig::new(service, &socket)
        };
        let running = Arc::new(AtomicBool::new(true));
        let ended = Ended(Arc::clone(&running));
        let (report, started) = mpsc::sync_channel(1);
        let (stop, process) = (self.stop.clone(), Arc::clone(&self.process));
        let thread = std::thread::Builder::new()
            .name(service.name().into())
            .spawn(move || {
                let _ended = ended;
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .event_interval(mfn_local::EVENT_INTERVAL)
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        // The caller waits for this; it cannot be gone.
                        let _ = report.send(Err(NodeError::Start(error)));
                        return;
                    }
                };
                runtime.block_on(async move {
                    let bound = async {
                        let (parts, extra) = make().await?;
                        // Last: who can connect finds a component that is ready.
                        let server = Server::bind(config)?;
                        Ok((parts, extra, server))
                    };
                    match bound.await {
                        Err(error) => drop(report.send(Err(error))),
                        Ok((parts, extra, server)) => {
                            drop(report.send(Ok((extra, server.stats()))));
                            let handler = Arc::new(Reporting {
                                service,
                                handler: parts.handler,
                                process,
                            });
                            tokio::select! {
                                () = server.serve(handler, stop.wait()) => {}
                                () = parts.beside => {}
                            }
                            parts.closing.await;
                        }
                    }
                });
                // A blocking call that does not end must not keep the process.
                runtime.shutdown_timeout(BLOCKING_TIMEOUT);
            })
            .map_err(NodeError::Start)?;
        match started.recv() {
            Ok(Ok((extra, stats))) => {
                self.process.serves(View {
                    service,
                    socket,
                    stats,
                    running,
                });
                Ok((Component { service, thread }, extra))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NodeError::Died(service.name())),
        }
    }
}

impl Component {
    /// Waits for its end.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(
                component = self.service.name(),
                "the component failed while it stopped"
            );
        }
    }
}

/// How long blocking work may go on after its component has ended.
const BLOCKING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
