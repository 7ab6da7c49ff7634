//! How long a voter that was killed says nothing: from its start as a process to its first vote, while the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hypermesh_testkit::Node;
use mfn_local::{Client, ConnectOptions};
use mfn_wire::Service;
use tokio::task::JoinSet;

use crate::consensus::submit;
use crate::record::BenchError;

/// How long it is away, and may take to vote.
const AWAY: Duration = Duration::from_secs(1);
const VOTED: Duration = Duration::from_secs(60);
/// When it voted for the first time on a height that it did not know before, and from which snapshot it went on, as it says itself.
const VOTE: &str = "hypermesh_order_first_vote_time_seconds";
const RESTORED: &str = "hypermesh_order_snapshot_restored_height";

/// What a start is made of, as the node says it itself: of what each is the end, and how long it took since the one before.
pub(crate) const PHASES: [(&str, &str); 7] = [
    ("store", "the database of decisions opened"),
    ("snapshot", "the state of its snapshot verified and built"),
    ("log", "the log read"),
    ("blocks", "the blocks after the snapshot applied"),
    ("peers", "a peer connected"),
    (
        "decision",
        "a decision of others had, of those that it missed",
    ),
    ("vote", "the others caught up with, and a vote"),
];

/// A restart.
pub(crate) struct Restarted {
    /// From the start as a process to the first vote.
    pub(crate) seconds: f64,
    /// The height of the snapshot that it went on from.
    pub(crate) snapshot: u64,
    /// By [`PHASES`], in seconds.
    pub(crate) phases: [f64; PHASES.len()],
}

/// Kills the last of these voters and starts it again, while each of the others has one name under way.
pub(crate) async fn measure(
    nodes: &mut Vec<Node>,
    names: &Arc<AtomicU64>,
) -> Result<Restarted, BenchError> {
    let Some(mut victim) = nodes.pop() else {
        return Err(BenchError::new("no voters"));
    };
    let ended = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for node in nodes.iter() {
        let socket = node.sockets().join(Service::Consensus.socket_name());
        let options = ConnectOptions::default();
        let client = Client::connect(&socket, Service::Consensus, options).await?;
        let (names, ended) = (Arc::clone(names), Arc::clone(&ended));
        callers.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                submit(&client, &names).await?;
            }
            Ok::<(), BenchError>(())
        });
    }
    let restart = move || -> Result<(Node, Restarted), String> {
        victim.kill();
        std::thread::sleep(AWAY);
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        let began = began.map_err(|error| error.to_string())?.as_secs_f64();
        victim.start()?;
        let until = Instant::now() + VOTED;
        loop {
            let scraped = victim.ok(&["ipc", "call", "metrics", "scrape"])?;
            let voted = value(&scraped, VOTE).unwrap_or_default();
            if voted > began {
                let restored = value(&scraped, RESTORED).unwrap_or_default();
                let phase = |(name, _): (&str, &str)| {
                    let series = format!("hypermesh_order_start_seconds{{phase=\"{name}\"}}");
                    value(&scraped, &series).unwrap_or_default()
                };
                let restarted = Restarted {
                    seconds: voted - began,
                    snapshot: restored as u64,
                    phases: PHASES.map(phase),
                };
                return Ok((victim, restarted));
            }
            if Instant::now() > until {
                return Err("the restarted voter does not vote".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let restarted = tokio::task::spawn_blocking(restart).await?;
    let (victim, restarted) = restarted.map_err(BenchError::new)?;
    nodes.push(victim);
    ended.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(restarted)
}

fn value(scraped: &str, name: &str) -> Option<f64> {
    let mut lines = scraped.lines();
    lines.find_map(|line| line.trim().strip_prefix(name)?.trim().parse().ok())
}
