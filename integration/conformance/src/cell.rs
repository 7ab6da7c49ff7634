//! One cell: one section of the script with one client and one server.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mfn_local::monotonic_ns;
use mfn_wire::{ContentType, Header, Kind, Service, Status};

use crate::programs::Program;
use crate::raw::Raw;
use crate::referee::{From, Referee};
use crate::script::{self, Section, Step};

/// Whatever is waited for comes sooner, or the cell has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(2);

/// A deadline is made of two looks at the clock.
const TWO_LOOKS_NS: u64 = 1_000_000;

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// The client cannot do it; why.
    Gap(String),
    Failed(String),
}

/// Why a step did not go as it should.
enum Trouble {
    Gap(String),
    Wrong(String),
}

impl<T: ToString> std::convert::From<T> for Trouble {
    fn from(text: T) -> Self {
        Self::Wrong(text.to_string())
    }
}

type Done<T = ()> = Result<T, Trouble>;

/// A process that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that is told what to do.
struct Client {
    process: Process,
    stdin: Option<ChildStdin>,
    answers: mpsc::Receiver<String>,
}

impl Client {
    fn start(program: &Program, log: File) -> Done<Self> {
        let mut child = program.command().stderr(log).spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (to, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process: Process(child),
            stdin,
            answers,
        })
    }

    fn ask(&mut self, line: &str) -> Done<String> {
        let stdin = self.stdin.as_mut().ok_or("it was told to end")?;
        writeln!(stdin, "{line}")?;
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.map_err(|_| {
            let shown: String = line.chars().take(100).collect();
            format!("the client did not answer '{shown}'")
        })?;
        match answer.strip_prefix("gap ") {
            Some(reason) => Err(Trouble::Gap(reason.to_owned())),
            None => Ok(answer),
        }
    }

    /// Ends it; what a sanitizer or the program itself found is its exit status.
    fn finish(mut self) -> Done {
        self.stdin = None;
        until("the client to end", || {
            Ok(self.process.0.try_wait()?.map(|status| {
                if status.success() {
                    Ok(())
                } else {
                    Err(format!("the client ended with {status}"))
                }
            }))
        })?
        .map_err(Trouble::Wrong)
    }
}

/// Waits until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> Done<Option<T>>) -> Done<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(AGAIN);
    }
}

/// What a section runs with.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) client: &'a Program,
    pub(crate) server: &'a Program,
    pub(crate) vectors: &'a Path,
    /// The same where the client runs.
    pub(crate) client_vectors: &'a Path,
    /// Its sockets and logs.
    pub(crate) place: PathBuf,
}

struct Cell<'a> {
    setup: &'a Setup<'a>,
    server: Option<Process>,
    client: Client,
    referee: Referee,
    /// For calls that have no name in the script.
    unnamed: usize,
}

/// Runs a section.
pub(crate) fn run(setup: &Setup<'_>, section: &Section) -> Outcome {
    match try_run(setup, section) {
        Ok(()) => Outcome::Passed,
        Err(Trouble::Gap(reason)) => Outcome::Gap(reason),
        Err(Trouble::Wrong(text)) => {
            let log = |name| std::fs::read_to_string(setup.place.join(name)).unwrap_or_default();
            let logs = [log("server.log"), log("client.log")].concat();
            Outcome::Failed(format!("{text}\n{logs}").trim_end().to_owned())
        }
    }
}

fn try_run(setup: &Setup<'_>, section: &Section) -> Done {
    std::fs::create_dir_all(&setup.place)?;
    let server = start_server(setup)?;
    let referee = Referee::start(
        &setup.place.join("c.sock"),
        &server_socket(setup),
        section.profile,
    )?;
    let mut cell = Cell {
        setup,
        server: Some(server),
        client: Client::start(setup.client, File::create(setup.place.join("client.log"))?)?,
        referee,
        unnamed: 0,
    };
    let connects_itself = section.steps.first().is_some_and(|step| {
        matches!(
            step.words.first().map(String::as_str),
            Some("connect" | "pool" | "vectors" | "flows")
        )
    });
    if !connects_itself {
        cell.connect("OK", None)?;
    }
    for step in &section.steps {
        cell.step(step).map_err(|trouble| match trouble {
            Trouble::Wrong(text) => Trouble::Wrong(format!(
                "line {}, {}: {text}",
                step.line,
                step.words.join(" ")
            )),
            gap => gap,
        })?;
        if let Some(problem) = cell.referee.problems().first() {
            return Err(format!("line {}: the referee: {problem}", step.line).into());
        }
    }
    cell.client.finish()?;
    // Its socket is gone with it, whatever became of the process.
    if !section.of_ifrd
        && let Ok(mut raw) = Raw::greet(&server_socket(setup))
    {
        let _ = raw.call(8, &[], 0);
    }
    match cell.referee.problems().first() {
        Some(problem) => Err(format!("the referee: {problem}").into()),
        None => Ok(()),
    }
}

fn server_socket(setup: &Setup<'_>) -> PathBuf {
    setup.place.join("s.sock")
}

fn start_server(setup: &Setup<'_>) -> Done<Process> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(setup.place.join("server.log"))?;
    let mut command = setup.server.command();
    if setup.server.language == "ifrd" {
        command.arg("--dir").arg(setup.place.join("ifr"));
        command.args([
            "--durability",
            "none",
            "--pools-bytes-max",
            "4M",
            "--socket",
        ]);
    }
    command.arg(server_socket(setup)).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(log);
    let mut server = Process(command.spawn()?);
    until("the server's socket", || {
        if let Some(status) = server.0.try_wait()? {
            return Err(format!("the server ended: {status}").into());
        }
        Ok(Raw::connect(&server_socket(setup)).is_ok().then_some(()))
    })?;
    Ok(server)
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Done<Vec<u8>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

impl Cell<'_> {
    fn step(&mut self, step: &Step) -> Done {
        let word = |at| step.word(at);
        match word(0)? {
            "vectors" => self.vectors(),
            "replay" => replay(self.setup),
            "connect" => {
                let expected = step.expected.first().map_or("OK", String::as_str);
                self.connect(expected, step.expected.get(1).map(String::as_str))
            }
            "pool" => self.tell(&format!("pool {}", self.socket()), "ok"),
            "flows" => self.tell(&format!("flows {}", self.socket()), "ok"),
            "records" => self.records(step),
            "start" => self.start(word(1)?, word(2)?, word(3)?, step),
            "wait" => {
                let answer = self.client.ask(&format!("wait {}", word(1)?))?;
                expect(&answer, &step.expected)
            }
            "call" => (0..step.option("times").max(1)).try_for_each(|_| {
                let answer = self.call(word(1)?, word(2)?, step)?;
                expect(&answer, &step.expected)
            }),
            "opens" => self.opens(word(1)?, word(2)?, step),
            "heal" => until("a call that is made", || {
                let answer = self.call(word(1)?, word(2)?, step)?;
                let refused = [Status::CIRCUIT_OPEN, Status::BUSY];
                if refused
                    .iter()
                    .any(|status| answer.starts_with(&format!("end {} ", status.0)))
                {
                    return Ok(None);
                }
                expect(&answer, &step.expected).map(Some)
            }),
            "items" => self.items(word(1)?, word(2)?.parse()?),
            "cancel" => {
                let cancels = self.referee.count(From::Client, Kind::Cancel);
                self.tell(&format!("cancel {}", word(1)?), "ok")?;
                self.wait(From::Client, Kind::Cancel, cancels + 1)
            }
            "counts" => self.counts(step),
            "seen" => {
                let (from, kind) = (side(word(1)?)?, kind(word(2)?)?);
                let count = word(3)?.parse()?;
                self.wait(from, kind, count)?;
                let seen = self.referee.count(from, kind);
                if seen == count {
                    return Ok(());
                }
                Err(format!("{seen} came").into())
            }
            "refused" => self.refused(side(word(1)?)?, script::status(word(2)?)?, word(3)?),
            "leave" => self.raw()?.call(7, &[], 0).map(drop).map_err(Trouble::from),
            "die" => {
                // It has no time to answer.
                let _ = self.raw()?.call(8, &[], 0);
                Ok(())
            }
            "gone" => self.gone(),
            "restart" => {
                self.server = None;
                self.server = Some(start_server(self.setup)?);
                Ok(())
            }
            "late" => self.late(),
            "flood" => flood(&server_socket(self.setup)),
            "inject" => self.inject(word(1)?),
            other => Err(format!("{other} is no step").into()),
        }
    }

    fn socket(&self) -> String {
        self.setup.place.join("c.sock").display().to_string()
    }

    fn raw(&self) -> Done<Raw> {
        Ok(Raw::greet(&server_socket(self.setup))?)
    }

    fn tell(&mut self, line: &str, expected: &str) -> Done {
        let answer = self.client.ask(line)?;
        if answer == expected {
            return Ok(());
        }
        Err(format!("the client said {answer}").into())
    }

    fn wait(&self, from: From, kind: Kind, count: u64) -> Done {
        if self.referee.wait(from, kind, count, PATIENCE) {
            return Ok(());
        }
        Err(format!("{count} {} of {from:?} did not come", kind.name()).into())
    }

    fn vectors(&mut self) -> Done {
        let path = self.setup.client_vectors.display();
        let answer = self.client.ask(&format!("vectors {path}"))?;
        let lines = std::fs::read_to_string(self.setup.vectors)?;
        let of = |good| {
            let lines = lines.lines().filter(|line| !line.starts_with('#'));
            lines
                .filter(|line| (line.split(' ').nth(1) == Some("0")) == good)
                .count()
        };
        let expected = format!("vectors {} {}", of(true), of(false));
        if answer == expected {
            return Ok(());
        }
        Err(format!("{answer}; {expected} were there").into())
    }

    /// A command about records of ifrd, and the client's answer.
    fn records(&mut self, step: &Step) -> Done {
        let words = step.words.get(1..).unwrap_or_default();
        let mut line = script::records(words)?;
        if words == ["vectors"] {
            let path = self.setup.client_vectors.with_file_name("ifr_flows.txt");
            line = format!("{line} {}", path.display());
        }
        let answer = self.client.ask(&line)?;
        if script::records_agree(&answer, &step.expected)? {
            return Ok(());
        }
        Err(format!("the client said {answer}").into())
    }

    fn connect(&mut self, expected: &str, word: Option<&str>) -> Done {
        let line = format!("connect {} {}", self.socket(), PATIENCE.as_millis());
        let answer = self.client.ask(&line)?;
        let is_as_expected = expected.split('|').any(|name| match name {
            "OK" => answer == "ok",
            name => script::status(name).is_ok_and(|status| {
                let failed = format!("failed {} ", status.0);
                answer.starts_with(&failed)
            }),
        });
        let says = word.is_none_or(|word| answer.to_lowercase().contains(word));
        if is_as_expected && says {
            return Ok(());
        }
        Err(format!("the client said {answer}").into())
    }

    /// Starts a call and waits until it has passed.
    fn start(&mut self, tag: &str, method: &str, body: &str, step: &Step) -> Done {
        let requests = self.referee.count(From::Client, Kind::Request);
        self.send(tag, method, body, step)?;
        self.wait(From::Client, Kind::Request, requests + 1)?;
        let seen = self.referee.newest().ok_or("no request")?;
        let within_ns = step.option("within") * 1_000_000;
        match seen.left_ns {
            None if within_ns == 0 => Ok(()),
            Some(left) if within_ns > 0 && left <= within_ns + TWO_LOOKS_NS => Ok(()),
            left => Err(format!("its deadline leaves {left:?} ns of {within_ns}").into()),
        }
    }

    fn send(&mut self, tag: &str, method: &str, body: &str, step: &Step) -> Done {
        let bytes = script::body(body)?;
        let content_type = ContentType::Bytes.as_u8();
        let (ms, credit) = (step.option("within"), step.option("credit"));
        let line = format!(
            "start {tag} {method} {content_type} {} {ms} {credit}",
            hex(&bytes)
        );
        self.tell(&line, "ok")
    }

    fn call(&mut self, method: &str, body: &str, step: &Step) -> Done<String> {
        self.unnamed += 1;
        let tag = format!("call-{}", self.unnamed);
        self.send(&tag, method, body, step)?;
        self.client.ask(&format!("wait {tag}"))
    }

    /// Repeats a call that fails until the breaker refuses it, which must come after so many calls and send nothing. A pause
    /// may be short: the call after it is a probe, and fails as well.
    fn opens(&mut self, method: &str, body: &str, step: &Step) -> Done {
        let mut calls = 0;
        until("a breaker that opens", || {
            let sent = self.referee.count(From::Client, Kind::Request);
            let answer = self.call(method, body, step)?;
            if !answer.starts_with(&format!("end {} ", Status::CIRCUIT_OPEN.0)) {
                calls += 1;
                return expect(&answer, &step.expected).map(|()| None);
            }
            if self.referee.count(From::Client, Kind::Request) != sent {
                return Err("a refused call was sent".into());
            }
            Ok(Some(()))
        })?;
        if calls >= step.option("least") {
            return Ok(());
        }
        Err(format!("it opened after {calls} calls").into())
    }

    /// Takes that many events; each begins with its number.
    fn items(&mut self, tag: &str, count: u32) -> Done {
        for number in 0..count {
            let answer = self.client.ask(&format!("item {tag}"))?;
            let body = answer.strip_prefix("event 3 ");
            let body = unhex(body.ok_or_else(|| format!("item {number}: {answer}"))?)?;
            if body.first_chunk() != Some(&number.to_le_bytes()) {
                return Err(format!("item {number} is {answer}").into());
            }
        }
        Ok(())
    }

    /// Waits until the server has done so much work.
    fn counts(&self, step: &Step) -> Done {
        let mut raw = self.raw()?;
        let mut last = Vec::new();
        let found = until("the server's counts", || {
            let heard = raw.call(6, &[], 0)?;
            last = heard
                .body
                .chunks_exact(8)
                .filter_map(|chunk| chunk.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)))
                .collect();
            let names = ["begun", "finished", "dropped"];
            let agrees = names
                .iter()
                .zip(&last)
                .all(|(name, count)| step.option(name) == *count);
            Ok((agrees && last.len() == names.len()).then_some(()))
        });
        found.map_err(|_| Trouble::Wrong(format!("the counts are {last:?}")))
    }

    fn refused(&self, by: From, status: Status, word: &str) -> Done {
        let text = until("a refusal", || Ok(self.referee.refusal(by, status)))?;
        if text.to_lowercase().contains(word) {
            return Ok(());
        }
        Err(format!("it says only: {text}").into())
    }

    /// Waits until the server has ended by itself, and well.
    fn gone(&mut self) -> Done {
        let server = self.server.as_mut().ok_or("no server runs")?;
        let status = until("the server to end", || Ok(server.0.try_wait()?))?;
        if status.success() {
            return Ok(());
        }
        Err(format!("the server ended with {status}").into())
    }

    /// What the server itself does about deadlines, without a client that ends calls of its own.
    fn late(&self) -> Done {
        let mut raw = self.raw()?;
        let soon = monotonic_ns() + 100_000_000;
        for (method, body, deadline) in [(1, &[][..], 1), (2, &[0; 4][..], soon)] {
            let heard = raw.call(method, body, deadline)?;
            if heard.status != Status::DEADLINE {
                return Err(format!("method {method} ended with {}", heard.status).into());
            }
        }
        Ok(())
    }

    /// Puts bytes between the server's frames: the call under way ends, and the client says why.
    fn inject(&mut self, name: &str) -> Done {
        let step = Step {
            line: 0,
            words: Vec::new(),
            options: [("within".to_owned(), 10_000)].into(),
            expected: Vec::new(),
        };
        self.unnamed += 1;
        let tag = format!("call-{}", self.unnamed);
        self.start(&tag, "2", "u32:0", &step)?;
        let id = self.referee.newest().ok_or("no request")?.request_id;
        let refusals = self.referee.count(From::Client, Kind::Error);
        self.referee.inject(&noise(name, id)?)?;
        let answer = self.client.ask(&format!("wait {tag}"))?;
        expect(&answer, &["CLOSED".to_owned()])?;
        self.wait(From::Client, Kind::Error, refusals + 1)
    }
}

/// What breaks a rule.
fn noise(name: &str, request_id: u64) -> Done<Vec<u8>> {
    let header = match name {
        "frame_too_large" => return Ok(vec![0xff; 4]),
        "cut_short" => return Ok(vec![10, 0, 0, 0]),
        "wrong_version" => Header {
            request_id,
            ..Header::new(Kind::Pong, Service::State)
        },
        "event_without_credit" => Header {
            method: 2,
            request_id,
            ..Header::new(Kind::Event, Service::State)
        },
        "unasked_reply" => Header {
            request_id: 1 << 40,
            ..Header::new(Kind::Reply, Service::State)
        },
        "second_hello" => Header::new(Kind::Hello, Service::State),
        other => return Err(format!("{other} is no noise").into()),
    };
    let mut bytes = Vec::new();
    mfn_wire::encode(&header, &[], &[], &mut bytes)?;
    if name == "wrong_version"
        && let Some(version) = bytes.get_mut(4)
    {
        *version = 9;
    }
    Ok(bytes)
}

fn side(word: &str) -> Done<From> {
    match word {
        "client" => Ok(From::Client),
        "server" => Ok(From::Server),
        other => Err(format!("{other} is no side").into()),
    }
}

fn kind(word: &str) -> Done<Kind> {
    let found = (0..=u8::MAX).filter_map(|number| Kind::try_from(number).ok());
    let mut found = found.filter(|kind| kind.name() == word);
    found
        .next()
        .ok_or_else(|| format!("{word} is no kind").into())
}

/// Whether an answer of the client, `end STATUS TYPE BODY`, is what the script says.
fn expect(answer: &str, expected: &[String]) -> Done {
    let wrong = || {
        let shown: String = answer.chars().take(200).collect();
        Trouble::Wrong(format!("it ended so: {shown}"))
    };
    let words: Vec<&str> = answer.split(' ').collect();
    let ["end", status, _, body] = *words else {
        return Err(wrong());
    };
    let wanted = script::status(expected.first().ok_or("nothing is expected")?)?;
    if status != wanted.0.to_string() {
        return Err(wrong());
    }
    let Some(spec) = expected.get(1) else {
        return Ok(());
    };
    let body = unhex(body)?;
    if let Some(ms) = spec.strip_prefix("budget:") {
        let left = body
            .first_chunk()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .ok_or_else(wrong)?;
        let most = ms.parse::<u64>()? * 1_000_000;
        let fits = if most == 0 {
            left == 0
        } else {
            left > 0 && left <= most
        };
        return if fits { Ok(()) } else { Err(wrong()) };
    }
    // Of a failure the text is the program's own; it is at least there.
    let fits = if wanted == Status::OK {
        body == script::body(spec)?
    } else {
        true
    };
    if fits { Ok(()) } else { Err(wrong()) }
}

/// Sends every bad vector to the server, each on a connection of its own.
fn replay(setup: &Setup<'_>) -> Done {
    let mut tried = 0;
    for line in std::fs::read_to_string(setup.vectors)?.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(_), Some(text)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if name == "#" {
            continue;
        }
        let bytes = unhex(text)?;
        // A stream waits for what is missing; only whole frames, and lengths that cannot be, are refused.
        let expected = match mfn_wire::frame_length(&bytes) {
            Err(error) => error.status(),
            Ok(Some(length)) if length == bytes.len() => match mfn_wire::decode(&bytes) {
                Err(error) => error.status(),
                Ok(_) => continue,
            },
            Ok(_) => continue,
        };
        let mut raw = Raw::greet(&server_socket(setup))?;
        raw.write(&bytes)?;
        let heard = raw.hear()?;
        let is_refused = heard.as_ref().is_some_and(|heard| {
            heard.kind == Kind::Error && heard.request_id == 0 && heard.status == expected
        });
        if !is_refused || raw.hear()?.is_some() {
            return Err(format!("vector {name}: {expected} was due, {heard:?} came").into());
        }
        tried += 1;
    }
    if tried < 100 {
        return Err(format!("only {tried} vectors could be tried").into());
    }
    Ok(())
}

/// Noise on many connections, half of it after a good HELLO.
fn flood(socket: &Path) -> Done {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = SEED;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for number in 0..200 {
        let mut raw = if number % 2 == 0 {
            Raw::connect(socket)?
        } else {
            Raw::greet(socket)?
        };
        let count = (next() % 300) as usize;
        let noise: Vec<u8> = (0..count).map(|_| next().to_le_bytes()[3]).collect();
        // It may be sent away before it has said all.
        let _ = raw.write(&noise);
    }
    Ok(())
}
