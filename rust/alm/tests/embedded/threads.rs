//! Many callers at once.

use std::thread;

use mfn_alm::{Alm, AlmError, Edge, EmbeddedOptions, PathQuery};

use crate::{open, run};

const THREADS: usize = 8;
const ROUNDS: usize = 40;

#[test]
fn many_threads_lose_nothing() {
    let place = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        durable: false,
        ..EmbeddedOptions::new(place.path().join("state"))
    };
    let alm = open(&options).unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let alm = alm.clone();
            // A runtime each: nothing of the layer is tied to one.
            scope.spawn(move || run(async move { chain(&alm, number).await }));
        }
    });
    let stats = run(alm.stats()).unwrap();
    assert_eq!(stats.edges as usize, THREADS * ROUNDS);
}

/// Adds links one by one, and finds the whole way after each.
async fn chain(alm: &dyn Alm, number: usize) {
    let node = |at: usize| format!("{number}/{at}");
    for at in 0..ROUNDS {
        alm.add(vec![Edge::new(node(at), node(at + 1), 1.0)])
            .await
            .unwrap();
        let query = PathQuery {
            from: node(0).into(),
            to: node(at + 1).into(),
            ..PathQuery::default()
        };
        let path = alm.path(query).await.unwrap().unwrap();
        assert_eq!(path.links.len(), at + 1);
    }
}

#[test]
fn closing_ends_calls_in_order() {
    let place = tempfile::tempdir().unwrap();
    let alm = open(&EmbeddedOptions::new(place.path().join("state"))).unwrap();
    run(async {
        let calls: Vec<_> = (0..200)
            .map(|i| tokio::spawn(alm.add(vec![Edge::new("a", format!("{i}"), 0.5)])))
            .collect();
        // Some have their turn, some wait for it: those are told that it is away, and nothing hangs.
        tokio::task::yield_now().await;
        alm.close().await;
        let mut added = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(()) => added += 1,
                Err(AlmError::Away(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        drop(alm);
        // What was acknowledged is there, and of the rest whatever came to pass.
        let again = open(&EmbeddedOptions::new(place.path().join("state"))).unwrap();
        let there = again.neighbours(b"a".to_vec(), 300).await.unwrap().len();
        assert!(there >= added, "{there} of {added}");
    });
}
