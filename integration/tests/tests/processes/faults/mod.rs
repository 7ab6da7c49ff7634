//! What happens to processes that agree: they are killed, stopped, cut off from each other, replaced, and some lie.
//!
//! - [`history`]: what clients were told meanwhile is checked.
//! - [`cut`]: paths between four that are cut, and one that is stopped.
//! - [`liars`]: some of them say what they may not.
//! - [`seven`]: as many as two faults take, and changes of who votes, under load.

mod cut;
mod history;
mod liars;
mod seven;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use hypermesh_testkit::{Node, Random, Result, at};
use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;
use crate::order::{mesh, number, objects};

/// The seed of a test: its own, or the one of a run that is to be seen again.
fn seed(of: u64) -> (u64, Random) {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(of);
    println!("seed {seed}: SEED={seed} repeats it");
    (seed, Random::new(seed))
}

/// The processes of a node: to be asked for while it answers.
fn processes(node: &Node) -> Result<Vec<Pid>> {
    let mut all = vec![node.pid().ok_or("it does not run")?];
    if hypermesh_testkit::split() {
        all.extend(node.components()?.into_values().filter(|pid| *pid != 0));
    }
    let pid = |number| Pid::from_raw(i32::try_from(number).ok()?);
    all.into_iter()
        .map(|number| pid(number).ok_or_else(|| format!("no process has the number {number}")))
        .collect()
}

/// A node that does nothing and keeps its sockets and connections, until this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn new(node: &Node) -> Result<Stopped> {
        let stopped = Stopped(processes(node)?);
        stopped.send(Signal::STOP);
        Ok(stopped)
    }

    fn send(&self, signal: Signal) {
        for pid in &self.0 {
            // One that was killed meanwhile needs no signal.
            let _ = kill_process(*pid, signal);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.send(Signal::CONT);
    }
}

/// A command that changes a name, while nobody may be there to decide it.
struct Waiting(Child);

impl Waiting {
    /// Asks, and waits until the command says that it waits for the voters.
    fn start(node: &Node, name: &str, root: &str) -> Result<Waiting> {
        let mut child = node
            .command(&["name", "set", name, root])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(at("hypermesh"))?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let waiting = Waiting(child);
        for line in BufReader::new(stderr).lines() {
            if line
                .map_err(at("hypermesh"))?
                .contains("waiting for the voters")
            {
                return Ok(waiting);
            }
        }
        Err(format!("{name} was not waited for"))
    }

    /// Waits until it is decided and done.
    fn done(mut self) -> Outcome {
        let status = self.0.wait().map_err(at("hypermesh"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("it was not done: {status}")),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last height that is decided there.
fn decided(node: &Node) -> Result<u64> {
    number(&mesh(node)?["decided_height"])
}

/// Each of them has a change decided.
fn all_decide(nodes: &[&Node], names: &str, root: &str) -> Outcome {
    for (at, node) in nodes.iter().enumerate() {
        node.ok(&["name", "set", &format!("{names}/{at}"), root])
            .map_err(|error| format!("{error}\n{}", node.log_end()))?;
    }
    Ok(())
}

/// Nobody has a proof against anybody.
fn nobody_is_blamed(nodes: &[&Node]) -> Outcome {
    for node in nodes {
        let blamed = objects(node, &["evidence", "ls"])?;
        assert!(blamed.is_empty(), "{blamed:?}");
    }
    Ok(())
}
