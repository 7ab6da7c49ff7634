//! Transfers between endpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hypermesh_id::BlockId;
use stoq::{Fetch, FetchError};

use crate::mesh::{Memory, blocks, empty, list, start};
use crate::raw::node;

#[tokio::test]
async fn blocks_arrive_from_two_providers() {
    let wanted = blocks(3_000);
    let (alice, bob) = (
        start(1, Memory::of(&wanted, 0)),
        start(2, Memory::of(&wanted, 0)),
    );
    let carol = start(3, empty());
    carol.befriend(&alice).await;
    carol.befriend(&bob).await;
    let ids: Vec<BlockId> = wanted.iter().map(|block| BlockId::of(block)).collect();
    let holders = carol
        .endpoint
        .who_has(&[bob.id(), node(9), alice.id()], &ids)
        .await;
    assert_eq!(
        holders.iter().map(|(node, _)| *node).collect::<Vec<_>>(),
        [bob.id(), alice.id()]
    );
    assert!(
        holders
            .iter()
            .all(|(_, has)| has.len() == 3_000 && has.iter().all(|one| *one))
    );
    let report = carol.fetch(&[alice.id(), bob.id()], &wanted).await.unwrap();
    assert_eq!(report.blocks, 3_000);
    assert_eq!(carol.store.blocks.lock().unwrap().len(), 3_000);
    assert!(
        report.providers.iter().all(|provider| provider.blocks > 0),
        "{report:?}"
    );
    assert_eq!(
        report.content_bytes,
        wanted.iter().map(|block| block.len() as u64).sum::<u64>()
    );
}

#[tokio::test]
async fn one_that_leaves_in_the_middle_is_replaced() {
    let wanted = blocks(3_000);
    let (alice, bob) = (
        start(1, Memory::of(&wanted, 0)),
        start(2, Memory::of(&wanted, 0)),
    );
    let carol = start(3, empty());
    carol.befriend(&alice).await;
    carol.befriend(&bob).await;
    let fetch = Fetch {
        providers: vec![alice.id(), bob.id()],
        wants: list(&wanted),
        sink: Arc::clone(&carol.store) as _,
    };
    let (enough, reached) = tokio::sync::watch::channel(false);
    let observe = move |report: &stoq::FetchReport| {
        if report.blocks > 300 {
            enough.send_replace(true);
        }
    };
    let killer = async {
        let mut reached = reached.clone();
        reached.wait_for(|enough| *enough).await.unwrap();
        alice.endpoint.close().await;
    };
    let (report, ()) = tokio::join!(carol.endpoint.fetch(fetch, observe), killer);
    assert_eq!(report.unwrap().blocks, 3_000);
}

#[tokio::test]
async fn a_liar_is_dropped_and_the_rest_comes_from_others() {
    let wanted = blocks(1_000);
    let (liar, honest) = (
        start(1, Memory::of(&wanted, 50)),
        start(2, Memory::of(&wanted, 0)),
    );
    let carol = start(3, empty());
    carol.befriend(&liar).await;
    carol.befriend(&honest).await;
    let report = carol
        .fetch(&[liar.id(), honest.id()], &wanted)
        .await
        .unwrap();
    assert_eq!(report.blocks, 1_000);
    assert!(
        report.providers[0].state.contains("wrong bytes"),
        "{:?}",
        report.providers
    );
    assert_eq!(report.providers[1].state, "active");
}

#[tokio::test]
async fn what_providers_did_is_known_when_nothing_came_of_it() {
    let wanted = blocks(100);
    let liar = start(1, Memory::of(&wanted, 1));
    let carol = start(3, empty());
    carol.befriend(&liar).await;
    let fetch = Fetch {
        providers: vec![liar.id(), node(9)],
        wants: list(&wanted),
        sink: Arc::clone(&carol.store) as _,
    };
    let last = std::sync::Mutex::new(stoq::FetchReport::default());
    let observe = |report: &stoq::FetchReport| *last.lock().unwrap() = report.clone();
    let error = carol.endpoint.fetch(fetch, observe).await.unwrap_err();
    assert!(matches!(error, FetchError::NoProviders { .. }), "{error}");
    let providers = last.into_inner().unwrap().providers;
    assert!(providers[0].dropped, "{providers:?}");
    // It is not connected, again and again.
    assert!(providers[1].failures > 1, "{providers:?}");
    assert!(!providers[1].dropped, "{providers:?}");
}

#[tokio::test]
async fn what_nobody_has_is_named() {
    let have = blocks(10);
    let (alice, carol) = (start(1, Memory::of(&have[..9], 0)), start(3, empty()));
    carol.befriend(&alice).await;
    let error = carol.fetch(&[alice.id()], &have).await.unwrap_err();
    assert!(
        matches!(error, FetchError::NoProviders { block, .. } if block == BlockId::of(&have[9])),
        "{error}"
    );
    // What could be had is kept.
    assert!(carol.store.blocks.lock().unwrap().len() <= 9);
    let error = carol.fetch(&[], &have).await.unwrap_err();
    assert!(error.to_string().contains("none was named"), "{error}");
}

#[tokio::test]
async fn ranges_of_blocks_are_verified() {
    let have = blocks(40);
    let (alice, carol) = (start(1, Memory::of(&have, 0)), start(3, empty()));
    carol.befriend(&alice).await;
    for block in &have {
        let (id, end) = (BlockId::of(block), block.len() as u32);
        let part = carol
            .endpoint
            .fetch_range(alice.id(), id, end / 3..end / 2 + 1)
            .await
            .unwrap();
        assert_eq!(
            part,
            block.slice((end / 3) as usize..(end / 2 + 1) as usize)
        );
    }
    assert!(
        carol
            .endpoint
            .fetch_range(alice.id(), BlockId([0; 32]), 0..1)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_dropped_transfer_stops_reading() {
    let wanted = blocks(3_000);
    let (alice, carol) = (start(1, Memory::of(&wanted, 0)), start(3, empty()));
    carol.befriend(&alice).await;
    let fetch = Fetch {
        providers: vec![alice.id()],
        wants: list(&wanted),
        sink: Arc::clone(&carol.store) as _,
    };
    let (first, mut came) = tokio::sync::watch::channel(false);
    tokio::select! {
        _ = carol.endpoint.fetch(fetch, move |_| first.send_modify(|came| *came = true)) => {}
        _ = came.wait_for(|came| *came) => {}
    }
    carol.endpoint.ping(alice.id()).await.unwrap();
    assert!(alice.store.reads.load(Ordering::SeqCst) <= 3_000);
}
