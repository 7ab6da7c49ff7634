//! Layer 1 for other programs of the machine: `ifrd`, which the node starts and watches. The store's own index is another
//! table, inside the node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mfn_alm::{State, Supervisor, SupervisorOptions};
use mfn_local::{Pool, PoolOptions, Request};
use mfn_wire::{Service, ifr, method, pb};

use crate::config::Config;
use crate::programs;

/// How long a status waits for the daemon.
const STATS_TIMEOUT: Duration = Duration::from_millis(200);

/// The daemon, or why there is none. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Exact {
    daemon: Result<Daemon, String>,
}

#[derive(Clone, Debug)]
struct Daemon {
    supervisor: Arc<Mutex<Option<Supervisor>>>,
    pool: Pool,
}

/// The `ifrd` program: configured, beside this program, or on the PATH.
pub(crate) fn find_ifrd(config: &Config) -> Option<PathBuf> {
    programs::find("ifrd", config.memory_ifrd.as_deref())
}

impl Exact {
    /// Starts `ifrd` if it is wanted and found. Needs the runtime on which it is watched.
    pub(crate) fn start(config: &Config, directory: &Path, run_dir: &Path) -> Self {
        let absent = |why: String| Self { daemon: Err(why) };
        if !config.memory_enabled {
            return absent("switched off: memory.enabled in config.toml".into());
        }
        let Some(program) = find_ifrd(config) else {
            let why = "ifrd was not found beside hypermesh or on the PATH; memory.ifrd names it";
            tracing::warn!("{why}");
            return absent(why.into());
        };
        if let Err(error) = std::fs::create_dir_all(directory) {
            return absent(format!("{}: {error}", directory.display()));
        }
        let socket = run_dir.join(Service::Ifr.socket_name());
        let arguments: Vec<OsString> = vec![
            "--socket".into(),
            socket.clone().into(),
            "--dir".into(),
            directory.into(),
            "--bytes-max".into(),
            config.memory_bytes_max.to_string().into(),
            "--exit-on-stdin-eof".into(),
            "--log-time=false".into(),
        ];
        let supervisor = Supervisor::start(SupervisorOptions::new(program, arguments));
        Self {
            daemon: Ok(Daemon {
                supervisor: Arc::new(Mutex::new(Some(supervisor))),
                pool: Pool::new(PoolOptions::new(Service::Ifr, socket)),
            }),
        }
    }

    /// What `hypermesh status` says of it.
    pub(crate) async fn status(&self) -> pb::LayerStatus {
        let mut status = pb::LayerStatus {
            name: "ifrd".into(),
            state: "absent".into(),
            ..Default::default()
        };
        let daemon = match &self.daemon {
            Ok(daemon) => daemon,
            Err(why) => {
                status.detail.clone_from(why);
                return status;
            }
        };
        let (state, restarts) = daemon.state();
        status.restarts = restarts;
        status.detail = match state {
            State::Running { pid } => {
                status.state = "in use".into();
                format!("running as process {pid}, kept in memory/ifr")
            }
            State::Waiting { reason } => format!("away: {reason}"),
            State::Stopped => "stopped".into(),
        };
        if let Some(stats) = daemon.stats().await {
            status.entries = stats.digest_entries + stats.bytes_entries;
        }
        status
    }

    /// The connections to it, when there is one.
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.daemon.as_ref().ok().map(|daemon| &daemon.pool)
    }

    /// Ends the daemon; what it acknowledged is on disk.
    pub(crate) async fn stop(&self) {
        let Ok(daemon) = &self.daemon else { return };
        let supervisor = daemon
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(supervisor) = supervisor {
            supervisor.stop().await;
        }
    }
}

impl Daemon {
    fn state(&self) -> (State, u64) {
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*supervisor {
            Some(supervisor) => (supervisor.state(), supervisor.restarts()),
            None => (State::Stopped, 0),
        }
    }

    async fn stats(&self) -> Option<ifr::Stats> {
        let request = Request::empty().within(STATS_TIMEOUT);
        let reply = self.pool.call(method::ifr::STATS, request).await.ok()?;
        ifr::Stats::decode(&reply.body).ok()
    }
}
