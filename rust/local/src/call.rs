//! One call, as its handler sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Kind, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::credit::Credit;
use crate::error::Failure;
use crate::outbox::{Lane, Outbox};
use crate::socket::PeerCredentials;
use crate::trace::Trace;

/// A request with what came with it.
#[derive(Debug)]
pub struct Call {
    pub method: u16,
    pub content_type: ContentType,
    pub body: Bytes,
    /// When the caller stops waiting; the handler's future is dropped then.
    pub deadline: Option<Instant>,
    pub peer: PeerCredentials,
    /// The caller's call in its trace.
    pub trace: Trace,
    /// Where a streamed answer goes, before the reply.
    pub events: EventSink,
}

/// What a handler passes on to the calls that it makes itself: see [`crate::Request::on_behalf_of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub deadline: Option<std::time::Instant>,
    pub trace: Trace,
}

impl Call {
    /// What calls on behalf of this one inherit: the rest of its time, and its trace.
    pub fn context(&self) -> Context {
        Context {
            deadline: self.deadline.map(Instant::into_std),
            trace: self.trace,
        }
    }

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
    credit: Credit,
    is_cancelled: AtomicBool,
    /// An event was sent: what comes after stays behind it.
    has_sent: AtomicBool,
    /// Rung when it is cancelled, and when there is credit again.
    bell: Notify,
}

impl Shared {
    fn new(request: &Header, outbox: &Arc<Outbox>) -> Self {
        Self {
            request: *request,
            outbox: Arc::clone(outbox),
            credit: Credit::new(request.credit),
            is_cancelled: AtomicBool::new(false),
            has_sent: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }
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
        Self(Arc::new(Shared::new(request, outbox)))
    }

    /// The same in the place of one that nobody else holds. `None`: somebody does.
    pub(crate) fn renewed(mut self, request: &Header, outbox: &Arc<Outbox>) -> Option<Self> {
        *Arc::get_mut(&mut self.0)? = Shared::new(request, outbox);
        Some(self)
    }

    /// Whether this is the only one left of its call.
    pub(crate) fn is_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }

    /// Where the end of the call goes.
    pub(crate) fn lane(&self) -> Lane {
        if self.0.has_sent.load(Ordering::Acquire) {
            Lane::Events
        } else {
            Lane::Main
        }
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
        loop {
            // Registered before the look, so that a bell in between is not missed.
            let bell = self.0.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            if self.is_cancelled() {
                return Err(self.over());
            }
            if self.0.credit.take() {
                break;
            }
            bell.await;
        }
        if !self.0.outbox.room(Lane::Events).await || self.is_cancelled() {
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
        if self.0.outbox.is_full(Lane::Events) || !self.0.credit.take() {
            return Ok(false);
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
        self.0.has_sent.store(true, Ordering::Release);
        self.0
            .outbox
            .push_event(&header, body)
            .map_err(|error| Failure::new(error.status(), error.to_string()))
    }

    fn over(&self) -> Failure {
        Failure::new(Status::CANCELLED, "the caller no longer waits for events")
    }

    /// Adds credit; `false` when there would be more than the wire allows.
    pub(crate) fn allow(&self, credit: u32) -> bool {
        let fits = self.0.credit.allow(credit);
        self.0.bell.notify_waiters();
        fits
    }
}
