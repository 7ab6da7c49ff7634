use std::fs;

use hypermesh_blocks::{
    Ignore, IngestError, Outcome, Problem, Store, StoreError, StoreOptions, StoredBlock,
};
use hypermesh_id::BlockId;

use crate::tree::{Bench, noise, snapshot};

/// Flips a bit in the stored bytes of the record that holds `needle`.
fn damage(bench: &Bench, needle: &[u8]) {
    for entry in fs::read_dir(bench.path("store/segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let hit = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        if let Some(at) = hit.filter(|_| path.extension().is_some_and(|kind| kind == "seg")) {
            bytes[at + 3] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    unreachable!("the bytes are in no segment");
}

fn put_some(bench: &Bench) -> hypermesh_blocks::PutReport {
    fs::create_dir(bench.path("tree")).unwrap();
    for number in 0..20 {
        let name = bench.path("tree").join(number.to_string());
        fs::write(name, noise(number, 20_000)).unwrap();
    }
    bench.put("tree")
}

fn findings(
    store: &Store,
    repair: Option<&hypermesh_blocks::Repair<'_>>,
) -> (hypermesh_blocks::FsckReport, Vec<hypermesh_blocks::Finding>) {
    let mut found = Vec::new();
    let report = store
        .fsck(&Ignore, &mut |finding| found.push(finding), repair)
        .unwrap();
    (report, found)
}

#[test]
fn a_flipped_bit_is_named_and_healed() {
    let (good, bad) = (Bench::new(), Bench::new());
    put_some(&good);
    let root = put_some(&bad).root;
    let (clean, none) = findings(&bad.store, None);
    assert_eq!((clean.bad_blocks, none.len()), (0, 0));
    assert_eq!(clean.checked_blocks, bad.store.stats().unwrap().blocks);
    damage(&bad, &noise(7, 20_000)[..64]);
    let bad = bad.reopen(StoreOptions::default());
    let id = BlockId::of(&noise(7, 20_000));
    let (report, found) = findings(&bad.store, None);
    assert_eq!(
        (report.bad_blocks, report.healed_blocks, found.len()),
        (1, 0, 1)
    );
    assert_eq!((found[0].block, found[0].outcome), (id, Outcome::Found));
    assert!(matches!(found[0].problem, Problem::Damaged(_)));
    assert!(found[0].place.is_some());
    // It counts as absent: nothing wrong is written out.
    let result = bad.store.extract(&root, &bad.path("copy"), &Ignore);
    assert!(matches!(result, Err(StoreError::Missing(missing)) if missing == id));
    assert!(!bad.path("copy").exists());
    let repair = |id: &BlockId| good.store.read_stored(id).unwrap();
    let (report, found) = findings(&bad.store, Some(&repair));
    assert_eq!((report.bad_blocks, report.healed_blocks), (1, 1));
    assert_eq!(
        (found[0].problem, found[0].outcome),
        (Problem::Missing, Outcome::Healed)
    );
    bad.store
        .extract(&root, &bad.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bad.path("tree")), snapshot(&bad.path("copy")));
    // The healed copy wins over the damaged one after a reopen, too.
    let bad = bad.reopen(StoreOptions::default());
    assert_eq!(findings(&bad.store, None).0.bad_blocks, 0);
}

#[test]
fn a_damaged_block_is_an_error_once_and_then_absent() {
    let id = BlockId::of(&noise(3, 20_000));
    for served in [false, true] {
        let bench = Bench::new();
        put_some(&bench);
        damage(&bench, &noise(3, 20_000)[..64]);
        let result = if served {
            bench.store.read_stored(&id).map(drop)
        } else {
            bench.store.read(&id).map(drop)
        };
        assert!(matches!(result, Err(StoreError::Corrupt { block, .. }) if block == id));
        assert!(!bench.store.contains(&id));
        assert_eq!(bench.store.read(&id).unwrap(), None);
        // Putting the tree again heals it.
        assert_eq!(bench.put("tree").new_blocks, 1);
        assert!(bench.store.read(&id).unwrap().is_some());
    }
}

#[test]
fn a_manifest_that_is_damaged_is_fetched_again() {
    let (good, bad) = (Bench::new(), Bench::new());
    put_some(&good);
    let root = put_some(&bad).root;
    let at = good.store.read_stored(&root.0).unwrap().unwrap();
    damage(&bad, &at.bytes[..32]);
    let mut closure = hypermesh_blocks::Closure::new(root);
    let hypermesh_blocks::Wanted::Blocks(blocks) = closure.poll(&bad.store, 8).unwrap() else {
        unreachable!("the root is damaged")
    };
    assert_eq!(blocks[0].id, root.0);
    assert_eq!(
        crate::tree::fetch(
            &good.store,
            &bad.store,
            hypermesh_blocks::Closure::new(root)
        ),
        1
    );
}

#[test]
fn wrong_bytes_are_not_taken() {
    let bench = Bench::new();
    let bytes = noise(1, 5_000);
    let id = BlockId::of(&bytes);
    let compressed = zstd::bulk::compress(&vec![7; 5_000], 3).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 100 << 20], 3).unwrap();
    let wrong = [
        (0, 5_000, noise(2, 5_000)),
        (0, 4_999, bytes.clone()),
        (0, 0, Vec::new()),
        (1, 5_000, compressed),
        (1, 200_000, bomb),
        (1, 5_000, noise(3, 100)),
        (2, 5_000, bytes.clone()),
        (0, u32::MAX, bytes.clone()),
    ];
    for (codec, raw_len, stored) in wrong {
        let block = StoredBlock {
            codec,
            raw_len,
            bytes: stored.into(),
        };
        let result = bench.store.ingest(&id, block);
        assert!(matches!(result, Err(IngestError::Mismatch { block, .. }) if block == id));
    }
    assert_eq!(bench.store.stats().unwrap().stored_bytes, 0);
}

#[test]
fn a_put_does_not_acknowledge_a_damaged_block_again() {
    let bench = Bench::new();
    let first = put_some(&bench);
    damage(&bench, &noise(7, 20_000)[5_000..5_050]);
    let again = bench.put("tree");
    assert_eq!((again.root, again.new_blocks), (first.root, 1));
    assert_eq!(findings(&bench.store, None).0.bad_blocks, 0);
    bench
        .store
        .extract(&again.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
    assert_eq!(bench.put("tree").new_blocks, 0);
}
