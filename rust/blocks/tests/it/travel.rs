//! Blocks that travel as deltas from store to store.

use std::fs;
use std::path::{Path, PathBuf};

use hypermesh_blocks::record::CODEC_DELTA;
use hypermesh_blocks::{
    Closure, Ignore, IngestError, Ingested, RootInfo, Sent, Store, StoreOptions, Wanted, codec,
    limits,
};
use hypermesh_id::{BlockId, Root};
use proptest::prelude::*;

use crate::delta::{text, whole_only};
use crate::tree::{Bench, fetch, noise, snapshot};

/// What a fetch moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    whole: u64,
    whole_bytes: u64,
    deltas: u64,
    delta_bytes: u64,
    named: u64,
}

impl Moved {
    /// Bytes of blocks and of the names of their bases.
    fn bytes(&self) -> u64 {
        self.whole_bytes + self.delta_bytes + 32 * self.named
    }
}

/// As [`fetch`]; blocks may come as deltas.
fn fetch_beside(from: &Store, to: &Store, mut closure: Closure) -> Moved {
    let mut moved = Moved::default();
    loop {
        match closure.poll(to, 64).unwrap() {
            Wanted::Done => return moved,
            Wanted::Waiting => unreachable!("every block was handed in, and yet it waits"),
            Wanted::Blocks(blocks) => {
                for block in blocks {
                    let bases = closure.bases(to, &block.id);
                    assert!(bases.len() <= limits::COUNTERPARTS_MAX);
                    assert!(bases.iter().all(|base| to.contains(base)));
                    moved.named += bases.len() as u64;
                    let mut work = u64::MAX;
                    let sent = from.read_against(&block.id, &bases, &mut work).unwrap();
                    match sent.unwrap() {
                        Sent::Whole(stored) => {
                            moved.whole += 1;
                            moved.whole_bytes += stored.bytes.len() as u64;
                            to.ingest(&block.id, stored).unwrap();
                        }
                        Sent::Delta {
                            base,
                            raw_len,
                            frame,
                        } => {
                            moved.deltas += 1;
                            moved.delta_bytes += frame.len() as u64;
                            to.ingest_delta(
                                &block.id,
                                &bases[base],
                                (raw_len, &frame),
                                &mut |_, _| {},
                            )
                            .unwrap();
                        }
                    }
                    closure.received(&block.id);
                }
            }
        }
    }
}

/// Fetches a root whole, and records it.
fn first(from: &Store, to: &Store, root: Root) {
    fetch(from, to, Closure::new(root));
    record(to, root);
}

fn record(to: &Store, root: Root) {
    let info = RootInfo {
        complete: true,
        pin: true,
        source: Vec::new(),
    };
    to.record_root(&root, info).unwrap();
}

/// Fetches what a copy of the tree became, beside some roots, and compares.
fn second(from: &Bench, to: &Bench, name: &str, older: Vec<Root>) -> Moved {
    let root = from.put(name).root;
    let moved = fetch_beside(
        &from.store,
        &to.store,
        Closure::new(root).beside(older.clone()),
    );
    record(&to.store, root);
    let copy = to.path("copy");
    to.store.extract(&root, &copy, &Ignore).unwrap();
    assert_eq!(snapshot(&from.path(name)), snapshot(&copy), "{name}");
    crate::extract::remove(&copy);
    // Whatever is wrong is counted.
    let report = to.store.fsck(&Ignore, &mut |_| {}, None);
    assert_eq!(report.unwrap().bad_blocks, 0);
    moved
}

fn write_tree(path: &Path) {
    for directory in 0..6 {
        let at = path.join(format!("d{directory}"));
        fs::create_dir_all(&at).unwrap();
        for file in 0..60_u64 {
            let name = at.join(format!("file-{file}.rs"));
            fs::write(
                name,
                text(100 * directory + file, 2_000 + 100 * file as usize),
            )
            .unwrap();
        }
    }
    fs::write(path.join("large"), text(7_777, 3_000_000)).unwrap();
}

fn insert(path: &Path, at: usize, what: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len());
    bytes.splice(at..at, what.iter().copied());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_second_version_moves_little_more_than_what_changed() {
    for options in [StoreOptions::default(), whole_only()] {
        let (from, to) = (Bench::with(whole_only()), Bench::with(options));
        let tree = from.path("tree");
        write_tree(&tree);
        let old = from.put("tree").root;
        first(&from.store, &to.store, old);
        for number in [3, 20, 41] {
            insert(
                &tree.join(format!("d2/file-{number}.rs")),
                900,
                b"// a line\n",
            );
        }
        insert(&tree.join("large"), 1_400_000, b"// a line\n");
        let moved = second(&from, &to, "tree", vec![old]);
        // The root's block is too short for a delta; everything else is one, and all of them are short.
        assert_eq!(moved.whole, 1, "{moved:?}");
        assert!(moved.deltas >= 8, "{moved:?}");
        assert!(moved.bytes() < 200 * moved.deltas, "{moved:?}");
    }
}

#[test]
fn the_tree_that_is_most_alike_is_found_among_others() {
    let (from, to) = (Bench::with(whole_only()), Bench::new());
    let mut roots = Vec::new();
    for number in 0..8_u64 {
        let name = format!("other{number}");
        let at = from.path(&name);
        fs::create_dir_all(&at).unwrap();
        for file in 0..40_u64 {
            let bytes = text(9_000 + 100 * number + file, 3_000);
            fs::write(at.join(format!("f{file}")), bytes).unwrap();
        }
        roots.push(from.put(&name).root);
    }
    for root in &roots {
        first(&from.store, &to.store, *root);
    }
    insert(&from.path("other2/f7"), 1_000, b"// a line\n");
    roots.reverse();
    let moved = second(&from, &to, "other2", roots);
    // The root's block and an index of two parts are too short for deltas.
    assert_eq!((moved.whole, moved.deltas), (2, 2), "{moved:?}");
}

#[test]
fn what_was_renamed_and_edited_is_found_by_its_name() {
    let (from, to) = (Bench::with(whole_only()), Bench::new());
    let tree = from.path("tree");
    fs::create_dir_all(tree.join("library-1.2.3")).unwrap();
    for file in 0..20_u64 {
        let path = tree.join(format!("library-1.2.3/f{file}.rs"));
        fs::write(path, text(file, 9_000)).unwrap();
    }
    let old = from.put("tree").root;
    first(&from.store, &to.store, old);
    fs::rename(tree.join("library-1.2.3"), tree.join("library-1.3.0")).unwrap();
    for file in 0..20 {
        insert(
            &tree.join(format!("library-1.3.0/f{file}.rs")),
            4_000,
            b"// a line\n",
        );
    }
    let moved = second(&from, &to, "tree", vec![old]);
    // The root's block, its directory of one entry, and one of nothing but new ids.
    assert_eq!((moved.whole, moved.deltas), (3, 20), "{moved:?}");
}

#[test]
fn a_delta_that_is_stored_goes_out_as_it_lies_there() {
    let (from, to) = (Bench::new(), Bench::new());
    fs::create_dir(from.path("tree")).unwrap();
    fs::write(from.path("tree/f"), text(5, 14_000)).unwrap();
    let old = from.put("tree").root;
    first(&from.store, &to.store, old);
    insert(&from.path("tree/f"), 5_000, b"// a line\n");
    let deltas = from.store.stats().unwrap().deltas;
    let new = from.put("tree").root;
    assert!(from.store.stats().unwrap().deltas > deltas);
    let id = BlockId::of(&fs::read(from.path("tree/f")).unwrap()[..]);
    let base = BlockId::of(&text(5, 14_000)[..]);
    // No work may be done, and none is needed.
    let mut work = 0;
    let other = BlockId::of(b"other");
    let sent = from
        .store
        .read_against(&id, &[other, base], &mut work)
        .unwrap();
    assert!(
        matches!(sent, Some(Sent::Delta { base: 1, .. })),
        "{sent:?}"
    );
    // Of a base that was not named nothing is said.
    let sent = from.store.read_against(&id, &[other], &mut work).unwrap();
    assert!(matches!(sent, Some(Sent::Whole(_))), "{sent:?}");
    let moved = fetch_beside(&from.store, &to.store, Closure::new(new).beside(vec![old]));
    assert!(moved.deltas > 0);
}

#[test]
fn work_is_bounded_and_what_it_cost_is_taken() {
    let bench = Bench::with(whole_only());
    let (_, old_id, new, new_id, _) = made();
    put_file(&bench, "old", &text(3, 10_000));
    put_file(&bench, "new", &new);
    let cost = 10_000 + new.len() as u64;
    let read = |work: &mut u64| bench.store.read_against(&new_id, &[old_id], work).unwrap();
    let mut work = cost - 1;
    assert!(matches!(read(&mut work), Some(Sent::Whole(_))));
    assert_eq!(work, cost - 1);
    let mut work = cost + 5;
    assert!(matches!(read(&mut work), Some(Sent::Delta { .. })));
    assert_eq!(work, 5);
    let nowhere = bench
        .store
        .read_against(&BlockId([1; 32]), &[old_id], &mut work);
    assert_eq!(nowhere.unwrap(), None);
}

fn put_file(bench: &Bench, name: &str, bytes: &[u8]) -> Root {
    fs::write(bench.path(name), bytes).unwrap();
    bench.put(name).root
}

/// A delta of one text against another, and both ids.
fn made() -> (Vec<u8>, BlockId, Vec<u8>, BlockId, Vec<u8>) {
    let old = text(3, 10_000);
    let mut new = old.clone();
    new.splice(4_000..4_000, *b"// a line\n");
    let (old_id, new_id) = (BlockId::of(&old), BlockId::of(&new));
    let frame = {
        let bench = Bench::with(whole_only());
        put_file(&bench, "old", &old);
        put_file(&bench, "new", &new);
        let mut work = u64::MAX;
        match bench.store.read_against(&new_id, &[old_id], &mut work) {
            Ok(Some(Sent::Delta { frame, .. })) => frame.to_vec(),
            other => unreachable!("no delta: {other:?}"),
        }
    };
    (old, old_id, new, new_id, frame)
}

#[test]
fn a_delta_that_lies_is_refused_and_one_without_its_base_is_asked_again() {
    let (old, old_id, new, new_id, frame) = made();
    let bench = Bench::new();
    let length = new.len() as u32;
    let take = |base: &BlockId, raw_len: u32, frame: &[u8]| {
        bench
            .store
            .ingest_delta(&new_id, base, (raw_len, frame), &mut |id, raw| {
                assert_eq!(BlockId::of(raw), *id);
            })
    };
    // The base is not here.
    let gone = take(&old_id, length, &frame);
    assert!(
        matches!(gone, Err(IngestError::NoBase { base, .. }) if base == old_id),
        "{gone:?}"
    );
    put_file(&bench, "old", &old);
    put_file(&bench, "other", &text(4, 10_000));
    let other = BlockId::of(&text(4, 10_000));
    let mut flipped = frame.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let whole = zstd::bulk::compress(&noise(1, 9_000), 3).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 200_000_000], 3).unwrap();
    for (base, raw_len, frame) in [
        (&other, length, &frame[..]),
        (&old_id, length - 1, &frame),
        (&old_id, length + 1, &frame),
        (&old_id, 0, &frame),
        (&old_id, u32::MAX, &frame),
        (&old_id, limits::BLOCK_BYTES_MAX as u32, &bomb),
        (&old_id, length, &frame[..frame.len() / 2]),
        (&old_id, length, &[]),
        (&old_id, length, &flipped),
        (&old_id, length, &whole),
        (&old_id, length, &noise(2, 5_000)),
        (&old_id, 64, &noise(2, 63)),
    ] {
        let taken = take(base, raw_len, frame);
        assert!(
            matches!(taken, Err(IngestError::Mismatch { .. })),
            "{taken:?}"
        );
        assert!(!bench.store.contains(&new_id));
    }
    assert_eq!(take(&old_id, length, &frame).unwrap(), Ingested::New);
    assert_eq!(take(&old_id, length, &frame).unwrap(), Ingested::Present);
    assert_eq!(bench.store.read(&new_id).unwrap().unwrap(), new);
    // It is kept as what it came as, and its base with it.
    assert_eq!(bench.store.stats().unwrap().deltas, 1);
}

#[test]
fn a_damaged_base_is_none() {
    use std::os::unix::fs::FileExt;
    let (old, old_id, new, new_id, frame) = made();
    let bench = Bench::new();
    put_file(&bench, "old", &old);
    let segment = bench.path("store/segments/00000000.seg");
    let segment = if segment.exists() {
        segment
    } else {
        bench.path("store/segments/00000001.seg")
    };
    let length = fs::metadata(&segment).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    // The first record's bytes begin behind its header.
    file.write_all_at(&noise(3, 200), 56 + 100).unwrap();
    assert!(length > 400);
    let taken =
        bench
            .store
            .ingest_delta(&new_id, &old_id, (new.len() as u32, &frame), &mut |_, _| {});
    assert!(
        matches!(taken, Err(IngestError::NoBase { .. })),
        "{taken:?}"
    );
    // A source with a damaged base sends the block whole.
    let mut work = u64::MAX;
    assert_eq!(
        bench
            .store
            .read_against(&old_id, &[new_id], &mut work)
            .unwrap(),
        None
    );
}

#[test]
fn chains_stay_short_however_many_versions_come() {
    let (from, to) = (Bench::with(whole_only()), Bench::new());
    let tree = from.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), text(1, 12_000)).unwrap();
    let mut old = from.put("tree").root;
    first(&from.store, &to.store, old);
    let mut all = Vec::new();
    for version in 0..9 {
        insert(&tree.join("f"), 1_000 * version, b"// a line\n");
        all.push(fs::read(tree.join("f")).unwrap());
        second(&from, &to, "tree", vec![old]);
        old = from.put("tree").root;
    }
    let to = to.reopen(StoreOptions::default());
    for version in &all {
        let id = BlockId::of(version);
        assert_eq!(to.store.read(&id).unwrap().unwrap(), version[..]);
    }
    crate::delta::no_chain_is_too_long(&to);
}

#[test]
fn what_the_codec_says_is_what_travels() {
    let (old, _, new, new_id, frame) = made();
    let stored = [&BlockId::of(&old).0, &frame[..]].concat();
    let raw = codec::restore_checked(&new_id, CODEC_DELTA, new.len() as u32, &stored, Some(&old));
    assert_eq!(raw.unwrap(), new);
}

/// A small generator of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }
}

fn random_file(choices: &mut Choices) -> Vec<u8> {
    let length = match choices.below(8) {
        0 => 0,
        1 => 300_000 + choices.below(300_000),
        _ => choices.below(12_000),
    };
    match choices.below(6) {
        0 => noise(choices.below(1_000) as u64, length),
        1 => vec![0; length],
        _ => text(choices.below(1_000) as u64, length),
    }
}

fn grow(choices: &mut Choices, path: &Path, depth: usize) {
    fs::create_dir_all(path).unwrap();
    let names = if depth == 0 && choices.below(3) == 0 {
        200
    } else {
        12
    };
    for _ in 0..choices.below(names) {
        let at = path.join(format!("n{}", choices.below(3 * names)));
        if at.symlink_metadata().is_ok() {
            continue;
        }
        match choices.below(8) {
            0 if depth < 3 => grow(choices, &at, depth + 1),
            1 => std::os::unix::fs::symlink("somewhere", &at).unwrap(),
            _ if names > 100 => fs::write(at, text(choices.below(50) as u64, 30)).unwrap(),
            _ => fs::write(at, random_file(choices)).unwrap(),
        }
    }
}

fn everything(path: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        if entry.symlink_metadata().unwrap().is_dir() {
            everything(&entry, into);
        }
        into.push(entry);
    }
}

fn edit(choices: &mut Choices, tree: &Path) {
    let mut all = Vec::new();
    everything(tree, &mut all);
    if all.is_empty() {
        return fs::write(tree.join("new"), random_file(choices)).unwrap();
    }
    let at = &all[choices.below(all.len())];
    let meta = at.symlink_metadata().unwrap();
    match choices.below(6) {
        0 if meta.is_dir() => fs::remove_dir_all(at).unwrap(),
        0 => fs::remove_file(at).unwrap(),
        1 => {
            let to = at.with_file_name(format!("r{}", choices.below(100)));
            if to.symlink_metadata().is_err() {
                fs::rename(at, to).unwrap();
            }
        }
        2 if meta.is_dir() => grow(choices, &at.join("added"), 3),
        _ if meta.is_file() => {
            let mut bytes = fs::read(at).unwrap();
            for _ in 0..1 + choices.below(4) {
                let from = choices.below(bytes.len() + 1);
                let to = (from + choices.below(400)).min(bytes.len());
                let what = text(choices.below(1_000) as u64, choices.below(500));
                bytes.splice(from..to, what);
            }
            fs::write(at, bytes).unwrap();
        }
        _ => fs::write(
            tree.join(format!("w{}", choices.below(50))),
            random_file(choices),
        )
        .unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn changed_deltas_bring_nothing_but_the_block(
        raw_len in prop_oneof![Just(10_010_u32), any::<u32>()],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let (old, old_id, new, new_id, mut frame) = made();
        let bench = Bench::new();
        put_file(&bench, "old", &old);
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(frame.len().saturating_sub(cut.index(40)));
        match bench.store.ingest_delta(&new_id, &old_id, (raw_len, &frame), &mut |_, _| {}) {
            Ok(_) => assert_eq!(bench.store.read(&new_id).unwrap().unwrap(), new),
            Err(IngestError::Mismatch { .. }) => assert!(!bench.store.contains(&new_id)),
            Err(other) => unreachable!("{other}"),
        }
    }

    #[test]
    fn trees_that_were_edited_arrive_as_they_are(seed: u64, from_deltas: bool, to_deltas: bool) {
        let options = |deltas| StoreOptions { deltas, ..StoreOptions::default() };
        let (from, to) = (Bench::with(options(from_deltas)), Bench::with(options(to_deltas)));
        let mut choices = Choices(seed);
        let tree = from.path("tree");
        grow(&mut choices, &tree, 0);
        let mut older = vec![from.put("tree").root];
        first(&from.store, &to.store, older[0]);
        for _ in 0..3 {
            for _ in 0..1 + choices.below(6) {
                edit(&mut choices, &tree);
            }
            second(&from, &to, "tree", older.clone());
            older.insert(0, from.put("tree").root);
        }
    }
}
