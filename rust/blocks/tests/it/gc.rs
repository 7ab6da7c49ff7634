use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hypermesh_blocks::manifest::{ContentRef, RootManifest, Target, Totals, encode_root};
use hypermesh_blocks::{
    Closure, Ignore, Observer, Phase, Progress, PutOptions, RootInfo, StoreError, StoreOptions,
    StoredBlock, Wanted,
};
use hypermesh_id::{BlockId, Root};
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
    to.store.record_root(&root, RootInfo::default()).unwrap();
    let report = to.store.gc(false, &Ignore).unwrap();
    assert_eq!((report.removed_blocks, report.kept_blocks), (0, 15));
    let total = from.store.stats().unwrap().blocks;
    assert_eq!(
        fetch(&from.store, &to.store, Closure::new(root)),
        total - 15
    );
    // What keeps it is the record alone, and to unpin it is to let it go.
    to.store.unpin(&root).unwrap();
    assert_eq!(to.store.roots().unwrap(), []);
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

/// Runs `during` when a collection is about to mark.
struct AtMark<F: Fn() + Sync>(F, AtomicBool);

impl<F: Fn() + Sync> Observer for AtMark<F> {
    fn progress(&self, progress: &Progress) {
        if progress.phase == Phase::Mark && !self.1.swap(true, Ordering::SeqCst) {
            (self.0)();
        }
    }
}

/// What was promised while a collection ran is kept, or was never promised.
#[test]
fn a_root_that_is_pinned_while_gc_runs_is_kept_or_refused() {
    let bench = Bench::new();
    fs::write(bench.path("kept"), noise(1, 100_000)).unwrap();
    fs::write(bench.path("file"), noise(2, 100_000)).unwrap();
    bench.put("kept");
    let options = PutOptions {
        pin: false,
        ..PutOptions::default()
    };
    let path = bench.path("file");
    let root = bench.store.put(&path, options, &Ignore).unwrap().root;
    let info = RootInfo {
        complete: true,
        pin: true,
        ..RootInfo::default()
    };
    std::thread::scope(|scope| {
        let (told, answers) = std::sync::mpsc::channel();
        let answers = Mutex::new(answers);
        let store = &bench.store;
        let at_mark = AtMark(
            || {
                for step in 0..2 {
                    let (told, info) = (told.clone(), info.clone());
                    scope.spawn(move || {
                        let result = match step {
                            0 => store.pin(&root),
                            _ => store.record_root(&root, info),
                        };
                        told.send(result).unwrap();
                    });
                }
                // Long enough for a call that does not wait to come to its end.
                let wait = std::time::Duration::from_millis(200);
                let early = answers.lock().unwrap().recv_timeout(wait);
                assert!(early.is_err(), "{early:?}");
            },
            AtomicBool::new(false),
        );
        store.gc(false, &at_mark).unwrap();
        for _ in 0..2 {
            let answer = answers.lock().unwrap().recv().unwrap();
            assert!(
                matches!(
                    answer,
                    Err(StoreError::UnknownRoot(_) | StoreError::Missing(_))
                ),
                "{answer:?}"
            );
        }
    });
    assert!(!bench.store.contains(&root.0));
    assert_eq!(bench.store.roots().unwrap().len(), 1);
}

#[test]
fn gc_waits_for_an_extraction() {
    struct Collect<'a>(&'a Bench, AtomicBool);
    impl Observer for Collect<'_> {
        fn progress(&self, progress: &Progress) {
            if progress.phase == Phase::Extract && !self.1.swap(true, Ordering::SeqCst) {
                let store = self.0.store.clone();
                let cancelled = Cancelled::after(std::time::Duration::from_millis(200));
                let collected = std::thread::spawn(move || store.gc(false, &cancelled)).join();
                let error = collected.unwrap().unwrap_err();
                assert!(matches!(error, StoreError::Cancelled), "{error}");
            }
        }
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    for number in 0..100 {
        fs::write(
            bench.path("tree").join(number.to_string()),
            noise(number, 2_000),
        )
        .unwrap();
    }
    let options = PutOptions {
        pin: false,
        ..PutOptions::default()
    };
    let put = bench.store.put(&bench.path("tree"), options, &Ignore);
    let root = put.unwrap().root;
    let observer = Collect(&bench, AtomicBool::new(false));
    bench
        .store
        .extract(&root, &bench.path("copy"), &observer)
        .unwrap();
    assert!(observer.1.load(Ordering::SeqCst));
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
    assert_eq!(bench.store.gc(false, &Ignore).unwrap().kept_blocks, 0);
}

/// Asks to stop after a while.
struct Cancelled(std::time::Instant);

impl Cancelled {
    fn after(wait: std::time::Duration) -> Self {
        Self(std::time::Instant::now() + wait)
    }
}

impl Observer for Cancelled {
    fn progress(&self, _: &Progress) {}
    fn cancelled(&self) -> bool {
        std::time::Instant::now() >= self.0
    }
}

#[test]
fn an_unfinished_root_that_is_none_stops_no_collection() {
    let bench = Bench::new();
    fs::write(bench.path("file"), noise(3, 100_000)).unwrap();
    fs::write(bench.path("kept"), noise(4, 100_000)).unwrap();
    let dropped = bench.put("file");
    bench.put("kept");
    bench.store.unpin(&dropped.root).unwrap();
    // A root block that is in order, above a block that is no directory.
    let junk = noise(5, 500);
    let ingest = |bytes: &[u8]| {
        let id = BlockId::of(bytes);
        let block = StoredBlock {
            codec: 0,
            raw_len: bytes.len() as u32,
            bytes: bytes.to_vec().into(),
        };
        bench.store.ingest(&id, block).unwrap();
        id
    };
    let content = ContentRef {
        size: 1,
        depth: 0,
        block_len: 500,
        id: ingest(&junk),
    };
    let manifest = RootManifest {
        mode: 0o755,
        target: Target::Directory(content),
        totals: Totals::default(),
    };
    let bad = Root(ingest(&encode_root(&manifest).unwrap()));
    bench.store.record_root(&bad, RootInfo::default()).unwrap();
    let report = bench.store.gc(false, &Ignore).unwrap();
    assert_eq!(report.removed_blocks, dropped.new_blocks);
    assert!(bench.store.contains(&bad.0));
    bench.store.unpin(&bad).unwrap();
    assert_eq!(bench.store.gc(false, &Ignore).unwrap().removed_blocks, 2);
    // Data is no root at all, and nothing is remembered of it.
    let data = Root(ingest(&junk));
    let error = bench.store.record_root(&data, RootInfo::default());
    assert!(matches!(error, Err(StoreError::Manifest { .. })));
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
