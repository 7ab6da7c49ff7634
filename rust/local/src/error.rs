//! Errors of both sides.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mfn_wire::{Status, WireError};

/// A socket that could not be served or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is longer than the 107 bytes that a socket's path may have; use a shorter directory", path = .path.display())]
    PathTooLong { path: PathBuf },
    #[error("{path} is served by another process; stop that one first", path = .path.display())]
    InUse { path: PathBuf },
    #[error("{path} cannot be used: {reason}", path = .path.display())]
    Unsafe { path: PathBuf, reason: String },
    #[error("nothing serves {path}; is the program running?", path = .path.display())]
    NotRunning { path: PathBuf },
    #[error("{path} did not answer in time", path = .path.display())]
    Timeout { path: PathBuf },
    #[error("{path} refused: {text}", path = .path.display())]
    Refused {
        path: PathBuf,
        status: Status,
        text: String,
    },
}

/// Why a handler does not answer with a reply. Becomes an error frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Negative.
    pub status: Status,
    /// Names the cause and the repair.
    pub text: String,
}

impl Failure {
    /// A failure with its text.
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The other side answered with an error.
    #[error("{}", if .text.is_empty() { .status.text() } else { .text.as_str() })]
    Failed { status: Status, text: String },
    /// The connection ended first.
    #[error("the connection ended before the answer: {0}")]
    Closed(String),
    /// No part of the call was done: the other side was going away and did not take it. Repeating it is safe.
    #[error("the call was not taken: {0}")]
    NotAccepted(String),
    /// Calls like this one failed too often; none is made before the pause is over.
    #[error("{reason}; trying again in {} ms", .retry_in.as_millis().max(1))]
    Open { reason: String, retry_in: Duration },
    /// The other side could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The deadline passed first.
    #[error("the deadline passed before the answer")]
    Deadline,
    /// As many calls are in flight as the other side takes.
    #[error("{0} calls are in flight already; wait for one to end")]
    Busy(u32),
    /// The request breaks a rule of the wire.
    #[error("the request cannot be sent: {0}")]
    Request(WireError),
    /// The answer is not the message that the method answers with.
    #[error("the answer does not decode: {0}")]
    Answer(String),
}

impl CallError {
    /// The status that says the same.
    pub fn status(&self) -> Status {
        match self {
            Self::Failed { status, .. } => *status,
            Self::Closed(_) | Self::NotAccepted(_) => Status::CLOSED,
            Self::Open { .. } => Status::CIRCUIT_OPEN,
            Self::Unreachable(_) => Status::UNREACHABLE,
            Self::Deadline => Status::DEADLINE,
            Self::Busy(_) => Status::BUSY,
            Self::Request(error) => error.status(),
            Self::Answer(_) => Status::BAD_BODY,
        }
    }
}
