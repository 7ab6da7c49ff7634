//! What a transfer is told and what it says.

use std::time::Duration;

use hypermesh_id::NodeId;

use crate::BlockRef;

/// Bounds of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLimits {
    /// Bytes under way per provider, at least and at most.
    pub window_min: u64,
    pub window_max: u64,
    /// How long the bytes of a window should take.
    pub window_time: Duration,
    /// Blocks and bytes of one request.
    pub request_blocks: usize,
    pub request_bytes: u64,
    /// Requests under way per provider.
    pub requests_max: usize,
    /// Without any progress for this long, a provider has stalled.
    pub stall_after: Duration,
    /// What a provider owes for longer than this is repeated in the end game.
    pub slow_after: Duration,
    /// Failures in a row that a provider may have.
    pub strikes_max: u32,
    /// Pause after the first failure; doubles.
    pub pause: Duration,
    /// Blocks that wait to be asked for.
    pub queue_max: usize,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            window_min: 1 << 20,
            window_max: 8 << 20,
            window_time: Duration::from_millis(500),
            request_blocks: 64,
            request_bytes: 2 << 20,
            requests_max: 8,
            stall_after: Duration::from_secs(4),
            slow_after: Duration::from_millis(500),
            strikes_max: 4,
            pause: Duration::from_millis(250),
            queue_max: 1_024,
        }
    }
}

/// Names one request of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something to ask a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: RequestId,
    pub provider: NodeId,
    pub blocks: Vec<BlockRef>,
}

/// What to do with a block that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verify and store it, then call [`Transfer::stored`] or [`Transfer::wrong`].
    Take,
    /// It came from elsewhere meanwhile.
    Duplicate,
    /// Nobody asked for it: its provider is out.
    Unasked,
}

/// Why a provider is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Bytes that are not those of their id.
    WrongBytes,
    /// It broke the protocol.
    Broken(String),
    /// It failed or stalled too often in a row.
    Failed(String),
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WrongBytes => f.write_str("it served wrong bytes"),
            Self::Broken(text) => write!(f, "it broke the protocol: {text}"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// How a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderState {
    Active,
    /// Left alone until then; the text says why.
    Paused {
        until: Duration,
        why: String,
    },
    Out(Cause),
}

/// What a provider gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderReport {
    pub node: NodeId,
    /// Of blocks as they travelled, wrong and repeated ones included.
    pub bytes: u64,
    pub blocks: u64,
    /// How often it stalled, failed or refused, whatever it did after that.
    pub failures: u32,
    /// Bytes per second that it has shown lately; 0 while unknown.
    pub rate: u64,
    pub state: ProviderState,
}
