//! Pools against servers that are slow, gone, stopping and back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mfn_local::{
    BoxFuture, BreakerOptions, BreakerState, Call, CallError, Failure, Handler, Limits, Pool,
    PoolOptions, Reply, Request, Server, ServerConfig,
};
use mfn_wire::{ContentType, Service, Status};
use tokio::sync::{Notify, oneshot};

const ECHO: u16 = 1;
const GATED: u16 = 2;
const SICK: u16 = 3;
/// Answers with what is left of its time, in milliseconds.
const LEFT: u16 = 4;

#[derive(Default)]
struct Shared {
    gate: Notify,
    started: Notify,
    is_sick: AtomicBool,
    /// How often each body was worked on.
    done: Mutex<HashMap<Vec<u8>, u32>>,
}

struct Methods(Arc<Shared>);

impl Handler for Methods {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let body = call.body.to_vec();
            *shared.done.lock().unwrap().entry(body).or_default() += 1;
            match call.method {
                GATED => {
                    shared.started.notify_one();
                    shared.gate.notified().await;
                }
                SICK if shared.is_sick.load(Ordering::SeqCst) => {
                    return Err(Failure::new(Status::IO, "sick"));
                }
                LEFT => {
                    let left = call
                        .context()
                        .deadline
                        .map(|deadline| deadline - Instant::now());
                    return Ok(Reply::text(
                        left.unwrap_or_default().as_millis().to_string(),
                    ));
                }
                _ => tokio::task::yield_now().await,
            }
            Ok(Reply {
                content_type: call.content_type,
                body: call.body,
            })
        })
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn serve(path: &Path, shared: &Arc<Shared>, limits: Limits) -> Running {
    let server = Server::bind(ServerConfig {
        limits,
        ..ServerConfig::new(Service::State, path)
    })
    .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = Arc::new(Methods(Arc::clone(shared)));
    let task = tokio::spawn(server.serve(handler, async move {
        let _ = stopped.await;
    }));
    Running { stop, task }
}

fn place() -> (tempfile::TempDir, PathBuf, Arc<Shared>) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/test.sock");
    (place, path, Arc::default())
}

fn body(number: u64) -> Request {
    Request::new(ContentType::Bytes, number.to_le_bytes().to_vec())
}

#[tokio::test]
async fn callers_share_a_connection_and_a_second_comes_when_it_is_busy() {
    let (_place, path, shared) = place();
    let _server = serve(&path, &shared, Limits::default());
    let pool = Pool::new(PoolOptions {
        share: 2,
        ..PoolOptions::new(Service::State, &path)
    });
    for number in 0..10 {
        pool.call(ECHO, body(number)).await.unwrap();
    }
    assert_eq!(pool.stats().opened, 1);
    let calls: Vec<_> = (0..6)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.call(GATED, body(number)).await })
        })
        .collect();
    while pool.stats().connections < 2 {
        tokio::task::yield_now().await;
    }
    for _ in 0..4 {
        pool.call(ECHO, body(99)).await.unwrap();
    }
    assert_eq!(pool.stats().in_flight, 6);
    for call in calls {
        shared.gate.notify_one();
        call.await.unwrap().unwrap();
    }
    assert_eq!(pool.stats().opened, 2);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_told_at_once_or_waited_for() {
    let (_place, path, shared) = place();
    let options = PoolOptions::new(Service::State, &path);
    let pool = Pool::new(options.clone());
    let first = pool.call(ECHO, body(1)).await.unwrap_err();
    assert_eq!(first.status(), Status::UNREACHABLE, "{first}");
    while !matches!(pool.stats().peer, BreakerState::Open { .. }) {
        assert!(pool.call(ECHO, body(1)).await.is_err());
    }
    let waiting = Pool::new(PoolOptions {
        wait_ready: true,
        ..options
    });
    let start = Instant::now();
    let late = waiting.call(ECHO, body(1).within(Duration::from_millis(60)));
    assert_eq!(late.await.unwrap_err(), CallError::Deadline);
    assert!(start.elapsed() >= Duration::from_millis(60));
    let call = tokio::spawn({
        let waiting = waiting.clone();
        async move {
            waiting
                .call(ECHO, body(2).within(Duration::from_secs(60)))
                .await
        }
    });
    tokio::task::yield_now().await;
    let _server = serve(&path, &shared, Limits::default());
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_rest_of_the_time_is_passed_on() {
    let (_place, path, shared) = place();
    let _server = serve(&path, &shared, Limits::default());
    let pool = Pool::new(PoolOptions::new(Service::State, &path));
    let reply = pool
        .call(LEFT, body(1).within(Duration::from_secs(50)))
        .await
        .unwrap();
    let left: u64 = std::str::from_utf8(&reply.body).unwrap().parse().unwrap();
    assert!((1..=50_000).contains(&left), "{left}");
    let context = mfn_local::Context {
        deadline: Some(Instant::now()),
        trace: mfn_local::Trace::root(),
    };
    let request = body(1)
        .within(Duration::from_secs(50))
        .on_behalf_of(&context);
    assert_eq!(request.trace, context.trace);
    assert_eq!(
        pool.call(LEFT, request).await.unwrap_err(),
        CallError::Deadline
    );
}

#[tokio::test]
async fn a_method_that_fails_is_left_alone_and_tried_again() {
    let (_place, path, shared) = place();
    let _server = serve(&path, &shared, Limits::default());
    shared.is_sick.store(true, Ordering::SeqCst);
    let pool = Pool::new(PoolOptions {
        breaker: BreakerOptions {
            calls_min: 5,
            probes: 2,
            pause_first: Duration::from_millis(10),
            pause_max: Duration::from_millis(20),
            ..BreakerOptions::default()
        },
        ..PoolOptions::new(Service::State, &path)
    });
    let mut worked = 0;
    loop {
        match pool.call(SICK, body(7)).await.unwrap_err() {
            CallError::Failed { .. } => worked += 1,
            CallError::Open { .. } => break,
            other => assert_eq!(other, CallError::Deadline),
        }
        assert!(worked < 1_000);
    }
    assert!(worked >= 5);
    // Other methods are not meant.
    pool.call(ECHO, body(8)).await.unwrap();
    shared.is_sick.store(false, Ordering::SeqCst);
    let mut good = 0;
    while good < 5 {
        match pool.call(SICK, body(7)).await {
            Ok(_) => good += 1,
            Err(CallError::Open { retry_in, .. }) => tokio::time::sleep(retry_in).await,
            Err(other) => assert_eq!(other, CallError::Deadline),
        }
    }
    let stats = pool.stats();
    assert!(
        stats.methods.contains(&(SICK, BreakerState::Closed)),
        "{stats:?}"
    );
    assert!(stats.refused > 0);
}

#[tokio::test]
async fn who_finds_all_connections_full_waits_within_the_deadline() {
    let (_place, path, shared) = place();
    let limits = Limits {
        requests_in_flight_max: 1,
        ..Limits::default()
    };
    let _server = serve(&path, &shared, limits);
    let pool = Pool::new(PoolOptions {
        connections_max: 1,
        waiting_max: 1,
        ..PoolOptions::new(Service::State, &path)
    });
    let held = tokio::spawn({
        let pool = pool.clone();
        async move { pool.call(GATED, body(1)).await }
    });
    shared.started.notified().await;
    let late = pool
        .call(ECHO, body(2).within(Duration::from_millis(30)))
        .await;
    assert_eq!(late.unwrap_err(), CallError::Deadline);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.call(ECHO, body(3)).await }
    });
    while pool.stats().waiting < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        pool.call(ECHO, body(4)).await.unwrap_err(),
        CallError::Busy(1)
    );
    shared.gate.notify_one();
    held.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_old_connection_takes_no_new_calls() {
    let (_place, path, shared) = place();
    let _server = serve(&path, &shared, Limits::default());
    let pool = Pool::new(PoolOptions {
        age_max: Duration::ZERO,
        ..PoolOptions::new(Service::State, &path)
    });
    // Each is too old when it has come: the caller still gets one, by and by.
    let call = pool.call(ECHO, body(1).within(Duration::from_millis(50)));
    assert_eq!(call.await.unwrap_err(), CallError::Deadline);
    let pool = Pool::new(PoolOptions {
        age_max: Duration::from_millis(20),
        ..PoolOptions::new(Service::State, &path)
    });
    while pool.stats().opened < 3 {
        pool.call(ECHO, body(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(pool.stats().retired >= 2);
}

/// Servers come and go under load. What was answered was done exactly once, what was not taken was not done at all.
#[tokio::test]
async fn drains_lose_no_accepted_call_and_repeat_none() {
    let (_place, path, shared) = place();
    let pool = Pool::new(PoolOptions {
        wait_ready: true,
        ..PoolOptions::new(Service::State, &path)
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..16u64)
        .map(|caller| {
            let (pool, is_over) = (pool.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut answered, mut number) = (Vec::new(), 0);
                while !is_over.load(Ordering::SeqCst) {
                    let body = (caller << 32 | number).to_le_bytes().to_vec();
                    number += 1;
                    let request = Request::new(ContentType::Bytes, body.clone());
                    let request = request.within(Duration::from_secs(60));
                    let result = pool.call(ECHO, request).await;
                    answered.push((body, result));
                }
                answered
            })
        })
        .collect();
    for _ in 0..20 {
        let server = serve(&path, &shared, Limits::default());
        tokio::time::sleep(Duration::from_millis(15)).await;
        server.stop().await;
    }
    let _server = serve(&path, &shared, Limits::default());
    is_over.store(true, Ordering::SeqCst);
    let (mut calls, mut answered) = (0, 0);
    for caller in callers {
        for (body, result) in caller.await.unwrap() {
            calls += 1;
            let done = shared.done.lock().unwrap().get(&body).copied().unwrap_or(0);
            match result {
                Ok(reply) => {
                    assert_eq!((&reply.body[..], done), (&body[..], 1));
                    answered += 1;
                }
                Err(CallError::NotAccepted(_)) => assert_eq!(done, 0),
                Err(other) => assert!(done <= 1, "{other}"),
            }
        }
    }
    let stats = pool.stats();
    assert!(stats.opened >= 3, "{stats:?}");
    // A drain answers what it took: hardly any call is left in doubt.
    assert!(
        answered * 100 >= calls * 99,
        "{answered} of {calls}; {stats:?}"
    );
}
