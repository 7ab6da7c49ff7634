//! Takes calls: handshakes under a bound, members in, strangers for a join only.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use hypermesh_id::NodeId;
use quinn::{Connection, Incoming};

use crate::answer;
use crate::dial::register;
use crate::endpoint::Shared;
use crate::tell;
use crate::tls::peer_of;

/// Accepts connections until the socket is closed.
pub(crate) async fn accept(shared: Arc<Shared>, socket: quinn::Endpoint) {
    while let Some(incoming) = socket.accept().await {
        let Ok(permit) = Arc::clone(&shared.handshakes).try_acquire_owned() else {
            // Answering everyone who knocks would let forged addresses use us against others.
            metrics::counter!("stoq_handshakes_refused").increment(1);
            incoming.ignore();
            continue;
        };
        if shared.handshakes.available_permits() < shared.limits.handshakes / 2
            && incoming.may_retry()
        {
            // Many at once: first show that the address is yours (RFC 9000 §8.1.2).
            if incoming.retry().is_err() {
                tracing::debug!("a retry could not be sent");
            }
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Some((connection, node)) = handshake(&shared, incoming).await {
                drop(permit);
                welcome(shared, connection, node).await;
            }
        });
    }
}

async fn handshake(shared: &Shared, incoming: Incoming) -> Option<(Connection, NodeId)> {
    let from = incoming.remote_address();
    let connection = match tokio::time::timeout(shared.limits.answer_time, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            metrics::counter!("stoq_handshakes_failed").increment(1);
            tracing::debug!(%from, %error, "a handshake failed");
            return None;
        }
        Err(_) => return None,
    };
    let node = peer_of(&connection)?;
    Some((connection, node))
}

async fn welcome(shared: Arc<Shared>, connection: Connection, node: NodeId) {
    if node == shared.me {
        return connection.close(0u8.into(), b"this is your own address");
    }
    if shared.admission.is_member(&node) {
        let known = shared.peers().contains_key(&node);
        if known
            || (crate::Endpoint {
                shared: Arc::clone(&shared),
            })
            .add_peer(node, Vec::new())
        {
            return register(&shared, node, &connection, false);
        }
        return connection.close(0u8.into(), b"this node keeps as many peers as it can");
    }
    let in_time = shared
        .stranger_rate
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(Instant::now());
    let permit = shared.strangers.try_acquire();
    let (true, Ok(_permit)) = (in_time, permit) else {
        metrics::counter!("stoq_strangers_refused").increment(1);
        return connection.close(0u8.into(), b"too many strangers; try again later");
    };
    tracing::debug!(%node, from = %connection.remote_address(), "a stranger calls");
    // It may ask once; its connection ends with the answer, or with its time.
    let served = tokio::time::timeout(shared.limits.stranger_time, async {
        if let Ok((send, receive)) = connection.accept_bi().await {
            answer::stranger(&shared, &connection, node, send, receive).await;
        }
    });
    // The time is over, or the answer was read.
    let _ = served.await;
    connection.close(0u8.into(), b"not a member: join with an invitation");
}

/// Answers a member's requests until the connection ends.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, node: NodeId) {
    let hearing = tell::hear(Arc::clone(&shared), connection.clone(), node);
    tokio::spawn(hearing);
    loop {
        match connection.accept_bi().await {
            // As many at once as the transport allows streams.
            Ok((send, receive)) => {
                let (shared, connection) = (Arc::clone(&shared), connection.clone());
                tokio::spawn(async move {
                    answer::member(&shared, &connection, node, send, receive).await
                });
            }
            Err(error) => {
                tracing::info!(%node, %error, "disconnected");
                return shared.changed();
            }
        }
    }
}
