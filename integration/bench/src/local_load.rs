//! Rows of `bench-local` about many calls at once: rates beside HTTP and gRPC, what a message costs, many connections.
//!
//! The stack is whole: ids, deadline, pool, breaker, trace, credentials checked, counters on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mfn_local::{Client, ConnectOptions, Pool, PoolOptions, Request};
use mfn_wire::{ContentType, Service};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::allocations;
use crate::cpu;
use crate::local::{ALLOCATIONS, Placement, Process, start};
use crate::record::{BenchError, Ctx, Must, Samples};
use crate::syscalls;

const AT_ONCE: usize = 128;
/// Each call has one, as in the product.
const DEADLINE: Duration = Duration::from_secs(30);
static BODY: [u8; 64] = [7; 64];

fn request() -> Request {
    Request::new(ContentType::Bytes, Bytes::from_static(&BODY)).within(DEADLINE)
}

fn pool(path: &Path) -> Pool {
    Pool::new(PoolOptions {
        connections_max: 1,
        wait_ready: true,
        ..PoolOptions::new(Service::State, path)
    })
}

pub(crate) fn run(ctx: &mut Ctx, place: &Path, placements: &[Placement]) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(mfn_local::EVENT_INTERVAL)
        .enable_all()
        .build()?;
    for placement in placements {
        cpu::pin(placement.client)?;
        let path = place.join(format!("run/load-{}.sock", placement.server));
        let server = start(&path, placement.server)?;
        let pool = pool(&path);
        runtime.block_on(calls(&pool, 20_000, AT_ONCE))?;
        rates(ctx, &runtime, &pool, &server, placement)?;
        costs(ctx, &runtime, &pool, &server, placement)?;
        if placement.name == placements.first().map_or("", |first| first.name) {
            connections(ctx, &runtime, &path)?;
            long(ctx, &runtime, &pool)?;
        }
    }
    Ok(())
}

/// That many calls, at once as many as given; errors are counted, not hidden.
async fn calls(pool: &Pool, count: usize, at_once: usize) -> Result<(f64, u64), BenchError> {
    let errors = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (pool, errors) = (pool.clone(), Arc::clone(&errors));
        tasks.spawn(async move {
            for _ in 0..count / at_once {
                let is_good =
                    matches!(pool.call(1, request()).await, Ok(reply) if reply.body[..] == BODY);
                if !is_good {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    let rate = (count / at_once * at_once) as f64 / start.elapsed().as_secs_f64();
    Ok((rate, errors.load(Ordering::Relaxed)))
}

/// Rates, and processor time of both sides for each call, round by round.
#[derive(Default)]
struct Side {
    rate: Samples,
    cpu: Samples,
}

impl Side {
    /// `run` makes that many calls and gives their rate.
    fn round(
        &mut self,
        server: &Process,
        count: usize,
        run: impl FnOnce() -> Result<f64, BenchError>,
    ) -> Result<(), BenchError> {
        let both = || -> Result<f64, BenchError> {
            Ok(cpu::spent(std::process::id())? + cpu::spent(server.id())?)
        };
        let before = both()?;
        self.rate.push(run()?);
        self.cpu.push((both()? - before) / count as f64 * 1e6);
        Ok(())
    }
}

#[cfg(feature = "http-peers")]
fn rates(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    server: &Process,
    placement: &Placement,
) -> Result<(), BenchError> {
    use crate::peers::http::{Grpc, HTTP_CHILD, Http, TONIC_CHILD};
    let (http_server, http) = crate::local::start_tcp(HTTP_CHILD, placement.server)?;
    let (grpc_server, grpc) = crate::local::start_tcp(TONIC_CHILD, placement.server)?;
    let mut http = runtime.block_on(Http::connect(http, AT_ONCE))?;
    let grpc = runtime.block_on(Grpc::connect(grpc))?;
    // Whole numbers of calls for each caller; a peer's round lasts about as long as one of ours.
    let count = AT_ONCE * if ctx.quick { 160 } else { 1_600 };
    let of_peers = count / 10;
    let (mut ours, mut of_http, mut of_grpc) = (Side::default(), Side::default(), Side::default());
    for _ in 0..if ctx.quick { 1 } else { 9 } {
        ours.round(server, count, || {
            Ok(runtime.block_on(calls(pool, count, AT_ONCE))?.0)
        })?;
        of_http.round(&http_server, of_peers, || {
            runtime.block_on(http.rate(of_peers))
        })?;
        of_grpc.round(&grpc_server, of_peers, || {
            runtime.block_on(grpc.rate(of_peers, AT_ONCE))
        })?;
    }
    let rate = format!("calls, 128 at once, {}", placement.name);
    let time = format!("processor time per call, {}", placement.name);
    for (name, peer, least, note) in [
        (
            "hyper HTTP/1.1",
            &of_http,
            10.0,
            "64-byte body; ours on one connection, HTTP on 128, all kept alive",
        ),
        (
            "tonic",
            &of_grpc,
            15.0,
            "the same beside unary calls of gRPC on one connection, with a codec that copies nothing",
        ),
    ] {
        let must = Must::RatioAtLeast(least);
        ctx.row(
            &rate,
            "1/s",
            &ours.rate,
            Some((name, &peer.rate)),
            must,
            note,
        )?;
        let note = "both sides";
        ctx.row(
            &time,
            "µs",
            &ours.cpu,
            Some((name, &peer.cpu)),
            Must::Report,
            note,
        )?;
    }
    Ok(())
}

#[cfg(not(feature = "http-peers"))]
fn rates(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    server: &Process,
    placement: &Placement,
) -> Result<(), BenchError> {
    println!("local: built without HTTP and gRPC to compare with: --features http-peers");
    let count = AT_ONCE * if ctx.quick { 160 } else { 1_600 };
    let mut ours = Side::default();
    for _ in 0..ctx.rounds() {
        ours.round(server, count, || {
            Ok(runtime.block_on(calls(pool, count, AT_ONCE))?.0)
        })?;
    }
    let metric = format!("calls, 128 at once, {}", placement.name);
    let note = "64-byte body, one connection";
    ctx.row(&metric, "1/s", &ours.rate, None, Must::Report, note)?;
    let metric = format!("processor time per call, {}", placement.name);
    ctx.row(&metric, "µs", &ours.cpu, None, Must::Report, "both sides")
}

/// What one message costs when the connection is warm.
fn costs(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    server: &Process,
    placement: &Placement,
) -> Result<(), BenchError> {
    let count = AT_ONCE * if ctx.quick { 160 } else { 1_600 };
    match syscalls::start(&[std::process::id(), server.id()])? {
        Some(counting) => {
            runtime.block_on(calls(pool, count, AT_ONCE))?;
            match counting.stop()? {
                Some(made) => {
                    let each = Samples::from(made as f64 / count as f64);
                    let note = "both processes, by perf's raw_syscalls:sys_enter";
                    let metric = format!("system calls per call, 128 at once, {}", placement.name);
                    ctx.row(&metric, "", &each, None, Must::AtMost(0.1), note)?;
                }
                None => {
                    println!("local: perf counted nothing; the row of system calls is left out")
                }
            }
        }
        None => println!(
            "local: perf is not here or may not count; the row of system calls is left out"
        ),
    }
    allocations::watch();
    let made = runtime.block_on(allocated(pool, count / AT_ONCE))?;
    let note =
        "both processes, warm, with deadline, pool, breaker and trace; counted by the allocator";
    let metric = format!("allocations per call, 128 at once, {}", placement.name);
    let each = Samples::from(made as f64 / count as f64);
    ctx.row(&metric, "", &each, None, Must::AtMost(0.0), note)
}

/// Allocations of both sides while all callers are in the middle of their calls.
async fn allocated(pool: &Pool, each: usize) -> Result<u64, BenchError> {
    let server = || async {
        let reply = pool.call(ALLOCATIONS, request()).await?;
        let count = reply
            .body
            .first_chunk::<8>()
            .map(|count| u64::from_le_bytes(*count));
        count.ok_or_else(|| BenchError::new("the server does not count"))
    };
    // Starts its count, and warms up what asking costs.
    server().await?;
    let (warm, done) = (
        Arc::new(tokio::sync::Barrier::new(AT_ONCE + 1)),
        Arc::new(tokio::sync::Barrier::new(AT_ONCE + 1)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (pool, warm, done) = (pool.clone(), Arc::clone(&warm), Arc::clone(&done));
        tasks.spawn(async move {
            for _ in 0..each / 4 {
                pool.call(1, request()).await?;
            }
            warm.wait().await;
            for _ in 0..each {
                pool.call(1, request()).await?;
            }
            done.wait().await;
            Ok::<(), mfn_local::CallError>(())
        });
    }
    // What asking the server costs by itself, twice, is taken off.
    let (first, second) = (server().await?, server().await?);
    let asking = second - first;
    warm.wait().await;
    let before = (allocations::count(), server().await?);
    done.wait().await;
    let after = (allocations::count(), server().await?);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((after.0 - before.0) + (after.1 - before.1).saturating_sub(asking))
}

/// A thousand connections, each with calls of its own.
fn connections(ctx: &mut Ctx, runtime: &Runtime, path: &Path) -> Result<(), BenchError> {
    const CONNECTIONS: usize = 1_000;
    let each = if ctx.quick { 10 } else { 200 };
    let (rate, errors) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(path, Service::State, ConnectOptions::default()).await?);
        }
        let errors = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for client in clients {
            let errors = Arc::clone(&errors);
            tasks.spawn(async move {
                for _ in 0..each {
                    let is_good = matches!(client.call(1, request()).await, Ok(reply) if reply.body[..] == BODY);
                    if !is_good {
                        errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done?;
        }
        let rate = (CONNECTIONS * each) as f64 / start.elapsed().as_secs_f64();
        Ok::<_, BenchError>((rate, errors.load(Ordering::Relaxed)))
    })?;
    let note = "one call at a time on each; all open at once";
    ctx.row(
        "calls, 1,000 connections",
        "1/s",
        &rate.into(),
        None,
        Must::Report,
        note,
    )?;
    let errors = (errors as f64).into();
    ctx.row(
        "errors, 1,000 connections",
        "",
        &errors,
        None,
        Must::AtMost(0.0),
        note,
    )
}

/// Ten million messages.
fn long(ctx: &mut Ctx, runtime: &Runtime, pool: &Pool) -> Result<(), BenchError> {
    let count = if ctx.quick { 100_000 } else { 10_000_000 };
    let (_, errors) = runtime.block_on(calls(pool, count, AT_ONCE))?;
    let note = "every answer compared with its question";
    let metric = format!("errors in {count} calls");
    ctx.row(
        &metric,
        "",
        &(errors as f64).into(),
        None,
        Must::AtMost(0.0),
        note,
    )
}
