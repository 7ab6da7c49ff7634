//! The node's use of layer 3: which provider to ask first, and what is read together. Advice only; without it,
//! round-trip time decides.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hypermesh_id::NodeId;
use mfn_alm::{
    Alm, AlmError, Edge, Pool, PoolId, SocketAlm, State, Supervisor, SupervisorOptions, strength_of,
};
use stoq::ProviderBytes;

use crate::answer::{blocking, unix_ns};
use crate::config::Config;
use crate::serving::{End, Serving};
use crate::{files, programs};

/// How often measured links are told to the adviser.
pub(crate) const TELL_EVERY: Duration = Duration::from_secs(2);

/// How long a status waits for the adviser.
const STATS_TIMEOUT: Duration = Duration::from_millis(200);

/// The pool of what was read together, and its budget: a memory of its own beside the links.
const READS_POOL: PoolId = 1 << 32;
const READS_BYTES_MAX: u64 = 8 << 20;
/// Paths that are asked for, and what makes one worth its bytes: its share of the belief.
const READS_MAX: u32 = 6;
const READS_SHARE_MIN: f64 = 0.05;

/// A measured link to a connected peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) round_trip: Option<Duration>,
}

/// The adviser, or its absence. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Adviser {
    me: NodeId,
    alm: Option<SocketAlm>,
    /// Why there is none, when it was not started.
    absent: &'static str,
    supervisor: Arc<Mutex<Option<Supervisor>>>,
    /// Kept in `file`: a link's strength is told anew after a restart, so what is beside its round trip must be known.
    serving: Arc<Mutex<Serving>>,
    file: PathBuf,
}

/// The `almd` program: configured, beside this program, or on the PATH.
pub fn find_almd(config: &Config) -> Option<PathBuf> {
    programs::find("almd", config.alm_program.as_deref())
}

impl Adviser {
    /// Starts `almd` if it is wanted and found. Needs the runtime on which it is watched. What an earlier run learned of
    /// providers in `file` is known; a damaged file is forgotten.
    pub(crate) fn start(
        me: NodeId,
        config: &Config,
        (directory, file): (&Path, PathBuf),
        run_dir: &Path,
    ) -> Self {
        let serving = Arc::new(Mutex::new(load(&file)));
        let without = |absent| Self {
            me,
            alm: None,
            absent,
            supervisor: Arc::default(),
            serving: Arc::clone(&serving),
            file: file.clone(),
        };
        if !config.alm_enabled {
            return without("switched off in config.toml");
        }
        let Some(program) = find_almd(config) else {
            tracing::warn!(
                "almd was not found beside hypermesh or on the PATH; round-trip time alone ranks providers"
            );
            return without("almd was not found");
        };
        let socket = run_dir.join(mfn_wire::Service::Alm.socket_name());
        let arguments = vec![
            "--socket".into(),
            socket.clone().into(),
            "--dir".into(),
            directory.into(),
            "--half-life".into(),
            format!("{}s", config.alm_half_life.as_secs().max(1)).into(),
            "--exit-on-stdin-eof".into(),
            "--log-time=false".into(),
            // Advice: a link that is forgotten is measured again, and a node must start whatever is stored.
            "--durability=none".into(),
            "--damaged=aside".into(),
        ];
        let supervisor = Supervisor::start(SupervisorOptions::new(program, arguments));
        Self {
            me,
            alm: Some(SocketAlm::new(&socket)),
            absent: "",
            supervisor: Arc::new(Mutex::new(Some(supervisor))),
            serving,
            file,
        }
    }

    /// Learns from a transfer who serves well: it counts like a longer or shorter round trip from now on.
    pub(crate) fn served(&self, providers: &[ProviderBytes], end: End) {
        self.serving().learn(providers, end, Instant::now());
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves what providers have done, if there is something new.
    pub(crate) async fn keep(&self) {
        let this = self.clone();
        let saved = blocking(move || {
            let bytes = {
                let mut serving = this.serving();
                if !serving.take_news() {
                    return Ok(());
                }
                serving.save(Instant::now(), unix())
            };
            if let Err(error) = files::keep(&this.file, &bytes) {
                tracing::warn!(%error, file = %this.file.display(), "what providers did was not saved");
            }
            Ok(())
        });
        drop(saved.await);
    }

    /// Seconds that a request over a link is expected to take; `None` while nothing was measured.
    fn cost(&self, link: &Link, now: Instant) -> Option<f64> {
        let beside = self.serving().cost(&link.peer, now);
        Some(link.round_trip?.as_secs_f64() + beside)
    }

    /// Tells the adviser what was measured. Silence of the adviser is no error: it learns it the next time.
    pub(crate) async fn tell(&self, links: &[Link]) {
        let Some(alm) = &self.alm else { return };
        let edges: Vec<Edge> = links
            .iter()
            .filter_map(|link| {
                let cost = self.cost(link, Instant::now())?;
                let strength = strength_of(Duration::from_secs_f64(cost));
                Some(Edge::new(self.me.0, link.peer.0, strength))
            })
            .collect();
        if edges.is_empty() {
            return;
        }
        if let Err(error) = alm.add(edges).await {
            tracing::debug!(%error, "the adviser was not told");
        }
    }

    /// Orders providers, the one to prefer first.
    pub(crate) async fn rank(&self, mut links: Vec<Link>) -> Vec<NodeId> {
        // A stable order whatever order the links came in.
        links.sort_by_key(|link| link.peer);
        let mut costs: Vec<(f64, NodeId)> = links
            .iter()
            .map(|link| {
                // A link that is not measured yet comes last.
                let cost = self.cost(link, Instant::now());
                (cost.unwrap_or(f64::INFINITY), link.peer)
            })
            .collect();
        if let Some(alm) = &self.alm
            && links.len() > 1
        {
            let candidates = links.iter().map(|link| link.peer.0.to_vec()).collect();
            match alm.rank(self.me.0.to_vec(), candidates).await {
                Ok(ranked) => {
                    for (cost, peer) in &mut costs {
                        if let Some(found) =
                            ranked.iter().find(|one| one.known && one.node == peer.0)
                        {
                            *cost = found.cost;
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "no advice; round-trip time ranks the providers")
                }
            }
        }
        costs.sort_by(|one, other| one.0.total_cmp(&other.0));
        costs.into_iter().map(|(_, peer)| peer).collect()
    }

    /// The part of it that knows what is read together.
    pub(crate) fn together(&self) -> Together {
        Together {
            alm: self.alm.clone(),
        }
    }

    /// Links that it holds; none when it does not answer at once.
    pub(crate) async fn links(&self) -> Option<u64> {
        let stats = self.alm.as_ref()?.stats();
        let stats = tokio::time::timeout(STATS_TIMEOUT, stats).await.ok()?;
        Some(stats.ok()?.edges)
    }

    /// The connections to it, when it is used.
    pub(crate) fn pool(&self) -> Option<&mfn_local::Pool> {
        self.alm.as_ref().map(SocketAlm::pool)
    }

    /// Whether it runs, in words, how often it was started again, and whether it can be asked.
    pub(crate) fn state(&self) -> (String, u64, bool) {
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*supervisor {
            None => (self.absent.into(), 0, false),
            Some(supervisor) => {
                let (text, running) = match supervisor.state() {
                    State::Running { pid } => (format!("running as process {pid}"), true),
                    State::Waiting { reason } => (format!("away: {reason}"), false),
                    State::Stopped => ("stopped".into(), false),
                };
                (text, supervisor.restarts(), running)
            }
        }
    }

    /// Ends the daemon; it writes its last snapshot, and what providers did is saved.
    pub(crate) async fn stop(&self) {
        self.keep().await;
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(supervisor) = supervisor {
            supervisor.stop().await;
        }
    }
}

fn load(file: &Path) -> Serving {
    let saved = files::read_bounded(file, Serving::SAVED_BYTES_MAX);
    let known = saved.as_deref().ok();
    if let Some(serving) = known.and_then(|saved| Serving::load(saved, Instant::now(), unix())) {
        return serving;
    }
    if !matches!(&saved, Err(error) if error.kind() == io::ErrorKind::NotFound) {
        tracing::warn!(file = %file.display(), "what is known of providers cannot be used; it is learned again");
    }
    Serving::default()
}

/// Since the Unix epoch.
fn unix() -> Duration {
    Duration::from_nanos(unix_ns())
}

/// What is read together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Together {
    alm: Option<SocketAlm>,
}

impl Together {
    /// Where another process runs the daemon.
    pub(crate) fn at(config: &Config, run_dir: &std::path::Path) -> Self {
        let socket = run_dir.join(mfn_wire::Service::Alm.socket_name());
        Self {
            alm: config.alm_enabled.then(|| SocketAlm::new(&socket)),
        }
    }

    /// Says that these paths were read within a short time.
    pub(crate) async fn read_together(&self, paths: Vec<Vec<u8>>) {
        let Some(alm) = &self.alm else { return };
        let observe = || alm.observe(READS_POOL, paths.clone());
        let mut told = observe().await;
        if let Err(AlmError::Refused { .. }) = told {
            // The first time, or the daemon forgot.
            let pool = Pool {
                id: READS_POOL,
                predict_bytes_max: READS_BYTES_MAX,
                ..Pool::default()
            };
            if alm.pool_set(pool).await.is_ok() {
                told = observe().await;
            }
        }
        if let Err(error) = told {
            tracing::debug!(%error, "the adviser was not told what was read");
        }
    }

    /// Paths that are likely read with this one, the likeliest first.
    pub(crate) async fn read_with(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let Some(alm) = &self.alm else {
            return Vec::new();
        };
        let found = alm.predict(READS_POOL, path.to_vec(), READS_MAX).await;
        let likely = found
            .unwrap_or_default()
            .into_iter()
            .filter(|found| found.share >= READS_SHARE_MIN);
        likely.map(|found| found.key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_adviser_the_nearest_comes_first() {
        let adviser = Adviser {
            me: NodeId([0; 32]),
            alm: None,
            absent: "a test",
            supervisor: Arc::default(),
            serving: Arc::default(),
            file: PathBuf::new(),
        };
        let link = |node, round_trip: Option<u64>| Link {
            peer: NodeId([node; 32]),
            round_trip: round_trip.map(Duration::from_millis),
        };
        let order = adviser
            .rank(vec![link(1, None), link(2, Some(30)), link(3, Some(2))])
            .await;
        assert_eq!(order, [NodeId([3; 32]), NodeId([2; 32]), NodeId([1; 32])]);
    }
}
