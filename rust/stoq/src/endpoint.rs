//! The endpoint: its sockets, its peers, and what can be asked of them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hypermesh_id::{BlockId, NodeId};
use quinn::Connection;
use stoq_proto::{Class, IDS_MAX, Invitation, MemberRecord, Message, Token, TokenKey, VERSION};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::budget::Budget;
use crate::config::{EndpointConfig, Limits};
use crate::error::StoqError;
use crate::peer::{Peer, PeerStatus};
use crate::rate::Rate;
use crate::streams::ask;
use crate::tell::{self, HEARD_BYTES, Hearing};
use crate::tls::{Tls, UDP_PAYLOAD_MAX};
use crate::{Admission, BlockSource, dial, listen};

/// One node on the network. Cheap to clone; its methods may be called from any thread and any runtime. Its connections
/// are driven by the runtime on which it was bound.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("me", &self.shared.me)
            .finish_non_exhaustive()
    }
}

/// What the issuer of an invitation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Whom it introduces. Verified.
    pub records: Vec<MemberRecord>,
    /// What its mesh was founded with, as [`Admission::mesh`] gave it there; empty from one that speaks an older version.
    pub mesh: Bytes,
}

pub(crate) struct Shared {
    pub(crate) me: NodeId,
    pub(crate) software: String,
    pub(crate) limits: Limits,
    pub(crate) tls: Tls,
    pub(crate) sockets: Vec<quinn::Endpoint>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) source: Arc<dyn BlockSource>,
    pub(crate) token_key: TokenKey,
    /// Connections of keys that are no members.
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) stranger_rate: Mutex<Rate>,
    pub(crate) handshakes: Arc<Semaphore>,
    /// Answers that read blocks.
    pub(crate) serving: Arc<Semaphore>,
    /// Work on deltas, over all peers.
    pub(crate) deltas: Arc<Mutex<Budget>>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    advertised: Mutex<Vec<SocketAddr>>,
    /// Rings when a peer comes, goes, or cannot be reached.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) hearing: Option<Hearing>,
    /// How many bytes of what peers tell may wait here.
    pub(crate) heard: Arc<Semaphore>,
    pub(crate) runtime: tokio::runtime::Handle,
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Shared {
    pub(crate) fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn connection(&self, node: &NodeId) -> Result<Connection, StoqError> {
        let connection = self
            .peers()
            .get(node)
            .and_then(|peer| peer.connection().cloned());
        connection.ok_or(StoqError::NotConnected(*node))
    }

    /// What a HELLO of ours says.
    pub(crate) fn hello(&self) -> Message {
        let addresses = self
            .advertised
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Message::Hello {
            version: VERSION,
            software: self.software.clone(),
            addresses,
        }
    }

    pub(crate) fn learn_addresses(&self, node: &NodeId, addresses: Vec<SocketAddr>) {
        if let Some(peer) = self.peers().get_mut(node) {
            peer.learn(addresses);
        }
    }
}

impl Endpoint {
    /// Binds the sockets and starts to listen. Needs a tokio runtime, which then drives all connections.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the key cannot be used.
    pub fn bind(
        config: EndpointConfig,
        admission: Arc<dyn Admission>,
        source: Arc<dyn BlockSource>,
    ) -> Result<Self, StoqError> {
        let tls = Tls::new(&config.key, &config.limits, config.hearing.is_some())?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(StoqError::Random)?;
        let mut sockets = Vec::new();
        for address in &config.listen {
            sockets.push(socket(*address, &tls).map_err(|source| StoqError::Listen {
                address: *address,
                source,
            })?);
        }
        if sockets.is_empty() {
            return Err(StoqError::NoListen);
        }
        let limits = config.limits;
        let shared = Arc::new(Shared {
            me: NodeId(config.key.verifying_key().to_bytes()),
            software: config.software,
            limits,
            tls,
            sockets,
            admission,
            source,
            token_key: TokenKey::new(random),
            strangers: Arc::new(Semaphore::new(limits.strangers)),
            stranger_rate: Mutex::new(Rate::new(limits.strangers_per_second, Instant::now())),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            serving: Arc::new(Semaphore::new(limits.serving)),
            deltas: Arc::new(Mutex::new(Budget::new(limits.delta_bytes, Instant::now()))),
            peers: Mutex::default(),
            advertised: Mutex::default(),
            changes: watch::channel(0).0,
            hearing: config.hearing,
            heard: Arc::new(Semaphore::new(HEARD_BYTES)),
            runtime: tokio::runtime::Handle::current(),
        });
        for socket in &shared.sockets {
            tokio::spawn(listen::accept(Arc::clone(&shared), socket.clone()));
        }
        Ok(Self { shared })
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.shared.me
    }

    /// Where it listens, with the ports that the system chose.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared
            .sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// Tells peers, from now on, that this node is reached there.
    pub fn advertise(&self, addresses: Vec<SocketAddr>) {
        *self
            .shared
            .advertised
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Keeps a peer connected from now on: dials, again and again with full-jitter pauses, and takes its calls. One that
    /// is kept already learns new addresses and is tried at once. `false`: as many peers are kept as the limit allows.
    pub fn add_peer(&self, node: NodeId, addresses: Vec<SocketAddr>) -> bool {
        if node == self.shared.me {
            return true;
        }
        let mut peers = self.shared.peers();
        if !peers.contains_key(&node) && peers.len() >= self.shared.limits.peers {
            return false;
        }
        let peer = peers
            .entry(node)
            .or_insert_with(|| Peer::new(&self.shared.limits));
        peer.learn(addresses);
        match peer.task {
            Some(_) => peer.wake.notify_one(),
            None => {
                let task = dial::keep(Arc::clone(&self.shared), node, Arc::clone(&peer.wake));
                peer.task = Some(self.shared.runtime.spawn(task).abort_handle());
            }
        }
        true
    }

    /// Lets a peer go; its connections are closed.
    pub fn remove_peer(&self, node: &NodeId) {
        if let Some(mut peer) = self.shared.peers().remove(node) {
            peer.disconnect(b"no longer a peer");
        }
        self.shared.changed();
    }

    /// All peers that are kept, by node id.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared
            .peers()
            .iter()
            .map(|(node, peer)| peer.status(*node))
            .collect()
    }

    /// Rings when a peer comes, goes, or could not be reached.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Tells a peer. Never waits: what it does not take in time is dropped, the oldest first, and counted. `false`: it is not
    /// connected.
    pub fn tell(&self, to: &NodeId, class: Class, content: Bytes) -> bool {
        tell::tell(&self.shared, to, class, content)
    }

    /// Tells all peers that are connected.
    pub fn tell_all(&self, class: Class, content: &Bytes) {
        let all: Vec<NodeId> = self.shared.peers().keys().copied().collect();
        for node in all {
            self.tell(&node, class, content.clone());
        }
    }

    /// Measures one round trip through the peer's program.
    ///
    /// # Errors
    /// When it is not connected or does not answer in time.
    pub async fn ping(&self, node: NodeId) -> Result<Duration, StoqError> {
        let connection = self.shared.connection(&node)?;
        let started = Instant::now();
        match ask(
            &connection,
            &Message::Ping(1),
            self.shared.limits.answer_time,
        )
        .await?
        {
            Message::Pong(1) => Ok(started.elapsed()),
            _ => Err(StoqError::Broken(
                "a ping was not answered with its number".into(),
            )),
        }
    }

    /// Redeems an invitation: dials its issuer, whose key must be the one that signed it. Gives whom it introduces, and its
    /// mesh.
    ///
    /// # Errors
    /// When no address answers, or the issuer refuses; the text says why.
    pub async fn join(
        &self,
        invitation: &Invitation,
        own: &[SocketAddr],
    ) -> Result<Joined, StoqError> {
        let shared = &self.shared;
        let connection = dial::dial(shared, invitation.issuer, &invitation.addresses).await?;
        let request = Message::Join {
            invitation: invitation.clone(),
            addresses: own.to_vec(),
        };
        let answer = ask(&connection, &request, shared.limits.answer_time).await;
        connection.close(0u8.into(), b"joined or not");
        match answer? {
            Message::Joined { mut records, mesh } => {
                records.retain(|record| record.verify().is_ok());
                Ok(Joined { records, mesh })
            }
            _ => Err(StoqError::Broken("a join was not answered".into())),
        }
    }

    /// Asks peers which of the blocks they have. One that does not answer in time is left out; soon after a first one
    /// has some of them, the time is over.
    pub async fn who_has(&self, peers: &[NodeId], ids: &[BlockId]) -> Vec<(NodeId, Vec<bool>)> {
        let mut asked = JoinSet::new();
        for node in peers {
            let (shared, node, ids) = (Arc::clone(&self.shared), *node, ids.to_vec());
            asked.spawn(async move { (node, shared.seed(&node, &ids).await) });
        }
        let mut answers = BTreeMap::new();
        // Each answer has its own bound; once someone has something, the others have a moment left: one that is gone
        // without a word must not hold up the rest.
        let late = tokio::time::sleep(Duration::MAX);
        tokio::pin!(late);
        let mut found = false;
        loop {
            let answer = tokio::select! {
                answer = asked.join_next() => answer,
                () = &mut late, if found => break,
            };
            match answer {
                None => break,
                Some(Ok((node, Ok(has)))) => {
                    if !found && has.contains(&true) {
                        found = true;
                        late.as_mut()
                            .reset(tokio::time::Instant::now() + OTHERS_TIMEOUT);
                    }
                    answers.insert(node, has);
                }
                Some(Ok((node, Err(error)))) => {
                    tracing::debug!(%node, %error, "it did not say what it has")
                }
                Some(Err(error)) => tracing::warn!(%error, "asking a peer failed"),
            }
        }
        // In the order in which they were named.
        peers
            .iter()
            .filter_map(|node| Some((*node, answers.remove(node)?)))
            .collect()
    }

    /// Closes all connections and stops to listen. Waits a moment for peers to hear it.
    pub async fn close(&self) {
        for (_, peer) in self.shared.peers().iter_mut() {
            peer.disconnect(b"the node stops");
        }
        for socket in &self.shared.sockets {
            socket.close(0u8.into(), b"the node stops");
        }
        for socket in &self.shared.sockets {
            // A peer that is gone does not acknowledge.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.wait_idle()).await;
        }
    }
}

/// How long others may still say what they have once one has said so.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(500);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

impl Shared {
    async fn seed(&self, node: &NodeId, ids: &[BlockId]) -> Result<Vec<bool>, StoqError> {
        let connection = self.connection(node)?;
        let mut all = Vec::with_capacity(ids.len());
        for part in ids.chunks(IDS_MAX) {
            let request = Message::Seed { ids: part.to_vec() };
            match ask(&connection, &request, self.limits.answer_time).await? {
                Message::Seeded { has } if has.len() == part.len() => all.extend(has),
                _ => return Err(StoqError::Broken("an answer for other blocks".into())),
            }
        }
        Ok(all)
    }

    /// A token of the peer's that is still good for a while.
    pub(crate) async fn token(
        &self,
        node: &NodeId,
        connection: &Connection,
    ) -> Result<Token, StoqError> {
        const LEFT: u64 = 30;
        let known = self.peers().get(node).and_then(|peer| peer.token.clone());
        if let Some(token) = known.filter(|token| token.expires > unix_seconds() + LEFT) {
            return Ok(token);
        }
        match ask(connection, &Message::Token(None), self.limits.answer_time).await? {
            Message::Token(Some(token)) => {
                if let Some(peer) = self.peers().get_mut(node) {
                    peer.token = Some(token.clone());
                }
                Ok(token)
            }
            _ => Err(StoqError::Broken("no token in the answer".into())),
        }
    }

    pub(crate) fn forget_token(&self, node: &NodeId) {
        if let Some(peer) = self.peers().get_mut(node) {
            peer.token = None;
        }
    }
}

/// Kernel buffers: what arrives while this process does not run for a moment.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

fn socket(address: SocketAddr, tls: &Tls) -> std::io::Result<quinn::Endpoint> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // One socket for both families; IPv4 addresses appear mapped.
        socket.set_only_v6(false)?;
    }
    // The kernel gives what it may; less is slower, not wrong.
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    let mut config = quinn::EndpointConfig::default();
    config
        .max_udp_payload_size(UDP_PAYLOAD_MAX)
        .map_err(std::io::Error::other)?;
    let server = tls.server().map_err(std::io::Error::other)?;
    quinn::Endpoint::new(
        config,
        Some(server),
        UdpSocket::from(socket),
        Arc::new(quinn::TokioRuntime),
    )
}
