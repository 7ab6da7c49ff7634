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

pub(crate) fn run(ctx: &mut Ctx, place: &Path, placement: &Placement) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    crate::cpu::pin(placement.client)?;
    let path = place.join("run/load.sock");
    let server = start(&path, placement.server)?;
    let pool = pool(&path);
    rates(ctx, &runtime, &pool, placement)?;
    costs(ctx, &runtime, &pool, &server)?;
    connections(ctx, &runtime, &path)?;
    long(ctx, &runtime, &pool)
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

#[cfg(feature = "http-peers")]
fn rates(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    placement: &Placement,
) -> Result<(), BenchError> {
    use crate::peers::http::{Grpc, HTTP_CHILD, Http, TONIC_CHILD};
    let (_http_server, http) = crate::local::start_tcp(HTTP_CHILD, placement.server)?;
    let (_tonic_server, tonic) = crate::local::start_tcp(TONIC_CHILD, placement.server)?;
    let mut http = runtime.block_on(Http::connect(http, AT_ONCE))?;
    let grpc = runtime.block_on(Grpc::connect(tonic))?;
    let count = if ctx.quick { 20_000 } else { 200_000 };
    let (mut ours, mut of_http, mut of_grpc) =
        (Samples::default(), Samples::default(), Samples::default());
    runtime.block_on(calls(pool, count / 10, AT_ONCE))?;
    for _ in 0..ctx.rounds() * 3 {
        ours.push(runtime.block_on(calls(pool, count, AT_ONCE))?.0);
        of_http.push(runtime.block_on(http.rate(count / 10))?);
        of_grpc.push(runtime.block_on(grpc.rate(count / 10, AT_ONCE))?);
    }
    let metric = format!("calls, 128 at once, {}", placement.name);
    let note = "64-byte body; ours on one connection, HTTP on 128, both kept alive";
    let peer = Some(("hyper HTTP/1.1", &of_http));
    ctx.row(&metric, "1/s", &ours, peer, Must::RatioAtLeast(10.0), note)?;
    let note =
        "the same beside unary calls of gRPC on one connection, with a codec that copies nothing";
    let peer = Some(("tonic", &of_grpc));
    ctx.row(&metric, "1/s", &ours, peer, Must::RatioAtLeast(15.0), note)
}

#[cfg(not(feature = "http-peers"))]
fn rates(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    placement: &Placement,
) -> Result<(), BenchError> {
    println!("local: built without HTTP and gRPC to compare with: --features http-peers");
    let count = if ctx.quick { 20_000 } else { 200_000 };
    let mut ours = Samples::default();
    for _ in 0..ctx.rounds() {
        ours.push(runtime.block_on(calls(pool, count, AT_ONCE))?.0);
    }
    let metric = format!("calls, 128 at once, {}", placement.name);
    ctx.row(
        &metric,
        "1/s",
        &ours,
        None,
        Must::Report,
        "64-byte body, one connection",
    )
}

/// What one message costs when the connection is warm.
fn costs(
    ctx: &mut Ctx,
    runtime: &Runtime,
    pool: &Pool,
    server: &Process,
) -> Result<(), BenchError> {
    let count = if ctx.quick { 20_000 } else { 200_000 };
    runtime.block_on(calls(pool, count / 10, AT_ONCE))?;
    match syscalls::start(&[std::process::id(), server.id()])? {
        Some(counting) => {
            runtime.block_on(calls(pool, count, AT_ONCE))?;
            match counting.stop()? {
                Some(made) => {
                    let each = Samples::from(made as f64 / count as f64);
                    let note = "both processes, by perf's raw_syscalls:sys_enter";
                    let metric = "system calls per call, 128 at once";
                    ctx.row(metric, "", &each, None, Must::AtMost(0.1), note)?;
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
    let metric = "allocations per call, 128 at once";
    let each = Samples::from(made as f64 / count as f64);
    ctx.row(metric, "", &each, None, Must::AtMost(0.0), note)
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
