//! The transport component: peers, invitations, round trips.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hypermesh_id::NodeId;
use mfn_local::{BoxFuture, Call, Failure, Handler, Reply};
use mfn_wire::{Status, method, pb};
use stoq::Endpoint;
use stoq_proto::Invitation;

use crate::address::parse_socket_address;
use crate::answer::{Answer, boxed, invalid, parse_node};
use crate::gossip::{self, kept};
use crate::membership::{Membership, unix_seconds};
use crate::network::Direct;
use crate::remote;
use crate::units::format_duration;

/// Longest time that an invitation may be valid: a lost one must not stay a key for ever.
const INVITATION_MAX: Duration = Duration::from_secs(30 * 86_400);

#[derive(Clone)]
pub(crate) struct TransportService {
    pub(crate) me: NodeId,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) endpoint: Endpoint,
    pub(crate) network: Arc<Direct>,
    pub(crate) gossip: Arc<gossip::Direct>,
    pub(crate) membership: Membership,
    /// Where others reach this node.
    pub(crate) advertised: Vec<SocketAddr>,
}

impl Handler for TransportService {
    fn call(&self, call: Call) -> BoxFuture<Answer> {
        let this = self.clone();
        boxed(async move {
            match call.method {
                method::transport::STATUS => Ok(Reply::message(&this.status())),
                method::transport::PEERS => Ok(Reply::message(&this.peers())),
                method::transport::PING => this.ping(call).await,
                method::transport::INVITE => this.invite(&call),
                method::transport::JOIN => this.join(call).await,
                method::transport::FORGET => this.forget(&call).await,
                method::transport::HEAR | method::transport::TELL | method::transport::ORDER => {
                    remote::gossip::serve(&*this.gossip, call).await
                }
                _ => remote::serve::transport(&this.network, call).await,
            }
        })
    }
}

impl TransportService {
    fn status(&self) -> pb::TransportStatus {
        let peers = self.endpoint.peers();
        let count = |connected: bool| {
            u32::try_from(
                peers
                    .iter()
                    .filter(|peer| peer.connected || !connected)
                    .count(),
            )
            .unwrap_or(u32::MAX)
        };
        pb::TransportStatus {
            node_id: self.me.to_string(),
            listen: self
                .endpoint
                .local_addrs()
                .iter()
                .map(ToString::to_string)
                .collect(),
            connected: count(true),
            known: count(false),
            bytes_sent: peers.iter().map(|peer| peer.bytes_sent).sum(),
            bytes_received: peers.iter().map(|peer| peer.bytes_received).sum(),
        }
    }

    fn peers(&self) -> pb::PeerList {
        let known = self.membership.book.all();
        let live = self.endpoint.peers();
        let peers = known
            .into_iter()
            .map(|peer| {
                let mut message = pb::Peer {
                    node_id: peer.node.to_string(),
                    addresses: peer.addresses.iter().map(ToString::to_string).collect(),
                    source: peer.source.name().into(),
                    ..Default::default()
                };
                if let Some(live) = live.iter().find(|live| live.node == peer.node) {
                    message.connected = live.connected;
                    message.rtt_ns = live
                        .rtt
                        .map_or(0, |rtt| u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
                    message.bytes_sent = live.bytes_sent;
                    message.bytes_received = live.bytes_received;
                    message.lost_packets = live.lost_packets;
                    message.connected_since = live.connected_since;
                    message.last_error.clone_from(&live.last_error);
                }
                message
            })
            .collect();
        pb::PeerList { peers }
    }

    async fn ping(&self, call: Call) -> Answer {
        let request: pb::PingRequest = call.decode()?;
        let node = parse_node(&request.node_id)?;
        let count = request.count.clamp(1, 10_000);
        let mut trips = Vec::new();
        for sequence in 0..count {
            match self.endpoint.ping(node).await {
                Ok(trip) => {
                    let rtt_ns = u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX);
                    trips.push(rtt_ns);
                    call.events
                        .message(&pb::PingEvent { sequence, rtt_ns })
                        .await?;
                }
                // A peer that is not there answers no later probe either.
                Err(error) if trips.is_empty() => {
                    return Err(Failure::new(Status::UNREACHABLE, error.to_string()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a probe was not answered");
                    break;
                }
            }
        }
        trips.sort_unstable();
        Ok(Reply::message(&pb::PingReply {
            sent: count,
            received: u32::try_from(trips.len()).unwrap_or(u32::MAX),
            min_ns: trips.first().copied().unwrap_or_default(),
            median_ns: trips.get(trips.len() / 2).copied().unwrap_or_default(),
            max_ns: trips.last().copied().unwrap_or_default(),
        }))
    }

    fn invite(&self, call: &Call) -> Answer {
        let request: pb::InviteRequest = call.decode()?;
        let valid_for = Duration::from_nanos(request.valid_for_ns);
        if valid_for < Duration::from_secs(1) || valid_for > INVITATION_MAX {
            let most = format_duration(INVITATION_MAX);
            return Err(invalid(format!(
                "an invitation is valid for 1s to {most}, not {}",
                format_duration(valid_for)
            )));
        }
        let mut addresses = request
            .addresses
            .iter()
            .map(|text| parse_socket_address(text).map_err(invalid))
            .collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            addresses.clone_from(&self.advertised);
        }
        let expires = unix_seconds() + valid_for.as_secs();
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)
            .map_err(|error| Failure::new(Status::IO, format!("no random bytes: {error}")))?;
        let invitation = Invitation::sign(&self.key, addresses, expires, nonce).map_err(invalid)?;
        let text = invitation.to_string();
        Ok(Reply::message(&pb::Invitation {
            text,
            expires: expires.saturating_mul(1_000_000_000),
        }))
    }

    async fn forget(&self, call: &Call) -> Answer {
        let request: pb::ForgetRequest = call.decode()?;
        let node = parse_node(&request.node_id)?;
        let membership = self.membership.clone();
        kept(tokio::task::spawn_blocking(move || membership.forget(&node)).await)?;
        Ok(Reply::empty())
    }

    async fn join(&self, call: Call) -> Answer {
        let request: pb::JoinRequest = call.decode()?;
        let cancelled = call.cancelled();
        let joined = tokio::select! {
            joined = self.gossip.redeem(&request.text) => joined?,
            () = cancelled.cancelled() => return Err(Failure::new(Status::CANCELLED, "cancelled")),
        };
        Ok(Reply::message(&pb::JoinReply {
            node_id: joined.issuer.to_string(),
            introduced: joined.introduced,
            genesis: joined.genesis.to_vec(),
            ..Default::default()
        }))
    }
}

/// Addresses at which others reach a node that listens on these: an unspecified one stands for the machine's own.
pub(crate) fn advertised(configured: &[SocketAddr], listening: &[SocketAddr]) -> Vec<SocketAddr> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let mut addresses = Vec::new();
    for address in listening {
        if !address.ip().is_unspecified() {
            addresses.push(*address);
        } else {
            addresses.extend(
                own_addresses()
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, address.port())),
            );
        }
    }
    addresses.truncate(8);
    addresses
}

/// The addresses from which this machine would reach the Internet, and its loopback. Nothing is sent: a UDP socket that
/// is connected only asks the routing table.
fn own_addresses() -> Vec<std::net::IpAddr> {
    let towards = |bind: &str, target: &str| {
        let socket = std::net::UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let mut addresses: Vec<_> = [("[::]:0", "[2001:db8::1]:9"), ("0.0.0.0:0", "192.0.2.1:9")]
        .into_iter()
        .filter_map(|(bind, target)| towards(bind, target))
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .collect();
    addresses.push(std::net::Ipv6Addr::LOCALHOST.into());
    addresses
}
