//! The client without a runtime, against a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mfn_local::blocking::{Client, Pool};
use mfn_local::{
    BoxFuture, Call, CallError, ConnectOptions, Failure, Handler, Item, Limits, LocalError,
    PoolOptions, Reply, Request, Server, ServerConfig,
};
use mfn_wire::{ContentType, Header, Kind, Service, Status};
use tokio::sync::Notify;

const ECHO: u16 = 1;
const FOREVER: u16 = 2;
/// Answers when two with the same body have come.
const IN_PAIRS: u16 = 3;
/// As many events as the body has bytes, each with one of them, then a reply of the same.
const STREAM: u16 = 4;

#[derive(Default)]
struct Methods {
    forever_began: Arc<Notify>,
    met: Arc<Mutex<HashMap<Bytes, Arc<Notify>>>>,
}

impl Handler for Methods {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let (began, met) = (Arc::clone(&self.forever_began), Arc::clone(&self.met));
        Box::pin(async move {
            let reply = Reply {
                content_type: call.content_type,
                body: call.body,
            };
            match call.method {
                ECHO => Ok(reply),
                FOREVER => {
                    began.notify_one();
                    std::future::pending().await
                }
                IN_PAIRS => {
                    let other = met.lock().unwrap().remove(&reply.body);
                    if let Some(other) = other {
                        other.notify_one();
                    } else {
                        let mine = Arc::new(Notify::new());
                        met.lock()
                            .unwrap()
                            .insert(reply.body.clone(), Arc::clone(&mine));
                        mine.notified().await;
                    }
                    Ok(reply)
                }
                STREAM => {
                    for byte in &reply.body {
                        let event = vec![*byte];
                        call.events.send(ContentType::Bytes, event).await?;
                    }
                    Ok(reply)
                }
                other => Err(Failure::new(
                    Status::UNSUPPORTED,
                    format!("no method {other}"),
                )),
            }
        })
    }
}

struct Running {
    runtime: tokio::runtime::Runtime,
    _place: tempfile::TempDir,
    path: PathBuf,
    forever_began: Arc<Notify>,
}

fn start(limits: Limits) -> Running {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/test.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let methods = Methods::default();
    let forever_began = Arc::clone(&methods.forever_began);
    let entered = runtime.enter();
    let server = Server::bind(ServerConfig {
        limits,
        ..ServerConfig::new(Service::State, &path)
    })
    .unwrap();
    drop(entered);
    runtime.spawn(server.serve(Arc::new(methods), std::future::pending::<()>()));
    Running {
        runtime,
        _place: place,
        path,
        forever_began,
    }
}

fn connect(server: &Running) -> Client {
    Client::connect(&server.path, Service::State, &ConnectOptions::default()).unwrap()
}

fn bytes(body: Vec<u8>) -> Request {
    Request::new(ContentType::Bytes, body)
}

#[test]
fn threads_share_a_connection_and_get_their_own_answers() {
    let server = start(Limits::default());
    let client = connect(&server);
    std::thread::scope(|scope| {
        for thread in 0..16u32 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..200u32 {
                    // Some longer than what a socket or the outbox holds.
                    let count = if round % 50 == thread / 2 { 400_000 } else { 8 };
                    let in_pairs = round % 3 == 0 && count == 8;
                    // A thread meets its neighbour.
                    let (method, who) = if in_pairs {
                        (IN_PAIRS, thread / 2)
                    } else {
                        (ECHO, thread)
                    };
                    let body = (who << 16 | round).to_le_bytes().repeat(count);
                    let reply = client.call(0, method, &bytes(body.clone())).unwrap();
                    assert_eq!(reply.body, body, "thread {thread} round {round}");
                }
            });
        }
    });
}

#[test]
fn a_deadline_ends_the_wait_and_only_this_call() {
    let server = start(Limits::default());
    let client = connect(&server);
    let late = bytes(vec![1]).within(Duration::from_millis(20));
    // Where this thread is late itself, the server's word may be there first.
    let error = client.call(0, FOREVER, &late).unwrap_err();
    assert_eq!(error.status(), Status::DEADLINE);
    assert_eq!(client.call(0, ECHO, &bytes(vec![2])).unwrap().body, vec![2]);
    let error = client.call(0, 99, &bytes(vec![3])).unwrap_err();
    assert_eq!(error.status(), Status::UNSUPPORTED);
}

#[test]
fn cancel_wakes_the_thread_that_reads_and_the_next_reads_on() {
    let server = start(Limits::default());
    let client = connect(&server);
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| client.call(7, FOREVER, &bytes(vec![1])));
        server.runtime.block_on(server.forever_began.notified());
        let pair = [1u64, 2].map(|number| {
            let client = &client;
            scope.spawn(move || client.call(number, IN_PAIRS, &bytes(vec![1])))
        });
        assert_eq!(client.cancel(7), 1);
        assert_eq!(client.cancel(9), 0);
        let error = leader.join().unwrap().unwrap_err();
        assert_eq!(error.status(), Status::CANCELLED);
        for call in pair {
            call.join().unwrap().unwrap();
        }
    });
}

#[test]
fn the_end_of_the_connection_ends_all_calls() {
    let server = start(Limits::default());
    let client = connect(&server);
    std::thread::scope(|scope| {
        let calls = [1u8, 2, 3].map(|number| {
            let client = &client;
            scope.spawn(move || client.call(0, FOREVER, &bytes(vec![number])))
        });
        server.runtime.block_on(server.forever_began.notified());
        server.runtime.shutdown_background();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap_err().status(), Status::CLOSED);
        }
    });
    let error = client.call(0, ECHO, &bytes(vec![1])).unwrap_err();
    assert_eq!(error.status(), Status::CLOSED);
}

#[test]
fn more_calls_than_the_server_takes_are_busy() {
    let server = start(Limits {
        requests_in_flight_max: 1,
        ..Limits::default()
    });
    let client = connect(&server);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| client.call(1, FOREVER, &bytes(vec![1])));
        server.runtime.block_on(server.forever_began.notified());
        assert_eq!(
            client.call(2, ECHO, &bytes(vec![2])),
            Err(CallError::Busy(1))
        );
        client.cancel(1);
        first.join().unwrap().unwrap_err();
    });
}

#[test]
fn a_connect_names_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("none.sock");
    let connect = |path: &std::path::Path, timeout| {
        let options = ConnectOptions {
            timeout,
            ..ConnectOptions::default()
        };
        Client::connect(path, Service::State, &options).unwrap_err()
    };
    let error = connect(&path, Duration::from_secs(5));
    assert!(matches!(error, LocalError::NotRunning { .. }), "{error}");
    // Listens, and says nothing.
    let mute = place.path().join("mute.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let error = connect(&mute, Duration::from_millis(20));
    assert!(matches!(error, LocalError::Timeout { .. }), "{error}");
    let server = start(Limits::default());
    let options = ConnectOptions::default();
    let error = Client::connect(&server.path, Service::Metrics, &options).unwrap_err();
    assert!(matches!(error, LocalError::Refused { .. }), "{error}");
}

#[test]
fn a_server_that_breaks_the_wire_is_left() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("liar.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let liar = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut room, mut hello) = ([0; 4096], Vec::new());
        // What a server says is what a client says: the limits in it differ.
        let count = stream.read(&mut room).unwrap();
        hello.extend_from_slice(&room[..count]);
        let header = Header {
            request_id: 77,
            ..Header::new(Kind::Reply, Service::State)
        };
        mfn_wire::encode(&header, &[], &[], &mut hello).unwrap();
        stream.write_all(&hello).unwrap();
        // Until the client has left, with a last word.
        let mut last = Vec::new();
        stream.read_to_end(&mut last).unwrap();
        mfn_wire::decode(&last).unwrap().header.status
    });
    let error = Client::connect(&path, Service::State, &ConnectOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no request 77"), "{error}");
    assert_eq!(liar.join().unwrap(), Status::BAD_REQUEST_ID);
}

/// Takes a whole stream; its events and how it ended.
fn drain(stream: &mut mfn_local::blocking::Streaming) -> (Vec<u8>, Result<Bytes, Status>) {
    let mut events = Vec::new();
    loop {
        match stream.next().unwrap() {
            Ok(Item::Event(event)) => events.extend_from_slice(&event.body),
            Ok(Item::Reply(reply)) => return (events, Ok(reply.body)),
            Err(error) => return (events, Err(error.status())),
        }
    }
}

#[test]
fn streams_of_several_threads_keep_their_order_beside_calls() {
    let server = start(Limits::default());
    let client = Arc::new(connect(&server));
    std::thread::scope(|scope| {
        for number in 0..4_u8 {
            let client = &client;
            scope.spawn(move || {
                let body: Vec<u8> = (0..200).map(|at| number ^ at).collect();
                for credit in [1, 2, 7, 1_000] {
                    let request = Request::new(ContentType::Bytes, body.clone());
                    let mut stream = client.stream(0, STREAM, &request, credit).unwrap();
                    let echoed = client.call(0, ECHO, &request).unwrap();
                    assert_eq!(echoed.body, body);
                    let (events, end) = drain(&mut stream);
                    assert_eq!((events, end), (body.clone(), Ok(body.clone().into())));
                    assert!(stream.next().is_none());
                }
            });
        }
    });
}

#[test]
fn a_stream_ends_by_its_deadline_its_tag_or_when_it_is_dropped() {
    let server = start(Limits {
        requests_in_flight_max: 3,
        ..Limits::default()
    });
    let client = Arc::new(connect(&server));
    let request = Request::new(ContentType::Bytes, vec![7; 100]);
    let soon = request.clone().within(Duration::from_millis(30));
    let mut late = client.stream(1, STREAM, &soon, 4).unwrap();
    while let Some(Ok(_)) = late.next() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(late.next().is_none());
    let mut tagged = client.stream(2, STREAM, &request, 4).unwrap();
    assert!(matches!(tagged.next(), Some(Ok(Item::Event(_)))));
    assert_eq!(client.cancel(2), 1);
    assert_eq!(drain(&mut tagged).1, Err(Status::CANCELLED));
    // Each leaves room for the next: the server says of every one that it has ended.
    for _ in 0..20 {
        let mut dropped = client.stream(3, STREAM, &request, 4).unwrap();
        assert!(matches!(dropped.next(), Some(Ok(Item::Event(_)))));
        drop(dropped);
        client.call(0, ECHO, &request).unwrap();
    }
}

/// The end that comes with the last bytes has no edge of its own.
#[test]
fn a_server_that_says_its_last_and_dies_is_heard_at_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..200 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = Vec::new();
            let header = Header::new(Kind::Hello, Service::State);
            mfn_wire::encode(&header, &[], &[], &mut hello).unwrap();
            stream.write_all(&hello).unwrap();
            let mut room = [0; 4096];
            // HELLO of the client, then its request, which may come together.
            let mut heard = 0;
            while heard < 150 {
                heard += stream.read(&mut room).unwrap();
            }
            let ping = Header {
                request_id: 9,
                ..Header::new(Kind::Ping, Service::State)
            };
            let mut last = Vec::new();
            mfn_wire::encode(&ping, &[], &[], &mut last).unwrap();
            stream.write_all(&last).unwrap();
        }
    });
    for _ in 0..200 {
        let client = Client::connect(&path, Service::State, &ConnectOptions::default()).unwrap();
        let request = Request::new(ContentType::Bytes, vec![1; 64]).within(Duration::from_secs(30));
        let ended = client.call(0, FOREVER, &request);
        assert!(matches!(ended, Err(CallError::Closed(_))), "{ended:?}");
    }
    server.join().unwrap();
}

#[test]
fn what_was_given_up_takes_no_place_once_it_is_answered() {
    let server = start(Limits {
        requests_in_flight_max: 2,
        ..Limits::default()
    });
    let client = Arc::new(connect(&server));
    let soon = Request::empty().within(Duration::from_millis(10));
    for _ in 0..2 {
        let error = client.call(0, FOREVER, &soon).unwrap_err();
        assert_eq!(error.status(), Status::DEADLINE);
    }
    // Nobody reads between calls: the next one finds the answers itself, as soon as they are there.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while client.call(0, ECHO, &Request::empty()).is_err() {
        assert!(std::time::Instant::now() < until);
    }
}

#[test]
fn a_pool_opens_few_connections_and_makes_lost_ones_again() {
    let server = start(Limits::default());
    let mut options = PoolOptions::new(Service::State, &server.path);
    (options.share, options.connections_max) = (1, 3);
    let pool = Pool::new(options);
    let request = Request::new(ContentType::Bytes, &b"hello"[..]).within(Duration::from_secs(30));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(&pool.call(0, ECHO, &request).unwrap().body[..], b"hello");
                }
            });
        }
    });
    let mut stream = pool.stream(0, STREAM, &request, 2).unwrap();
    assert!(matches!(stream.next(), Some(Ok(Item::Event(_)))));
    drop(stream);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ended = pool.call(7, FOREVER, &Request::empty());
            assert_eq!(ended.unwrap_err().status(), Status::CANCELLED);
        });
        while pool.cancel(7) == 0 {
            std::thread::yield_now();
        }
    });
    drop(server);
    let error = pool.call(0, ECHO, &request).unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unreachable(_) | CallError::Closed(_) | CallError::NotAccepted(_)
        ),
        "{error:?}"
    );
    // It is not asked again at once.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !matches!(pool.call(0, ECHO, &request), Err(CallError::Open { .. })) {
        assert!(std::time::Instant::now() < until);
    }
}
