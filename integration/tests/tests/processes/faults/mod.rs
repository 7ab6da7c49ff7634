//! What happens to processes that agree: they are killed, stopped, cut off from each other, replaced, and some lie.
//!
//! - [`history`]: what clients were told meanwhile is checked.

mod history;

use hypermesh_testkit::{Node, Random, Result};
use rustix::process::{Pid, Signal, kill_process};

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
