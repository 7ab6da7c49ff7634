//! `ifrd` alone: kills, damage, hostile and slow clients, its examples. Frames are put together byte by byte here: no product
//! code may vouch for itself.

mod journal;
mod pools;
mod values;
mod wire;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hypermesh_testkit::{Programs, Result, until};

const WAIT: Duration = Duration::from_secs(60);

const HELLO: u8 = 1;
const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const ERROR: u8 = 4;
const CANCEL: u8 = 6;
const PING: u8 = 8;
const PONG: u8 = 9;
const GOAWAY: u8 = 10;

const STATS: u16 = 1;
const GET: u16 = 2;
const PUT: u16 = 3;
const REMOVE: u16 = 4;
const GET_MANY: u16 = 5;
const PUT_MANY: u16 = 6;
const SNAPSHOT: u16 = 9;

fn failed(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// One daemon with its own directory.
struct Ifrd {
    program: PathBuf,
    place: tempfile::TempDir,
    shell: String,
    options: Vec<String>,
    child: Option<Child>,
}

impl Drop for Ifrd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ifrd {
    /// One that runs.
    fn start(options: &[&str]) -> Result<Ifrd> {
        Ifrd::start_under("", options)
    }

    /// One that runs behind this line of shell, such as a limit.
    fn start_under(shell: &str, options: &[&str]) -> Result<Ifrd> {
        let program = Programs::find()?.hypermesh.with_file_name("ifrd");
        let place = tempfile::Builder::new()
            .prefix("ifrd")
            .tempdir()
            .map_err(failed("directory"))?;
        let mut ifrd = Ifrd {
            program,
            place,
            shell: shell.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            child: None,
        };
        ifrd.begin()?;
        Ok(ifrd)
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("run/mfn_ifr.sock")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("ifr").join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    fn command(&self) -> Result<Command> {
        let log = File::create(self.place.path().join("log")).map_err(failed("log"))?;
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{}\nexec \"$0\" \"$@\"", self.shell))
            .arg(&self.program)
            .arg("--socket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.place.path().join("ifr"))
            .args(&self.options)
            .stdin(Stdio::null())
            .stderr(log);
        Ok(command)
    }

    /// Starts it, and waits until it answers.
    fn begin(&mut self) -> Result<()> {
        let child = self.command()?.spawn().map_err(failed("ifrd"))?;
        self.child = Some(child);
        until("ifrd's socket", WAIT, || {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok())
                .flatten()
            {
                return Err(format!("ifrd ended: {status}\n{}", self.log()));
            }
            Ok(self.client().ok().map(drop))
        })
    }

    /// Starts it where it cannot start.
    fn begin_in_vain(&self) -> Result<(ExitStatus, String)> {
        let mut child = self.command()?.spawn().map_err(failed("ifrd"))?;
        let status = child.wait().map_err(failed("ifrd"))?;
        Ok((status, self.log()))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take()
            && child.kill().is_ok()
        {
            drop(child.wait());
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().ok_or("it does not run")?;
        child.wait().map_err(failed("ifrd"))
    }

    fn client(&self) -> Result<Client> {
        Client::connect(&self.socket())
    }

    fn resident_bytes(&self) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }
}

/// What came from the daemon.
#[derive(Debug)]
struct Frame {
    kind: u8,
    status: i32,
    id: u64,
    body: Vec<u8>,
}

fn frame(kind: u8, method: u16, id: u64, deadline_ns: u64, body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(56 + body.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    out.extend([1, kind, 6, u8::from(!body.is_empty())]);
    out.extend(method.to_le_bytes());
    out.extend([0; 2]);
    out.extend([0; 4]);
    out.extend(id.to_le_bytes());
    out.extend(deadline_ns.to_le_bytes());
    out.extend([0; 28]);
    out.extend(body);
    out
}

/// The head of a body: pool 0, digests.
const HEAD: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];

fn key_body(key: &[u8; 32]) -> Vec<u8> {
    [HEAD.as_slice(), key].concat()
}

fn put_body(key: &[u8; 32], value: &[u8; 16]) -> Vec<u8> {
    [HEAD.as_slice(), value, key].concat()
}

fn batch_body<'a>(items: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = HEAD.to_vec();
    body.extend(u32::try_from(items.len()).unwrap().to_le_bytes());
    body.extend([0; 4]);
    items.for_each(|item| body.extend(item));
    body
}

/// One connection.
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects and exchanges HELLO.
    fn connect(socket: &Path) -> Result<Client> {
        let mut client = Client::silent(socket)?;
        client.send(&frame(HELLO, 0, 0, 0, &[]))?;
        match client.read()? {
            Some(Frame { kind: HELLO, .. }) => Ok(client),
            other => Err(format!("no HELLO: {other:?}")),
        }
    }

    /// Says nothing.
    fn silent(socket: &Path) -> Result<Client> {
        let stream = UnixStream::connect(socket).map_err(failed("connect"))?;
        stream
            .set_read_timeout(Some(WAIT))
            .map_err(failed("timeout"))?;
        Ok(Client {
            stream,
            input: Vec::new(),
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(failed("send"))
    }

    fn request(&mut self, method: u16, id: u64, body: &[u8]) -> Result<()> {
        self.send(&frame(REQUEST, method, id, 0, body))
    }

    /// The next frame; nothing when the daemon has closed the connection.
    fn read(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(prefix) = self.input.first_chunk::<4>() {
                let total = 4 + u32::from_le_bytes(*prefix) as usize;
                if self.input.len() >= total {
                    let rest = self.input.split_off(total);
                    let bytes = std::mem::replace(&mut self.input, rest);
                    return Ok(Some(Frame {
                        kind: bytes[5],
                        status: i32::from_le_bytes(bytes[12..16].try_into().unwrap()),
                        id: u64::from_le_bytes(bytes[16..24].try_into().unwrap()),
                        body: bytes[60..].to_vec(),
                    }));
                }
            }
            let mut room = [0; 64 << 10];
            match self.stream.read(&mut room) {
                Ok(0) => return Ok(None),
                Ok(count) => self.input.extend(&room[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(error) => return Err(format!("read: {error}")),
            }
        }
    }

    fn call(&mut self, method: u16, body: &[u8]) -> Result<Frame> {
        self.request(method, u64::MAX, body)?;
        loop {
            match self.read()? {
                Some(frame) if frame.id == u64::MAX => return Ok(frame),
                Some(_) => {}
                None => return Err("the connection ended".into()),
            }
        }
    }

    /// A reply's body.
    fn ok(&mut self, method: u16, body: &[u8]) -> Result<Vec<u8>> {
        let answer = self.call(method, body)?;
        match answer.kind {
            REPLY => Ok(answer.body),
            _ => Err(format!(
                "{}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
        }
    }

    fn get(&mut self, key: &[u8; 32]) -> Result<Option<[u8; 16]>> {
        let body = self.ok(GET, &key_body(key))?;
        Ok((!body.is_empty()).then(|| body.try_into().unwrap()))
    }
}

/// A key of a number.
fn key(number: u64) -> [u8; 32] {
    let mut key = [0; 32];
    for (at, bytes) in key.chunks_mut(8).enumerate() {
        let mixed = (number + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(at as u32 * 13);
        bytes.copy_from_slice(&mixed.to_le_bytes());
    }
    key
}

/// A value of a number.
fn value(number: u64) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value[8..].copy_from_slice(&(!number).to_le_bytes());
    value
}
