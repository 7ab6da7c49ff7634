//! The node's use of layer 3: which provider to ask first. Advice only; without it, round-trip time decides.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypermesh_id::NodeId;
use mfn_alm::{Alm, Edge, SocketAlm, State, Supervisor, SupervisorOptions, strength_of};
use mfn_local::Pool;
use mfn_wire::Service;

use crate::config::Config;

/// How often measured links are told to the adviser.
pub(crate) const TELL_EVERY: Duration = Duration::from_secs(2);

/// How long a status waits for the adviser.
const STATS_TIMEOUT: Duration = Duration::from_millis(200);

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
}

/// The `almd` program: configured, beside this program, or on the PATH.
pub fn find_almd(config: &Config) -> Option<PathBuf> {
    let beside = || {
        std::env::current_exe()
            .ok()
            .and_then(|own| Some(own.parent()?.join("almd")))
    };
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|directory| directory.join("almd"))
            .find(|program| program.is_file())
    };
    match &config.alm_program {
        Some(program) => Some(program.clone()),
        None => beside()
            .filter(|program| program.is_file())
            .or_else(on_path),
    }
}

impl Adviser {
    /// Starts `almd` if it is wanted and found. Needs the runtime on which it is watched.
    pub(crate) fn start(
        me: NodeId,
        config: &Config,
        directory: &std::path::Path,
        run_dir: &std::path::Path,
    ) -> Self {
        let without = |absent| Self {
            me,
            alm: None,
            absent,
            supervisor: Arc::default(),
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
        let socket = run_dir.join(Service::Alm.socket_name());
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
        }
    }

    /// Tells the adviser what was measured. Silence of the adviser is no error: it learns it the next time.
    pub(crate) async fn tell(&self, links: &[Link]) {
        let Some(alm) = &self.alm else { return };
        let edges: Vec<Edge> = links
            .iter()
            .filter_map(|link| {
                let strength = strength_of(link.round_trip?);
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
            .map(|link| (own_cost(link), link.peer))
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

    /// Links that it holds; none when it does not answer at once.
    pub(crate) async fn links(&self) -> Option<u64> {
        let stats = self.alm.as_ref()?.stats();
        let stats = tokio::time::timeout(STATS_TIMEOUT, stats).await.ok()?;
        Some(stats.ok()?.edges)
    }

    /// The connections to it, when it is used.
    pub(crate) fn pool(&self) -> Option<&Pool> {
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

    /// Ends the daemon; it writes its last snapshot.
    pub(crate) async fn stop(&self) {
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

/// Without advice: the round trip in seconds, as a path's cost; a link that is not measured yet comes last.
fn own_cost(link: &Link) -> f64 {
    link.round_trip
        .map_or(f64::INFINITY, |round_trip| round_trip.as_secs_f64())
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
