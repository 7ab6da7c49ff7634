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
mod budget;
mod config;
mod dial;
mod endpoint;
mod error;
mod fetch;
mod listen;
mod offers;
mod peer;
mod range;
mod rate;
mod streams;
mod tell;
mod tls;

use std::net::SocketAddr;

use hypermesh_id::{BlockId, NodeId};
use stoq_proto::{Invitation, MemberRecord};

pub use config::{EndpointConfig, Limits};
pub use endpoint::{Endpoint, Joined};
pub use error::{FetchError, StoqError};
pub use fetch::{Fetch, FetchReport, ProviderBytes};
pub use peer::PeerStatus;
pub use stoq_proto::{BlockRef, Class, Delta, StoredBlock, TOLD_BYTES_MAX};
pub use tell::{Hearing, Told};
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
    /// What the mesh of this node was founded with: told to those who join.
    fn mesh(&self) -> bytes::Bytes {
        bytes::Bytes::new()
    }
    /// Whom this node vouches for.
    fn records(&self) -> Vec<MemberRecord>;
    /// A member introduces others. Signatures are checked; whether the issuer is to be believed is not.
    fn introduced(&self, from: &NodeId, records: Vec<MemberRecord>);
}

/// Where blocks are read for others. Blocking; called off the runtime's thread.
pub trait BlockSource: Send + Sync + 'static {
    /// Which of them are here, in their order.
    fn has(&self, ids: &[BlockId]) -> Result<Vec<bool>, String>;
    /// The block as it is stored; `None` when it is not here.
    fn read(&self, id: &BlockId) -> Result<Option<StoredBlock>, String>;
    /// The blocks as they are stored, in order, until `give` answers `false`. For sources that find several at once sooner
    /// than one after the other.
    fn read_each(
        &self,
        ids: &[BlockId],
        give: &mut dyn FnMut(Result<Option<StoredBlock>, String>) -> bool,
    ) {
        for id in ids {
            if !give(self.read(id)) {
                return;
            }
        }
    }
    /// The block for someone who has `bases`: maybe as a delta against one of them. At most `work` bytes of blocks are
    /// read and compressed for that; what was used is taken off.
    fn read_against(
        &self,
        id: &BlockId,
        _bases: &[BlockId],
        _work: &mut u64,
    ) -> Result<Option<Sent>, String> {
        Ok(self.read(id)?.map(Sent::Whole))
    }
    /// The block itself, verified.
    fn read_raw(&self, id: &BlockId) -> Result<Option<bytes::Bytes>, String>;
}

/// A block as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Whole(StoredBlock),
    /// Against one of the bases that were named.
    Delta {
        base: usize,
        delta: Delta,
    },
}

/// A block that came as a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaBlock {
    /// A block that was offered.
    pub base: BlockId,
    /// Length of the block itself, as the sender says.
    pub raw_len: u32,
    /// One zstd frame that has the base's bytes as its prefix.
    pub frame: bytes::Bytes,
}

/// Why a block was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The bytes are not the block's: whoever sent them is dropped.
    Mismatch,
    /// The base of a delta is not here any more: the block is asked for again, whole.
    NoBase,
    /// This side failed; the transfer ends.
    Local(String),
}

/// Where fetched blocks go. Verifies before it stores. Blocking; called off the runtime's thread, from two at once.
pub trait BlockSink: Send + Sync + 'static {
    /// Takes blocks as they arrived; answers for each in its order. A missing answer counts as a failure of this side.
    fn accept(&self, blocks: Vec<(BlockId, StoredBlock)>) -> Vec<Result<(), SinkError>>;
    /// Takes blocks that came as deltas; answers as above. A sink that names no bases gets none.
    fn accept_deltas(&self, deltas: Vec<(BlockId, DeltaBlock)>) -> Vec<Result<(), SinkError>> {
        vec![Err(SinkError::NoBase); deltas.len()]
    }
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
    /// Blocks of the sink against which one that was just named may come as a delta, the likeliest first.
    fn bases(&self, _id: &BlockId) -> Vec<BlockId> {
        Vec::new()
    }
}
