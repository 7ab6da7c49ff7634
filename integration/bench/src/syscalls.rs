//! System calls of processes, counted by the kernel's own tracepoint through `perf`: nothing of them is stopped or slowed.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::record::BenchError;

/// A count that runs.
pub(crate) struct Counting(Child);

/// Starts to count the system calls of those processes. `None`: `perf` is not here or may not.
pub(crate) fn start(processes: &[u32]) -> Result<Option<Counting>, BenchError> {
    let names: Vec<String> = processes.iter().map(u32::to_string).collect();
    let started = Command::new("perf")
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p"])
        .arg(names.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        return Ok(None);
    };
    // It attaches within this time, or has ended because it may not.
    std::thread::sleep(std::time::Duration::from_millis(300));
    Ok(match child.try_wait()? {
        None => Some(Counting(child)),
        Some(_) => None,
    })
}

impl Counting {
    /// Ends the count. `None`: it could not be made.
    pub(crate) fn stop(mut self) -> Result<Option<u64>, BenchError> {
        let process = i32::try_from(self.0.id()).map_err(std::io::Error::other)?;
        if let Some(process) = rustix::process::Pid::from_raw(process) {
            rustix::process::kill_process(process, rustix::process::Signal::INT)?;
        }
        let mut text = String::new();
        if let Some(output) = &mut self.0.stderr {
            output.read_to_string(&mut text)?;
        }
        self.0.wait()?;
        let count = text
            .lines()
            .find(|line| line.contains("raw_syscalls:sys_enter"))
            .and_then(|line| line.split(',').next()?.parse().ok());
        Ok(count)
    }
}
