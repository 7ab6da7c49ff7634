//! Keeps one daemon running.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The program, such as `almd`.
    pub program: PathBuf,
    /// Its arguments. It must end when its standard input does: that is how it learns that we are gone.
    pub arguments: Vec<std::ffi::OsString>,
    /// Pause before the first new start; doubles up to `pause_max`, and starts over once a run lasted `pause_max`.
    pub pause_min: Duration,
    pub pause_max: Duration,
    /// How long it may take to end when asked.
    pub stop_timeout: Duration,
}

impl SupervisorOptions {
    /// The usual pauses: 100 ms to 10 s.
    pub fn new(program: PathBuf, arguments: Vec<std::ffi::OsString>) -> Self {
        Self {
            program,
            arguments,
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running {
        pid: u32,
    },
    /// It ended, or could not be started; it is tried again.
    Waiting {
        reason: String,
    },
    Stopped,
}

/// The daemon with its watcher. Dropped, both end.
#[derive(Debug)]
pub struct Supervisor {
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    status: watch::Receiver<Status>,
}

#[derive(Clone, Debug)]
struct Status {
    state: State,
    restarts: u64,
}

impl Supervisor {
    /// Starts it. Needs a tokio runtime with I/O and time. A program that cannot be started is tried again as well:
    /// it may be installed later.
    pub fn start(options: SupervisorOptions) -> Self {
        let (stop, stopped) = oneshot::channel();
        let first = Status {
            state: State::Waiting {
                reason: "it is being started".into(),
            },
            restarts: 0,
        };
        let (report, status) = watch::channel(first);
        let task = tokio::spawn(watch_over(options, report, stopped));
        Self {
            stop: Some(stop),
            task,
            status,
        }
    }

    /// How the daemon is now.
    pub fn state(&self) -> State {
        self.status.borrow().state.clone()
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.status.borrow().restarts
    }

    /// Asks the daemon to end, and waits until it has.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ends by itself; a failure of the task has ended the daemon as well.
        let _ = (&mut self.task).await;
    }
}

async fn watch_over(
    options: SupervisorOptions,
    report: watch::Sender<Status>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut pause = options.pause_min;
    loop {
        let started = Instant::now();
        let reason = match spawn(&options) {
            Err(error) => format!("{} cannot be started: {error}", options.program.display()),
            Ok(mut child) => {
                let pid = child.id().unwrap_or_default();
                report.send_modify(|status| status.state = State::Running { pid });
                // Held here: waiting for a child closes the input that it still holds.
                let input = child.stdin.take();
                let log = child
                    .stderr
                    .take()
                    .map(|stderr| tokio::spawn(forward(name(&options), stderr)));
                let ended = tokio::select! {
                    ended = child.wait() => ended,
                    _ = &mut stopped => {
                        drop(input);
                        end(&mut child, &options).await;
                        report.send_modify(|status| status.state = State::Stopped);
                        return;
                    }
                };
                if let Some(log) = log {
                    // Its last words; a grandchild that keeps the pipe open must not hold us up.
                    let _ = tokio::time::timeout(options.pause_min, log).await;
                }
                match ended {
                    Ok(status) => format!("it ended: {status}"),
                    Err(error) => format!("it cannot be watched: {error}"),
                }
            }
        };
        if started.elapsed() >= options.pause_max {
            pause = options.pause_min;
        }
        tracing::warn!(daemon = name(&options), %reason, again_in = ?pause, "a daemon is away");
        report.send_modify(|status| {
            status.state = State::Waiting { reason };
            status.restarts += 1;
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = &mut stopped => {
                report.send_modify(|status| status.state = State::Stopped);
                return;
            }
        }
        pause = (pause * 2).min(options.pause_max);
    }
}

fn spawn(options: &SupervisorOptions) -> std::io::Result<Child> {
    Command::new(&options.program)
        .args(&options.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Its own group: Ctrl-C at the terminal is for us, and we end it in order.
        .process_group(0)
        .spawn()
}

/// The end of its input has asked it to stop; a daemon that does not is killed.
async fn end(child: &mut Child, options: &SupervisorOptions) {
    let ended = tokio::time::timeout(options.stop_timeout, child.wait()).await;
    if ended.is_err() {
        tracing::warn!(
            daemon = name(options),
            "a daemon did not stop in time; it is killed"
        );
        // It may have ended meanwhile.
        let _ = child.kill().await;
    }
}

/// What it is called in log lines.
fn name(options: &SupervisorOptions) -> String {
    let name = options.program.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

const LINE_BYTES_MAX: u64 = 4_096;

/// Its log lines become ours.
async fn forward(daemon: String, stderr: tokio::process::ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => log(&daemon, &String::from_utf8_lossy(&line)),
        }
    }
}

/// At the level that the line begins with, as Go's `log/slog` writes it.
fn log(daemon: &str, line: &str) {
    let line = line.trim_end();
    let (level, rest) = line.split_once(' ').unwrap_or((line, ""));
    match level {
        "level=ERROR" => tracing::error!(target: "daemon", daemon, "{rest}"),
        "level=WARN" => tracing::warn!(target: "daemon", daemon, "{rest}"),
        "level=INFO" => tracing::info!(target: "daemon", daemon, "{rest}"),
        "level=DEBUG" => tracing::debug!(target: "daemon", daemon, "{rest}"),
        // What the runtime says itself, such as a trace of a panic.
        _ => tracing::warn!(target: "daemon", daemon, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> SupervisorOptions {
        let mut options =
            SupervisorOptions::new("/bin/sh".into(), vec!["-c".into(), script.into()]);
        options.pause_min = Duration::from_millis(1);
        options.pause_max = Duration::from_millis(20);
        options
    }

    async fn until(supervisor: &mut Supervisor, what: impl Fn(&Status) -> bool) -> Status {
        tokio::time::timeout(
            Duration::from_secs(30),
            supervisor.status.wait_for(|status| what(status)),
        )
        .await
        .unwrap()
        .unwrap()
        .clone()
    }

    #[tokio::test]
    async fn what_ends_is_started_again() {
        let mut supervisor = Supervisor::start(shell("exit 3"));
        let status = until(&mut supervisor, |status| status.restarts >= 5).await;
        assert!(
            matches!(&status.state, State::Waiting { reason } if reason.contains('3')),
            "{status:?}"
        );
        supervisor.stop().await;
    }

    #[tokio::test]
    async fn what_is_missing_is_waited_for() {
        let options = SupervisorOptions {
            program: "/nowhere/almd".into(),
            ..shell("")
        };
        let mut supervisor = Supervisor::start(options);
        let status = until(&mut supervisor, |status| status.restarts >= 2).await;
        assert!(
            matches!(&status.state, State::Waiting { reason } if reason.contains("/nowhere/almd"))
        );
        supervisor.stop().await;
    }

    #[tokio::test]
    async fn the_end_of_its_input_stops_it_and_nothing_before() {
        let mut supervisor = Supervisor::start(shell("echo up >&2; exec cat"));
        until(&mut supervisor, |status| {
            matches!(status.state, State::Running { .. })
        })
        .await;
        let status = supervisor.status.clone();
        let restarted = tokio::time::timeout(
            Duration::from_millis(100),
            supervisor.status.wait_for(|status| status.restarts > 0),
        );
        assert!(restarted.await.is_err(), "it ended before it was asked to");
        supervisor.stop().await;
        assert_eq!(status.borrow().state, State::Stopped);
        assert_eq!(status.borrow().restarts, 0);
    }

    #[tokio::test]
    async fn what_does_not_stop_is_killed() {
        let mut options = shell("trap '' TERM; while :; do sleep 1; done");
        options.stop_timeout = Duration::from_millis(20);
        let mut supervisor = Supervisor::start(options);
        until(&mut supervisor, |status| {
            matches!(status.state, State::Running { .. })
        })
        .await;
        supervisor.stop().await;
    }
}
