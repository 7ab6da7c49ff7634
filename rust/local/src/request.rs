//! What a caller says: how to connect, what to ask.

use std::time::Duration;

use bytes::Bytes;
use mfn_wire::ContentType;

use crate::call::Context;
use crate::trace::Trace;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How long connecting, HELLO included, may take.
    pub timeout: Duration,
    /// Name and version of the program, told to the server.
    pub software: String,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            software: concat!("mfn-local/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub content_type: ContentType,
    pub body: Bytes,
    /// When to stop waiting; the server learns it and stops then. `None`: never. What passes before the request is sent,
    /// such as connecting, counts.
    pub deadline: Option<std::time::Instant>,
    /// The trace that the call goes into; none makes a new one.
    pub trace: Trace,
}

impl Request {
    /// A body of that type, no deadline.
    pub fn new(content_type: ContentType, body: impl Into<Bytes>) -> Self {
        Self {
            content_type,
            body: body.into(),
            deadline: None,
            trace: Trace::default(),
        }
    }

    /// A message as body.
    pub fn message(message: &impl prost::Message) -> Self {
        Self::new(ContentType::Protobuf, message.encode_to_vec())
    }

    /// No body.
    pub fn empty() -> Self {
        Self::new(ContentType::None, Bytes::new())
    }

    /// The same with a deadline that long from now, if it had none that is earlier.
    #[must_use]
    pub fn within(self, wait: Duration) -> Self {
        // A wait beyond what the clock can represent is one without end.
        match std::time::Instant::now().checked_add(wait) {
            Some(deadline) => self.until(deadline),
            None => self,
        }
    }

    /// The same with a deadline, if it had none that is earlier.
    #[must_use]
    pub fn until(mut self, deadline: std::time::Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |own| own.min(deadline)));
        self
    }

    /// The same as part of the work on another call: its deadline holds here too, and its trace goes on.
    #[must_use]
    pub fn on_behalf_of(mut self, context: &Context) -> Self {
        self.trace = context.trace;
        match context.deadline {
            Some(deadline) => self.until(deadline),
            None => self,
        }
    }

    /// The same, to be recorded by all who work on it.
    #[must_use]
    pub fn sampled(mut self) -> Self {
        self.trace.sampled = true;
        self
    }
}
