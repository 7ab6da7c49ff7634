//! What the two sides of a session promise each other.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mfn_local::{
    BoxFuture, Call, CallError, Client, ConnectOptions, Failure, Handler, Item, Limits, Reply,
    Request, Server, ServerConfig, Trace,
};
use mfn_wire::{ContentType, Header, Hello, Kind, Service, Status, Tlv, tlv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

const ECHO: u16 = 1;
/// Streams long events for ever.
const FLOOD: u16 = 2;
const FOREVER: u16 = 3;
/// Streams three events, then ends.
const THREE: u16 = 4;

#[derive(Default)]
struct Shared {
    started: Notify,
    traces: Mutex<Vec<Trace>>,
    /// Events of floods.
    sent: AtomicU32,
}

struct Methods(Arc<Shared>);

impl Handler for Methods {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.traces.lock().unwrap().push(call.context().trace);
            match call.method {
                FLOOD => loop {
                    call.events
                        .send(ContentType::Bytes, vec![7; 60_000])
                        .await?;
                    shared.sent.fetch_add(1, Ordering::SeqCst);
                },
                FOREVER => {
                    shared.started.notify_one();
                    std::future::pending().await
                }
                THREE => {
                    for number in 0..3 {
                        call.events
                            .send(ContentType::Bytes, vec![number; 60_000])
                            .await?;
                    }
                    Ok(Reply::text("three"))
                }
                _ => Ok(Reply {
                    content_type: call.content_type,
                    body: call.body,
                }),
            }
        })
    }
}

struct Running {
    _place: tempfile::TempDir,
    path: PathBuf,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
}

fn start(limits: Limits) -> Running {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/test.sock");
    let config = ServerConfig {
        limits,
        ..ServerConfig::new(Service::State, &path)
    };
    let shared = Arc::new(Shared::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = Arc::new(Methods(Arc::clone(&shared)));
    tokio::spawn(Server::bind(config).unwrap().serve(handler, async move {
        let _ = stopped.await;
    }));
    Running {
        _place: place,
        path,
        shared,
        stop: Some(stop),
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

fn header(kind: Kind) -> Header {
    Header::new(kind, Service::State)
}

/// A caller by hand that reads only when told to.
struct Raw(UnixStream);

impl Raw {
    async fn connect(path: &Path, frame_bytes_max: u32) -> Self {
        let mut raw = Self(UnixStream::connect(path).await.unwrap());
        let hello = Hello {
            frame_bytes_max,
            ..Hello::default()
        };
        let (_, limits) = hello.fixed();
        let entries = [Tlv {
            kind: tlv::LIMITS,
            value: &limits,
        }];
        let mut frame = Vec::new();
        mfn_wire::encode(&header(Kind::Hello), &entries, &[], &mut frame).unwrap();
        raw.0.write_all(&frame).await.unwrap();
        assert_eq!(raw.read().await.0.kind, Kind::Hello);
        raw
    }

    async fn say(&mut self, header: Header, body: &[u8]) {
        let mut frame = Vec::new();
        mfn_wire::encode(&header, &[], body, &mut frame).unwrap();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn read(&mut self) -> (Header, Vec<u8>) {
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes).await.unwrap();
        let length = u32::from_le_bytes(bytes[..].try_into().unwrap());
        bytes.resize(4 + length as usize, 0);
        self.0.read_exact(&mut bytes[4..]).await.unwrap();
        let frame = mfn_wire::decode(&bytes).unwrap();
        (frame.header, frame.body.to_vec())
    }
}

fn request(method: u16, request_id: u64, credit: u32) -> Header {
    Header {
        method,
        request_id,
        credit,
        ..header(Kind::Request)
    }
}

/// A caller that does not read fills everything between the two with events. The reply to its next question is then before
/// all events that still waited in the server.
#[tokio::test]
async fn events_that_wait_do_not_delay_replies() {
    let server = start(Limits::default());
    let mut raw = Raw::connect(&server.path, 0).await;
    raw.say(request(FLOOD, 1, 60_000), &[]).await;
    // Many more than a socket holds.
    while server.shared.sent.load(Ordering::SeqCst) < 15 {
        tokio::task::yield_now().await;
    }
    raw.say(request(ECHO, 2, 0), &[]).await;
    while server.shared.traces.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut events = 0;
    while raw.read().await.0.request_id != 2 {
        events += 1;
    }
    // A socket holds some 200 KiB, and one portion may have been on its way.
    assert!((1..=10).contains(&events), "{events}");
    // And the other way round: what ends a stream comes after its events.
    raw.say(
        Header {
            request_id: 1,
            ..header(Kind::Cancel)
        },
        &[],
    )
    .await;
    raw.say(request(THREE, 3, 3), &[]).await;
    let (mut seen, mut cancelled) = (0, false);
    loop {
        let (header, body) = raw.read().await;
        match (header.request_id, header.kind) {
            (1, Kind::Event) => assert!(!cancelled, "an event after the end"),
            (1, Kind::Error) => cancelled = true,
            (3, Kind::Event) => {
                assert_eq!(body[0], seen);
                seen += 1;
            }
            (3, Kind::Reply) => break,
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!((seen, cancelled), (3, true));
}

#[tokio::test]
async fn no_side_sends_a_longer_frame_than_the_other_takes() {
    let server = start(Limits::default());
    let mut raw = Raw::connect(&server.path, 10_000).await;
    let ask = Header {
        content_type: ContentType::Bytes,
        ..request(ECHO, 1, 0)
    };
    raw.say(ask, &[1; 9_000]).await;
    assert_eq!(raw.read().await.0.kind, Kind::Reply);
    raw.say(
        Header {
            request_id: 2,
            ..ask
        },
        &[1; 11_000],
    )
    .await;
    let (header, text) = raw.read().await;
    assert_eq!(
        (header.kind, header.status),
        (Kind::Error, Status::FRAME_TOO_LARGE)
    );
    assert!(String::from_utf8_lossy(&text).contains("longer than the limit"));
    let client = connect(&server.path).await;
    let announced = client.server();
    assert_eq!(announced.frame_bytes_max, mfn_wire::limits::FRAME_BYTES_MAX);
    assert_eq!(announced.features, 0);
    let long = bytes(&vec![0; announced.frame_bytes_max as usize]);
    let refused = client.call(ECHO, long).await.unwrap_err();
    assert_eq!(refused.status(), Status::FRAME_TOO_LARGE);
    client.call(ECHO, bytes(b"x")).await.unwrap();
    assert_eq!(client.server_credentials().unwrap().pid, std::process::id());
}

#[tokio::test]
async fn a_trace_goes_on_in_the_handler() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    client.call(ECHO, bytes(b"1")).await.unwrap();
    let mut own = bytes(b"2").sampled();
    own.trace = Trace {
        sampled: true,
        ..Trace::root()
    };
    let parent = own.trace;
    client.call(ECHO, own).await.unwrap();
    let traces = server.shared.traces.lock().unwrap().clone();
    assert!(traces[0].trace_id != [0; 16] && !traces[0].sampled);
    assert_eq!(
        (traces[1].trace_id, traces[1].sampled),
        (parent.trace_id, true)
    );
    assert!(traces[1].span_id != parent.span_id && traces[1].span_id != [0; 8]);
}

/// What the drain cuts off is told so, and is not mistaken for what was never taken.
#[tokio::test]
async fn a_call_that_the_drain_cuts_off_is_told_so() {
    let limits = Limits {
        drain_timeout: Duration::from_millis(30),
        ..Limits::default()
    };
    let mut server = start(limits);
    let client = connect(&server.path).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(FOREVER, Request::empty()).await }
    });
    server.shared.started.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    let cut = call.await.unwrap().unwrap_err();
    assert!(
        matches!(
            &cut,
            CallError::Failed {
                status: Status::DEADLINE,
                ..
            }
        ),
        "{cut:?}"
    );
    while !client.is_closed() {
        tokio::task::yield_now().await;
    }
    let late = client.call(ECHO, bytes(b"x")).await.unwrap_err();
    assert!(matches!(late, CallError::NotAccepted(_)), "{late:?}");
}

/// A server that has answered all it took says CLOSED at its end: what is still open then was never taken.
#[tokio::test]
async fn what_a_drained_server_never_read_is_safe_to_repeat() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    for says_closed in [true, false] {
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut raw = Raw(stream);
            let hello = Hello {
                requests_in_flight_max: 8,
                ..Hello::default()
            };
            let (_, limits) = hello.fixed();
            let entries = [Tlv {
                kind: tlv::LIMITS,
                value: &limits,
            }];
            let mut frame = Vec::new();
            mfn_wire::encode(&header(Kind::Hello), &entries, &[], &mut frame).unwrap();
            raw.0.write_all(&frame).await.unwrap();
            while raw.read().await.0.kind != Kind::Request {}
            raw.say(header(Kind::Goaway), &[]).await;
            if says_closed {
                let status = Status::CLOSED;
                raw.say(
                    Header {
                        status,
                        ..header(Kind::Error)
                    },
                    &[],
                )
                .await;
            }
        };
        let client = async {
            let client = connect(&path).await;
            client.call(ECHO, bytes(b"x")).await.unwrap_err()
        };
        let ((), error) = tokio::join!(server, client);
        assert_eq!(
            matches!(error, CallError::NotAccepted(_)),
            says_closed,
            "{error:?}"
        );
    }
}

/// Deadlines come one after the other, and in any order.
#[tokio::test]
async fn each_call_ends_at_its_own_deadline() {
    let server = start(Limits::default());
    let client = connect(&server.path).await;
    let calls: Vec<_> = [40u64, 10, 60_000, 25, 10]
        .into_iter()
        .map(|wait| {
            let client = client.clone();
            tokio::spawn(async move {
                let wait = Duration::from_millis(wait);
                let start = std::time::Instant::now();
                let result = client.call(FOREVER, Request::empty().within(wait)).await;
                (result.unwrap_err().status(), start.elapsed() >= wait)
            })
        })
        .collect();
    for (at, call) in calls.into_iter().enumerate() {
        if at == 2 {
            call.abort();
            continue;
        }
        assert_eq!(call.await.unwrap(), (Status::DEADLINE, true));
    }
    let mut stream = client
        .stream(FLOOD, Request::empty().within(Duration::from_millis(30)), 1)
        .await
        .unwrap();
    let end = loop {
        match stream.next().await.unwrap() {
            Ok(Item::Event(_)) => {}
            other => break other,
        }
    };
    assert_eq!(end.unwrap_err().status(), Status::DEADLINE);
    assert!(stream.next().await.is_none());
    // The slots of calls that were given up come back when the server has answered.
    while client.load().0 > 0 {
        tokio::task::yield_now().await;
    }
}
