//! Which processor a benchmark's threads run on: a part of every result that waits for another process.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use.
pub(crate) fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|number| set.is_set(*number))
        .collect())
}

/// Keeps the calling thread, and those that it starts, on one processor.
pub(crate) fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

/// Seconds that the main thread of a process has run. For processes of one thread.
pub(crate) fn spent(process: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let ran = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    ran.map(|ns| ns / 1e9)
        .ok_or_else(|| io::Error::other("/proc/PID/schedstat is not what it was"))
}

/// Seconds that all threads of a process have run, those that ended included; in hundredths.
pub(crate) fn all_threads(process: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The program's name is in brackets and may hold anything.
    let after_name = text.rsplit_once(") ").map(|(_, rest)| rest);
    let ticks = after_name.and_then(|rest| {
        let mut fields = rest.split(' ').skip(11);
        let (user, system) = (fields.next()?, fields.next()?);
        Some(user.parse::<f64>().ok()? + system.parse::<f64>().ok()?)
    });
    ticks
        .map(|ticks| ticks / 100.0)
        .ok_or_else(|| io::Error::other("/proc/PID/stat is not what it was"))
}

/// Processor time of the calling thread, in seconds.
pub(crate) fn thread_time() -> f64 {
    seconds(rustix::time::ClockId::ThreadCPUTime)
}

/// Processor time of this process, in seconds.
pub(crate) fn process_time() -> f64 {
    seconds(rustix::time::ClockId::ProcessCPUTime)
}

fn seconds(clock: rustix::time::ClockId) -> f64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
