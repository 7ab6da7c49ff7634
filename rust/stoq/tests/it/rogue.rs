//! Peers that break the rules on purpose: raw QUIC with a member's key, and noise.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hypermesh_id::BlockId;
use stoq_proto::{BLOCK_BYTES_MAX, Message, Shard, TokenKey};

use crate::mesh::{Memory, blocks, empty, start, versions};
use crate::provider::{Rogue, serve};
use crate::raw::{self, ask, bytes, node};

#[tokio::test]
async fn a_token_of_another_peer_or_another_key_opens_nothing() {
    let wanted = blocks(3);
    let alice = start(1, Memory::of(&wanted, 0));
    alice.members.admit(node(2));
    alice.members.admit(node(3));
    let (_bob_socket, bob) = raw::dial(2, alice.address()).await;
    let (_carol_socket, carol) = raw::dial(3, alice.address()).await;
    let Some(Message::Token(Some(token))) = ask(&bob, &bytes(&Message::Token(None))).await else {
        panic!("no token")
    };
    let ids = vec![BlockId::of(&wanted[0])];
    let shard = |token| {
        bytes(&Message::Shard(Shard::Blocks {
            token,
            ids: ids.clone(),
        }))
    };
    assert!(matches!(
        ask(&bob, &shard(token.clone())).await,
        Some(Message::Shard(Shard::Block { .. }))
    ));
    // Replayed by another member.
    assert!(matches!(
        ask(&carol, &shard(token)).await,
        Some(Message::Error { status: 12, .. })
    ));
    // Made with another key: as after a restart of the issuer.
    let forged = TokenKey::new([1; 32]).issue(&node(2), u64::MAX);
    assert!(matches!(
        ask(&bob, &shard(forged)).await,
        Some(Message::Error { status: 12, .. })
    ));
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let wanted = blocks(1);
    let mut limits = crate::mesh::limits();
    limits.token_time = Duration::ZERO;
    let alice = crate::mesh::start_with(1, Memory::of(&wanted, 0), limits);
    alice.members.admit(node(2));
    let (_socket, bob) = raw::dial(2, alice.address()).await;
    let Some(Message::Token(Some(token))) = ask(&bob, &bytes(&Message::Token(None))).await else {
        panic!("no token")
    };
    let shard = bytes(&Message::Shard(Shard::Blocks {
        token,
        ids: vec![BlockId::of(&wanted[0])],
    }));
    match ask(&bob, &shard).await {
        Some(Message::Error { status: 12, text }) => assert!(text.contains("expired"), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// Asks for the same block again and again and reads nothing of it.
async fn ask_for_much(
    connection: &quinn::Connection,
    id: BlockId,
    times: usize,
) -> Vec<quinn::RecvStream> {
    let Some(Message::Token(Some(token))) = ask(connection, &bytes(&Message::Token(None))).await
    else {
        panic!("no token")
    };
    let request = bytes(&Message::Shard(Shard::Blocks {
        token,
        ids: vec![id; 200],
    }));
    let mut answers = Vec::new();
    for _ in 0..times {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        send.finish().unwrap();
        answers.push(receive);
    }
    answers
}

#[tokio::test]
async fn a_member_that_reads_nothing_takes_its_own_share_only() {
    let large: Bytes = vec![7; BLOCK_BYTES_MAX as usize].into();
    let mut all = blocks(100);
    all.push(large.clone());
    let mut limits = crate::mesh::limits();
    (limits.serving, limits.serving_per_peer) = (2, 1);
    // It may keep its share for the whole test.
    limits.write_time = Duration::from_secs(600);
    let store = Memory::of(&all, 0);
    let (alice, carol) = (
        crate::mesh::start_with(1, Arc::clone(&store), limits),
        start(3, empty()),
    );
    alice.members.admit(node(2));
    let (_socket, mallory) = raw::dial(2, alice.address()).await;
    let answers = ask_for_much(&mallory, BlockId::of(&large), 8).await;
    // The first of them is being written.
    let started = async {
        while store.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), started)
        .await
        .unwrap();
    carol.befriend(&alice).await;
    assert_eq!(carol.fetch(&[alice.id()], &all).await.unwrap().blocks, 101);
    drop(answers);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_reset() {
    let large: Bytes = vec![7; BLOCK_BYTES_MAX as usize].into();
    let mut limits = crate::mesh::limits();
    limits.write_time = Duration::from_millis(200);
    let alice = crate::mesh::start_with(1, Memory::of(std::slice::from_ref(&large), 0), limits);
    alice.members.admit(node(2));
    let (_socket, mallory) = raw::dial(2, alice.address()).await;
    for mut answer in ask_for_much(&mallory, BlockId::of(&large), 2).await {
        let reset = tokio::time::timeout(Duration::from_secs(20), answer.received_reset());
        assert!(reset.await.unwrap().unwrap().is_some());
    }
    // The connection is good for other requests.
    assert_eq!(
        ask(&mallory, &bytes(&Message::Ping(5))).await,
        Some(Message::Pong(5))
    );
}

#[tokio::test]
async fn strangers_come_at_a_bounded_rate() {
    let mut limits = crate::mesh::limits();
    limits.strangers_per_second = 0;
    let alice = crate::mesh::start_with(1, empty(), limits);
    let (_socket, stranger) = raw::dial(9, alice.address()).await;
    let closed = tokio::time::timeout(Duration::from_secs(10), stranger.closed()).await;
    assert!(closed.unwrap().to_string().contains("too many strangers"));
    // Members are not counted.
    start(3, empty()).befriend(&alice).await;
}

#[tokio::test]
async fn rubbish_from_a_member_is_refused_and_others_are_served() {
    let wanted = blocks(200);
    let (alice, carol) = (start(1, Memory::of(&wanted, 0)), start(3, empty()));
    carol.befriend(&alice).await;
    alice.members.admit(node(2));
    let (_socket, mallory) = raw::dial(2, alice.address()).await;
    let mut state = 7u64;
    for round in 0..300 {
        let Ok((mut send, _receive)) = mallory.open_bi().await else {
            panic!("cut off")
        };
        let noise: Vec<u8> = (0..round % 97)
            .map(|_| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .collect();
        // It may have been reset meanwhile.
        let _ = send.write_all(&noise).await;
        let _ = send.finish();
    }
    // A length that nothing of that type may have.
    let too_long = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert!(matches!(
        ask(&mallory, &too_long).await,
        Some(Message::Error { status: 113, .. })
    ));
    assert_eq!(
        carol.fetch(&[alice.id()], &wanted).await.unwrap().blocks,
        200
    );
}

#[tokio::test]
async fn noise_on_the_port_stops_nobody() {
    let wanted = blocks(200);
    let (alice, carol) = (start(1, Memory::of(&wanted, 0)), start(3, empty()));
    let to = alice.address();
    tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let mut state = 9u64;
        for round in 0..20_000usize {
            let noise: Vec<u8> = (0..1 + round % 1_300)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            // The buffer may be full.
            let _ = socket.send_to(&noise, to);
        }
    })
    .await
    .unwrap();
    carol.befriend(&alice).await;
    assert_eq!(
        carol.fetch(&[alice.id()], &wanted).await.unwrap().blocks,
        200
    );
}

#[tokio::test]
async fn providers_that_misbehave_are_dropped_and_others_used() {
    let (base, wanted) = versions(300);
    let mut all = wanted.clone();
    all.push(base.clone());
    let honest = start(1, Memory::of(&all, 0));
    for how in Rogue::ALL {
        let carol = start(3, Memory::of(std::slice::from_ref(&base), 0));
        carol.befriend(&honest).await;
        let socket = raw::listen(2);
        let address = socket.local_addr().unwrap();
        let rogue = tokio::spawn(serve(socket, how));
        carol.endpoint.add_peer(node(2), vec![address]);
        carol.until_connected(node(2)).await;
        let report = carol
            .fetch_beside(
                &[node(2), honest.id()],
                &wanted,
                std::slice::from_ref(&base),
            )
            .await
            .unwrap();
        assert_eq!(report.blocks, 300, "{how:?}");
        assert_ne!(report.providers[0].state, "active", "{how:?}");
        if matches!(how, Rogue::WrongDelta | Rogue::OtherBase) {
            assert!(report.providers[0].state.starts_with("dropped"), "{how:?}");
        }
        // On a busy machine it may have been slow for a moment; it is never blamed.
        let honest = &report.providers[1].state;
        assert!(!honest.starts_with("dropped"), "{how:?}: {honest}");
        rogue.abort();
        // Its key comes again in the next round.
        carol.endpoint.close().await;
    }
}

#[tokio::test]
async fn many_strangers_are_bounded() {
    let mut limits = crate::mesh::limits();
    limits.strangers = 4;
    let alice = crate::mesh::start_with(1, empty(), limits);
    let mut held = Vec::new();
    let mut refused = 0;
    for seed in 10..30 {
        let (socket, connection) = raw::dial(seed, alice.address()).await;
        if tokio::time::timeout(Duration::from_millis(50), connection.closed())
            .await
            .is_ok()
        {
            refused += 1;
        }
        held.push((socket, connection));
    }
    assert!(refused >= 12, "{refused}");
    let friend = Arc::new(start(3, empty()));
    friend.befriend(&alice).await;
}
