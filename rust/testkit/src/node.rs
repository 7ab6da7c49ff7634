//! Nodes as processes: started, asked through the command, killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Forwarder, Result, at, until};

/// How long a node may take to start or stop, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// Sockets that a running node serves.
const SOCKETS: &[&str] = &[
    "hypermesh_transport.sock",
    "hypermesh_state.sock",
    "hypermesh_scheduler.sock",
    "hypermesh_consensus.sock",
    "hypermesh_metrics.sock",
];

/// Whether nodes run as one process for each component: `HYPERMESH_SPLIT=1`.
pub fn split() -> bool {
    std::env::var_os("HYPERMESH_SPLIT").is_some_and(|value| value == "1")
}

/// The built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The command, which is also the node.
    pub hypermesh: PathBuf,
}

impl Programs {
    /// Finds them beside the running program, or one directory above it (where cargo puts tests).
    ///
    /// # Errors
    /// When they are not built.
    pub fn find() -> Result<Programs> {
        let own = std::env::current_exe().map_err(at("own path"))?;
        let hypermesh = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(|directory| directory.join("hypermesh"))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                format!(
                    "no hypermesh beside {}: build it first, `./make test-integration` does",
                    own.display()
                )
            })?;
        Ok(Programs { hypermesh })
    }

    /// Whether `almd` was built beside the command.
    pub fn almd(&self) -> Option<PathBuf> {
        let path = self.hypermesh.with_file_name("almd");
        path.is_file().then_some(path)
    }
}

/// A temporary directory with nodes in it.
#[derive(Debug)]
pub struct Mesh {
    programs: Programs,
    directory: Option<TempDir>,
    path: PathBuf,
    split: bool,
}

impl Mesh {
    /// An empty mesh; its directory goes away with it.
    ///
    /// # Errors
    /// When the programs are not built, or there is no temporary directory.
    pub fn new() -> Result<Mesh> {
        Mesh::within(&std::env::temp_dir())
    }

    /// An empty mesh whose directory is below this one: on another disk, or in memory.
    ///
    /// # Errors
    /// As [`Mesh::new`].
    pub fn within(parent: &Path) -> Result<Mesh> {
        let directory = tempfile::Builder::new()
            .prefix("hm")
            .tempdir_in(parent)
            .map_err(at("temporary directory"))?;
        Ok(Mesh {
            programs: Programs::find()?,
            path: directory.path().to_owned(),
            directory: Some(directory),
            split: split(),
        })
    }

    /// An empty mesh whose nodes are one process.
    ///
    /// # Errors
    /// As [`Mesh::new`].
    pub fn whole() -> Result<Mesh> {
        Ok(Mesh {
            split: false,
            ..Mesh::new()?
        })
    }

    /// An empty mesh whose nodes are one process for each component.
    ///
    /// # Errors
    /// As [`Mesh::new`].
    pub fn split() -> Result<Mesh> {
        Ok(Mesh {
            split: true,
            ..Mesh::new()?
        })
    }

    /// Where nodes and trees are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory in place and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        if let Some(directory) = self.directory.take() {
            return directory.keep();
        }
        self.path.clone()
    }

    /// A running node without `almd`, on a free port.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn node(&mut self, name: &str) -> Result<Node> {
        self.node_with(name, "[alm]\nenabled = false\n", None)
    }

    /// A running node with this configuration. With a forwarder, it tells others to reach it through that.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn node_with(
        &mut self,
        name: &str,
        configuration: &str,
        front: Option<&Forwarder>,
    ) -> Result<Node> {
        let directory = self.path.join(name);
        let mut node = Node {
            programs: self.programs.clone(),
            log: self.path.join(format!("{name}.log")),
            runs: self.path.join("run"),
            directory,
            listen: "[::1]:0".to_owned(),
            split: self.split,
            id: String::new(),
            child: None,
        };
        node.id = node.ok(&["init"])?;
        let mut text = configuration.to_owned();
        if let Some(front) = front {
            text.push_str(&format!(
                "[transport]\nadvertise = [\"{}\"]\n",
                front.address()
            ));
        }
        fs::write(node.directory.join("config.toml"), text).map_err(at("config.toml"))?;
        node.start()?;
        if let Some(front) = front {
            front.lead_to(node.address()?);
        }
        Ok(node)
    }
}

/// One node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    programs: Programs,
    directory: PathBuf,
    runs: PathBuf,
    log: PathBuf,
    listen: String,
    split: bool,
    id: String,
    child: Option<Child>,
}

/// What a command ended with.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Exit status; 128 + the signal for a killed one, as a shell says it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Answer {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().unwrap_or_default();
        Answer {
            code: output.status.code().unwrap_or(128 + signal),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Node {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of its sockets.
    pub fn sockets(&self) -> PathBuf {
        fs::read_link(self.directory.join("run")).unwrap_or_else(|_| self.directory.join("run"))
    }

    /// Process id of the running node.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it again where it listened before.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn start(&mut self) -> Result<()> {
        let mut command = self.command(&["up", "--listen", &self.listen]);
        command.args(self.split.then_some("--split"));
        self.start_by(command)
    }

    /// Starts another program in its place, which is given the directory, where it listened before, and these arguments, and
    /// serves the same sockets.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_as(&mut self, program: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program);
        command
            .arg(&self.directory)
            .arg(&self.listen)
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &self.runs);
        self.start_by(command)
    }

    fn start_by(&mut self, mut command: Command) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(at(self.log.display()))?;
        let output = log.try_clone().map_err(at("log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .spawn()
            .map_err(at(command.get_program().display()))?;
        let pid = child.id().to_string();
        self.child = Some(child);
        until("a node that serves its sockets", START, || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().map_err(at("wait"))?
            {
                return Err(format!("the node ended: {status}\n{}", self.log_end()));
            }
            // The lock names its holder: sockets of a process that was killed are not taken for ours.
            let lock = fs::read_to_string(self.directory.join("lock")).unwrap_or_default();
            let sockets = self.sockets();
            let served = lock.trim() == pid
                && SOCKETS
                    .iter()
                    .all(|name| UnixStream::connect(sockets.join(name)).is_ok());
            Ok(served.then_some(()))
        })
        .map_err(|error| format!("{error}\n{}", self.log_end()))?;
        self.listen = self.address()?.to_string();
        Ok(())
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if self.split {
                self.wait_for_members();
            }
        }
    }

    /// Waits until the processes of the components are gone, which end a moment after the one that watched them: they would
    /// write into a directory that goes away.
    fn wait_for_members(&self) {
        let path = self.directory.join("members");
        // One that stays is the next start's to complain of.
        let _ = until("components that end", START, || {
            let is_free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            Ok((is_free || !path.exists()).then_some(()))
        });
    }

    /// Process ids of its components, by name; of one that is away, 0.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn components(&self) -> Result<BTreeMap<String, u32>> {
        let status = self.json(&["status"])?;
        let all = status["components"].as_array().ok_or("no components")?;
        let pid = |one: &Value| {
            let pid = one["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            Some((one["name"].as_str()?.to_owned(), pid?))
        };
        Ok(all.iter().filter_map(pid).collect())
    }

    /// Waits until it ends by itself; its exit status.
    ///
    /// # Errors
    /// With the end of its log, when it stays; it is killed then.
    pub fn wait_ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().ok_or("it does not run")?;
        let ended = until("a node that ends", START, || {
            child.try_wait().map_err(at("wait"))
        });
        ended.map_err(|error| {
            let _ = child.kill();
            let _ = child.wait();
            format!("{error}\n{}", self.log_end())
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn address(&self) -> Result<SocketAddr> {
        let status = self.json(&["status"])?;
        status["transport"]["listen"][0]
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("no listening address in {status}"))
    }

    /// The command on this node.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.hypermesh);
        command
            .arg("--dir")
            .arg(&self.directory)
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &self.runs)
            .env_remove("HYPERMESH_DIR");
        command
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// When it cannot be run at all.
    pub fn run(&self, arguments: &[&str]) -> Result<Answer> {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .map(Answer::from)
            .map_err(at("hypermesh"))
    }

    /// Runs the command; what it printed, without the last newline.
    ///
    /// # Errors
    /// When it fails: with what it said.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.run(arguments)?;
        if answer.code != 0 {
            return Err(format!(
                "hypermesh {}: exit status {}\n{}",
                arguments.join(" "),
                answer.code,
                answer.stderr.trim_end()
            ));
        }
        Ok(answer.stdout.trim_end_matches('\n').to_owned())
    }

    /// Runs the command with `--json`; its last object.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        last_object(&self.ok(&all)?)
    }

    /// Starts a long command and gives its progress as it comes.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn job(&self, arguments: &[&str]) -> Result<Job> {
        let mut child = self
            .command(&["--json", "--progress", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(at("hypermesh"))?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Job {
            child,
            stdout,
            lines,
            said: String::new(),
        })
    }

    /// Makes this node a member of `other`'s mesh by invitation.
    ///
    /// # Errors
    /// With what the command said.
    pub fn join(&self, other: &Node) -> Result<()> {
        let invitation = other.ok(&["--quiet", "invite"])?;
        self.ok(&["--quiet", "join", &invitation]).map(drop)
    }

    /// Waits until it is connected to all of these.
    ///
    /// # Errors
    /// With its list of peers, after the deadline.
    pub fn wait_connected(&self, others: &[&Node]) -> Result<()> {
        until("connected peers", START, || {
            let listed = self.ok(&["--json", "peers"])?;
            let connected = |id: &str| {
                listed.lines().any(|line| {
                    serde_json::from_str::<Value>(line)
                        .is_ok_and(|peer| peer["node_id"] == id && peer["connected"] == true)
                })
            };
            Ok(others
                .iter()
                .all(|other| connected(&other.id))
                .then_some(()))
        })
        .map_err(|error| {
            let peers = self.ok(&["--json", "peers"]).unwrap_or_default();
            format!("{error}\n{peers}\n{}", self.log_end())
        })
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Bytes of its store's files now.
    pub fn store_bytes(&self) -> u64 {
        directory_bytes(&self.directory.join("blocks"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A long command that runs.
#[derive(Debug)]
pub struct Job {
    child: Child,
    stdout: ChildStdout,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Job {
    /// The next progress event; none when the command has ended.
    pub fn progress(&mut self) -> Option<Value> {
        while let Ok(line) = self.lines.recv() {
            match serde_json::from_str::<Value>(&line) {
                Ok(value) if value["event"] == "progress" => return Some(value),
                _ => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                }
            }
        }
        None
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn finish(mut self) -> Result<Answer> {
        while self.progress().is_some() {}
        let mut stdout = String::new();
        self.stdout
            .read_to_string(&mut stdout)
            .map_err(at("output"))?;
        let status = self.child.wait().map_err(at("wait"))?;
        let output = Output {
            status,
            stdout: stdout.into_bytes(),
            stderr: std::mem::take(&mut self.said).into_bytes(),
        };
        Ok(Answer::from(output))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// What it said on standard error, as a person reads it: of an error that came as JSON, its text.
    pub fn complaint(&self) -> String {
        let lines: Vec<String> = self
            .stderr
            .trim()
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line)
                    .ok()
                    .filter(|value| value["event"] == "error")
                    .and_then(|value| value["text"].as_str().map(str::to_owned))
                    .unwrap_or_else(|| line.to_owned())
            })
            .collect();
        lines.join("\n")
    }

    /// The last JSON object on standard output.
    ///
    /// # Errors
    /// When the command failed, or printed something else.
    pub fn object(&self) -> Result<Value> {
        if self.code != 0 {
            return Err(format!("exit status {}: {}", self.code, self.complaint()));
        }
        last_object(&self.stdout)
    }
}

fn last_object(text: &str) -> Result<Value> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(at(format!("not JSON: {line:?}")))
}

fn directory_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => directory_bytes(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
