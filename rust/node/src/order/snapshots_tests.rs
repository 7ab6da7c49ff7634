//! Nodes that restart from their snapshots, with damaged ones, and from those of others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Height, Key, Sign};
use hypermesh_id::{BlockId, Root};
use hypermesh_registry::{Action, Expect, Genesis, Name, Outcome};
use tokio::sync::oneshot;

use super::chain::{Chain, Published};
use super::driver_tests::{Ears, Wire};
use super::mesh::{self, Mesh, MeshError, Opening};
use super::snapshots::{self, Policy};
use crate::doors::Gossip;

/// After so many bytes none is written in these tests.
const RARELY: u64 = 1 << 30;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

async fn try_open(
    place: &Path,
    seed: u8,
    joined: Option<Genesis>,
    ears: &Ears,
) -> Result<Mesh, MeshError> {
    open_with(16 << 10, place, seed, joined, ears).await
}

async fn open_with(
    every: u64,
    place: &Path,
    seed: u8,
    joined: Option<Genesis>,
    ears: &Ears,
) -> Result<Mesh, MeshError> {
    let wire = Arc::new(Wire {
        number: seed,
        me: Key(key(seed)).node(),
        ears: Arc::clone(ears),
    });
    let heard = wire.hear().await.unwrap();
    let place = place.to_path_buf();
    let opened = tokio::task::spawn_blocking(move || {
        let opening = Opening {
            directory: &place,
            key: &key(seed),
            joined,
            snapshots: Policy {
                every,
                behind: 1_000_000,
            },
            store: None,
        };
        mesh::open(opening, wire, heard)
    });
    opened.await.unwrap()
}

async fn decide(node: &Mesh, action: Action) -> Outcome {
    let (waiter, word) = oneshot::channel();
    let ask = Box::new(move |chain: &mut Chain| chain.submit(action, 0, waiter));
    assert!(node.running.asks.send(ask).await.is_ok());
    let word = tokio::time::timeout(Duration::from_secs(60), word).await;
    word.unwrap().unwrap().unwrap().outcome
}

async fn name(node: &Mesh, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let action = Action::SetName {
            name: Name::new(&format!("name/{number}")).unwrap(),
            root: Root(BlockId([7; 32])),
            expect: Expect::Absent,
        };
        assert_eq!(decide(node, action).await, Outcome::Done);
    }
}

async fn until(node: &Mesh, what: impl Fn(&Published) -> bool) -> Published {
    let mut published = node.published.clone();
    let reached = tokio::time::timeout(Duration::from_secs(60), published.wait_for(what)).await;
    reached.unwrap().unwrap().clone()
}

/// Stops a node; what it knew at last.
fn stop(node: Mesh) -> Published {
    node.running.stop();
    let last = node.published.borrow().clone();
    drop(node);
    last
}

fn newest(place: &Path) -> (u64, PathBuf) {
    let height = snapshots::heights(place).unwrap()[0];
    (height, snapshots::path_of(place, height))
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_from_the_newest_that_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let ears = Ears::default();
    let node = try_open(place, 1, None, &ears).await.unwrap();
    let mut names = 0;
    while snapshots::heights(place).unwrap().len() < 2 {
        name(&node, names..names + 10).await;
        names += 10;
    }
    let last = stop(node);
    let (height, path) = newest(place);
    let found = mesh::examine(place).unwrap().unwrap();
    assert_eq!((found.snapshot, found.stored), (height, last.tip.height));
    assert!(found.unusable.is_empty());

    let same = |node: Mesh| {
        let now = stop(node);
        assert_eq!(now.tip, last.tip);
        assert_eq!(now.state.root(), last.state.root());
        now.snapshot
    };
    // It writes none meanwhile.
    let again = open_with(RARELY, place, 1, None, &ears).await;
    assert_eq!(same(again.unwrap()), height);
    // Damaged, the one before it; none, all blocks.
    damage(&path);
    let found = mesh::examine(place).unwrap().unwrap();
    assert!(found.snapshot > 0 && found.snapshot < height);
    assert_eq!(found.unusable[0].0, path);
    let before = same(open_with(RARELY, place, 1, None, &ears).await.unwrap());
    assert!(before < height, "{before} {height}");
    for height in snapshots::heights(place).unwrap() {
        fs::write(snapshots::path_of(place, height), b"hmstate").unwrap();
    }
    // What a crash left unfinished is gone after the start.
    let unfinished = snapshots::unfinished(&snapshots::path_of(place, 9_999));
    fs::write(&unfinished, b"hm").unwrap();
    let node = try_open(place, 1, None, &ears).await.unwrap();
    assert!(!unfinished.exists());
    // Applied again, the last of the same heights is written.
    until(&node, |published| published.snapshot >= height).await;
    name(&node, names..names + 1).await;
    stop(node);
    let found = mesh::examine(place).unwrap().unwrap();
    assert!(found.snapshot >= height);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_from_the_file_of_another() {
    let places: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let [one, other] = [places[0].path(), places[1].path()];
    let ears = Ears::default();
    let node = try_open(one, 1, None, &ears).await.unwrap();
    let genesis = node.genesis.clone();
    // It learns the first blocks, and is away then.
    name(&node, 0..3).await;
    let learner = open_with(RARELY, other, 2, Some(genesis), &ears)
        .await
        .unwrap();
    until(&learner, |published| published.tip.height >= 3).await;
    let before = stop(learner).tip.height;
    ears.lock().unwrap().remove(&2);
    let mut names = 3;
    while node.published.borrow().snapshot < before + 10 {
        name(&node, names..names + 10).await;
        names += 10;
    }
    let (height, path) = newest(one);
    let here = snapshots::path_of(other, height);
    fs::copy(&path, &here).unwrap();
    // At least one block follows it.
    name(&node, names..names + 2).await;

    let learner = open_with(RARELY, other, 2, None, &ears).await.unwrap();
    assert!(learner.published.borrow().tip.height >= height);
    let tip = node.published.borrow().tip;
    let caught = until(&learner, |published| published.tip.height >= tip.height).await;
    assert!(caught.state.name(&Name::new("name/9").unwrap()).is_some());
    let store = learner.running.store.clone();
    assert_eq!(store.begins_after(), height);
    // What it had, and what follows the snapshot.
    for (at, is_here) in [
        (1, true),
        (before, true),
        (height, false),
        (height + 1, true),
    ] {
        let block = store.block(Height(at)).unwrap();
        assert_eq!(block.is_some(), is_here, "{at}");
    }
    drop(store);
    stop(learner);
    let learner = open_with(RARELY, other, 2, None, &ears).await.unwrap();
    assert_eq!(learner.running.store.begins_after(), height);
    stop(learner);
    // Without it nothing is made up.
    let whole = fs::read(&here).unwrap();
    damage(&here);
    let error = open_with(RARELY, other, 2, None, &ears)
        .await
        .map(drop)
        .unwrap_err();
    let text = error.to_string();
    let file = format!("snapshot-{height}");
    assert!(text.contains(&file) && text.contains("not here"), "{text}");
    assert!(mesh::examine(other).is_err());
    fs::remove_file(&here).unwrap();
    let error = open_with(RARELY, other, 2, None, &ears)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    fs::write(&here, whole).unwrap();
    let learner = open_with(RARELY, other, 2, None, &ears).await.unwrap();
    until(&learner, |published| published.tip.height >= tip.height).await;
    stop(learner);
    stop(node);
}
