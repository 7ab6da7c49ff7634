//! What an endpoint knows of one peer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hypermesh_id::NodeId;
use quinn::Connection;
use stoq_proto::Token;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::budget::Budget;
use crate::config::Limits;
use crate::tell::{Teller, heard_of_one};

/// Addresses remembered of one peer.
const ADDRESSES_MAX: usize = 8;

/// How a peer is, for people and for choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub node: NodeId,
    pub addresses: Vec<SocketAddr>,
    pub connected: bool,
    /// Smoothed round trip, as QUIC measures it.
    pub rtt: Option<Duration>,
    /// UDP bytes over all connections of this run.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub lost_packets: u64,
    /// Unix nanoseconds; 0 when it is not connected.
    pub connected_since: u64,
    /// Why it is not connected; empty when it is, or was never tried.
    pub last_error: String,
}

/// One live or ended connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    since: u64,
}

impl Link {
    pub(crate) fn new(connection: Connection) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            connection,
            since: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn is_live(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    sent: u64,
    received: u64,
    lost: u64,
}

impl Counters {
    fn add(&mut self, link: &Link) {
        let stats = link.connection.stats();
        self.sent += stats.udp_tx.bytes;
        self.received += stats.udp_rx.bytes;
        self.lost += stats.path.lost_packets;
    }
}

/// A peer that is kept connected.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addresses: Vec<SocketAddr>,
    /// At most one connection of each direction: both sides may dial at once.
    dialled: Option<Link>,
    accepted: Option<Link>,
    pub(crate) token: Option<Token>,
    pub(crate) last_error: String,
    /// Ends a pause of the task that dials.
    pub(crate) wake: Arc<Notify>,
    pub(crate) task: Option<AbortHandle>,
    /// Answers with blocks that are written to it.
    pub(crate) serving: Arc<Semaphore>,
    /// Work on deltas for it.
    pub(crate) deltas: Arc<Mutex<Budget>>,
    /// What waits to be told to it, and how much of what it tells may wait here, in bytes.
    pub(crate) teller: Arc<Teller>,
    pub(crate) heard: Arc<Semaphore>,
    past: Counters,
}

impl Peer {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            addresses: Vec::new(),
            dialled: None,
            accepted: None,
            token: None,
            last_error: String::new(),
            wake: Arc::new(Notify::new()),
            task: None,
            serving: Arc::new(Semaphore::new(limits.serving_per_peer)),
            deltas: Arc::new(Mutex::new(Budget::new(
                limits.delta_bytes_per_peer,
                Instant::now(),
            ))),
            teller: Arc::default(),
            heard: heard_of_one(),
            past: Counters::default(),
        }
    }

    /// New addresses are tried first.
    pub(crate) fn learn(&mut self, addresses: Vec<SocketAddr>) {
        let older = std::mem::take(&mut self.addresses);
        for address in addresses.into_iter().chain(older) {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }

    /// The connection to use.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.link().map(|link| &link.connection)
    }

    /// The newest that is live. A peer that was killed and is back has dialled anew: the older connection leads to a process
    /// that is gone, which is noticed only when it has been silent for long.
    fn link(&self) -> Option<&Link> {
        let links = [&self.dialled, &self.accepted].into_iter().flatten();
        links
            .filter(|link| link.is_live())
            .max_by_key(|link| link.since)
    }

    /// Takes a new connection; an older one of the same direction is closed.
    pub(crate) fn connect(&mut self, connection: Connection, dialled: bool) {
        let place = if dialled {
            &mut self.dialled
        } else {
            &mut self.accepted
        };
        if let Some(old) = place.replace(Link::new(connection)) {
            self.past.add(&old);
            old.connection
                .close(0u8.into(), b"a newer connection took its place");
        }
        self.last_error.clear();
        // The other process may be a new one, with another key for its tokens.
        self.token = None;
    }

    /// Ends everything.
    pub(crate) fn disconnect(&mut self, why: &[u8]) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.teller.stop();
        for link in [self.dialled.take(), self.accepted.take()]
            .into_iter()
            .flatten()
        {
            link.connection.close(0u8.into(), why);
        }
    }

    pub(crate) fn status(&self, node: NodeId) -> PeerStatus {
        let links: Vec<&Link> = [&self.dialled, &self.accepted]
            .into_iter()
            .flatten()
            .collect();
        let live = self.link();
        let mut counters = self.past;
        links.iter().for_each(|link| counters.add(link));
        PeerStatus {
            node,
            addresses: self.addresses.clone(),
            connected: live.is_some(),
            rtt: live.map(|link| link.connection.rtt()),
            bytes_sent: counters.sent,
            bytes_received: counters.received,
            lost_packets: counters.lost,
            connected_since: live.map_or(0, |link| link.since),
            last_error: if live.is_some() {
                String::new()
            } else {
                self.last_error.clone()
            },
        }
    }
}
