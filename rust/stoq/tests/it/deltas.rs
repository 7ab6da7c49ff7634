//! Blocks that travel as deltas between endpoints, and peers that know of none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use stoq_proto::{Message, Shard, StoredBlock, TokenKey};

use crate::mesh::{Memory, limits, start, start_with, versions};
use crate::raw::{bytes, listen_speaking, node, read};

/// One that has everything, and one that has the base only.
fn both(count: u32) -> (Bytes, Vec<Bytes>, Arc<Memory>, Arc<Memory>) {
    let (base, wanted) = versions(count);
    let mut all = wanted.clone();
    all.push(base.clone());
    let (has, lacks) = (
        Memory::of(&all, 0),
        Memory::of(std::slice::from_ref(&base), 0),
    );
    (base, wanted, has, lacks)
}

#[tokio::test]
async fn what_is_offered_is_used_and_counted() {
    let (base, wanted, has, lacks) = both(500);
    let (alice, carol) = (start(1, has), start(3, lacks));
    carol.befriend(&alice).await;
    let report = carol
        .fetch_beside(&[alice.id()], &wanted, std::slice::from_ref(&base))
        .await
        .unwrap();
    assert_eq!((report.blocks, report.delta_blocks), (500, 500));
    assert_eq!(report.delta_bytes, 4 * 500);
    assert_eq!(report.wire_bytes, 4 * 500);
    assert_eq!(report.delta_content_bytes, 10_004 * 500);
    // Ids of blocks and bases there; header, places, length and frame here.
    assert!(report.asked_bytes >= (32 + 1 + 32) * 500, "{report:?}");
    assert!(report.asked_bytes < 70 * 500, "{report:?}");
    let frames = (8 + 8 + 4) * 500;
    assert!(report.answered_bytes > frames, "{report:?}");
    assert!(report.answered_bytes < frames + 8 * 500, "{report:?}");
    assert_eq!(carol.store.blocks.lock().unwrap().len(), 501);
}

#[tokio::test]
async fn a_base_that_is_gone_blames_nobody() {
    let (base, wanted, has, lacks) = both(300);
    lacks.forgetful.store(40, Ordering::Relaxed);
    let (alice, carol) = (start(1, has), start(3, lacks));
    carol.befriend(&alice).await;
    let report = carol
        .fetch_beside(&[alice.id()], &wanted, std::slice::from_ref(&base))
        .await
        .unwrap();
    assert_eq!((report.blocks, report.delta_blocks), (300, 260));
    assert_eq!(report.providers[0].state, "active");
}

#[tokio::test]
async fn where_one_side_has_deltas_switched_off_none_travel() {
    for (there, here) in [(true, false), (false, true), (false, false)] {
        let (base, wanted, has, lacks) = both(50);
        let with = |deltas| stoq::Limits { deltas, ..limits() };
        let (alice, carol) = (
            start_with(1, has, with(there)),
            start_with(3, lacks, with(here)),
        );
        carol.befriend(&alice).await;
        let report = carol
            .fetch_beside(&[alice.id()], &wanted, std::slice::from_ref(&base))
            .await
            .unwrap();
        assert_eq!((report.blocks, report.delta_blocks), (50, 0));
        assert_eq!(alice.store.offered.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn without_work_left_blocks_travel_whole() {
    let none_for_it = stoq::Limits {
        delta_bytes_per_peer: 0,
        ..limits()
    };
    let none_at_all = stoq::Limits {
        delta_bytes: 0,
        ..limits()
    };
    for limits in [none_for_it, none_at_all] {
        let (base, wanted, has, lacks) = both(50);
        let (alice, carol) = (start_with(1, has, limits), start(3, lacks));
        carol.befriend(&alice).await;
        let report = carol
            .fetch_beside(&[alice.id()], &wanted, std::slice::from_ref(&base))
            .await
            .unwrap();
        assert_eq!((report.blocks, report.delta_blocks), (50, 0));
        assert_eq!(alice.store.offered.load(Ordering::Relaxed), 50);
    }
}

/// A provider of before there were deltas: it knows one kind of request for blocks and closes on any other.
async fn serve_old(socket: quinn::Endpoint, wanted: Vec<Bytes>) {
    while let Some(incoming) = socket.accept().await {
        let connection = incoming.await.unwrap();
        let wanted = wanted.clone();
        tokio::spawn(async move {
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let answer = match read(&mut receive).await {
                    Some(Message::Hello { .. }) => bytes(&Message::Hello {
                        version: 1,
                        software: "old".into(),
                        addresses: Vec::new(),
                    }),
                    Some(Message::Token(None)) => bytes(&Message::Token(Some(
                        TokenKey::new([1; 32]).issue(&node(3), u64::MAX),
                    ))),
                    Some(Message::Peers { .. }) => bytes(&Message::Done),
                    Some(Message::Shard(Shard::Blocks { ids, .. })) => {
                        let mut all = Vec::new();
                        for id in ids {
                            let of = |block: &&Bytes| hypermesh_id::BlockId::of(block) == id;
                            let block = wanted.iter().find(of).unwrap();
                            let block = StoredBlock {
                                codec: 0,
                                raw_len: block.len() as u32,
                                bytes: block.clone(),
                            };
                            all.extend(bytes(&Message::Shard(Shard::Block { id, block })));
                        }
                        all.extend(bytes(&Message::Done));
                        all
                    }
                    other => {
                        connection.close(1u8.into(), format!("{other:?}").as_bytes());
                        return;
                    }
                };
                let _ = send.write_all(&answer).await;
                let _ = send.finish();
            }
        });
    }
}

#[tokio::test]
async fn a_peer_of_before_deltas_is_asked_as_before() {
    let (base, wanted, _, lacks) = both(100);
    let carol = start(3, lacks);
    let socket = listen_speaking(2, &[b"stoq/1"]);
    carol.members.admit(node(2));
    carol
        .endpoint
        .add_peer(node(2), vec![socket.local_addr().unwrap()]);
    let old = tokio::spawn(serve_old(socket, wanted.clone()));
    carol.until_connected(node(2)).await;
    let (from, bases) = ([node(2)], [base]);
    let fetched = carol.fetch_beside(&from, &wanted, &bases);
    let fetched = tokio::time::timeout(Duration::from_secs(20), fetched).await;
    let report = fetched.unwrap().unwrap();
    assert_eq!((report.blocks, report.delta_blocks), (100, 0));
    assert_eq!(report.providers[0].state, "active");
    old.abort();
}
