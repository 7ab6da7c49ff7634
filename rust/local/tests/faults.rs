//! Servers in processes of their own that are killed, starved of descriptors and cut into pieces.
//!
//! This binary is also the server: the test `server` does nothing unless it is told to by the environment.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mfn_local::{
    Answering, BoxFuture, Call, CallError, Client, ConnectOptions, Failure, Handler, LocalError,
    Pool, PoolOptions, Reply, Request, Server, ServerConfig, blocking,
};
use mfn_wire::{ContentType, Service, Status};
use rustix::process::{Resource, Rlimit};

/// Where the server of a child binds, and how many descriptors it may have.
const SOCKET: &str = "MFN_TEST_SOCKET";
const DESCRIPTORS: &str = "MFN_TEST_DESCRIPTORS";

const ECHO: u16 = 1;
/// As echo, but later.
const LATER: u16 = 2;

struct Echo;

impl Handler for Echo {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        Box::pin(async move {
            // Long enough that a kill finds calls under way.
            tokio::time::sleep(Duration::from_millis(u64::from(call.body[0] % 8))).await;
            Ok(reply(call))
        })
    }

    fn answer(&self, call: Call) -> Answering {
        match call.method {
            ECHO => Answering::Now(Ok(reply(call))),
            _ => Answering::Later(self.call(call)),
        }
    }
}

fn reply(call: Call) -> Reply {
    Reply {
        content_type: call.content_type,
        body: call.body,
    }
}

#[test]
fn server() {
    let Some(path) = std::env::var_os(SOCKET) else {
        return;
    };
    if let Some(most) = std::env::var(DESCRIPTORS)
        .ok()
        .and_then(|most| most.parse().ok())
    {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = ServerConfig::new(Service::State, Path::new(&path));
        let server = Server::bind(config).unwrap();
        server
            .serve(Arc::new(Echo), std::future::pending::<()>())
            .await;
    });
}

/// A server in its own process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(path: &Path, descriptors: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["server", "--exact", "--test-threads=1"])
            .env(SOCKET, path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(most) = descriptors {
            command.env(DESCRIPTORS, most.to_string());
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/test.sock");
    (place, path)
}

fn ready(path: &Path) -> Pool {
    Pool::new(PoolOptions {
        wait_ready: true,
        connect: ConnectOptions {
            timeout: Duration::from_secs(2),
            ..ConnectOptions::default()
        },
        // What is killed all the time fails all the time: here each call shall be tried.
        breaker: mfn_local::BreakerOptions {
            failed_share_max: 1.0,
            slow_share_max: 1.0,
            ..mfn_local::BreakerOptions::default()
        },
        ..PoolOptions::new(Service::State, path)
    })
}

fn request(number: u64) -> Request {
    Request::new(ContentType::Bytes, number.to_le_bytes().to_vec())
}

/// How a call ended, told once.
#[derive(Default)]
struct Ends {
    begun: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Longest time that an end came after its deadline.
    late_ms: AtomicU64,
}

/// Calls until it is over, each with a deadline. An answer to another question fails the test.
async fn caller(pool: Pool, of: u64, ends: Arc<Ends>, is_over: Arc<AtomicBool>) {
    let wait = Duration::from_millis(500);
    for count in 0.. {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let number = of << 40 | count;
        ends.begun.fetch_add(1, Ordering::SeqCst);
        let deadline = Instant::now() + wait;
        let result = pool.call(LATER, request(number).until(deadline)).await;
        let late = Instant::now().saturating_duration_since(deadline);
        ends.late_ms
            .fetch_max(late.as_millis() as u64, Ordering::SeqCst);
        match result {
            Ok(reply) => {
                assert_eq!(reply.body[..], number.to_le_bytes());
                ends.answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(
                CallError::Closed(_)
                | CallError::Deadline
                | CallError::NotAccepted(_)
                | CallError::Failed {
                    status: Status::DEADLINE,
                    ..
                },
            ) => {
                ends.failed.fetch_add(1, Ordering::SeqCst);
            }
            Err(other) => unreachable!("{other}"),
        }
    }
}

/// Ends are counted, the wait for all of them has an end, and no end came long after its deadline.
async fn check(callers: Vec<tokio::task::JoinHandle<()>>, ends: &Ends) {
    let all = async {
        for caller in callers {
            caller.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(
        count(&ends.begun),
        count(&ends.answered) + count(&ends.failed)
    );
    assert!(count(&ends.answered) > 0);
    // A busy machine wakes late; what hangs is later still.
    assert!(
        count(&ends.late_ms) < 10_000,
        "{} ms late",
        count(&ends.late_ms)
    );
}

#[tokio::test]
async fn every_call_ends_once_while_the_server_is_killed_again_and_again() {
    let (_place, path) = place();
    let (ends, is_over) = (Arc::new(Ends::default()), Arc::new(AtomicBool::new(false)));
    let pool = ready(&path);
    let callers = (0..32)
        .map(|of| {
            let (pool, ends, is_over) = (pool.clone(), Arc::clone(&ends), Arc::clone(&is_over));
            tokio::spawn(caller(pool, of, ends, is_over))
        })
        .collect();
    for _ in 0..25 {
        let server = Process::start(&path, None);
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(server);
    }
    is_over.store(true, Ordering::SeqCst);
    check(callers, &ends).await;
    assert!(pool.stats().opened > 1, "{:?}", pool.stats());
}

/// Passes bytes on in pieces of 1 to 40, both ways, until one side ends.
fn shred(from: UnixStream, to: UnixStream, mut seed: u64) {
    let (mut from, mut to) = (from, to);
    let mut piece = [0; 40];
    loop {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = 1 + (seed >> 33) as usize % piece.len();
        match from.read(&mut piece[..size]) {
            Ok(count @ 1..) if to.write_all(&piece[..count]).is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bytes_that_come_in_small_pieces_are_put_together() {
    let (place, path) = place();
    let _server = Process::start(&path, None);
    ready(&path).call(ECHO, request(0)).await.unwrap();
    let front = place.path().join("front.sock");
    let listener = UnixListener::bind(&front).unwrap();
    let behind = path.clone();
    std::thread::spawn(move || {
        for (seed, client) in (0..).zip(listener.incoming()) {
            let (client, server) = (client.unwrap(), UnixStream::connect(&behind).unwrap());
            let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || shred(client, server, seed));
            std::thread::spawn(move || shred(back_from, back_to, seed + 1_000));
        }
    });
    let (ends, is_over) = (Arc::new(Ends::default()), Arc::new(AtomicBool::new(false)));
    let pool = ready(&front);
    let callers = (0..16)
        .map(|of| {
            let (pool, ends, is_over) = (pool.clone(), Arc::clone(&ends), Arc::clone(&is_over));
            tokio::spawn(caller(pool, of, ends, is_over))
        })
        .collect();
    while ends.answered.load(Ordering::SeqCst) < 2_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    check(callers, &ends).await;
    assert_eq!(pool.stats().opened, 1);
}

#[tokio::test]
async fn a_server_without_descriptors_says_so_and_lives_on() {
    let (_place, path) = place();
    let _server = Process::start(&path, Some(24));
    let early = ready(&path);
    early.call(ECHO, request(0)).await.unwrap();
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        match Client::connect(&path, Service::State, ConnectOptions::default()).await {
            Ok(client) => open.push(client),
            Err(LocalError::Refused { status, .. }) => {
                assert_eq!(status, Status::BUSY);
                refused += 1;
            }
            Err(other) => unreachable!("{other}"),
        }
    }
    assert!(
        refused > 0 && !open.is_empty(),
        "{refused} refused, {} open",
        open.len()
    );
    // Who is in, is served; and whoever comes when descriptors are free again.
    early.call(ECHO, request(1)).await.unwrap();
    open.clear();
    let late = ready(&path);
    late.call(ECHO, request(2).within(Duration::from_secs(60)))
        .await
        .unwrap();
}

/// Nothing is left behind that the next start would stumble over.
#[tokio::test]
async fn a_thousand_rebinds_after_kills_are_clean() {
    let (_place, path) = place();
    for cycle in 0..1_000 {
        let server = Process::start(&path, None);
        let until = Instant::now() + Duration::from_secs(30);
        let client = loop {
            match blocking::Client::connect(&path, Service::State, &ConnectOptions::default()) {
                Ok(client) => break client,
                // Not bound yet, or the socket of the one before.
                Err(LocalError::NotRunning { .. }) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(other) => unreachable!("cycle {cycle}: {other}"),
            }
        };
        let reply = client.call(0, ECHO, &request(cycle)).unwrap();
        assert_eq!(reply.body[..], cycle.to_le_bytes());
        drop(server);
        assert!(path.exists(), "a killed server leaves its socket behind");
    }
}

/// Ten million messages between two processes: each is answered once, with its own answer.
#[tokio::test]
async fn millions_of_messages_are_answered_once_each() {
    let (_place, path) = place();
    let _server = Process::start(&path, None);
    let pool = ready(&path);
    let count: u64 = 10_000_000;
    let at_once = 128;
    let sum = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..at_once)
        .map(|of| {
            let (pool, sum) = (pool.clone(), Arc::clone(&sum));
            tokio::spawn(async move {
                let mut number = of;
                while number < count {
                    let request = request(number).within(Duration::from_secs(60));
                    let reply = pool.call(ECHO, request).await.unwrap();
                    let answer = u64::from_le_bytes(reply.body[..].try_into().unwrap());
                    assert_eq!(answer, number);
                    sum.fetch_add(answer, Ordering::Relaxed);
                    number += at_once;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(sum.load(Ordering::SeqCst), count * (count - 1) / 2);
    let stats = pool.stats();
    assert_eq!((stats.calls, stats.repeated, stats.opened), (count, 0, 1));
}
