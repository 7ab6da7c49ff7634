//! Rows of `bench-local`: a round trip on the local wire beside a bare ping-pong, both between two processes.

use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfn_local::{
    BoxFuture, Call, Client, ConnectOptions, Failure, Handler, LocalError, Reply, Request, Server,
    ServerConfig,
};
use mfn_wire::{ContentType, Service};

use crate::peers::unix;
use crate::record::{BenchError, Ctx, Must, Samples};

/// The word that makes this binary the server on the local wire.
const CHILD: &str = "child-local-echo";
const BODY_BYTES: usize = 64;
const IN_FLIGHT: usize = 64;

struct Echo;

impl Handler for Echo {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let reply = Reply {
            content_type: call.content_type,
            body: call.body,
        };
        Box::pin(std::future::ready(Ok(reply)))
    }
}

/// A server in its own process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has no state: killing it is its normal end.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("run/local.sock");
    let _server = Process(
        Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .arg(&path)
            .spawn()?,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = runtime.block_on(connect(&path))?;
    let mut peer = unix::Echo::start(place.path(), BODY_BYTES)?;
    let rounds = if ctx.quick { 1_000 } else { 20_000 };
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    let (mut rate, mut slow) = (Samples::default(), Samples::default());
    for _ in 0..ctx.rounds() {
        let mut times = runtime.block_on(round_trips(&client, rounds))?;
        ours.push(quantile(&mut times, 0.5));
        slow.push(quantile(&mut times, 0.99));
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = Instant::now();
            peer.ping()?;
            times.push(start.elapsed().as_nanos() as f64 / 1e3);
        }
        bare.push(quantile(&mut times, 0.5));
        rate.push(runtime.block_on(throughput(&client, rounds))?);
    }
    let note = "64-byte body, one call at a time; two processes";
    let peer = Some(("blocking ping-pong", &bare));
    ctx.row(
        "round trip, p50",
        "µs",
        &ours,
        peer,
        Must::RatioAtMost(1.3),
        note,
    )?;
    ctx.row("round trip, p99", "µs", &slow, None, Must::Report, note)?;
    let note = "64-byte body, 64 calls in flight on one connection";
    ctx.row("calls", "1/s", &rate, None, Must::Report, note)
}

async fn connect(path: &Path) -> Result<Client, BenchError> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(path, Service::State, ConnectOptions::default()).await {
            // The server is still starting.
            Err(LocalError::NotRunning { .. }) if Instant::now() < until => {
                tokio::task::yield_now().await
            }
            other => return Ok(other?),
        }
    }
}

fn request() -> Request {
    static BODY: [u8; BODY_BYTES] = [7; BODY_BYTES];
    Request::new(ContentType::Bytes, &BODY[..])
}

async fn round_trips(client: &Client, count: usize) -> Result<Vec<f64>, BenchError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        client.call(1, request()).await?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(times)
}

async fn throughput(client: &Client, count: usize) -> Result<f64, BenchError> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..count / IN_FLIGHT {
                client.call(1, request()).await?;
            }
            Ok::<(), mfn_local::CallError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((count / IN_FLIGHT * IN_FLIGHT) as f64 / start.elapsed().as_secs_f64())
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(at).copied().unwrap_or_default()
}

/// Runs as a second process of this benchmark when the arguments say so.
pub(crate) fn child(arguments: &[String]) -> Option<ExitCode> {
    match arguments {
        [word, path, bytes] if word == unix::CHILD => Some(unix::serve(path, bytes)),
        [word, path] if word == CHILD => Some(match serve(Path::new(path)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{CHILD}: {error}");
                ExitCode::FAILURE
            }
        }),
        _ => None,
    }
}

fn serve(path: &Path) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::bind(ServerConfig::new(Service::State, path))?;
        server
            .serve(Arc::new(Echo), std::future::pending::<()>())
            .await;
        Ok(())
    })
}
