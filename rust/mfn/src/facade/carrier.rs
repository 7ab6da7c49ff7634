//! How requests reach a layer: the same bodies, to a value in this process, to its thread with a journal, to its socket.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mfn_local::{CallError, ConnectOptions, Failure, Pool, PoolOptions, Request};
use mfn_wire::{ContentType, Service, Status};
use prost::Message;

use super::door::Reply;
use super::question::LayerError;
use crate::host::{Memory, unix_ns};
use crate::layer::{JournalFacts, Layer};

/// Carries one request and brings its answer.
pub trait Carrier: Send + Sync + 'static {
    /// The answer's body, within that time.
    fn call(&self, method: u16, body: Bytes, within: Duration) -> Reply<Bytes>;
}

/// A layer as a value in this process: quickest, and gone with the process. Callers wait for each other.
#[derive(Debug)]
pub struct InProcess<L>(Mutex<L>);

impl<L: Layer> InProcess<L> {
    /// An empty layer that takes so much.
    pub fn new(bytes_max: u64) -> Self {
        let mut layer = L::empty();
        layer.set_bytes_max(bytes_max.max(crate::share::BYTES_MAX_LEAST));
        Self(Mutex::new(layer))
    }
}

impl<L: Layer> Carrier for InProcess<L> {
    fn call(&self, method: u16, body: Bytes, _within: Duration) -> Reply<Bytes> {
        let mut layer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = if L::CHANGES.contains(&method) {
            layer.change(method, unix_ns(), &body)
        } else {
            layer.ask(method, unix_ns(), &body, JournalFacts::default())
        };
        let done = done.map(|reply| reply.body).map_err(LayerError::from);
        Box::pin(std::future::ready(done))
    }
}

/// A layer on its own thread in this process, kept in a directory.
impl Carrier for Memory {
    fn call(&self, method: u16, body: Bytes, within: Duration) -> Reply<Bytes> {
        let sent = self.send(method, unix_ns(), body);
        Box::pin(async move {
            let answer = tokio::time::timeout(within, sent?);
            let ended = |_| Failure::new(Status::CLOSED, "the layer's thread has ended");
            let reply = answer.await.map_err(|_| LayerError::Late)?;
            Ok(reply.map_err(ended)??.body)
        })
    }
}

/// A layer behind its socket: few connections, repaired as they break, and breakers.
#[derive(Clone, Debug)]
pub struct Socket {
    pool: Pool,
    content_type: ContentType,
}

impl Socket {
    /// The layer at that path. Nothing is opened yet. With `wait_ready` a call waits, while its time lasts, for a socket
    /// that is not served yet; without, it fails at once.
    pub fn new(service: Service, path: &Path, software: &str, wait_ready: bool) -> Self {
        let options = PoolOptions {
            wait_ready,
            connect: ConnectOptions {
                software: software.into(),
                ..ConnectOptions::default()
            },
            ..PoolOptions::new(service, path)
        };
        let content_type = match service {
            Service::Ifr => ContentType::Fixed,
            _ => ContentType::Protobuf,
        };
        Self {
            pool: Pool::new(options),
            content_type,
        }
    }

    /// Its connections and breakers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Carrier for Socket {
    fn call(&self, method: u16, body: Bytes, within: Duration) -> Reply<Bytes> {
        let (pool, content_type) = (self.pool.clone(), self.content_type);
        Box::pin(async move {
            let content_type = if body.is_empty() {
                ContentType::None
            } else {
                content_type
            };
            let request = Request::new(content_type, body).within(within);
            Ok(pool.call(method, request).await?.body)
        })
    }
}

/// One message there, one back.
pub(crate) fn exchange<A: Message + Default + 'static>(
    carrier: &Arc<dyn Carrier>,
    method: u16,
    question: &impl Message,
    within: Duration,
) -> Reply<A> {
    let answer = carrier.call(method, question.encode_to_vec().into(), within);
    Box::pin(async move {
        A::decode(answer.await?).map_err(|error| {
            LayerError::refused(
                Status::BAD_BODY,
                format!("the answer does not decode: {error}"),
            )
        })
    })
}

impl From<Failure> for LayerError {
    fn from(failure: Failure) -> Self {
        match failure.status {
            Status::DEADLINE => Self::Late,
            Status::BUSY | Status::CLOSED | Status::NOT_READY => Self::Away(failure.text),
            status => Self::refused(status, failure.text),
        }
    }
}

impl From<CallError> for LayerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed { status, text } => Failure::new(status, text).into(),
            CallError::Deadline => Self::Late,
            other => Self::Away(other.to_string()),
        }
    }
}
