//! What else orders: CometBFT, which agrees as we do, and etcd, which survives crashes and no lie.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::record::BenchError;

/// How long a peer's nodes may take to start and to find each other.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// What came of a load; times in microseconds, ascending.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) committed: u64,
    pub(crate) seconds: f64,
    pub(crate) heights: u64,
    pub(crate) latencies: Vec<f64>,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.committed as f64 / self.seconds
    }

    /// The value below which so many of a hundred lie.
    pub(crate) fn latency(&self, percent: usize) -> f64 {
        let at = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// What is sent: for how long at full speed, how large, how many under way, how many one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) seconds: u64,
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) singles: usize,
}

/// The nodes of a peer; they end with this.
pub(crate) struct Nodes {
    name: &'static str,
    children: Vec<Child>,
    /// Where clients ask them.
    addresses: Vec<String>,
    load: PathBuf,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Their directories go with them: killing them is their normal end here.
            if child.kill().is_ok() {
                drop(child.wait());
            }
        }
    }
}

/// A program that `cargo make bench-consensus` built.
fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let text = format!("{name} is not built; run ./make bench-consensus");
    Err(BenchError::new(text))
}

/// Ports that are free now.
fn ports(count: usize) -> Result<Vec<u16>, BenchError> {
    let held = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    held.iter().map(port).collect()
}

/// Four validators with the kvstore that CometBFT brings, set to be quick: no pause after a decision, and gossip that does
/// not wait a tenth of a second.
pub(crate) fn comet(place: &Path) -> Result<Nodes, BenchError> {
    const NODES: usize = 4;
    let program = beside("cometbft")?;
    let run = |arguments: &[&str]| -> Result<String, BenchError> {
        let output = Command::new(&program).args(arguments).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::new(format!("cometbft {arguments:?}: {text}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let base = place.to_string_lossy();
    let mut arguments = vec!["testnet", "--v", "4", "--o", &base];
    arguments.extend(["--hostname", "127.0.0.1"].repeat(NODES));
    run(&arguments)?;
    let (p2p, rpc) = (ports(NODES)?, ports(NODES)?);
    let home = |node: usize| place.join(format!("node{node}"));
    let mut peers = Vec::new();
    for (node, port) in p2p.iter().enumerate() {
        let id = run(&["show-node-id", "--home", &home(node).to_string_lossy()])?;
        peers.push(format!("{id}@127.0.0.1:{port}"));
    }
    let mut nodes = Nodes {
        name: "cometbft",
        children: Vec::new(),
        addresses: rpc
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect(),
        load: beside("order-load")?,
    };
    for node in 0..NODES {
        let path = home(node).join("config/config.toml");
        let mut section = String::new();
        let mut text = String::new();
        for line in fs::read_to_string(&path)?.lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            }
            let key = line.split_once(" = ").map_or("", |(key, _)| key);
            let value = match (section.as_str(), key) {
                ("[rpc]", "laddr") => format!("\"tcp://127.0.0.1:{}\"", rpc[node]),
                ("[rpc]", "pprof_laddr") => "\"\"".into(),
                ("[rpc]", "max_body_bytes") => "10000000".into(),
                ("[rpc]", "max_request_batch_size") => "1024".into(),
                ("[p2p]", "laddr") => format!("\"tcp://127.0.0.1:{}\"", p2p[node]),
                ("[p2p]", "persistent_peers") => format!("\"{}\"", peers.join(",")),
                ("[p2p]", "allow_duplicate_ip") => "true".into(),
                ("[p2p]", "flush_throttle_timeout") => "\"1ms\"".into(),
                ("[p2p]", "send_rate" | "recv_rate") => "512000000".into(),
                ("[mempool]", "size") => "100000".into(),
                ("[mempool]", "cache_size") => "200000".into(),
                ("[consensus]", "timeout_commit") => "\"0s\"".into(),
                ("[consensus]", "skip_timeout_commit") => "true".into(),
                ("[consensus]", "peer_gossip_sleep_duration") => "\"2ms\"".into(),
                ("", "log_level") => "\"error\"".into(),
                _ => {
                    text += &format!("{line}\n");
                    continue;
                }
            };
            text += &format!("{key} = {value}\n");
        }
        fs::write(&path, text)?;
        let child = Command::new(&program)
            .args(["node", "--proxy_app=kvstore", "--home"])
            .arg(home(node))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        nodes.children.push(child);
    }
    nodes.ready()
}

/// Three members, as they come. Each entry is synced to the disk of a majority.
pub(crate) fn etcd(place: &Path) -> Result<Nodes, BenchError> {
    const NODES: usize = 3;
    let (peer, client) = (ports(NODES)?, ports(NODES)?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let cluster: Vec<String> = peer
        .iter()
        .enumerate()
        .map(|(node, port)| format!("n{node}={}", url(*port)))
        .collect();
    let mut nodes = Nodes {
        name: "etcd",
        children: Vec::new(),
        addresses: client.iter().map(|port| url(*port)).collect(),
        load: beside("order-load")?,
    };
    for node in 0..NODES {
        let (peer, client) = (url(peer[node]), url(client[node]));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(place.join(format!("etcd{node}")))
            .args([
                "--name",
                &format!("n{node}"),
                "--initial-cluster",
                &cluster.join(","),
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                BenchError::new(format!("etcd: {error}; Debian has it as etcd-server"))
            })?;
        nodes.children.push(child);
    }
    nodes.ready()
}

impl Nodes {
    /// Waits until one transaction was committed: then they have found each other.
    fn ready(self) -> Result<Self, BenchError> {
        let until = Instant::now() + START_TIMEOUT;
        let listens = |address: &String| {
            let socket = address.trim_start_matches("http://");
            TcpStream::connect(socket).is_ok()
        };
        let first = Load {
            seconds: 0,
            bytes: 64,
            in_flight: 0,
            singles: 1,
        };
        loop {
            if self.addresses.iter().all(listens) && self.drive(first).is_ok() {
                return Ok(self);
            }
            if Instant::now() > until {
                return Err(BenchError::new(format!("{} does not start", self.name)));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends a load to all of them.
    pub(crate) fn drive(&self, load: Load) -> Result<Outcome, BenchError> {
        let output = Command::new(&self.load)
            .args([self.name, &self.addresses.join(",")])
            .args(["--seconds", &load.seconds.to_string()])
            .args(["--bytes", &load.bytes.to_string()])
            .args(["--in-flight", &load.in_flight.to_string()])
            .args(["--singles", &load.singles.to_string()])
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::new(text));
        }
        let outcome: Outcome = serde_json::from_slice(&output.stdout)?;
        if load.seconds > 0 && outcome.committed == 0 {
            // A peer that does nothing is a load that does not reach it.
            return Err(BenchError::new(format!("{} committed nothing", self.name)));
        }
        Ok(outcome)
    }
}
