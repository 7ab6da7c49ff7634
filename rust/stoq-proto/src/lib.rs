//! Says what STOQ nodes tell each other, and decides who is asked for which block. No sockets, no clock, no threads.
//!
//! - [`Frame`], [`Message`]: what travels on a stream; [`MessageError`] names the broken rule.
//! - [`Invitation`], [`MemberRecord`]: signed statements by which a mesh grows.
//! - [`TokenKey`], [`Token`]: keyed, expiring permission to read blocks.
//! - [`Transfer`]: spreads blocks over providers, notices stalls, drops liars. Time is passed in.
//!
//! The specification is `docs/STOQ.md`.
#![forbid(unsafe_code)]

mod message;
mod reader;
mod shard;
mod signed;
mod token;
mod transfer;

use bytes::Bytes;
use hypermesh_id::BlockId;

pub use message::{
    Class, FRAME_HEADER_BYTES, Frame, FrameType, IDS_MAX, MESH_BYTES_MAX, Message, MessageError,
    RECORDS_MAX, TOLD_BYTES_MAX, VERSION,
};
pub use shard::{Against, BASES_MAX, Delta, Shard};
pub use signed::{ADDRESSES_MAX, Invitation, MemberRecord, SignedError};
pub use token::{TOKEN_BYTES, Token, TokenError, TokenKey};
pub use transfer::{
    Cause, ProviderReport, ProviderState, Request, RequestId, Transfer, TransferLimits, Verdict,
};

/// Longest block; nothing longer is announced, asked for or sent.
pub const BLOCK_BYTES_MAX: u32 = 256 * 1024;

/// A block as it lies in a store and travels: maybe compressed, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// 0 plain, 1 zstd. Unknown ones are refused by whoever verifies.
    pub codec: u8,
    /// Length of the block itself.
    pub raw_len: u32,
    /// As stored.
    pub bytes: Bytes,
}

/// A block that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    pub id: BlockId,
    /// Its length as whoever refers to it says; plans with it, trusts nothing.
    pub raw_len: u32,
}
