use std::fs;
use std::ops::ControlFlow;

use hypermesh_blocks::{Closure, Ignore, RootInfo, StoreError, Wanted};

use crate::tree::{Bench, fetch, make_mixed, noise, snapshot};

#[test]
fn brings_a_whole_tree_over() {
    let (from, to) = (Bench::new(), Bench::new());
    make_mixed(&from.path("tree"));
    let root = from.put("tree").root;
    let missing = to
        .store
        .extract(&root, &to.path("copy"), &Ignore)
        .unwrap_err();
    assert!(matches!(missing, StoreError::Missing(_)));
    let info = RootInfo {
        complete: false,
        ..RootInfo::default()
    };
    // A hash alone is not kept: it may name nothing.
    let unknown = to.store.record_root(&root, info).unwrap_err();
    assert!(matches!(unknown, StoreError::Missing(_)), "{unknown}");
    assert_eq!(to.store.roots().unwrap(), []);
    let moved = fetch(&from.store, &to.store, Closure::new(root));
    assert_eq!(moved, from.store.stats().unwrap().blocks);
    let info = RootInfo {
        complete: true,
        pin: true,
        source: b"a peer".to_vec(),
    };
    to.store.record_root(&root, info).unwrap();
    to.store.extract(&root, &to.path("copy"), &Ignore).unwrap();
    assert_eq!(snapshot(&from.path("tree")), snapshot(&to.path("copy")));
    // A second version moves only what differs.
    fs::write(from.path("tree/small"), b"other text").unwrap();
    let second = from.put("tree");
    assert_eq!(
        fetch(&from.store, &to.store, Closure::new(second.root)),
        second.new_blocks
    );
}

#[test]
fn counts_are_equal_when_all_is_here() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let mut closure = Closure::new(root);
    assert_eq!(closure.poll(&bench.store, 10).unwrap(), Wanted::Done);
    assert_eq!(closure.known_totals(), closure.present());
    assert!(closure.present().0 > 10);
}

#[test]
fn a_path_needs_little() {
    let (from, to) = (Bench::new(), Bench::new());
    make_mixed(&from.path("tree"));
    let root = from.put("tree").root;
    // The root, four directories, one chunk.
    let moved = fetch(
        &from.store,
        &to.store,
        Closure::path(root, b"a/b/c/deep").unwrap(),
    );
    assert_eq!(moved, 6);
    let mut seen = Vec::new();
    let mut take = |part: bytes::Bytes| {
        seen.extend_from_slice(&part);
        ControlFlow::Continue(())
    };
    to.store.cat(&root, b"a/b/c/deep", 0, 0, &mut take).unwrap();
    assert_eq!(seen, b"deep");
    assert_eq!(to.store.stat(&root, b"large").unwrap().local_permille, 0);
    let missing = to
        .store
        .cat(&root, b"large", 0, 0, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(missing, Err(StoreError::Missing(_))));
    // A path that is not there is known to be so, and needs nothing more.
    assert_eq!(
        fetch(
            &from.store,
            &to.store,
            Closure::path(root, b"a/no").unwrap()
        ),
        0
    );
}

#[test]
fn waits_for_what_it_asked_for_and_asks_once() {
    let (from, to) = (Bench::new(), Bench::new());
    fs::write(from.path("file"), noise(1, 3_000_000)).unwrap();
    let root = from.put("file").root;
    let mut closure = Closure::new(root);
    let Wanted::Blocks(first) = closure.poll(&to.store, 10).unwrap() else {
        panic!()
    };
    assert_eq!(first.len(), 1);
    assert_eq!(closure.poll(&to.store, 10).unwrap(), Wanted::Waiting);
    closure.received(&first[0].id);
    // It was said to be here and is not: it is asked for again.
    assert_eq!(closure.poll(&to.store, 10).unwrap(), Wanted::Blocks(first));
}

#[test]
fn a_wide_tree_takes_no_more_than_its_window() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    for number in 0..20_000 {
        fs::write(bench.path("tree").join(format!("{number}")), b"").unwrap();
    }
    for number in 0..3_000 {
        fs::write(
            bench.path("tree").join(format!("x{number}")),
            number.to_string(),
        )
        .unwrap();
    }
    let root = bench.put("tree").root;
    let other = Bench::new();
    let mut closure = Closure::new(root);
    let mut most = 0;
    let mut count = 0;
    loop {
        match closure.poll(&other.store, 16).unwrap() {
            Wanted::Done => break,
            Wanted::Waiting => panic!("it waits for nothing"),
            Wanted::Blocks(blocks) => {
                most = most.max(blocks.len());
                for block in blocks {
                    let stored = bench.store.read_stored(&block.id).unwrap().unwrap();
                    other.store.ingest(&block.id, stored).unwrap();
                    closure.received(&block.id);
                    count += 1;
                }
            }
        }
    }
    assert!(most <= 16);
    assert_eq!(count, bench.store.stats().unwrap().blocks);
}
