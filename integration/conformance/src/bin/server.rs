//! The server of the conformance tests in Rust: `conformance-server SOCKET`. Its methods are in ../../README.md.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mfn_local::{BoxFuture, Call, Failure, Handler, Reply, Server, ServerConfig};
use mfn_wire::{ContentType, Service, Status};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Work that was begun, and how it ended.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    finished: AtomicU64,
    dropped: AtomicU64,
}

/// Counts one piece of work, however it ends.
struct Work {
    counts: Arc<Counts>,
    finished: bool,
}

impl Work {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.begun.fetch_add(1, Ordering::Relaxed);
        Self {
            counts: Arc::clone(counts),
            finished: false,
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let end = if self.finished {
            &self.counts.finished
        } else {
            &self.counts.dropped
        };
        end.fetch_add(1, Ordering::Relaxed);
    }
}

struct Methods {
    counts: Arc<Counts>,
}

fn bytes(body: impl Into<bytes::Bytes>) -> Reply {
    Reply {
        content_type: ContentType::Bytes,
        body: body.into(),
    }
}

fn word(body: &[u8], at: usize) -> Result<u32, Failure> {
    let word = body.get(at..).and_then(<[u8]>::first_chunk);
    word.map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(|| Failure::new(Status::BAD_BODY, "the body is too short for this method"))
}

async fn wait(counts: Arc<Counts>, body: bytes::Bytes) -> Result<Reply, Failure> {
    let ms = word(&body, 0)?;
    let mut work = Work::begin(&counts);
    match ms {
        0 => std::future::pending().await,
        ms => tokio::time::sleep(Duration::from_millis(ms.into())).await,
    }
    work.finished = true;
    Ok(bytes("waited"))
}

async fn stream(counts: Arc<Counts>, call: Call) -> Result<Reply, Failure> {
    let (count, length) = (word(&call.body, 0)?, word(&call.body, 4)? as usize);
    let mut work = Work::begin(&counts);
    for number in 0..count {
        let mut body = number.to_le_bytes().to_vec();
        body.resize(length.max(4), 0);
        call.events.send(ContentType::Bytes, body).await?;
    }
    work.finished = true;
    Ok(bytes(count.to_le_bytes().to_vec()))
}

impl Methods {
    fn counts(&self) -> Reply {
        let counts = &self.counts;
        let all = [&counts.begun, &counts.finished, &counts.dropped];
        let body: Vec<u8> = all
            .iter()
            .flat_map(|count| count.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        bytes(body)
    }

    fn left(call: &Call) -> Reply {
        let left = call.deadline.map_or(Duration::ZERO, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        let ns = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        bytes(ns.to_le_bytes().to_vec())
    }

    fn fail(call: &Call) -> Result<Reply, Failure> {
        let status = Status(word(&call.body, 0)?.cast_signed());
        if status == Status::OK {
            return Ok(Reply::empty());
        }
        let text = call.body.get(4..).unwrap_or_default();
        Err(Failure::new(status, String::from_utf8_lossy(text)))
    }

    fn large(call: &Call) -> Result<Reply, Failure> {
        Ok(bytes(vec![0; word(&call.body, 0)? as usize]))
    }
}

/// A signal to this process itself.
fn raise(signal: Signal) -> Reply {
    // A process may always signal itself.
    let _ = kill_process(getpid(), signal);
    Reply::empty()
}

impl Handler for Methods {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let counts = Arc::clone(&self.counts);
        let now = match call.method {
            1 => Ok(Reply {
                content_type: call.content_type,
                body: call.body,
            }),
            2 => return Box::pin(wait(counts, call.body)),
            3 => return Box::pin(stream(counts, call)),
            4 => Self::fail(&call),
            5 => Ok(Self::left(&call)),
            6 => Ok(self.counts()),
            7 => Ok(raise(Signal::TERM)),
            8 => Ok(raise(Signal::KILL)),
            9 => Self::large(&call),
            other => {
                let text = format!("there is no method {other}");
                Err(Failure::new(Status::UNSUPPORTED, text))
            }
        };
        Box::pin(std::future::ready(now))
    }
}

/// Ready when the process is told to end.
fn told() -> std::io::Result<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let mut term = signal(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        term.recv().await;
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = std::env::args_os()
        .nth(1)
        .ok_or("usage: conformance-server SOCKET")?;
    let stop = told()?;
    let server = Server::bind(ServerConfig::new(Service::State, socket.as_ref()))?;
    let methods = Methods {
        counts: Arc::default(),
    };
    server.serve(Arc::new(methods), stop).await;
    Ok(())
}
