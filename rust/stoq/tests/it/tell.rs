//! What is told: to whom, how much of it waits, and what becomes of those who tell nonsense.

use std::time::Duration;

use bytes::Bytes;
use stoq::{Class, TOLD_BYTES_MAX, Told};
use stoq_proto::Message;

use crate::mesh::{TestNode, empty, start};
use crate::raw::{bytes, dial, node};

async fn next(of: &TestNode) -> Told {
    let mut told = of.told.lock().await;
    let told = tokio::time::timeout(Duration::from_secs(20), told.recv());
    told.await.unwrap().unwrap()
}

#[tokio::test]
async fn what_is_told_arrives_in_its_class() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    alice.befriend(&bob).await;
    let longest = Bytes::from(vec![3; TOLD_BYTES_MAX]);
    for class in Class::ALL {
        assert!(alice.endpoint.tell(&bob.id(), class, longest.clone()));
        let told = next(&bob).await;
        assert_eq!((told.from, told.class), (alice.id(), class));
        assert!(told.content == longest);
    }
    // And back, on whichever connection there is.
    bob.until_connected(alice.id()).await;
    bob.endpoint
        .tell_all(Class::Votes, &Bytes::from_static(b"aye"));
    assert_eq!(next(&alice).await.content[..], *b"aye");
    let longer = Bytes::from(vec![3; TOLD_BYTES_MAX + 1]);
    assert!(!alice.endpoint.tell(&bob.id(), Class::Votes, longer));
    assert!(!alice.endpoint.tell(&node(9), Class::Votes, Bytes::new()));
}

#[tokio::test]
async fn a_vote_does_not_wait_for_blocks() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    alice.befriend(&bob).await;
    // More than bob takes without being read from: the rest waits on alice's side, and then goes.
    let block = Bytes::from(vec![5; 1 << 20]);
    for _ in 0..32 {
        alice.endpoint.tell(&bob.id(), Class::Gossip, block.clone());
    }
    let first = next(&bob).await;
    assert_eq!(first.class, Class::Gossip);
    alice
        .endpoint
        .tell(&bob.id(), Class::Votes, Bytes::from_static(b"aye"));
    let mut before = 1;
    loop {
        let told = next(&bob).await;
        if told.class == Class::Votes {
            break;
        }
        before += 1;
    }
    assert!(before < 24, "a vote came after {before} blocks");
}

#[tokio::test]
async fn whoever_is_not_heard_is_not_read() {
    let (alice, bob) = (start(1, empty()), start(2, empty()));
    alice.befriend(&bob).await;
    let block = Bytes::from(vec![5; 1 << 20]);
    for _ in 0..64 {
        alice.endpoint.tell(&bob.id(), Class::Blocks, block.clone());
    }
    // Bob keeps all that he hears: it stops at his bound.
    let mut held = Vec::new();
    let mut told = bob.told.lock().await;
    while let Ok(Some(one)) = tokio::time::timeout(Duration::from_millis(500), told.recv()).await {
        held.push(one);
    }
    assert!((1..=4).contains(&held.len()), "{}", held.len());
    // Once they are done with, the next ones come.
    held.clear();
    let more = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
    assert_eq!(more.unwrap().unwrap().content.len(), 1 << 20);
}

#[tokio::test]
async fn who_tells_nonsense_is_disconnected() {
    let alice = start(1, empty());
    let too_long = [13u8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let class = [13u8, 0, 0, 0, 1, 0, 0, 0, 9];
    let request = bytes(&Message::Ping(1));
    let cases: [&[u8]; 4] = [&too_long, &class, &request, b"hello, wrong"];
    for (seed, nonsense) in (2..).zip(cases) {
        alice.members.admit(node(seed));
        let (_endpoint, connection) = dial(seed, alice.address()).await;
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(20), connection.closed());
        let closed = closed.await.unwrap().to_string();
        assert!(closed.contains("breaks the protocol"), "{closed}");
    }
    // A stranger is not heard at all: it may open no stream of this kind that anybody reads.
    let (_endpoint, connection) = dial(9, alice.address()).await;
    let mut stream = connection.open_uni().await.unwrap();
    let vote = Message::Tell {
        class: Class::Votes,
        content: Bytes::from_static(b"aye"),
    };
    stream.write_all(&bytes(&vote)).await.unwrap();
    let mut told = alice.told.lock().await;
    let heard = tokio::time::timeout(Duration::from_millis(300), told.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}
