//! Server and client over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mfn_local::{
    BoxFuture, Call, CallError, Client, ConnectOptions, EventSink, Failure, Handler, Item, Limits,
    LocalError, Reply, Request, Server, ServerConfig, ServerStats,
};
use mfn_wire::{ContentType, Header, Kind, Service, Status, encode};
use tokio::sync::{Notify, oneshot};

const ECHO: u16 = 1;
const FOREVER: u16 = 2;
const COUNT: u16 = 3;
const PANIC: u16 = 4;
const GATED: u16 = 5;
/// Answers, and keeps what it could send events with.
const KEEP: u16 = 6;

#[derive(Default)]
struct Shared {
    dropped: AtomicBool,
    started: Notify,
    gate: Notify,
    kept: Mutex<Vec<EventSink>>,
}

struct SetOnDrop(Arc<Shared>);
impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
        self.0.gate.notify_one();
    }
}

struct Methods(Arc<Shared>);
impl Handler for Methods {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            match call.method {
                ECHO => Ok(Reply {
                    content_type: call.content_type,
                    body: call.body,
                }),
                FOREVER => {
                    let _guard = SetOnDrop(Arc::clone(&shared));
                    shared.started.notify_one();
                    std::future::pending().await
                }
                COUNT => {
                    let count = u32::from_le_bytes(call.body[..4].try_into().unwrap());
                    for number in 0..count {
                        call.events
                            .send(ContentType::Bytes, number.to_le_bytes().to_vec())
                            .await?;
                    }
                    Ok(Reply::text("counted"))
                }
                PANIC => panic!("as asked"),
                KEEP => {
                    shared.kept.lock().unwrap().push(call.events);
                    Ok(Reply::text("kept"))
                }
                GATED => {
                    shared.started.notify_one();
                    shared.gate.notified().await;
                    Ok(Reply::text("through"))
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
    _place: tempfile::TempDir,
    path: PathBuf,
    shared: Arc<Shared>,
    stats: Arc<ServerStats>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

fn start(limits: Limits) -> Running {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/test.sock");
    let server = Server::bind(ServerConfig {
        limits,
        ..ServerConfig::new(Service::State, &path)
    })
    .unwrap();
    let shared = Arc::new(Shared::default());
    let stats = server.stats();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(
        server.serve(Arc::new(Methods(Arc::clone(&shared))), async move {
            let _ = stopped.await;
        }),
    );
    Running {
        _place: place,
        path,
        shared,
        stats,
        stop: Some(stop),
        task,
    }
}

async fn connect(path: &Path) -> Client {
    Client::connect(path, Service::State, ConnectOptions::default())
        .await
        .unwrap()
}

fn bytes(body: &[u8]) -> Request {
    Request::new(ContentType::Bytes, body.to_vec())
}

#[tokio::test]
async fn many_calls_at_once_get_their_own_answers() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500u32 {
        let client = client.clone();
        calls.spawn(async move {
            // Some longer than what the outbox holds.
            let body = number
                .to_le_bytes()
                .repeat(if number % 100 == 0 { 500_000 } else { 8 });
            let reply = client.call(ECHO, bytes(&body)).await.unwrap();
            assert!(reply.body == body);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(server.stats.requests.load(Ordering::SeqCst), 500);
    assert!(client.server_software().starts_with("mfn-local/"));
}

#[tokio::test]
async fn the_socket_is_closed_to_others_and_goes_with_the_server() {
    let mut server = start(Limits::default());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.path), 0o600);
    assert_eq!(mode(server.path.parent().unwrap()), 0o700);
    let again = Server::bind(ServerConfig::new(Service::State, &server.path));
    assert!(matches!(again, Err(LocalError::InUse { .. })));
    server.stop.take().unwrap().send(()).unwrap();
    server.task.await.unwrap();
    assert!(!server.path.exists());
    let gone = Client::connect(&server.path, Service::State, ConnectOptions::default()).await;
    assert!(matches!(gone, Err(LocalError::NotRunning { .. })));
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(Server::bind(ServerConfig::new(Service::State, &path)).unwrap());
    std::fs::write(&path, "precious").unwrap();
    let refused = Server::bind(ServerConfig::new(Service::State, &path));
    assert!(matches!(refused, Err(LocalError::Unsafe { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let long = place.path().join("x".repeat(100));
    assert!(matches!(
        Server::bind(ServerConfig::new(Service::State, &long)),
        Err(LocalError::PathTooLong { .. })
    ));
}

#[tokio::test]
async fn a_dropped_call_stops_its_handler() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    {
        let call = client.call(FOREVER, Request::empty());
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => unreachable!(),
            () = server.shared.started.notified() => {}
        }
    }
    server.shared.gate.notified().await;
    assert!(server.shared.dropped.load(Ordering::SeqCst));
    // The connection lives on.
    client.call(ECHO, bytes(b"x")).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_stops_its_handlers() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let call = tokio::spawn(async move { client.call(FOREVER, Request::empty()).await });
    server.shared.started.notified().await;
    call.abort();
    server.shared.gate.notified().await;
    assert!(server.shared.dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_deadline_ends_the_call_on_both_sides() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let call = client
        .call(FOREVER, Request::empty().within(Duration::from_millis(30)))
        .await;
    let status = call.unwrap_err().status();
    assert_eq!(status, Status::DEADLINE);
    server.shared.gate.notified().await;
    let call = client.call(ECHO, bytes(b"x").within(Duration::ZERO)).await;
    assert_eq!(call.unwrap_err().status(), Status::DEADLINE);
}

#[tokio::test]
async fn events_keep_to_their_credit_and_their_order() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    for credit in [1, 2, 7, 64] {
        let mut stream = client
            .stream(COUNT, bytes(&1000u32.to_le_bytes()), credit)
            .await
            .unwrap();
        let mut expected = 0u32;
        let reply = loop {
            match stream.next().await.unwrap().unwrap() {
                Item::Event(event) => {
                    assert_eq!(event.body[..], expected.to_le_bytes());
                    expected += 1;
                }
                Item::Reply(reply) => break reply,
            }
        };
        assert_eq!((expected, &reply.body[..]), (1000, &b"counted"[..]));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_slow_reader_of_events_does_not_hold_up_other_calls() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let mut stream = client
        .stream(COUNT, bytes(&100_000u32.to_le_bytes()), 4)
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    for _ in 0..100 {
        client.call(ECHO, bytes(b"x")).await.unwrap();
    }
    drop(stream);
    client.call(ECHO, bytes(b"x")).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    assert_eq!(
        client
            .call(PANIC, Request::empty())
            .await
            .unwrap_err()
            .status(),
        Status::INTERNAL
    );
    assert_eq!(
        client
            .call(99, Request::empty())
            .await
            .unwrap_err()
            .status(),
        Status::UNSUPPORTED
    );
    client.call(ECHO, bytes(b"x")).await.unwrap();
}

#[tokio::test]
async fn more_requests_than_allowed_are_busy() {
    let limits = Limits {
        requests_in_flight_max: 2,
        ..Limits::default()
    };
    let server = start(limits);
    let client = connect(&server.path).await;
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(GATED, Request::empty()).await })
        })
        .collect();
    server.shared.started.notified().await;
    while client.call(ECHO, bytes(b"x")).await.is_ok() {}
    assert_eq!(
        client.call(ECHO, bytes(b"x")).await.unwrap_err(),
        CallError::Busy(2)
    );
    // The server holds a client to it that does not count.
    let mut raw = greeted(&server.path);
    for id in 1..=3 {
        raw.write_all(&frame(
            Header {
                request_id: id,
                method: FOREVER,
                ..header(Kind::Request)
            },
            &[],
        ))
        .unwrap();
    }
    assert_eq!(
        tokio::task::spawn_blocking(move || read_frame(&mut raw))
            .await
            .unwrap()
            .1,
        Status::BUSY
    );
    for call in calls {
        server.shared.gate.notify_one();
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stopping_server_ends_what_it_accepted() {
    let mut server = start(Limits::default());
    let client = connect(&server.path).await;
    let accepted = tokio::spawn({
        let client = client.clone();
        async move { client.call(GATED, Request::empty()).await }
    });
    server.shared.started.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    while client.call(ECHO, bytes(b"x")).await.is_ok() {}
    assert!(client.is_closed());
    server.shared.gate.notify_one();
    assert_eq!(&accepted.await.unwrap().unwrap().body[..], b"through");
    server.task.await.unwrap();
}

#[tokio::test]
async fn the_wrong_service_is_named() {
    let server = start(Limits::default());
    let wrong = Client::connect(&server.path, Service::Alm, ConnectOptions::default()).await;
    let text = wrong.unwrap_err().to_string();
    assert!(text.contains("serves state, not alm"), "{text}");
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let server = start(Limits {
        connections_max: 1,
        ..Limits::default()
    });
    let _first = connect(&server.path).await;
    let second = Client::connect(&server.path, Service::State, ConnectOptions::default()).await;
    assert!(
        matches!(
            second,
            Err(LocalError::Refused {
                status: Status::BUSY,
                ..
            })
        ),
        "{second:?}"
    );
    assert_eq!(server.stats.denied.load(Ordering::SeqCst), 1);
}

fn header(kind: Kind) -> Header {
    Header::new(kind, Service::State)
}

fn frame(header: Header, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&header, &[], body, &mut out).unwrap();
    out
}

/// A connection by hand that has exchanged HELLO. The server must run on another thread or be polled meanwhile.
fn greeted(path: &Path) -> BlockingStream {
    let mut stream = BlockingStream::connect(path).unwrap();
    stream.write_all(&frame(header(Kind::Hello), &[])).unwrap();
    stream
}

/// Kind and status of the next frame but HELLO.
fn read_frame(stream: &mut BlockingStream) -> (Kind, Status) {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = length.to_vec();
        bytes.resize(4 + u32::from_le_bytes(length) as usize, 0);
        stream.read_exact(&mut bytes[4..]).unwrap();
        let frame = mfn_wire::decode(&bytes).unwrap();
        if frame.header.kind != Kind::Hello {
            return (frame.header.kind, frame.header.status);
        }
    }
}

#[tokio::test]
async fn a_connection_ends_although_a_handler_keeps_its_events() {
    let server = start(Limits::default());
    let mut stream = greeted(&server.path);
    let keep = Header {
        request_id: 1,
        method: KEEP,
        ..header(Kind::Request)
    };
    stream.write_all(&frame(keep, &[])).unwrap();
    // A second HELLO is one too many.
    stream.write_all(&frame(header(Kind::Hello), &[])).unwrap();
    // Without an end this read would wait for ever; the limit makes it fail instead.
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let frames = tokio::task::spawn_blocking(move || {
        let frames = [read_frame(&mut stream), read_frame(&mut stream)];
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, []);
        frames
    });
    let [reply, end] = frames.await.unwrap();
    assert_eq!(reply.0, Kind::Reply);
    assert_eq!(end, (Kind::Error, Status::UNEXPECTED_FRAME));
    assert_eq!(server.shared.kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn broken_frames_end_only_their_connection() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let good = frame(
        Header {
            request_id: 1,
            method: ECHO,
            ..header(Kind::Request)
        },
        &[],
    );
    let mut wrong_version = good.clone();
    wrong_version[4] = 9;
    let cases = [
        (wrong_version, Status::BAD_VERSION),
        (vec![0xff; 64], Status::FRAME_TOO_LARGE),
        (vec![1, 0, 0, 0, 0], Status::FRAME_SHORT),
        (frame(header(Kind::Hello), &[]), Status::UNEXPECTED_FRAME),
        (
            frame(
                Header {
                    request_id: 1,
                    ..header(Kind::Reply)
                },
                &[],
            ),
            Status::UNEXPECTED_FRAME,
        ),
        (
            [
                frame(
                    Header {
                        request_id: 1,
                        method: FOREVER,
                        ..header(Kind::Request)
                    },
                    &[],
                ),
                frame(
                    Header {
                        request_id: 1,
                        method: ECHO,
                        ..header(Kind::Request)
                    },
                    &[],
                ),
            ]
            .concat(),
            Status::BAD_REQUEST_ID,
        ),
    ];
    for (bytes, status) in cases {
        let mut stream = greeted(&server.path);
        stream.write_all(&bytes).unwrap();
        let end = tokio::task::spawn_blocking(move || {
            let frame = read_frame(&mut stream);
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            (frame, rest.len())
        });
        assert_eq!(end.await.unwrap(), ((Kind::Error, status), 0));
        client.call(ECHO, bytes_of_one()).await.unwrap();
    }
    assert_eq!(server.stats.violations.load(Ordering::SeqCst), 6);
}

fn bytes_of_one() -> Request {
    bytes(b"1")
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let server = start(Limits {
        hello_timeout: Duration::from_millis(20),
        ..Limits::default()
    });
    let path = server.path.clone();
    let end = tokio::task::spawn_blocking(move || {
        read_frame(&mut BlockingStream::connect(path).unwrap())
    });
    assert_eq!(end.await.unwrap(), (Kind::Error, Status::DEADLINE));
}

#[tokio::test]
async fn unfinished_frames_are_bounded_over_all_connections() {
    let server = start(Limits {
        partial_bytes_max: 1024 * 1024,
        ..Limits::default()
    });
    let path = server.path.clone();
    let end = tokio::task::spawn_blocking(move || {
        let mut hoarders: Vec<_> = (0..8).map(|_| greeted(&path)).collect();
        let mut start = frame(
            Header {
                request_id: 1,
                content_type: ContentType::Bytes,
                ..header(Kind::Request)
            },
            &[0; 400_000],
        );
        start.truncate(300_000);
        let mut refused = 0;
        for stream in &mut hoarders {
            // One that is refused meanwhile does not read.
            let _ = stream.write_all(&start);
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            refused += u32::from(
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_frame(stream)))
                    .is_ok(),
            );
        }
        (hoarders, refused)
    });
    let (_hoarders, refused) = end.await.unwrap();
    assert!(refused >= 5, "{refused}");
    connect(&server.path)
        .await
        .call(ECHO, bytes(b"x"))
        .await
        .unwrap();
}

#[tokio::test]
async fn noise_never_stops_the_server() {
    let server = start(Limits::default());
    let path = server.path.clone();
    let noise = tokio::task::spawn_blocking(move || {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..500usize {
            let mut stream = if round % 2 == 0 {
                greeted(&path)
            } else {
                BlockingStream::connect(&path).unwrap()
            };
            let garbage: Vec<u8> = (0..round % 300)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            // It may be sent away before it has said all.
            let _ = stream.write_all(&garbage);
        }
    });
    noise.await.unwrap();
    connect(&server.path)
        .await
        .call(ECHO, bytes(b"x"))
        .await
        .unwrap();
}
