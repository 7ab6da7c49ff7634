//! Blocks that are stored as deltas: found, read, kept, healed; and what a hostile store can do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hypermesh_blocks::record::{CODEC_DELTA, CODEC_RAW, HEADER_BYTES, Header};
use hypermesh_blocks::{
    Ignore, IngestError, Outcome, PutOptions, PutReport, StoreError, StoreOptions, StoredBlock,
    limits,
};
use hypermesh_id::BlockId;
use proptest::prelude::*;

use crate::tree::{Bench, fetch, noise, snapshot};

pub(crate) fn whole_only() -> StoreOptions {
    StoreOptions {
        deltas: false,
        ..StoreOptions::default()
    }
}

fn small_segments() -> StoreOptions {
    StoreOptions {
        segment_bytes: Some(60_000),
        ..StoreOptions::default()
    }
}

/// Text that compresses three to one or so, and differs between seeds.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = noise(seed, length / 6 + 1);
    let mut out = Vec::with_capacity(length + 16);
    for word in words.chunks_exact(2).cycle() {
        if out.len() >= length {
            break;
        }
        out.extend_from_slice(format!("let w{:02x} = {:02x}; ", word[0], word[1]).as_bytes());
        out.extend_from_slice(&out.len().to_string().into_bytes());
    }
    out.truncate(length);
    out
}

/// The text with a few lines of a version written into it.
fn version(seed: u64, length: usize, version: u64) -> Vec<u8> {
    let mut out = text(seed, length);
    for change in 0..version {
        let line = text(1_000 * seed + change, 80);
        let at = (change as usize * 4_099 + 700) % out.len();
        out.splice(at..at, line);
    }
    out
}

/// Writes a tree of one version.
fn tree(path: &Path, number: u64) {
    fs::create_dir_all(path).unwrap();
    for file in 0..12 {
        let length = 3_000 + 2_500 * file as usize;
        fs::write(path.join(format!("f{file}")), version(file, length, number)).unwrap();
    }
    // One that grows past a chunk.
    fs::write(path.join("large"), version(99, 200_000, number)).unwrap();
}

fn put_versions(bench: &Bench, versions: std::ops::Range<u64>) -> Vec<PutReport> {
    versions
        .map(|number| {
            let name = format!("v{number}");
            tree(&bench.path(&name), number);
            bench.put(&name)
        })
        .collect()
}

/// Extracts a version and compares it with what was put.
fn check(bench: &Bench, report: &PutReport, name: &str) {
    let copy = bench.path("copy");
    bench.store.extract(&report.root, &copy, &Ignore).unwrap();
    assert_eq!(snapshot(&bench.path(name)), snapshot(&copy), "{name}");
    crate::extract::remove(&copy);
}

/// The records of a store, in the order they lie there: header, base, place of the stored bytes.
fn records(bench: &Bench) -> Vec<(Header, Option<BlockId>, std::path::PathBuf, usize)> {
    let mut names: Vec<_> = fs::read_dir(bench.path("store/segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect();
    names.sort();
    let mut found = Vec::new();
    for path in names {
        let bytes = fs::read(&path).unwrap();
        let mut at = 0;
        while let Some(header) = bytes.get(at..).and_then(Header::decode) {
            let stored = &bytes[at + HEADER_BYTES..];
            let base = hypermesh_blocks::record::base_of(header.codec, stored);
            found.push((header, base, path.clone(), at + HEADER_BYTES));
            at += HEADER_BYTES + header.stored_len as usize;
        }
    }
    found
}

/// No delta stands on more than two others.
pub(crate) fn no_chain_is_too_long(bench: &Bench) {
    let bases: BTreeMap<BlockId, BlockId> = records(bench)
        .into_iter()
        .filter_map(|(header, base, _, _)| Some((header.id, base?)))
        .collect();
    assert!(!bases.is_empty());
    for id in bases.keys() {
        let chain = std::iter::successors(bases.get(id), |base| bases.get(base));
        assert!(chain.count() <= limits::DELTA_DEPTH_MAX);
    }
}

#[test]
fn versions_are_stored_as_deltas_and_read_as_they_were() {
    let bench = Bench::new();
    let reports = put_versions(&bench, 0..8);
    let stats = bench.store.stats().unwrap();
    assert!(stats.deltas > 60, "{stats:?}");
    assert!(stats.sketches_bytes > 0);
    for report in &reports[1..] {
        assert!(report.new_stored_bytes * 4 < reports[0].new_stored_bytes);
    }
    no_chain_is_too_long(&bench);
    // Opened again, the lists of sealed segments and the records say the same.
    let bench = bench.reopen(StoreOptions::default());
    assert_eq!(bench.store.stats().unwrap().deltas, stats.deltas);
    for (number, report) in reports.iter().enumerate() {
        check(&bench, report, &format!("v{number}"));
    }
    // Without the switch too, but then nothing new becomes a delta.
    let bench = bench.reopen(whole_only());
    check(&bench, &reports[5], "v5");
    put_versions(&bench, 8..9);
    let after = bench.store.stats().unwrap();
    assert_eq!((after.deltas, after.sketches_bytes), (stats.deltas, 0));
}

#[test]
fn sketches_outlive_the_process() {
    let bench = Bench::with(small_segments());
    put_versions(&bench, 0..1);
    let bench = bench.reopen(small_segments());
    put_versions(&bench, 1..2);
    assert!(bench.store.stats().unwrap().deltas >= 12);
    // A store that was made without them gets them from a check, which reads everything anyway.
    let old = Bench::with(whole_only());
    put_versions(&old, 0..1);
    let old = old.reopen(StoreOptions::default());
    put_versions(&old, 1..2);
    assert!(old.store.stats().unwrap().deltas < 12);
    old.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
    let old = old.reopen(StoreOptions::default());
    put_versions(&old, 2..3);
    assert!(old.store.stats().unwrap().deltas >= 12);
}

#[test]
fn peers_get_whole_blocks() {
    let (from, to) = (Bench::new(), Bench::new());
    let reports = put_versions(&from, 0..3);
    for (number, report) in reports.iter().enumerate() {
        fetch(
            &from.store,
            &to.store,
            hypermesh_blocks::Closure::new(report.root),
        );
        to.store.sync().unwrap();
        let copy = to.path("copy");
        to.store.extract(&report.root, &copy, &Ignore).unwrap();
        assert_eq!(snapshot(&from.path(&format!("v{number}"))), snapshot(&copy));
        crate::extract::remove(&copy);
    }
    assert_eq!(to.store.stats().unwrap().deltas, 0);
}

#[test]
fn gc_keeps_what_deltas_stand_on() {
    let bench = Bench::with(small_segments());
    let reports = put_versions(&bench, 0..4);
    for report in &reports[..3] {
        bench.store.unpin(&report.root).unwrap();
    }
    let report = bench.store.gc(false, &Ignore).unwrap();
    assert!(report.removed_blocks > 0 && report.kept_blocks > reports[3].new_blocks);
    check(&bench, &reports[3], "v3");
    let bench = bench.reopen(small_segments());
    check(&bench, &reports[3], "v3");
    let fsck = bench.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
    assert_eq!(fsck.bad_blocks, 0);
    // With the last delta the bases go too.
    bench.store.unpin(&reports[3].root).unwrap();
    bench.store.gc(false, &Ignore).unwrap();
    let empty = bench.store.stats().unwrap();
    assert_eq!((empty.blocks, empty.deltas), (0, 0));
    // What was forgotten is no base any more.
    let again = bench.put("v3");
    check(&bench, &again, "v3");
}

/// Flips a bit in the stored bytes of the record of a block.
fn damage(bench: &Bench, id: BlockId) {
    let (header, _, path, at) = records(bench)
        .into_iter()
        .find(|(header, ..)| header.id == id)
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[at + header.stored_len as usize - 5] ^= 0x10;
    fs::write(&path, bytes).unwrap();
}

/// A whole block, a delta on it, and a delta on that one.
fn chain(bench: &Bench) -> [BlockId; 3] {
    let bases: BTreeMap<BlockId, BlockId> = records(bench)
        .into_iter()
        .filter_map(|(header, base, _, _)| Some((header.id, base?)))
        .collect();
    let top = bases.keys().find_map(|id| {
        let middle = bases.get(id)?;
        Some([*bases.get(middle)?, *middle, *id])
    });
    top.unwrap()
}

#[test]
fn a_damaged_base_is_named_and_takes_its_deltas_along_until_it_is_healed() {
    let (good, bad) = (Bench::new(), Bench::new());
    for bench in [&good, &bad] {
        put_versions(bench, 0..4);
    }
    let [base, middle, top] = chain(&bad);
    damage(&bad, base);
    assert!(matches!(
        bad.store.read(&top),
        Err(StoreError::Corrupt { block, .. }) if block == top
    ));
    // All that stood on it counts as absent at once: a put or get brings it again.
    for id in [base, middle, top] {
        assert!(!bad.store.contains(&id));
        assert!(bad.store.read(&id).unwrap().is_none());
    }
    for number in (0..4).rev() {
        let report = bad.put(&format!("v{number}"));
        check(&bad, &report, &format!("v{number}"));
    }
    let bad = bad.reopen(StoreOptions::default());
    assert!(
        [base, middle, top]
            .iter()
            .all(|id| bad.store.read(id).unwrap().is_some())
    );
    // The same with a check that heals from a peer: everything in one go, read before or not.
    let [base, middle, top] = chain(&good);
    let (sound, report) = (bad, good.store.roots().unwrap());
    damage(&good, base);
    let mut outcomes = Vec::new();
    let repair = |id: &BlockId| sound.store.read_stored(id).unwrap();
    good.store
        .fsck(
            &Ignore,
            &mut |finding| outcomes.push(finding),
            Some(&repair),
        )
        .unwrap();
    assert!(outcomes.iter().any(|finding| finding.block == base));
    assert!(
        outcomes
            .iter()
            .all(|finding| finding.outcome == Outcome::Healed)
    );
    assert!(
        [base, middle, top]
            .iter()
            .all(|id| good.store.read(id).unwrap().is_some())
    );
    let clean = good.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
    assert_eq!(clean.bad_blocks, 0);
    for root in report {
        good.store
            .extract(&root.root, &good.path("copy"), &Ignore)
            .unwrap();
        crate::extract::remove(&good.path("copy"));
    }
}

#[test]
fn a_put_trusts_no_delta_whose_base_rotted() {
    let bench = Bench::new();
    put_versions(&bench, 0..4);
    // Seen by nobody yet, and the versions put again name the deltas on it before the base itself.
    damage(&bench, chain(&bench)[0]);
    for number in (1..4).rev() {
        let report = bench.put(&format!("v{number}"));
        check(&bench, &report, &format!("v{number}"));
    }
    let bench = bench.reopen(StoreOptions::default());
    for number in 1..4 {
        let report = bench.put(&format!("v{number}"));
        assert_eq!(report.new_blocks, 0);
        check(&bench, &report, &format!("v{number}"));
    }
}

#[test]
fn torn_anywhere_nothing_dangles() {
    let bench = Bench::new();
    let first = put_versions(&bench, 0..2);
    let segment = bench.path("store/segments/00000000.seg");
    let before = fs::metadata(&segment).unwrap().len();
    put_versions(&bench, 2..4);
    let whole = fs::read(&segment).unwrap();
    let mut bench = bench;
    let step = (whole.len() as u64 - before) / 40;
    for length in (before..whole.len() as u64).step_by(step as usize) {
        fs::write(&segment, &whole[..length as usize]).unwrap();
        bench = bench.reopen(StoreOptions::default());
        // Every block that counts as here can be read.
        for (header, ..) in records(&bench) {
            assert!(
                bench.store.read(&header.id).unwrap().is_some(),
                "torn at {length}"
            );
        }
        check(&bench, &first[1], "v1");
    }
    let again = bench.put("v3");
    check(&bench, &again, "v3");
}

/// A store whose only segment is made by hand.
fn forged(blocks: &[(BlockId, u8, u32, Vec<u8>)]) -> Bench {
    let bench = Bench::new();
    let mut segment = Vec::new();
    for (id, codec, raw_len, stored) in blocks {
        let header = Header {
            codec: *codec,
            raw_len: *raw_len,
            stored_len: stored.len() as u32,
            id: *id,
            stored_crc: crc32fast::hash(stored),
        };
        segment.extend_from_slice(&header.encode());
        segment.extend_from_slice(stored);
    }
    fs::write(bench.path("store/segments/00000000.seg"), segment).unwrap();
    bench.reopen(StoreOptions::default())
}

fn forged_delta(id: [u8; 32], base: [u8; 32]) -> (BlockId, u8, u32, Vec<u8>) {
    let mut stored = base.to_vec();
    stored.extend_from_slice(&noise(3, 40));
    (BlockId(id), CODEC_DELTA, 5_000, stored)
}

#[test]
fn chains_that_never_end_are_cut() {
    // In a circle, on nothing, and a thousand deep.
    let circle = [
        forged_delta([1; 32], [2; 32]),
        forged_delta([2; 32], [1; 32]),
    ];
    let bench = forged(&circle);
    assert_eq!(bench.store.stats().unwrap().blocks, 0);
    assert!(bench.store.read(&BlockId([1; 32])).unwrap().is_none());
    let bench = forged(&[forged_delta([3; 32], [4; 32])]);
    assert!(!bench.store.contains(&BlockId([3; 32])));
    let number = |number: u16| {
        let mut id = [7; 32];
        id[..2].copy_from_slice(&number.to_le_bytes());
        id
    };
    let bytes = noise(1, 900);
    let bottom = BlockId::of(&bytes);
    let mut deep = vec![(bottom, CODEC_RAW, 900, bytes)];
    deep.push(forged_delta(number(1), bottom.0));
    deep.extend((2..1_000).map(|at| forged_delta(number(at), number(at - 1))));
    let bench = forged(&deep);
    assert!(bench.store.read(&bottom).unwrap().is_some());
    assert!(bench.store.stats().unwrap().deltas <= limits::DELTA_CHAIN_MAX as u64);
    // What is left is nonsense, and is said to be.
    assert!(bench.store.read(&BlockId(number(1))).is_err());
    assert_eq!(bench.store.stats().unwrap().deltas, 0);
}

#[test]
fn nobody_hands_in_a_delta() {
    let bench = Bench::new();
    let bytes = [&[1; 32][..], &noise(1, 50)].concat();
    let block = StoredBlock {
        codec: CODEC_DELTA,
        raw_len: 5_000,
        bytes: bytes.into(),
    };
    let refused = bench.store.ingest(&BlockId([9; 32]), block);
    assert!(matches!(refused, Err(IngestError::Mismatch { .. })));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Unpin(u64),
    Gc,
    Reopen,
    /// Damages the n-th record, then checks: what is lost is put again.
    Damage(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_u64).prop_map(Step::Put),
        2 => (0..6_u64).prop_map(Step::Unpin),
        1 => Just(Step::Gc),
        1 => Just(Step::Reopen),
        1 => any::<prop::sample::Index>().prop_map(Step::Damage),
    ];
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn whatever_happens_pinned_versions_are_whole(steps in steps()) {
        let mut bench = Bench::with(small_segments());
        let mut pinned: BTreeMap<u64, PutReport> = BTreeMap::new();
        (0..6).for_each(|number| tree(&bench.path(&format!("v{number}")), number));
        for step in steps {
            match step {
                Step::Put(number) => {
                    let path = bench.path(&format!("v{number}"));
                    let report = bench.store.put(&path, PutOptions::default(), &Ignore).unwrap();
                    pinned.insert(number, report);
                }
                Step::Unpin(number) => {
                    if let Some(report) = pinned.remove(&number) {
                        bench.store.unpin(&report.root).unwrap();
                    }
                }
                Step::Gc => drop(bench.store.gc(false, &Ignore).unwrap()),
                Step::Reopen => bench = bench.reopen(small_segments()),
                Step::Damage(index) => {
                    let all = records(&bench);
                    if !all.is_empty() {
                        damage(&bench, all[index.index(all.len())].0.id);
                        bench.store.fsck(&Ignore, &mut |_| {}, None).unwrap();
                        for number in pinned.keys() {
                            bench.put(&format!("v{number}"));
                        }
                    }
                }
            }
            for (number, report) in &pinned {
                check(&bench, report, &format!("v{number}"));
            }
        }
    }
}
