//! Speaks STOQ over QUIC: one endpoint per node, peers known by their keys, blocks moved and verified.
//!
//! - [`Endpoint`]: listens, dials, keeps peers connected, answers and asks.
//! - [`Admission`]: who is a member; asked for every connection.
//! - [`BlockSource`], [`BlockSink`], [`Wants`]: where blocks come from, where they go, which ones are wanted.
//! - [`Fetch`]: one transfer from several providers at once.
//!
//! TLS 1.3 with raw Ed25519 keys on both sides (RFC 7250); there is no mode that accepts everyone: a key that is no
//! member may redeem an invitation and nothing else. The specification is `docs/STOQ.md`.
#![forbid(unsafe_code)]

mod answer;
mod config;
mod dial;
mod endpoint;
mod error;
mod fetch;
mod listen;
mod peer;
mod range;
mod rate;
mod streams;
mod tls;

use std::net::SocketAddr;

use hypermesh_id::{BlockId, NodeId};
use stoq_proto::{Invitation, MemberRecord};

pub use config::{EndpointConfig, Limits};
pub use endpoint::Endpoint;
pub use error::{FetchError, StoqError};
pub use fetch::{Fetch, FetchReport, ProviderBytes};
pub use peer::PeerStatus;
pub use stoq_proto::{BlockRef, StoredBlock};
pub use tls::UDP_PAYLOAD_MAX;

/// Why an invitation is not redeemed; the text goes to the joiner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// A refusal that says why, and what to do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Who belongs to the mesh. May wait for a disk; called off the runtime's thread but for [`Admission::is_member`].
pub trait Admission: Send + Sync + 'static {
    /// Whether the key may do more than redeem an invitation. Must not block.
    fn is_member(&self, node: &NodeId) -> bool;
    /// Spends the invitation for the joiner. Its signature is checked; its issuer, expiry and freshness are not.
    fn redeem(
        &self,
        joiner: &NodeId,
        addresses: &[SocketAddr],
        invitation: &Invitation,
    ) -> Result<(), Refusal>;
    /// Whom this node vouches for.
    fn records(&self) -> Vec<MemberRecord>;
    /// A member introduces others. Signatures are checked; whether the issuer is to be believed is not.
    fn introduced(&self, from: &NodeId, records: Vec<MemberRecord>);
}

/// Where blocks are read for others. Blocking; called off the runtime's thread.
pub trait BlockSource: Send + Sync + 'static {
    /// Which of them are here, in their order.
    fn has(&self, ids: &[BlockId]) -> Vec<bool>;
    /// The block as it is stored; `None` when it is not here.
    fn read(&self, id: &BlockId) -> Result<Option<StoredBlock>, String>;
    /// The block itself, verified.
    fn read_raw(&self, id: &BlockId) -> Result<Option<bytes::Bytes>, String>;
}

/// Why a block was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The bytes are not the block's: whoever sent them is dropped.
    Mismatch,
    /// This side failed; the transfer ends.
    Local(String),
}

/// Where fetched blocks go. Verifies before it stores. Blocking; called off the runtime's thread, from two at once.
pub trait BlockSink: Send + Sync + 'static {
    /// Takes blocks as they arrived; answers for each in its order. A missing answer counts as a failure of this side.
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>>;
}

/// What is still wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// At least one block, none of them named before.
    Blocks(Vec<BlockRef>),
    /// Nothing until one of the blocks that were named is received.
    Waiting,
    /// Nothing any more.
    Done,
}

/// Finds out which blocks to get, bit by bit. Blocking; called off the runtime's thread.
pub trait Wants: Send + 'static {
    /// At most `max` blocks.
    fn poll(&mut self, max: usize) -> Result<Wanted, String>;
    /// The block has been accepted by the sink.
    fn received(&mut self, id: &BlockId);
}
