//! Who gets in.

use std::sync::Arc;
use std::time::Duration;

use stoq::StoqError;
use stoq_proto::Invitation;

use crate::mesh::{TestNode, empty, start};
use crate::raw::{key, node};

fn invite(from: &TestNode, seed: u32, expires: u64, nonce: u8) -> Invitation {
    Invitation::sign(&key(seed), vec![from.address()], expires, [nonce; 16]).unwrap()
}

fn refusal(result: Result<stoq::Joined, StoqError>) -> String {
    match result {
        Err(StoqError::Refused { status: 12, text }) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_invitation_lets_one_node_in_once() {
    let (alice, bob, carol) = (start(1, empty()), start(2, empty()), start(3, empty()));
    let invitation = invite(&alice, 1, 2_000, 7);
    bob.endpoint
        .join(&invitation, &[bob.address()])
        .await
        .unwrap();
    assert_eq!(
        alice.members.known.lock().unwrap().get(&bob.id()).unwrap(),
        &[bob.address()]
    );
    assert!(refusal(carol.endpoint.join(&invitation, &[]).await).contains("spent"));
    let expired = invite(&alice, 1, 999, 8);
    assert!(refusal(carol.endpoint.join(&expired, &[]).await).contains("expired"));
}

#[tokio::test]
async fn an_invitation_leads_to_its_issuer_only() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    // Signed by another key, with the address of Alice: another node answers there.
    let forged = invite(&alice, 9, 2_000, 7);
    let error = bob.endpoint.join(&forged, &[]).await.unwrap_err();
    assert!(matches!(error, StoqError::Unreachable(_)), "{error}");
    assert!(alice.members.known.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stranger_gets_nothing_but_a_join() {
    let (alice, mallory) = (start(1, empty()), start(2, empty()));
    // Mallory believes that they are friends; Alice does not.
    mallory.members.admit(alice.id());
    mallory.endpoint.add_peer(alice.id(), vec![alice.address()]);
    let mut changes = mallory.endpoint.changes();
    let error = loop {
        tokio::time::timeout(Duration::from_secs(20), changes.changed())
            .await
            .unwrap()
            .unwrap();
        let status = mallory.endpoint.peers().remove(0);
        assert!(!status.connected);
        if !status.last_error.is_empty() {
            break status.last_error;
        }
    };
    assert!(error.contains("not a member"), "{error}");
    assert!(alice.endpoint.peers().is_empty());
}

#[tokio::test]
async fn the_wrong_key_at_an_address_is_refused() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    alice.members.admit(bob.id());
    bob.endpoint.add_peer(node(9), vec![alice.address()]);
    let mut changes = bob.endpoint.changes();
    changes.changed().await.unwrap();
    let status = bob.endpoint.peers().remove(0);
    assert!(
        !status.connected && !status.last_error.is_empty(),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_new_member_is_introduced_to_the_others() {
    let (alice, bob, carol) = (start(1, empty()), start(2, empty()), start(3, empty()));
    alice.befriend(&bob).await;
    alice
        .members
        .known
        .lock()
        .unwrap()
        .insert(bob.id(), vec![bob.address()]);
    let joined = carol
        .endpoint
        .join(&invite(&alice, 1, 2_000, 7), &[carol.address()])
        .await
        .unwrap();
    assert_eq!(joined.mesh[..], *b"a mesh");
    let records = joined.records;
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].subject, records[0].issuer),
        (bob.id(), alice.id())
    );
    let heard = async {
        loop {
            let about = bob
                .members
                .introduced
                .lock()
                .unwrap()
                .iter()
                .any(|(from, record)| {
                    *from == alice.id()
                        && record.subject == carol.id()
                        && record.addresses == [carol.address()]
                });
            if about {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard)
        .await
        .unwrap();
}

#[tokio::test]
async fn connections_come_back() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    bob.befriend(&alice).await;
    bob.endpoint.ping(alice.id()).await.unwrap();
    let address = alice.address();
    let members = Arc::clone(&alice.members);
    alice.endpoint.close().await;
    drop(alice);
    let mut changes = bob.endpoint.changes();
    while bob.endpoint.peers()[0].connected {
        changes.changed().await.unwrap();
    }
    // The same node at the same port.
    let config = stoq::EndpointConfig {
        listen: vec![address],
        ..stoq::EndpointConfig::new(key(1))
    };
    let bind = async {
        loop {
            // The old socket goes with the last task that has it.
            match stoq::Endpoint::bind(config.clone(), Arc::clone(&members) as _, empty()) {
                Ok(endpoint) => return endpoint,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), bind)
        .await
        .unwrap();
    bob.until_connected(again.node_id()).await;
    bob.endpoint.ping(again.node_id()).await.unwrap();
}
