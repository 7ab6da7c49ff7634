//! Trees that are written out while their blocks come in.

use std::collections::HashMap;
use std::fs;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use hypermesh_blocks::{Arrivals, Closure, Ignore, Observer, Progress, StoreError, Wanted};
use hypermesh_id::BlockId;
use proptest::prelude::*;

use crate::tree::{Bench, make_mixed, noise, snapshot};

/// Keeps every second block at hand.
#[derive(Default)]
struct Coming {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    at_hand: HashMap<BlockId, Bytes>,
    count: u64,
    end: Option<bool>,
}

impl Coming {
    fn offer(&self, id: &BlockId, raw: &Bytes) {
        if id.0[0] & 1 == 0 {
            let mut state = self.state.lock().unwrap();
            state.at_hand.insert(*id, raw.clone());
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Arrivals for Coming {
    fn count(&self) -> u64 {
        self.state.lock().unwrap().count
    }
    fn take(&self, id: &BlockId) -> Option<Bytes> {
        self.state.lock().unwrap().at_hand.remove(id)
    }
    fn wait(&self, seen: u64) -> bool {
        let state = self.state.lock().unwrap();
        let more = |state: &mut State| state.count <= seen && state.end.is_none();
        self.changed.wait_while(state, more).unwrap().count > seen
    }
    fn completed(&self) -> bool {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_while(state, |state| state.end.is_none());
        waited.unwrap().end == Some(true)
    }
}

/// Brings what a root needs from one store to another, `batch` blocks at a time in an order that `seed`
/// shuffles, up to `most` blocks; says so at the end.
fn bring(
    from: &Bench,
    to: &Bench,
    mut closure: Closure,
    coming: &Coming,
    (batch, most, seed): (usize, usize, u64),
) {
    let (mut brought, mut waiting) = (0, Vec::new());
    let complete = loop {
        match closure.poll(&to.store, 64).unwrap() {
            Wanted::Done => break true,
            Wanted::Blocks(blocks) => waiting.extend(blocks.iter().map(|block| block.id)),
            Wanted::Waiting => {}
        }
        if brought >= most {
            break false;
        }
        let order = |id: &BlockId| blake3::hash(&[&id.0[..], &seed.to_le_bytes()].concat());
        waiting.sort_by_key(|id| *order(id).as_bytes());
        let now: Vec<_> = waiting
            .drain(..batch.min(waiting.len()))
            .map(|id| (id, from.store.read_stored(&id).unwrap().unwrap()))
            .collect();
        let taken = to
            .store
            .ingest_many(&now, &mut |id, raw| coming.offer(id, raw))
            .unwrap();
        assert!(taken.iter().all(Result::is_ok));
        brought += now.len();
        now.iter().for_each(|(id, _)| closure.received(id));
        coming.change(|state| state.count += now.len() as u64);
    };
    coming.change(|state| state.end = Some(complete));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_tree_is_written_out_while_it_comes_in(batch in 1..40_usize, seed: u64) {
        let (from, to) = (Bench::new(), Bench::new());
        make_mixed(&from.path("tree"));
        // The same block twice, at places far from each other.
        fs::write(from.path("tree/large again"), noise(1, 1_500_000)).unwrap();
        let root = from.put("tree").root;
        let coming = Coming::default();
        let how = (batch, usize::MAX, seed);
        let report = std::thread::scope(|scope| {
            scope.spawn(|| bring(&from, &to, Closure::new(root), &coming, how));
            to.store.extract_arriving(&root, &to.path("copy"), &Ignore, &coming)
        });
        prop_assert!(report.unwrap().files > 5);
        prop_assert_eq!(snapshot(&to.path("copy")), snapshot(&from.path("tree")));
    }
}

#[test]
fn what_never_comes_leaves_nothing() {
    let (from, to) = (Bench::new(), Bench::new());
    make_mixed(&from.path("tree"));
    let root = from.put("tree").root;
    for most in [0, 1, 3, 10] {
        let coming = Coming::default();
        let error = std::thread::scope(|scope| {
            scope.spawn(|| bring(&from, &to, Closure::new(root), &coming, (1, most, 7)));
            let copy = to.path("copy");
            to.store.extract_arriving(&root, &copy, &Ignore, &coming)
        });
        assert!(matches!(error, Err(StoreError::Missing(_))), "{error:?}");
        let left: Vec<_> = fs::read_dir(to.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["store"], "after {most} blocks");
    }
}

/// Everything may be here and written while it is not known yet whether it stays.
#[test]
fn nothing_appears_before_the_end_is_known() {
    struct Stop;
    impl Observer for Stop {
        fn progress(&self, _progress: &Progress) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let coming = Coming::default();
    let copy = bench.path("copy");
    std::thread::scope(|scope| {
        let extraction =
            scope.spawn(|| bench.store.extract_arriving(&root, &copy, &Ignore, &coming));
        for _ in 0..1_000 {
            std::thread::yield_now();
            assert!(!copy.exists());
        }
        assert!(!extraction.is_finished());
        coming.change(|state| state.end = Some(false));
        assert!(extraction.join().unwrap().is_err());
    });
    assert!(!copy.exists());
    let stopped = bench.store.extract_arriving(&root, &copy, &Stop, &coming);
    assert!(matches!(stopped, Err(StoreError::Cancelled)));
    coming.change(|state| state.end = Some(true));
    bench
        .store
        .extract_arriving(&root, &copy, &Ignore, &coming)
        .unwrap();
    assert_eq!(snapshot(&copy), snapshot(&bench.path("tree")));
}
