//! Reaches peers, and keeps reaching them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hypermesh_id::NodeId;
use quinn::Connection;
use stoq_proto::Message;
use tokio::sync::Notify;

use crate::endpoint::Shared;
use crate::error::StoqError;
use crate::listen;
use crate::streams::ask;

/// How long one address may take to answer the handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the node with the greater id waits to be called before it calls: one connection is enough for both.
const COURTESY: Duration = Duration::from_millis(100);

/// Dials the addresses one after the other until the expected node answers at one.
pub(crate) async fn dial(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<Connection, StoqError> {
    let config = shared.tls.client(node)?;
    let mut reasons = Vec::new();
    for address in addresses {
        let Some((socket, target)) = socket_for(shared, *address) else {
            reasons.push(format!(
                "{address}: no socket of this node reaches that kind of address"
            ));
            continue;
        };
        let attempt = match socket.connect_with(config.clone(), target, crate::tls::SERVER_NAME) {
            Ok(connecting) => tokio::time::timeout(DIAL_TIMEOUT, connecting).await,
            Err(error) => {
                reasons.push(format!("{address}: {error}"));
                continue;
            }
        };
        match attempt {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!(
                "{address}: no answer in {} s",
                DIAL_TIMEOUT.as_secs()
            )),
        }
    }
    if reasons.is_empty() {
        reasons.push("no address of it is known".into());
    }
    Err(StoqError::Unreachable(format!(
        "{node}: {}",
        reasons.join("; ")
    )))
}

/// The socket that reaches the address, and the address as that socket writes it.
fn socket_for(shared: &Shared, address: SocketAddr) -> Option<(&quinn::Endpoint, SocketAddr)> {
    let of_kind = |wanted: fn(&SocketAddr) -> bool| {
        shared
            .sockets
            .iter()
            .find(|socket| socket.local_addr().is_ok_and(|local| wanted(&local)))
    };
    match address.ip() {
        IpAddr::V6(_) => Some((of_kind(SocketAddr::is_ipv6)?, address)),
        IpAddr::V4(ip) => match of_kind(SocketAddr::is_ipv4) {
            Some(socket) => Some((socket, address)),
            None => {
                let both = of_kind(|local| local.is_ipv6() && local.ip().is_unspecified())?;
                Some((
                    both,
                    SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
                ))
            }
        },
    }
}

/// Keeps the peer connected until the task is aborted.
pub(crate) async fn keep(shared: Arc<Shared>, node: NodeId, wake: Arc<Notify>) {
    let limits = shared.limits;
    let mut pause = limits.pause_min;
    if shared.me > node {
        // It may be called meanwhile; the bell ends the wait.
        let _ = tokio::time::timeout(COURTESY, wake.notified()).await;
    }
    loop {
        let (live, addresses) = match shared.peers().get(&node) {
            Some(peer) => (peer.connection().cloned(), peer.addresses.clone()),
            None => return,
        };
        if let Some(connection) = live {
            let reason = connection.closed().await;
            pause = limits.pause_min;
            note(&shared, &node, reason.to_string());
        } else if !addresses.is_empty() {
            // Only a peer that answers HELLO counts as connected: one that does not know us yet accepts the handshake too.
            match call(&shared, node, &addresses).await {
                Ok(connection) => {
                    register(&shared, node, &connection, true);
                    continue;
                }
                Err(error) => note(&shared, &node, error.to_string()),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jitter(pause)) => {}
            () = wake.notified() => {}
        }
        pause = (pause * 2).min(limits.pause_max);
    }
}

fn note(shared: &Shared, node: &NodeId, error: String) {
    tracing::debug!(%node, error, "not connected");
    if let Some(peer) = shared.peers().get_mut(node) {
        peer.last_error = error;
    }
    shared.changed();
}

/// Between nothing and the pause (full jitter): nodes that lost each other do not call all at once.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => pause.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)),
        Err(_) => pause,
    }
}

/// Takes a connection to a member into use, whoever dialled.
pub(crate) fn register(shared: &Arc<Shared>, node: NodeId, connection: &Connection, dialled: bool) {
    {
        let mut peers = shared.peers();
        let Some(peer) = peers.get_mut(&node) else {
            return connection.close(0u8.into(), b"no longer a peer");
        };
        peer.connect(connection.clone(), dialled);
        peer.wake.notify_one();
    }
    tracing::info!(%node, dialled, "connected");
    shared.changed();
    tokio::spawn(listen::serve(Arc::clone(shared), connection.clone(), node));
    let (shared, connection) = (Arc::clone(shared), connection.clone());
    tokio::spawn(async move { tell_records(&shared, &connection, &node).await });
}

/// Dials, and says who we are.
async fn call(
    shared: &Shared,
    node: NodeId,
    addresses: &[SocketAddr],
) -> Result<Connection, StoqError> {
    let connection = dial(shared, node, addresses).await?;
    match ask(&connection, &shared.hello(), shared.limits.answer_time).await {
        Ok(Message::Hello {
            addresses,
            software,
            ..
        }) => {
            tracing::debug!(%node, software, "it says hello");
            shared.learn_addresses(&node, addresses);
            Ok(connection)
        }
        answer => {
            connection.close(0u8.into(), b"no HELLO in the answer");
            Err(answer.err().unwrap_or_else(|| {
                StoqError::Broken("it answers HELLO with something else".into())
            }))
        }
    }
}

/// Tells a member whom we vouch for.
pub(crate) async fn tell_records(shared: &Arc<Shared>, connection: &Connection, node: &NodeId) {
    let admission = Arc::clone(&shared.admission);
    let Ok(mut records) = tokio::task::spawn_blocking(move || admission.records()).await else {
        return;
    };
    records.retain(|record| record.subject != *node);
    for part in records.chunks(stoq_proto::RECORDS_MAX) {
        let message = Message::Peers {
            records: part.to_vec(),
        };
        if let Err(error) = ask(connection, &message, shared.limits.answer_time).await {
            return tracing::debug!(%node, %error, "introductions were not taken");
        }
    }
}
