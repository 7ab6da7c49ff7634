//! What an endpoint is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use stoq_proto::TransferLimits;

use crate::tell::Hearing;

/// How to start an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The node's identity.
    pub key: SigningKey,
    /// Where to listen (UDP); port 0 lets the system choose. At least one.
    pub listen: Vec<SocketAddr>,
    /// Name and version of the program, told to peers.
    pub software: String,
    pub limits: Limits,
    /// Where what peers tell goes. Without, they cannot tell anything.
    pub hearing: Option<Hearing>,
}

impl EndpointConfig {
    /// Listens on a free port of all addresses, with default limits.
    pub fn new(key: SigningKey) -> Self {
        Self {
            key,
            listen: vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0))],
            software: concat!("stoq/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::default(),
            hearing: None,
        }
    }
}

/// Bounds of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Handshakes under way; more are turned away.
    pub handshakes: usize,
    /// Connections of keys that are no members.
    pub strangers: usize,
    /// Strangers let in per second; a pause saves up at most one second's.
    pub strangers_per_second: u32,
    /// How long a stranger may stay.
    pub stranger_time: Duration,
    /// Peers kept connected.
    pub peers: usize,
    /// Streams that a peer may have open at once.
    pub streams_per_peer: u32,
    /// Answers with blocks that are read at once, over all peers.
    pub serving: usize,
    /// Those of one peer; its others wait.
    pub serving_per_peer: usize,
    /// Whether blocks may travel as deltas, in either direction.
    pub deltas: bool,
    /// Bytes of blocks, bases included, that are read and compressed per second to make deltas for one peer, and for all;
    /// four seconds' worth may be saved up. Beyond them blocks go out whole; a delta that is stored as one costs nothing.
    pub delta_bytes_per_peer: u64,
    pub delta_bytes: u64,
    /// How long a peer may take to make room for the next frame of an answer.
    pub write_time: Duration,
    /// How long a request may take to arrive, and a short answer to come.
    pub answer_time: Duration,
    /// How long a peer may be silent before its connection counts as lost.
    pub idle_time: Duration,
    /// How long a token is good for.
    pub token_time: Duration,
    /// Pause before the second attempt to reach a peer, and the longest one.
    pub pause_min: Duration,
    pub pause_max: Duration,
    pub transfer: TransferLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 128,
            strangers: 64,
            strangers_per_second: 32,
            stranger_time: Duration::from_secs(15),
            peers: 4_096,
            streams_per_peer: 64,
            serving: 32,
            serving_per_peer: 16,
            deltas: true,
            delta_bytes_per_peer: 64 << 20,
            delta_bytes: 128 << 20,
            write_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(10),
            token_time: Duration::from_secs(3_600),
            pause_min: Duration::from_millis(250),
            pause_max: Duration::from_secs(30),
            transfer: TransferLimits::default(),
        }
    }
}
