//! The Python peers: one child process that is told what to do, line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;

use crate::record::BenchError;

/// Recalls that all are measured at.
pub(crate) const TARGETS: [&str; 3] = ["0.9", "0.95", "0.98"];

/// Queries per second and recall, by target and index.
pub(crate) type Round = BTreeMap<String, BTreeMap<String, (f64, f64)>>;

/// The running child.
#[derive(Debug)]
pub(crate) struct Peers {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts them on the vectors of a directory, or says why they cannot be had.
    pub(crate) fn start(root: &Path, directory: &Path, dims: usize) -> Result<Self, String> {
        let python = root.join(".tools/bench-py/bin/python");
        if !python.exists() {
            return Err("not fetched; run integration/bench/peers/fetch.sh".into());
        }
        let mut child = Command::new(python)
            .arg(root.join("integration/bench/peers/dsr.py"))
            .arg(directory)
            .arg(TARGETS.join(","))
            .arg(dims.to_string())
            // One thread, as ours; and none of the settings that a machine may carry for its own sake.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1")
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes to the child".into());
        };
        Ok(Self {
            child,
            to,
            from: BufReader::new(from),
        })
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, command: &str) -> Result<T, BenchError> {
        writeln!(self.to, "{command}")?;
        self.to.flush()?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(BenchError::new(format!(
                "the Python peers ended at '{command}'; their message is above"
            )));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // A child that has ended is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
