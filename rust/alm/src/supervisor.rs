//! Keeps one daemon running.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// What a program's own words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard error has lines as Go's `log/slog` writes them, which become ours; standard output is dropped.
    Lines,
    /// Standard error goes where ours goes, as it is. The first line on standard output says how the start went:
    /// [`Supervisor::started`].
    Own,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// What it is called in log lines.
    pub name: String,
    /// The program, such as `almd`.
    pub program: PathBuf,
    /// Its arguments. It must end when its standard input does: that is how it learns that we are gone.
    pub arguments: Vec<std::ffi::OsString>,
    /// An option to add with the number of restarts until then, if the program wants to know.
    pub counts: Option<&'static str>,
    pub output: Output,
    /// A pause before a new start is a random part of this (full jitter: what fails together does not come back together);
    /// it doubles up to `pause_max`, and starts over once a run lasted `pause_max`.
    pub pause_min: Duration,
    pub pause_max: Duration,
    /// How long it may take to end when asked.
    pub stop_timeout: Duration,
}

impl SupervisorOptions {
    /// The usual pauses: 100 ms to 10 s.
    pub fn new(program: PathBuf, arguments: Vec<std::ffi::OsString>) -> Self {
        let name = program.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            program,
            arguments,
            counts: None,
            output: Output::Lines,
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
    orders: watch::Sender<Orders>,
}

/// What a later start is to be like.
#[derive(Clone, Debug)]
struct Orders {
    arguments: Vec<std::ffi::OsString>,
    /// There is to be none.
    ends: bool,
}

#[derive(Clone, Debug)]
struct Status {
    state: State,
    restarts: u64,
    /// The first line that it said last.
    said: Option<String>,
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
            said: None,
        };
        let (report, status) = watch::channel(first);
        let (orders, latest) = watch::channel(Orders {
            arguments: options.arguments.clone(),
            ends: false,
        });
        let task = tokio::spawn(watch_over(options, latest, report, stopped));
        Self {
            stop: Some(stop),
            task,
            status,
            orders,
        }
    }

    /// From the next start on, the program gets these.
    pub fn set_arguments(&self, arguments: Vec<std::ffi::OsString>) {
        self.orders
            .send_modify(|orders| orders.arguments = arguments);
    }

    /// What ends from now on is not started again. It is not asked to end.
    pub fn let_end(&self) {
        self.orders.send_modify(|orders| orders.ends = true);
    }

    /// How the daemon is now.
    pub fn state(&self) -> State {
        self.status.borrow().state.clone()
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.status.borrow().restarts
    }

    /// Waits for the first line on its standard output ([`Output::Own`]); `Err`: it ended before, with the reason.
    pub async fn started(&mut self) -> Result<String, String> {
        let spoke = |status: &Status| status.said.is_some() || status.restarts > 0;
        match self.status.wait_for(spoke).await.as_deref() {
            Ok(Status {
                said: Some(said), ..
            }) => Ok(said.clone()),
            Ok(Status {
                state: State::Waiting { reason },
                ..
            }) => Err(reason.clone()),
            _ => Err("it ended".into()),
        }
    }

    /// Asks the daemon to end, and waits until it has.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ends by itself; a failure of the task has ended the daemon as well.
        let _ = (&mut self.task).await;
    }
}

async fn watch_over(
    mut options: SupervisorOptions,
    orders: watch::Receiver<Orders>,
    report: watch::Sender<Status>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut pause = options.pause_min;
    loop {
        let started = Instant::now();
        options.arguments.clone_from(&orders.borrow().arguments);
        if let Some(option) = options.counts {
            let restarts = report.borrow().restarts.to_string();
            options.arguments.extend([option.into(), restarts.into()]);
        }
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
                    .map(|stderr| tokio::spawn(forward(options.name.clone(), stderr)));
                let words = child.stdout.take();
                let words = words.map(|stdout| tokio::spawn(listen(stdout, report.clone())));
                let ended = tokio::select! {
                    ended = child.wait() => ended,
                    _ = &mut stopped => {
                        drop(input);
                        end(&mut child, &options).await;
                        report.send_modify(|status| status.state = State::Stopped);
                        return;
                    }
                };
                for last in [log, words].into_iter().flatten() {
                    // Its last words; a grandchild that keeps the pipe open must not hold us up.
                    let _ = tokio::time::timeout(options.pause_min, last).await;
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
        if orders.borrow().ends {
            report.send_modify(|status| status.state = State::Stopped);
            // Its sender is gone as well when the supervisor is.
            let _ = stopped.await;
            return;
        }
        let wait = part_of(pause);
        tracing::warn!(daemon = options.name, %reason, again_in = ?wait, "a daemon is away");
        report.send_modify(|status| {
            status.state = State::Waiting { reason };
            status.restarts += 1;
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = &mut stopped => {
                report.send_modify(|status| status.state = State::Stopped);
                return;
            }
        }
        if orders.borrow().ends {
            report.send_modify(|status| status.state = State::Stopped);
            let _ = stopped.await;
            return;
        }
        pause = (pause * 2).min(options.pause_max);
    }
}

/// A random part of a pause. Without randomness, all of it.
fn part_of(pause: Duration) -> Duration {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => pause.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)),
        Err(_) => pause,
    }
}

fn spawn(options: &SupervisorOptions) -> std::io::Result<Child> {
    let (stdout, stderr) = match options.output {
        Output::Lines => (Stdio::null(), Stdio::piped()),
        Output::Own => (Stdio::piped(), Stdio::inherit()),
    };
    Command::new(&options.program)
        .args(&options.arguments)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
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
            daemon = options.name,
            "a daemon did not stop in time; it is killed"
        );
        // It may have ended meanwhile.
        let _ = child.kill().await;
    }
}

const LINE_BYTES_MAX: u64 = 4_096;

/// Takes note of the first line, and of nothing after it.
async fn listen(stdout: tokio::process::ChildStdout, report: watch::Sender<Status>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    let read = (&mut reader).take(LINE_BYTES_MAX);
    if matches!({ read }.read_until(b'\n', &mut line).await, Ok(1..)) {
        let said = String::from_utf8_lossy(&line).trim_end().to_owned();
        report.send_modify(|status| status.said = Some(said));
    }
    // Until it ends: a pipe that nobody reads would be an error to who writes.
    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
}

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
    async fn its_first_line_says_how_it_started() {
        let own = |script| SupervisorOptions {
            output: Output::Own,
            ..shell(script)
        };
        let mut supervisor = Supervisor::start(own("echo up; echo more; exec cat >&2"));
        assert_eq!(supervisor.started().await, Ok("up".into()));
        supervisor.stop().await;
        let mut supervisor = Supervisor::start(own("echo no address; exit 1"));
        assert_eq!(supervisor.started().await, Ok("no address".into()));
        supervisor.stop().await;
        let mut supervisor = Supervisor::start(own("exit 7"));
        let reason = supervisor.started().await.unwrap_err();
        assert!(reason.contains('7'), "{reason}");
        supervisor.stop().await;
    }

    #[tokio::test]
    async fn what_may_end_is_not_started_again() {
        let mut supervisor = Supervisor::start(shell("exec cat"));
        let running = |status: &Status| matches!(status.state, State::Running { .. });
        until(&mut supervisor, running).await;
        supervisor.let_end();
        let State::Running { pid } = supervisor.state() else {
            panic!("it ended by itself");
        };
        let mut kill = std::process::Command::new("kill");
        assert!(kill.arg(pid.to_string()).status().unwrap().success());
        let stopped = |status: &Status| status.state == State::Stopped;
        let status = until(&mut supervisor, stopped).await;
        assert_eq!(status.restarts, 0);
        supervisor.stop().await;
    }

    #[test]
    fn a_pause_is_a_part_of_the_longest() {
        let pause = Duration::from_secs(8);
        let parts: Vec<_> = (0..100).map(|_| part_of(pause)).collect();
        assert!(parts.iter().all(|part| *part <= pause));
        let short = parts.iter().filter(|part| **part < pause / 2).count();
        assert!((10..90).contains(&short), "{short} of 100");
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
