//! Order: four nodes that agree, beside CometBFT, which agrees as we do, and etcd, which survives crashes and no lie.
//!
//! All are processes on this machine, on loopback, and put what they acknowledge on the disk. One after the other in each
//! round, since they would share the processors.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hypermesh_testkit::{Mesh, Node};
use mfn_local::{Client, ConnectOptions};
use mfn_wire::{Service, method, pb};
use tokio::task::JoinSet;

use crate::cpu;
use crate::peers::order::{self, Load, Outcome};
use crate::proof;
use crate::record::{BenchError, Ctx, Must, Samples};
use crate::restart::{self, PHASES, Restarted};

const VOTERS: usize = 4;
/// A transaction of ours with a name of 255 bytes has so many; the peers get as many.
const TRANSACTION_BYTES: usize = 404;
/// So many names at least are decided before a voter is restarted.
const NAMES: u64 = 20_000;
/// Names that each node may make: more than any run does.
const NAMES_EACH: &str = "10000000";
/// A directory that no disk is behind.
const MEMORY: &str = "/dev/shm";
const FLUSHES: u64 = 100;
/// How long a transaction may take before the run fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let (rounds, seconds, singles) = if ctx.quick { (1, 2, 10) } else { (3, 10, 200) };
    let load = Load {
        seconds,
        bytes: TRANSACTION_BYTES,
        in_flight: 8_192,
        singles,
    };
    // One transaction under way for each node: no height is empty, and none waits for another.
    let trickle = Load {
        in_flight: VOTERS,
        singles: 0,
        ..load
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut samples = [const { Vec::new() }; 3];
    let (mut heights, mut work) = (Samples::default(), Samples::default());
    let (mut check, mut proof_bytes) = (Samples::default(), 0);
    let (mut flushes, mut unflushed) = (Samples::default(), Samples::default());
    let mut restarts = Vec::new();
    let names = Arc::new(AtomicU64::new(0));
    for _ in 0..rounds {
        rustix::fs::sync();
        let first = names.load(Ordering::Relaxed);
        let mut mesh = Mesh::new().map_err(BenchError::new)?;
        let mut nodes = found(&mut mesh).map_err(BenchError::new)?;
        samples[0].push(runtime.block_on(drive(&nodes, load, &names))?);
        let (checked, bytes) = runtime.block_on(proof::check(&nodes[0], &name(first)))?;
        check.push(checked);
        proof_bytes = bytes;
        let pids: Vec<u32> = nodes.iter().filter_map(Node::pid).collect();
        let before = spent(&pids)?;
        let quiet = runtime.block_on(drive(&nodes, trickle, &names))?;
        work.push((spent(&pids)? - before) / quiet.heights as f64 / VOTERS as f64 * 1e6);
        heights.push(quiet.heights as f64 / quiet.seconds);
        while names.load(Ordering::Relaxed) - first < NAMES {
            runtime.block_on(drive(&nodes, Load { singles: 0, ..load }, &names))?;
        }
        restarts.push(runtime.block_on(restart::measure(&mut nodes, &names))?);
        drop((nodes, mesh));
        flushes.push(flush(&std::env::temp_dir())?);
        let memory = Path::new(MEMORY);
        if memory.is_dir() {
            let mut mesh = Mesh::within(memory).map_err(BenchError::new)?;
            let nodes = found(&mut mesh).map_err(BenchError::new)?;
            let quiet = runtime.block_on(drive(&nodes, trickle, &names))?;
            unflushed.push(quiet.heights as f64 / quiet.seconds);
        }
        // What one left for the disk to do is not the next one's.
        rustix::fs::sync();
        let place = tempfile::tempdir()?;
        samples[1].push(order::comet(place.path())?.drive(load)?);
        rustix::fs::sync();
        let place = tempfile::tempdir()?;
        samples[2].push(order::etcd(place.path())?.drive(load)?);
    }
    let [ours, comet, etcd] = samples;
    let of = |outcomes: &[Outcome], value: &dyn Fn(&Outcome) -> f64| {
        Samples(outcomes.iter().map(value).collect())
    };
    let rate = |outcomes| of(outcomes, &Outcome::per_second);
    let note = "four processes, 8,192 transactions of 404 bytes under way, each signed by its author, whose signature three others verify; CometBFT's kvstore checks no signatures";
    ctx.row(
        "transactions",
        "1/s",
        &rate(&ours),
        Some(("CometBFT", &rate(&comet))),
        Must::RatioAtLeast(2.0),
        note,
    )?;
    let note = "three members of etcd, which orders without signatures and trusts every member";
    ctx.row(
        "transactions, beside crash faults only",
        "1/s",
        &rate(&ours),
        Some(("etcd", &rate(&etcd))),
        Must::Report,
        note,
    )?;
    let note = "one transaction under way at each of four nodes; a height is three messages and three syncs of a log";
    ctx.row("heights", "1/s", &heights, None, Must::AtLeast(200.0), note)?;
    if !unflushed.0.is_empty() {
        let note = "the same with the nodes' directories in memory, where a sync costs nothing: what the agreement itself takes";
        ctx.row(
            "heights, no disk",
            "1/s",
            &unflushed,
            None,
            Must::Report,
            note,
        )?;
    }
    let note = "4 KiB written and synced into a file that has its size, as the log does it: a height waits for two in a row, and four nodes share the disk";
    ctx.row("sync of the disk", "ms", &flushes, None, Must::Report, note)?;
    let each = |outcome: &Outcome| outcome.heights as f64 / outcome.seconds;
    let note = "while the 8,192 are under way";
    ctx.row(
        "heights at full load",
        "1/s",
        &of(&ours, &each),
        Some(("CometBFT", &of(&comet, &each))),
        Must::Report,
        note,
    )?;
    let note =
        "processor time of a node for a height of up to four transactions, all of its threads";
    ctx.row(
        "work for a height and a node",
        "µs",
        &work,
        None,
        Must::Report,
        note,
    )?;
    let note = format!(
        "from its {proof_bytes} bytes: founding, each change of the voters up to four, the last decision, and the path to the name"
    );
    ctx.row(
        "checking what a name means, processor time",
        "ms",
        &check,
        None,
        Must::AtMost(1.0),
        &note,
    )?;
    restart_rows(ctx, &restarts)?;
    for (percent, metric) in [(50, "commit, median"), (99, "commit, 99th of 100")] {
        let at = |outcome: &Outcome| outcome.latency(percent) / 1e3;
        let note = "one at a time, from the client's request to its answer that it is decided";
        ctx.row(
            metric,
            "ms",
            &of(&ours, &at),
            Some(("CometBFT", &of(&comet, &at))),
            Must::Report,
            note,
        )?;
        let metric = format!("{metric}, beside crash faults only");
        ctx.row(
            &metric,
            "ms",
            &of(&ours, &at),
            Some(("etcd", &of(&etcd, &at))),
            Must::Report,
            note,
        )?;
    }
    Ok(())
}

/// Nothing but restarts, of a mesh with many names.
pub(crate) fn run_restarts(ctx: &mut Ctx) -> Result<(), BenchError> {
    let (rounds, wanted) = if ctx.quick { (2, NAMES) } else { (5, 200_000) };
    let load = Load {
        seconds: 2,
        bytes: TRANSACTION_BYTES,
        in_flight: 8_192,
        singles: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let names = Arc::new(AtomicU64::new(0));
    let mut mesh = Mesh::new().map_err(BenchError::new)?;
    let mut nodes = found(&mut mesh).map_err(BenchError::new)?;
    while names.load(Ordering::Relaxed) < wanted {
        runtime.block_on(drive(&nodes, load, &names))?;
    }
    let mut restarts = Vec::new();
    for _ in 0..rounds {
        restarts.push(runtime.block_on(restart::measure(&mut nodes, &names))?);
    }
    restart_rows(ctx, &restarts)
}

fn restart_rows(ctx: &mut Ctx, restarts: &[Restarted]) -> Result<(), BenchError> {
    let snapshot = restarts.last().map_or(0, |last| last.snapshot);
    let all = Samples(restarts.iter().map(|one| one.seconds).collect());
    let note = format!(
        "a voter is killed and started again after a second, with 20,000 names or more, while the three others decide: from its start as a process to its first vote on a height that it did not know before, by its own clock; it went on from its snapshot of height {snapshot}"
    );
    let metric = "restart to first vote";
    ctx.row(metric, "s", &all, None, Must::AtMost(1.0), &note)?;
    let before = |one: &Restarted| one.seconds - one.phases.iter().sum::<f64>();
    let before = Samples(restarts.iter().map(before).collect());
    let note = "from the start as a process until the agreement's directory is looked at";
    let metric = "restart: what comes before";
    ctx.row(metric, "s", &before, None, Must::Report, note)?;
    for (at, (name, note)) in PHASES.iter().enumerate() {
        let took = Samples(restarts.iter().map(|one| one.phases[at]).collect());
        let metric = format!("restart: {name}");
        ctx.row(&metric, "s", &took, None, Must::Report, note)?;
    }
    Ok(())
}

/// Four nodes that vote.
fn found(mesh: &mut Mesh) -> Result<Vec<Node>, String> {
    let mut nodes = vec![mesh.node("n0")?];
    for number in 1..VOTERS {
        let node = mesh.node(&format!("n{number}"))?;
        node.join(&nodes[0])?;
        // Each voter so far has to say so.
        for voter in &nodes {
            wait_member(voter, node.id())?;
            voter.ok(&["members", "promote", node.id()])?;
        }
        nodes.push(node);
    }
    for voter in nodes.iter().take(VOTERS * 2 / 3 + 1) {
        voter.ok(&["members", "set", "names_per_author", NAMES_EACH])?;
    }
    let all: Vec<&Node> = nodes.iter().collect();
    for node in &nodes {
        let others: Vec<&Node> = all
            .iter()
            .copied()
            .filter(|other| other.id() != node.id())
            .collect();
        node.wait_connected(&others)?;
    }
    Ok(nodes)
}

/// Waits until a node has seen the decision by which another became a member: the answer to a join is given before it.
fn wait_member(node: &Node, other: &str) -> Result<(), String> {
    let until = Instant::now() + ANSWER_TIMEOUT;
    while !node.ok(&["members", "ls"])?.contains(other) {
        if Instant::now() > until {
            return Err(format!("{other} is not admitted"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The median time in which this directory's disk has what was written, in milliseconds.
fn flush(place: &Path) -> Result<f64, BenchError> {
    let file = tempfile::tempfile_in(place)?;
    let sector = [7; 4096];
    for at in 0..FLUSHES {
        file.write_all_at(&sector, at * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for at in 0..FLUSHES {
        let began = Instant::now();
        file.write_all_at(&sector, at * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn spent(pids: &[u32]) -> Result<f64, BenchError> {
    let mut all = 0.0;
    for pid in pids {
        all += cpu::all_threads(*pid)?;
    }
    Ok(all)
}

async fn drive(nodes: &[Node], load: Load, names: &Arc<AtomicU64>) -> Result<Outcome, BenchError> {
    let mut clients = Vec::new();
    for node in nodes {
        let socket = node.sockets().join(Service::Consensus.socket_name());
        let client = Client::connect(&socket, Service::Consensus, ConnectOptions::default()).await;
        clients.push(Arc::new(client?));
    }
    let name = Arc::clone(names);
    let mut latencies = Vec::new();
    for _ in 0..load.singles {
        let began = Instant::now();
        submit(&clients[0], &name).await?;
        latencies.push(began.elapsed().as_secs_f64() * 1e6);
    }
    latencies.sort_by(f64::total_cmp);
    let first = height(&clients[0]).await?;
    let began = Instant::now();
    let until = began + Duration::from_secs(load.seconds);
    let mut callers = JoinSet::new();
    for caller in 0..load.in_flight {
        let (client, name) = (
            Arc::clone(&clients[caller % clients.len()]),
            Arc::clone(&name),
        );
        callers.spawn(async move {
            let mut committed = 0u64;
            while Instant::now() < until {
                submit(&client, &name).await?;
                // What is decided later than that is not counted.
                committed += u64::from(Instant::now() < until);
            }
            Ok::<u64, BenchError>(committed)
        });
    }
    let mut committed = 0;
    let mut last = first;
    while let Some(count) = callers.join_next().await {
        if last == first {
            last = height(&clients[0]).await?;
        }
        committed += count??;
    }
    Ok(Outcome {
        committed,
        seconds: load.seconds as f64,
        heights: last - first,
        latencies,
    })
}

async fn height(client: &Client) -> Result<u64, BenchError> {
    let status: pb::ConsensusStatus = client
        .ask(method::consensus::STATUS, &(), ANSWER_TIMEOUT)
        .await?;
    Ok(status.decided_height)
}

fn name(number: u64) -> String {
    format!("{number:0>255}")
}

/// A new name of 255 bytes, decided.
pub(crate) async fn submit(client: &Client, names: &AtomicU64) -> Result<(), BenchError> {
    let number = names.fetch_add(1, Ordering::Relaxed);
    let root = hypermesh_id::Root(hypermesh_id::BlockId([7; 32])).to_string();
    let change = pb::SetNameAction {
        name: name(number),
        root,
        expect: Some(pb::Expect {
            kind: "absent".into(),
            root: String::new(),
        }),
    };
    let request = pb::SubmitRequest {
        action: Some(pb::Action {
            set_name: Some(change),
            ..pb::Action::default()
        }),
        within_heights: 0,
    };
    let reply: pb::SubmitReply = client
        .ask(method::consensus::SUBMIT, &request, ANSWER_TIMEOUT)
        .await?;
    let outcome = reply.outcome.unwrap_or_default();
    match outcome.accepted {
        true => Ok(()),
        false => Err(BenchError::new(outcome.text)),
    }
}
