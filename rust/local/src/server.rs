//! The serving side of a socket.

use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mfn_wire::{ContentType, Header, Kind, Service, Status};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::call::{Call, Reply};
use crate::connection::connection;
use crate::driver::Partial;
use crate::error::{Failure, LocalError};
use crate::socket::{self, Bound, PeerPolicy};
use crate::{BoxFuture, Limits};

/// Answers calls. One value serves all connections.
pub trait Handler: Send + Sync + 'static {
    /// Starts one call. The future runs on the server's runtime and must not block; it is dropped when the caller
    /// cancels, the deadline passes or the connection ends. Quick answers should be ready at the first poll: they
    /// then cost no task.
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>>;

    /// The same, for handlers that can answer some methods at once: those answers cost no allocation.
    fn answer(&self, call: Call) -> Answering {
        Answering::Later(self.call(call))
    }
}

/// An answer, or the work that ends with one.
pub enum Answering {
    Now(Result<Reply, Failure>),
    Later(BoxFuture<Result<Reply, Failure>>),
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(result) => f.debug_tuple("Now").field(result).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub service: Service,
    /// At most 107 bytes. Its directory is made, closed to other users.
    pub path: PathBuf,
    pub policy: PeerPolicy,
    /// Name and version of the program, told to clients.
    pub software: String,
    pub limits: Limits,
}

impl ServerConfig {
    /// The defaults: the same user only, default limits.
    pub fn new(service: Service, path: &Path) -> Self {
        Self {
            service,
            path: path.to_path_buf(),
            policy: PeerPolicy::default(),
            software: concat!("mfn-local/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::default(),
        }
    }
}

/// What happened on one socket since it was bound.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Open now.
    pub connections: AtomicU64,
    /// Ever accepted and allowed.
    pub accepted: AtomicU64,
    /// Turned away: another user, or too many connections.
    pub denied: AtomicU64,
    pub requests: AtomicU64,
    /// Requests that ended with an error.
    pub errors: AtomicU64,
    /// Connections that ended because the other side broke a rule.
    pub violations: AtomicU64,
}

/// A bound socket that is not served yet: clients that connect wait.
#[derive(Debug)]
pub struct Server {
    bound: Bound,
    config: ServerConfig,
    stats: Arc<ServerStats>,
}

/// What the connections of a socket share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) partial: Arc<Partial>,
    pub(crate) open: AtomicU32,
    /// A connection ended: file descriptors are free again.
    pub(crate) ended: Notify,
}

impl Shared {
    fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.config.limits.connections_max
    }
}

impl Server {
    /// Binds the socket, with mode 0600 in a directory of mode 0700. A stale one is replaced; one that another process
    /// serves is an error. Needs a tokio runtime.
    pub fn bind(config: ServerConfig) -> Result<Self, LocalError> {
        let bound = socket::bind(&config.path)?;
        Ok(Self {
            bound,
            config,
            stats: Arc::default(),
        })
    }

    /// Counters that live on while the server runs.
    pub fn stats(&self) -> Arc<ServerStats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `shutdown` is ready, then tells all connections to go away and waits, at most
    /// [`Limits::drain_timeout`], for accepted calls to end.
    pub fn serve(
        self,
        handler: Arc<dyn Handler>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let Self {
            bound,
            config,
            stats,
        } = self;
        async move {
            let partial = Partial::new(config.limits.partial_bytes_max);
            let shared = Arc::new(Shared {
                config,
                handler,
                stats,
                partial,
                open: AtomicU32::new(0),
                ended: Notify::new(),
            });
            accept_all(&bound, &shared, shutdown).await;
        }
    }
}

async fn accept_all(bound: &Bound, shared: &Arc<Shared>, shutdown: impl Future<Output = ()>) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    let mut pause = PAUSE_MIN;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            // A connection's task ends on its own; here it only leaves the set.
            Some(_) = connections.join_next() => {}
            accepted = bound.listener.accept() => match accepted {
                Ok(stream) => {
                    pause = PAUSE_MIN;
                    if shared.is_full() {
                        // Those that have been left may not have been seen out yet.
                        tokio::task::yield_now().await;
                    }
                    admit(stream, shared, &stopping, &mut connections);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) if is_of_descriptors(&error) && shed(bound, shared, &error) => {
                    // Others may hold the connections that would end.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // Out of descriptors or memory: trying again at once would spin. One that is freed ends the pause.
                    tracing::warn!(socket = %shared.config.path.display(), %error, "cannot accept");
                    // The time alone ends it when no connection does.
                    let _ = tokio::time::timeout(pause, shared.ended.notified()).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            },
        }
    }
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// No descriptor is left: the next who connects is told so, by way of the one in reserve, and does not wait for nothing.
/// `false`: there was none in reserve.
fn shed(bound: &Bound, shared: &Shared, error: &io::Error) -> bool {
    let told = bound.listener.with_reserve(|stream| {
        shared.stats.denied.fetch_add(1, Ordering::Relaxed);
        let text = "the program has no file descriptor left; close a connection and try again";
        say_refused(&stream, shared.config.service, Status::BUSY, text);
    });
    if told {
        tracing::warn!(socket = %shared.config.path.display(), %error, "turned a connection away");
    }
    told
}

fn is_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    number == Some(Errno::MFILE.raw_os_error()) || number == Some(Errno::NFILE.raw_os_error())
}

/// Tells who was not let in why.
fn say_refused(mut stream: &UnixStream, service: Service, status: Status, text: &str) {
    let header = Header {
        content_type: ContentType::Text,
        status,
        ..Header::new(Kind::Error, service)
    };
    let mut bytes = Vec::new();
    if mfn_wire::encode(&header, &[], text.as_bytes(), &mut bytes).is_ok() {
        // A fresh socket takes so little; a peer that is gone already needs no reason.
        let _ = stream.write(&bytes);
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Errors of `accept` that say something of one connection only.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn admit(
    stream: UnixStream,
    shared: &Arc<Shared>,
    stopping: &watch::Receiver<bool>,
    set: &mut JoinSet<()>,
) {
    let refuse = |status, text: &str| {
        shared.stats.denied.fetch_add(1, Ordering::Relaxed);
        say_refused(&stream, shared.config.service, status, text);
    };
    let peer = match socket::credentials(&stream) {
        Ok(peer) if shared.config.policy.allows(peer.uid) => peer,
        Ok(peer) => {
            tracing::warn!(socket = %shared.config.path.display(), uid = peer.uid, pid = peer.pid, "refused another user");
            return refuse(Status::DENIED, "this socket serves another user");
        }
        Err(error) => {
            tracing::warn!(socket = %shared.config.path.display(), %error, "cannot tell who connects");
            return refuse(Status::DENIED, "the kernel does not say who connects");
        }
    };
    if shared.is_full() {
        return refuse(
            Status::BUSY,
            "all connections of this socket are taken; close one and try again",
        );
    }
    shared.open.fetch_add(1, Ordering::Relaxed);
    shared.stats.connections.fetch_add(1, Ordering::Relaxed);
    shared.stats.accepted.fetch_add(1, Ordering::Relaxed);
    set.spawn(connection(
        stream,
        peer,
        Arc::clone(shared),
        stopping.clone(),
    ));
}
