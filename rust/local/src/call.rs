//! One call, as its handler sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Kind, Status, limits};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::error::Failure;
use crate::outbox::Outbox;
use crate::socket::PeerCredentials;

/// A request with what came with it.
#[derive(Debug)]
pub struct Call {
    pub method: u16,
    pub content_type: ContentType,
    pub body: Bytes,
    /// When the caller stops waiting; the handler's future is dropped then.
    pub deadline: Option<Instant>,
    pub peer: PeerCredentials,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    /// Where a streamed answer goes, before the reply.
    pub events: EventSink,
}

impl Call {
    /// Whether the caller still wants the answer.
    pub fn cancelled(&self) -> Cancelled {
        self.events.cancelled()
    }

    /// The body as the method's message.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, Failure> {
        if self.content_type != ContentType::Protobuf && !self.body.is_empty() {
            let text = format!(
                "this method takes protobuf, not {}",
                self.content_type.name()
            );
            return Err(Failure::new(Status::BAD_CONTENT_TYPE, text));
        }
        M::decode(self.body.clone()).map_err(|error| {
            Failure::new(
                Status::BAD_BODY,
                format!("the body does not decode: {error}"),
            )
        })
    }
}

/// How a call ends when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub content_type: ContentType,
    pub body: Bytes,
}

impl Reply {
    /// No body.
    pub fn empty() -> Self {
        Self {
            content_type: ContentType::None,
            body: Bytes::new(),
        }
    }

    /// A message as body.
    pub fn message(message: &impl prost::Message) -> Self {
        Self {
            content_type: ContentType::Protobuf,
            body: message.encode_to_vec().into(),
        }
    }

    /// Text as body.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content_type: ContentType::Text,
            body: text.into().into(),
        }
    }
}

/// What the server and the handler share of one call.
#[derive(Debug)]
struct Shared {
    request: Header,
    outbox: Arc<Outbox>,
    credit: Semaphore,
    is_cancelled: AtomicBool,
    /// Rung when it is.
    bell: Notify,
}

/// Whether the caller still wants the answer. True after CANCEL, after the deadline, and when the connection is lost.
/// For work that outlives the handler's future, such as a blocking thread.
#[derive(Clone, Debug)]
pub struct Cancelled(Arc<Shared>);

impl Cancelled {
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire)
    }

    /// Waits until it is.
    pub async fn cancelled(&self) {
        loop {
            let bell = self.0.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            bell.await;
        }
    }
}

/// Where events go. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct EventSink(Arc<Shared>);

impl EventSink {
    /// Of a request that arrived.
    pub(crate) fn new(request: &Header, outbox: &Arc<Outbox>) -> Self {
        Self(Arc::new(Shared {
            request: *request,
            outbox: Arc::clone(outbox),
            credit: Semaphore::new(request.credit as usize),
            is_cancelled: AtomicBool::new(false),
            bell: Notify::new(),
        }))
    }

    /// The request whose events these are.
    pub(crate) fn request(&self) -> &Header {
        &self.0.request
    }

    pub(crate) fn cancelled(&self) -> Cancelled {
        Cancelled(Arc::clone(&self.0))
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Release);
        self.0.bell.notify_waiters();
    }

    /// Whether the caller still waits for events and answer.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire)
    }

    /// Sends one event; waits until the caller allows it and the connection has room.
    pub async fn send(
        &self,
        content_type: ContentType,
        body: impl Into<Bytes>,
    ) -> Result<(), Failure> {
        let body = body.into();
        let permit = self.0.credit.acquire().await.map_err(|_| self.over())?;
        permit.forget();
        if !self.0.outbox.room().await || self.is_cancelled() {
            return Err(self.over());
        }
        self.push(content_type, &body)
    }

    /// Sends one event if the caller allows one now and the connection has room; else drops it and says `false`.
    /// For progress, of which the latest counts and none is needed.
    pub fn try_send(&self, content_type: ContentType, body: &[u8]) -> Result<bool, Failure> {
        if self.is_cancelled() {
            return Err(self.over());
        }
        if self.0.outbox.is_full() {
            return Ok(false);
        }
        match self.0.credit.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => return Ok(false),
        }
        self.push(content_type, body).map(|()| true)
    }

    /// Sends one message as an event, as [`EventSink::send`].
    pub async fn message(&self, message: &impl prost::Message) -> Result<(), Failure> {
        self.send(ContentType::Protobuf, message.encode_to_vec())
            .await
    }

    fn push(&self, content_type: ContentType, body: &[u8]) -> Result<(), Failure> {
        let content_type = if body.is_empty() {
            ContentType::None
        } else {
            content_type
        };
        let header = Header {
            content_type,
            method: self.0.request.method,
            request_id: self.0.request.request_id,
            ..Header::new(Kind::Event, self.0.request.service)
        };
        self.0
            .outbox
            .push(&header, &[], body)
            .map_err(|error| Failure::new(error.status(), error.to_string()))
    }

    fn over(&self) -> Failure {
        Failure::new(Status::CANCELLED, "the caller no longer waits for events")
    }

    /// Adds credit; `false` when there would be more than the wire allows.
    pub(crate) fn allow(&self, credit: u32) -> bool {
        let credit = credit as usize;
        if self.0.credit.available_permits() + credit > limits::CREDIT_MAX as usize {
            return false;
        }
        self.0.credit.add_permits(credit);
        true
    }
}
