//! Clients change names at all nodes while nodes are killed and stopped: all that they were told has to fit together.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hypermesh_testkit::{Mesh, Node, Programs, Result, at};
use serde_json::Value;

use super::{Stopped, seed};
use crate::Outcome;
use crate::order::{four, same_state};

/// How long a mesh may take to decide what is waited for, on a machine that is busy with other tests.
const DECIDED: Duration = Duration::from_secs(90);
const CLIENTS: u64 = 16;
const NAMES: &str = "5";
/// Faults, and how many changes are decided before each, during it, and after the last.
const FAULTS: u64 = 4;
const BETWEEN: u64 = 40;

/// A load of changes and reads of names, that is written down.
pub(super) struct Load {
    program: PathBuf,
    child: Child,
    decided: mpsc::Receiver<u64>,
    last: u64,
    file: PathBuf,
}

impl Load {
    /// So many clients, spread over these nodes.
    pub(super) fn start(mesh: &Mesh, nodes: &[&Node], clients: u64, seed: u64) -> Result<Load> {
        let program = Programs::find()?.hypermesh.with_file_name("histories");
        let file = mesh.path().join("history.jsonl");
        let socket = |node: &&Node| {
            let path = node.sockets().join("hypermesh_consensus.sock");
            format!("{}={}", node.id(), path.display())
        };
        let mut child = Command::new(&program)
            .args(["load", "--clients", &clients.to_string(), "--names", NAMES])
            .args(["--seed", &seed.to_string()])
            .arg(&file)
            .args(nodes.iter().map(socket))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(at(format!(
                "{}: build it first, ./make test-integration does",
                program.display()
            )))?;
        let output = child.stdout.take().ok_or("no output")?;
        let (sender, decided) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(|line| line.ok()) {
                let count = line.parse().unwrap_or_default();
                if sender.send(count).is_err() {
                    return;
                }
            }
        });
        Ok(Load {
            program,
            child,
            decided,
            last: 0,
            file,
        })
    }

    /// Waits until so many more changes are decided.
    pub(super) fn wait(&mut self, more: u64) -> Outcome {
        let before = self.last;
        while self
            .decided
            .try_recv()
            .map(|count| self.last = count)
            .is_ok()
        {}
        let enough = self.last + more;
        while self.last < enough {
            self.last = self.decided.recv_timeout(DECIDED).map_err(|error| {
                format!("{} changes decided, {before} before: {error}", self.last)
            })?;
        }
        Ok(())
    }

    /// Ends the load and checks what was written down; what there was to check.
    pub(super) fn check(mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).map_err(at("load"))?;
        }
        let status = self.child.wait().map_err(at("load"))?;
        if !status.success() {
            return Err(format!("load: {status}: {said}"));
        }
        let checked = Command::new(&self.program)
            .arg("check")
            .arg(&self.file)
            .output()
            .map_err(at("check"))?;
        if !checked.status.success() {
            let kept = std::env::temp_dir().join("history.jsonl");
            // A help for who looks into it; the error is what it found.
            let _ = std::fs::copy(&self.file, &kept);
            let said = String::from_utf8_lossy(&checked.stderr);
            return Err(format!("{said}\nthe history is in {}", kept.display()));
        }
        let counts = serde_json::from_slice(&checked.stdout).map_err(at("counts"))?;
        println!("{counts}");
        Ok(counts)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many changes had this outcome.
pub(super) fn outcomes(counts: &Value, outcome: &str) -> u64 {
    counts["outcomes"][outcome].as_u64().unwrap_or_default()
}

#[test]
fn changes_of_names_are_linearizable_while_nodes_are_killed_and_stopped() -> Outcome {
    let (seed, mut random) = seed(501);
    let mut place = Mesh::new()?;
    let mut nodes = four(&mut place)?;
    let all: Vec<&Node> = nodes.iter().collect();
    let mut load = Load::start(&place, &all, CLIENTS, seed)?;
    for fault in 0..FAULTS {
        load.wait(BETWEEN)?;
        let victim = random.below(4) as usize;
        if fault % 2 == 0 {
            nodes[victim].kill();
            load.wait(BETWEEN)?;
            nodes[victim].start()?;
        } else {
            let stopped = Stopped::new(&nodes[victim])?;
            load.wait(BETWEEN)?;
            drop(stopped);
        }
    }
    load.wait(BETWEEN)?;
    let counts = load.check()?;
    // Otherwise nothing was shown.
    for outcome in ["done", "conflict", "not_owner"] {
        assert!(outcomes(&counts, outcome) > 10, "{outcome}: {counts}");
    }
    assert!(counts["reads"].as_u64() > Some(50), "{counts}");
    same_state(&nodes.iter().collect::<Vec<_>>())
}
