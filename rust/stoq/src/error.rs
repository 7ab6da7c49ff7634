//! Errors of the transport.

use std::io;
use std::net::SocketAddr;

use hypermesh_id::{BlockId, NodeId};
use stoq_proto::MessageError;

/// Why something could not be asked or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoqError {
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no address to listen on is configured")]
    NoListen,
    #[error("the key cannot be used for TLS: {0}")]
    Tls(String),
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("{0} is not connected; `hypermesh peers` says why")]
    NotConnected(NodeId),
    #[error("cannot reach {0}")]
    Unreachable(String),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer answered with an error.
    #[error("{text}")]
    Refused { status: u16, text: String },
    #[error("the peer broke the protocol: {0}")]
    Broken(String),
}

impl From<MessageError> for StoqError {
    fn from(error: MessageError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<quinn::ConnectionError> for StoqError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<quinn::WriteError> for StoqError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            // Its own text does not say why.
            quinn::WriteError::ConnectionLost(why) => why.into(),
            error => Self::Lost(error.to_string()),
        }
    }
}

impl From<quinn::ReadError> for StoqError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::ConnectionLost(why) => why.into(),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// Why a transfer ended early. What was accepted before stays accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    #[error("no provider is left that could give block {block}: {reasons}")]
    NoProviders { block: BlockId, reasons: String },
    /// The sink failed.
    #[error("a block could not be stored: {0}")]
    Local(String),
    /// What is wanted could not be found out.
    #[error("{0}")]
    Wants(String),
    #[error("a helper thread failed; please report this")]
    Internal,
}
