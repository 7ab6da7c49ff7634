use std::collections::BTreeMap;
use std::fs;

use hypermesh_blocks::{Closure, Ignore, PutOptions, RootInfo, StoreError, StoreOptions, Wanted};

use hypermesh_id::Root;
use proptest::prelude::*;

use crate::tree::{Bench, fetch, make_mixed, noise, snapshot};

fn small_segments() -> StoreOptions {
    StoreOptions {
        segment_bytes: Some(300_000),
        ..StoreOptions::default()
    }
}

#[test]
fn keeps_what_is_pinned_and_gives_the_rest_back() {
    let bench = Bench::with(small_segments());
    make_mixed(&bench.path("tree"));
    fs::write(bench.path("other"), noise(50, 3_000_000)).unwrap();
    let kept = bench.put("tree");
    let dropped = bench.put("other");
    let full = bench.store.stats().unwrap();
    bench.store.unpin(&dropped.root).unwrap();
    let dry = bench.store.gc(true, &Ignore).unwrap();
    assert_eq!(bench.store.stats().unwrap().stored_bytes, full.stored_bytes);
    let real = bench.store.gc(false, &Ignore).unwrap();
    assert_eq!(
        (real.removed_blocks, real.kept_blocks),
        (dry.removed_blocks, dry.kept_blocks)
    );
    assert_eq!(real.removed_blocks, dropped.new_blocks);
    let after = bench.store.stats().unwrap();
    assert_eq!(real.freed_bytes, full.stored_bytes - after.stored_bytes);
    assert!(real.freed_bytes > 2_500_000, "{real:?}");
    assert_eq!((after.roots, after.pins), (1, 1));
    for _ in 0..2 {
        bench
            .store
            .extract(&kept.root, &bench.path("copy"), &Ignore)
            .unwrap();
        assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
        crate::extract::remove(&bench.path("copy"));
    }
    let bench = bench.reopen(small_segments());
    bench
        .store
        .extract(&kept.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
    assert!(matches!(
        bench
            .store
            .extract(&dropped.root, &bench.path("no"), &Ignore),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn blocks_that_two_roots_share_stay_with_one_of_them() {
    let bench = Bench::with(small_segments());
    make_mixed(&bench.path("tree"));
    let first = bench.put("tree");
    fs::write(bench.path("tree/added"), noise(9, 400_000)).unwrap();
    let second = bench.put("tree");
    bench.store.unpin(&second.root).unwrap();
    bench.store.gc(false, &Ignore).unwrap();
    fs::remove_file(bench.path("tree/added")).unwrap();
    bench
        .store
        .extract(&first.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
}

#[test]
fn what_an_unfinished_get_brought_stays() {
    let (from, to) = (Bench::new(), Bench::with(small_segments()));
    make_mixed(&from.path("tree"));
    let root = from.put("tree").root;
    to.store.record_root(&root, RootInfo::default()).unwrap();
    let mut closure = Closure::new(root);
    let mut count = 0;
    while let Wanted::Blocks(blocks) = closure.poll(&to.store, 1).unwrap() {
        let id = blocks[0].id;
        to.store
            .ingest(&id, from.store.read_stored(&id).unwrap().unwrap())
            .unwrap();
        closure.received(&id);
        count += 1;
        if count == 15 {
            break;
        }
    }
    let report = to.store.gc(false, &Ignore).unwrap();
    assert_eq!((report.removed_blocks, report.kept_blocks), (0, 15));
    let total = from.store.stats().unwrap().blocks;
    assert_eq!(
        fetch(&from.store, &to.store, Closure::new(root)),
        total - 15
    );
    to.store.forget_root(&root).unwrap();
    assert_eq!(to.store.gc(false, &Ignore).unwrap().removed_blocks, total);
    assert_eq!(to.store.stats().unwrap().stored_bytes, 0);
}

#[test]
fn refuses_when_a_pinned_root_cannot_be_followed() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let other = Bench::new();
    let block = bench.store.read_stored(&root.0).unwrap().unwrap();
    other.store.ingest(&root.0, block).unwrap();
    let info = RootInfo {
        complete: true,
        pin: true,
        ..RootInfo::default()
    };
    other.store.record_root(&root, info).unwrap();
    let result = other.store.gc(false, &Ignore);
    assert!(matches!(result, Err(StoreError::PinnedDamaged { .. })));
    assert!(other.store.contains(&root.0));
}

#[test]
fn waits_for_leases() {
    let bench = Bench::new();
    fs::write(bench.path("file"), noise(1, 100_000)).unwrap();
    let options = PutOptions {
        pin: false,
        ..PutOptions::default()
    };
    let root = bench
        .store
        .put(&bench.path("file"), options, &Ignore)
        .unwrap()
        .root;
    let lease = bench.store.lease();
    let store = bench.store.clone();
    let collector = std::thread::spawn(move || store.gc(false, &Ignore).unwrap());
    assert!(bench.store.contains(&root.0));
    drop(lease);
    assert_eq!(collector.join().unwrap().kept_blocks, 0);
    assert!(!bench.store.contains(&root.0));
}

#[derive(Clone, Debug)]
enum Step {
    /// Puts a tree of files with these seeds.
    Put(Vec<u64>),
    /// Unpins the root that stands at this place, counted around.
    Unpin(usize),
    Gc,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(0..12_u64, 1..6).prop_map(Step::Put),
        2 => any::<usize>().prop_map(Step::Unpin),
        2 => Just(Step::Gc),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever happens in whatever order: a pinned root is whole.
    #[test]
    fn pinned_roots_survive_any_history(steps in proptest::collection::vec(any_step(), 1..25)) {
        let mut bench = Bench::with(small_segments());
        let mut pinned: BTreeMap<Root, Vec<u64>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(seeds) => {
                    let tree = bench.path("tree");
                    fs::create_dir(&tree).unwrap();
                    for seed in &seeds {
                        let length = (*seed as usize) * 9_000;
                        fs::write(tree.join(seed.to_string()), noise(*seed, length)).unwrap();
                    }
                    pinned.insert(bench.put("tree").root, seeds);
                    fs::remove_dir_all(tree).unwrap();
                }
                Step::Unpin(at) if !pinned.is_empty() => {
                    let root = *pinned.keys().nth(at % pinned.len()).unwrap();
                    pinned.remove(&root);
                    bench.store.unpin(&root).unwrap();
                }
                Step::Unpin(_) => {}
                Step::Gc => drop(bench.store.gc(false, &Ignore).unwrap()),
                Step::Reopen => bench = bench.reopen(small_segments()),
            }
            let stats = bench.store.stats().unwrap();
            prop_assert!(stats.live_bytes <= stats.stored_bytes);
            prop_assert_eq!(stats.pins as usize, pinned.len());
        }
        bench.store.gc(false, &Ignore).unwrap();
        prop_assert_eq!(bench.store.stats().unwrap().roots as usize, pinned.len());
        let report = bench.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
        prop_assert_eq!(report.bad_blocks, 0);
        for (root, seeds) in &pinned {
            bench.store.extract(root, &bench.path("copy"), &Ignore).unwrap();
            for seed in seeds {
                let bytes = fs::read(bench.path("copy").join(seed.to_string())).unwrap();
                prop_assert!(bytes == noise(*seed, (*seed as usize) * 9_000));
            }
            fs::remove_dir_all(bench.path("copy")).unwrap();
        }
    }
}
