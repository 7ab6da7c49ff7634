//! The metadata database: lost, damaged, made anew.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use hypermesh_blocks::{
    Closure, Ignore, PutOptions, RebuildReport, RootInfo, Store, StoreError, StoreOptions, Wanted,
};

use crate::tree::{Bench, make_mixed, noise, snapshot};

/// What is done to the bytes of a database.
type Damage = dyn Fn(&mut Vec<u8>);

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: Some(300_000),
        ..StoreOptions::default()
    }
}

/// Closes the store and leaves the directory.
fn close(bench: Bench) -> tempfile::TempDir {
    let Bench { dir, store } = bench;
    drop(store);
    dir
}

fn open(dir: &tempfile::TempDir) -> Result<Store, StoreError> {
    Store::open(&dir.path().join("store"), options())
}

fn rebuild(dir: &tempfile::TempDir) -> RebuildReport {
    Store::rebuild(&dir.path().join("store"), options(), &Ignore).unwrap()
}

fn meta(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("store/meta.redb")
}

fn refused(dir: &tempfile::TempDir) {
    let error = open(dir).unwrap_err();
    assert!(
        matches!(error, StoreError::MetadataDamaged { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("fsck --rebuild"), "{error}");
}

#[test]
fn a_lost_database_is_no_empty_store_and_is_made_anew() {
    let bench = Bench::with(options());
    make_mixed(&bench.path("tree"));
    fs::write(bench.path("loose"), noise(7, 200_000)).unwrap();
    let pinned = bench.put("tree").root;
    let loose = bench.store.put(
        &bench.path("loose"),
        PutOptions {
            pin: false,
            ..PutOptions::default()
        },
        &Ignore,
    );
    let loose = loose.unwrap().root;
    // An unfinished get of another tree.
    let other = Bench::new();
    fs::create_dir(other.path("tree")).unwrap();
    fs::write(other.path("tree/file"), noise(8, 500_000)).unwrap();
    let partly = other.put("tree").root;
    let mut closure = Closure::new(partly);
    for _ in 0..3 {
        let Wanted::Blocks(blocks) = closure.poll(&bench.store, 1).unwrap() else {
            unreachable!("it wants more");
        };
        let id = blocks[0].id;
        let block = other.store.read_stored(&id).unwrap().unwrap();
        bench.store.ingest(&id, block).unwrap();
        closure.received(&id);
    }
    bench
        .store
        .record_root(&partly, RootInfo::default())
        .unwrap();
    let blocks = bench.store.stats().unwrap().blocks;
    let dir = close(bench);
    fs::remove_file(meta(&dir)).unwrap();
    for _ in 0..2 {
        refused(&dir);
        assert!(!meta(&dir).exists());
    }
    let report = rebuild(&dir);
    assert_eq!(
        (report.needed, report.whole, report.partly),
        (true, 2, 1),
        "{report:?}"
    );
    assert_eq!(report.set_aside, None);
    let store = open(&dir).unwrap();
    assert_eq!(store.stats().unwrap().blocks, blocks);
    for (root, complete) in [(pinned, true), (loose, true), (partly, false)] {
        let record = store.root(&root).unwrap().unwrap();
        assert_eq!((record.pinned, record.complete), (true, complete));
    }
    // Nothing that was found is collected until it is unpinned.
    assert_eq!(store.gc(false, &Ignore).unwrap().removed_blocks, 0);
    store
        .extract(&pinned, &dir.path().join("copy"), &Ignore)
        .unwrap();
    assert_eq!(
        snapshot(&dir.path().join("tree")),
        snapshot(&dir.path().join("copy"))
    );
    store.unpin(&partly).unwrap();
    assert_eq!(store.gc(false, &Ignore).unwrap().removed_blocks, 3);
    drop(store);
    assert_eq!(rebuild(&dir), RebuildReport::default());
    assert_eq!(open(&dir).unwrap().roots().unwrap().len(), 2);
}

#[test]
fn a_damaged_database_is_an_error_and_is_made_anew() {
    let bench = Bench::with(options());
    fs::write(bench.path("file"), noise(1, 700_000)).unwrap();
    for number in 0..40 {
        let name = number.to_string();
        fs::write(bench.path(&name), noise(number, 100)).unwrap();
        bench.put(&name);
    }
    let root = bench.put("file").root;
    let dir = close(bench);
    let whole = fs::read(meta(&dir)).unwrap();
    let damage: [&Damage; 6] = [
        &|bytes| bytes.clear(),
        &|bytes| bytes.truncate(bytes.len() / 2),
        &|bytes| bytes.fill(0),
        &|bytes| bytes[..16_384].fill(0xa5),
        &|bytes| bytes[4_096..].fill(0x5a),
        &|bytes| {
            let noise = noise(9, bytes.len() - 4_096);
            bytes[4_096..].copy_from_slice(&noise);
        },
    ];
    for (number, damage) in damage.iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(meta(&dir), &bytes).unwrap();
        refused(&dir);
        let report = rebuild(&dir);
        assert_eq!((report.whole, report.partly), (41, 0), "damage {number}");
        assert_eq!(fs::read(report.set_aside.unwrap()).unwrap(), bytes);
        let store = open(&dir).unwrap();
        assert!(store.root(&root).unwrap().unwrap().pinned);
        assert_eq!(store.gc(false, &Ignore).unwrap().removed_blocks, 0);
    }
}

/// Wherever 16 KiB of it are overwritten: an error or no harm, never a panic and never fewer roots.
#[test]
fn no_stretch_of_damage_panics_or_loses_a_root() {
    let bench = Bench::with(options());
    for number in 0..40 {
        let name = number.to_string();
        fs::write(bench.path(&name), noise(number, 100)).unwrap();
        bench.put(&name);
    }
    let dir = close(bench);
    let whole = fs::read(meta(&dir)).unwrap();
    let mut refusals = 0;
    for at in (0..whole.len()).step_by(whole.len() / 24) {
        let mut bytes = whole.clone();
        let end = (at + 16_384).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise(at as u64, end - at));
        fs::write(meta(&dir), &bytes).unwrap();
        match open(&dir) {
            Ok(store) => assert_eq!(store.roots().unwrap().len(), 40, "damage at {at}"),
            Err(StoreError::MetadataDamaged { .. }) => refusals += 1,
            Err(other) => unreachable!("damage at {at}: {other}"),
        }
    }
    assert!(refusals > 0);
}

/// Under a store that is open, where nothing is checked again.
#[test]
fn damage_under_an_open_store_is_an_error() {
    let bench = Bench::with(options());
    for number in 0..40 {
        let name = number.to_string();
        fs::write(bench.path(&name), noise(number, 100)).unwrap();
        bench.put(&name);
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .open(bench.path("store/meta.redb"))
        .unwrap();
    let length = file.metadata().unwrap().len() as usize;
    file.write_all_at(&noise(3, length), 0).unwrap();
    fs::write(bench.path("more"), noise(77, 100)).unwrap();
    for _ in 0..3 {
        // From its cache it may answer for a while; it does not panic.
        let _ = bench.store.roots();
        let _ = bench
            .store
            .put(&bench.path("more"), PutOptions::default(), &Ignore);
    }
    let dir = close(bench);
    refused(&dir);
    assert!(rebuild(&dir).whole >= 40);
}

#[test]
fn its_files_are_its_owners_alone() {
    let bench = Bench::new();
    fs::write(bench.path("file"), noise(1, 1_000)).unwrap();
    bench.put("file");
    for name in ["meta.redb", "lock", "segments/00000000.seg"] {
        let mode = fs::metadata(bench.path("store").join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
}
