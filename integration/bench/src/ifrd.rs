//! More rows of `bench-ifr`: layer 1 over its socket, beside Redis over its own, and the round trip beside a bare one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mfn_ifr_client::{IfrClient, Key, Options};
use mfn_wire::{ContentType, Header, Hello, Kind, Service, Tlv, ifr, method, tlv};

use crate::cpu;
use crate::ifr::keys;
use crate::peers::{redis, unix};
use crate::record::{BenchError, Ctx, Must, Samples};

const DEPTH: usize = 128;
const BATCH: usize = 1_024;
const VALUE: [u8; 16] = [7; 16];

/// `ifrd` on one processor; it ends with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its directory goes with it: killing it is its normal end here.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

/// A program that was built beside this one.
fn beside(name: &str) -> Result<PathBuf, BenchError> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    let text = format!("{name} is not built; run cargo make build-zig");
    Err(BenchError::new(text))
}

fn start(
    place: &Path,
    processor: usize,
    durability: &str,
) -> Result<(Daemon, PathBuf), BenchError> {
    let socket = place.join("run/mfn_ifr.sock");
    let child = Command::new(beside("ifrd")?)
        .arg("--socket")
        .arg(&socket)
        .arg("--dir")
        .arg(place.join("ifr"))
        .args(["--durability", durability])
        .stderr(Stdio::null())
        .spawn()?;
    let daemon = Daemon(child);
    redis::pin(&daemon.0, processor)?;
    let until = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(&socket).is_err() {
        if Instant::now() > until {
            return Err(BenchError::new("ifrd does not start"));
        }
        std::thread::yield_now();
    }
    Ok((daemon, socket))
}

/// Frames straight onto a socket, as pipelining clients send them: many requests per write.
struct Pipe {
    stream: UnixStream,
    out: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    next_id: u64,
}

impl Pipe {
    fn connect(socket: &Path) -> Result<Self, BenchError> {
        let mut pipe = Self {
            stream: UnixStream::connect(socket)?,
            out: Vec::new(),
            input: vec![0; 1 << 20],
            filled: 0,
            next_id: 1,
        };
        let (features, limits) = Hello::default().fixed();
        let entries = [
            Tlv {
                kind: tlv::FEATURES,
                value: &features,
            },
            Tlv {
                kind: tlv::LIMITS,
                value: &limits,
            },
        ];
        let hello = Header::new(Kind::Hello, Service::Ifr);
        mfn_wire::encode(&hello, &entries, &[], &mut pipe.out)?;
        pipe.send()?;
        pipe.replies(1, |_| ())?;
        Ok(pipe)
    }

    fn request(&mut self, method: u16, body: &[u8]) -> Result<(), BenchError> {
        let header = Header {
            content_type: ContentType::Fixed,
            method,
            request_id: self.next_id,
            ..Header::new(Kind::Request, Service::Ifr)
        };
        self.next_id += 1;
        Ok(mfn_wire::encode(&header, &[], body, &mut self.out)?)
    }

    fn send(&mut self) -> Result<(), BenchError> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn replies(&mut self, count: usize, mut each: impl FnMut(&[u8])) -> Result<(), BenchError> {
        let (mut left, mut at) = (count, 0);
        while left > 0 {
            let rest = &self.input[at..self.filled];
            match mfn_wire::frame_length(rest)? {
                Some(length) if length <= rest.len() => {
                    let frame = mfn_wire::decode(&rest[..length])?;
                    if frame.header.kind == Kind::Error {
                        return Err(BenchError::new(String::from_utf8_lossy(frame.body)));
                    }
                    each(frame.body);
                    at += length;
                    left -= 1;
                }
                _ => {
                    self.input.copy_within(at..self.filled, 0);
                    self.filled -= at;
                    at = 0;
                    let read = self.stream.read(&mut self.input[self.filled..])?;
                    if read == 0 {
                        return Err(BenchError::new("ifrd closed the connection"));
                    }
                    self.filled += read;
                }
            }
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    fn get(&mut self, keys: &[[u8; 32]], depth: usize) -> Result<usize, BenchError> {
        let (mut found, mut body) = (0, Vec::new());
        for keys in keys.chunks(depth) {
            for key in keys {
                body.clear();
                ifr::encode_key(0, Key::Digest(key), &mut body);
                self.request(method::ifr::GET, &body)?;
            }
            self.send()?;
            self.replies(keys.len(), |value| found += usize::from(!value.is_empty()))?;
        }
        Ok(found)
    }

    fn put(&mut self, keys: &[[u8; 32]], depth: usize) -> Result<(), BenchError> {
        let mut body = Vec::new();
        for keys in keys.chunks(depth) {
            for key in keys {
                body.clear();
                ifr::encode_put(0, Key::Digest(key), &VALUE, &mut body);
                self.request(method::ifr::PUT, &body)?;
            }
            self.send()?;
            self.replies(keys.len(), |_| ())?;
        }
        Ok(())
    }

    fn get_many(&mut self, keys: &[[u8; 32]], count: usize) -> Result<usize, BenchError> {
        let (mut found, mut body) = (0, Vec::new());
        for keys in keys.chunks(count) {
            body.clear();
            ifr::encode_keys(0, keys.iter().map(Key::Digest), &mut body)?;
            self.request(method::ifr::GET_MANY, &body)?;
            self.send()?;
            self.replies(1, |body| {
                if let Ok(answer) = ifr::Found::decode(body, true) {
                    found += (0..answer.len())
                        .filter(|index| answer.value(*index) == Some(&VALUE))
                        .count();
                }
            })?;
        }
        Ok(found)
    }
}

fn check(found: usize, expected: usize) -> Result<(), BenchError> {
    if found == expected {
        return Ok(());
    }
    Err(BenchError::new(format!("{found} of {expected} were found")))
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let allowed = cpu::allowed()?;
    let client = *allowed
        .first()
        .ok_or_else(|| BenchError::new("no processor"))?;
    let server = *allowed.get(1).unwrap_or(&client);
    let keys = keys(0, if ctx.quick { 10_000 } else { 200_000 });
    let (_daemon, socket) = start(place.path(), server, "none")?;
    let mut redis = redis::Redis::start(place.path(), server, false)?;
    cpu::pin(client)?;
    let ifr = IfrClient::connect(&socket, Options::default())?;
    for keys in keys.chunks(4_096) {
        let done = ifr.put_many(keys.iter().map(|key| (Key::Digest(key), &VALUE)))?;
        check(done.done as usize, keys.len())?;
    }
    if let Some(redis) = &mut redis {
        redis.load(&keys, &VALUE)?;
    }
    rates(ctx, &socket, redis.as_mut(), &keys)?;
    drop(redis);
    round_trips(ctx, place.path(), &socket, &ifr, &keys, server)?;
    durable(ctx, &keys, server)
}

/// Puts that the disk has before they are acknowledged: one sync for all that are under way.
fn durable(ctx: &mut Ctx, keys: &[[u8; 32]], server: usize) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let (_daemon, socket) = start(place.path(), server, "sync")?;
    let mut redis = redis::Redis::start(place.path(), server, true)?;
    let mut pipe = Pipe::connect(&socket)?;
    let keys = keys.get(..DEPTH * 100).unwrap_or(keys);
    let [mut ours, mut theirs] = [const { Samples(Vec::new()) }; 2];
    for _ in 0..ctx.rounds() {
        let rate = |start: Instant| keys.len() as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        pipe.put(keys, DEPTH)?;
        ours.push(rate(start));
        if let Some(redis) = &mut redis {
            let start = Instant::now();
            redis.load(keys, &VALUE)?;
            theirs.push(rate(start));
        }
    }
    let note = format!(
        "{} puts, {DEPTH} in flight, each acknowledged when the disk has it{}",
        keys.len(),
        absent(redis.is_some())
    );
    let peer = redis
        .is_some()
        .then_some(("Redis SET, appendfsync always", &theirs));
    let metric = "over the socket, durable puts";
    ctx.row(metric, "1/s", &ours, peer, Must::Report, &note)
}

/// What a row says when it stands alone.
fn absent(is_here: bool) -> &'static str {
    if is_here {
        ""
    } else {
        "; redis-server is not installed, so nothing stands beside it"
    }
}

fn rates(
    ctx: &mut Ctx,
    socket: &Path,
    mut redis: Option<&mut redis::Redis>,
    keys: &[[u8; 32]],
) -> Result<(), BenchError> {
    let mut pipe = Pipe::connect(socket)?;
    let [mut one, mut batch, mut theirs, mut their_batch] = [const { Samples(Vec::new()) }; 4];
    for _ in 0..ctx.rounds() {
        let rate = |start: Instant| keys.len() as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        check(pipe.get(keys, DEPTH)?, keys.len())?;
        one.push(rate(start));
        let start = Instant::now();
        check(pipe.get_many(keys, BATCH)?, keys.len())?;
        batch.push(rate(start));
        if let Some(redis) = &mut redis {
            let start = Instant::now();
            check(redis.get(keys, DEPTH)?, keys.len())?;
            theirs.push(rate(start));
            let start = Instant::now();
            check(redis.get_many(keys, BATCH)?, keys.len())?;
            their_batch.push(rate(start));
        }
    }
    let absent = absent(redis.is_some());
    let count = keys.len();
    let with = |name, samples| redis.is_some().then_some((name, samples));
    let note = format!(
        "{count} keys of 32 bytes, values of 16; {DEPTH} requests per write, client and server on their own processors{absent}"
    );
    ctx.row(
        "over the socket, one key per request",
        "1/s",
        &one,
        with("Redis GET, pipelined", &theirs),
        Must::RatioAtLeast(1.0),
        &note,
    )?;
    let note = format!("the same keys, {BATCH} in each request{absent}");
    ctx.row(
        "over the socket, batch requests",
        "1/s",
        &batch,
        with("Redis GET, pipelined", &theirs),
        Must::RatioAtLeast(5.0),
        &note,
    )?;
    let note = format!("{BATCH} keys in each request on both sides{absent}");
    ctx.row(
        "over the socket, batch requests on both sides",
        "1/s",
        &batch,
        with("Redis MGET", &their_batch),
        Must::Report,
        &note,
    )
}

/// Depth 1: the clients in Rust and in Zig beside a bare ping-pong of as many bytes.
fn round_trips(
    ctx: &mut Ctx,
    place: &Path,
    socket: &Path,
    ifr: &IfrClient,
    keys: &[[u8; 32]],
    server: usize,
) -> Result<(), BenchError> {
    let rounds = if ctx.quick { 1_000 } else { 10_000 };
    let mut bare = unix::Echo::start(place, BARE_BYTES, server)?;
    let zig = beside("ifr-bench")?;
    let [mut rust_p50, mut zig_p50, mut bare_p50] = [const { Samples(Vec::new()) }; 3];
    for _ in 0..ctx.rounds() {
        let mut times = Vec::with_capacity(rounds);
        for key in keys.iter().cycle().take(rounds) {
            let start = Instant::now();
            ifr.get(Key::Digest(key))?;
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
        rust_p50.push(median(&mut times));
        times.clear();
        for _ in 0..rounds {
            let start = Instant::now();
            bare.ping()?;
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
        bare_p50.push(median(&mut times));
        // It inherits this thread's processor.
        let output = Command::new(&zig)
            .arg(socket)
            .arg(rounds.to_string())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let p50_ns: f64 = text.trim().parse().map_err(|_| {
            BenchError::new(format!(
                "ifr-bench: {}",
                String::from_utf8_lossy(&output.stderr)
            ))
        })?;
        zig_p50.push(p50_ns / 1e3);
    }
    let note = format!(
        "get of one digest, one call at a time, two processors; bare: {BARE_BYTES} bytes each way"
    );
    let peer = Some(("blocking ping-pong", &bare_p50));
    let metric = "round trip over the socket, Rust client, p50";
    ctx.row(metric, "µs", &rust_p50, peer, Must::Report, &note)?;
    let metric = "round trip over the socket, Zig client, p50";
    ctx.row(metric, "µs", &zig_p50, peer, Must::Report, &note)?;
    let metric = "round trip over the socket, Zig beside Rust, p50";
    let peer = Some(("Rust client", &rust_p50));
    ctx.row(metric, "µs", &zig_p50, peer, Must::Report, "the same calls")
}

/// Head and body of a request for one digest.
const BARE_BYTES: usize = 60 + 8 + 32;

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
