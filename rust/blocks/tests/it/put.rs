use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use hypermesh_blocks::{DirectoryId, EntryKind, Ignore, PutOptions, StoreError, StoreOptions};
use proptest::prelude::*;

use crate::tree::{Bench, make_mixed, noise, snapshot};

#[test]
fn a_mixed_tree_comes_back_as_it_was() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let report = bench.put("tree");
    assert_eq!(
        (report.files, report.directories, report.symlinks),
        (9, 5, 2)
    );
    assert!(report.skipped.is_empty());
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
    // The same content has the same root, wherever it lies.
    let again = bench.put("copy");
    assert_eq!(again.root, report.root);
    assert_eq!(again.new_blocks, 0);
}

#[test]
fn what_was_put_is_there_after_a_reopen() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let report = bench.put("tree");
    let stats = bench.store.stats().unwrap();
    let bench = bench.reopen(StoreOptions::default());
    assert_eq!(bench.store.stats().unwrap().blocks, stats.blocks);
    assert_eq!(bench.store.stats().unwrap().live_bytes, stats.live_bytes);
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&bench.path("tree")), snapshot(&bench.path("copy")));
    let roots = bench.store.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert!(roots[0].pinned && roots[0].complete);
    assert_eq!(roots[0].content_bytes, report.content_bytes);
}

#[test]
fn a_single_file_and_a_link_to_it_have_one_root() {
    let bench = Bench::new();
    fs::write(bench.path("file"), noise(4, 700_000)).unwrap();
    symlink("file", bench.path("link")).unwrap();
    let report = bench.put("file");
    assert_eq!(bench.put("link").root, report.root);
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(fs::read(bench.path("copy")).unwrap(), noise(4, 700_000));
}

#[test]
fn pipes_and_sockets_are_left_out_and_named() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("tree/socket")).unwrap();
    fs::write(bench.path("tree/file"), b"x").unwrap();
    let report = bench.put("tree");
    assert_eq!(report.skipped, [bench.path("tree/socket")]);
    assert_eq!((report.files, report.skipped_count), (1, 1));
}

#[test]
fn a_directory_that_is_left_out_is_named_and_not_read() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("tree/own")).unwrap();
    fs::write(bench.path("tree/kept"), b"kept").unwrap();
    fs::write(bench.path("tree/own/identity.key"), b"secret").unwrap();
    let options = PutOptions {
        leave_out: Some(DirectoryId::of(&bench.path("tree/own")).unwrap()),
        ..PutOptions::default()
    };
    let report = bench
        .store
        .put(&bench.path("tree"), options, &Ignore)
        .unwrap();
    assert_eq!((report.files, report.directories), (1, 1));
    assert_eq!(report.skipped, [bench.path("tree/own")]);
}

#[test]
fn an_edit_stores_what_it_changed_and_little_more() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let mut large = noise(5, 32 << 20);
    fs::write(bench.path("tree/large"), &large).unwrap();
    for number in 0..2_000 {
        let name = bench.path("tree").join(format!("file {number:04}"));
        fs::write(name, noise(number, 100)).unwrap();
    }
    bench.put("tree");
    // One byte in the middle of the large file, and one small file.
    large.insert(16 << 20, 1);
    fs::write(bench.path("tree/large"), &large).unwrap();
    fs::write(bench.path("tree/file 1000"), b"other").unwrap();
    let second = bench.put("tree");
    // Chunks around the byte and index blocks of up to 11 kB above them.
    assert!(second.new_content_bytes < 3 * 256 * 1024, "{second:?}");
    assert!(second.new_blocks < 12, "{second:?}");
}

#[test]
fn the_quota_refuses_and_breaks_nothing() {
    let options = || StoreOptions {
        quota_bytes: Some(3 << 20),
        ..StoreOptions::default()
    };
    let bench = Bench::with(options());
    fs::write(bench.path("fits"), noise(6, 1 << 20)).unwrap();
    fs::write(bench.path("too large"), noise(7, 8 << 20)).unwrap();
    let fits = bench.put("fits");
    let result = bench
        .store
        .put(&bench.path("too large"), PutOptions::default(), &Ignore)
        .unwrap_err();
    assert!(
        matches!(
            result,
            StoreError::Quota {
                limit: 3_145_728,
                ..
            }
        ),
        "{result}"
    );
    let bench = bench.reopen(options());
    bench
        .store
        .extract(&fits.root, &bench.path("copy"), &Ignore)
        .unwrap();
    // gc gives the room of the half-done put back.
    bench.store.gc(false, &Ignore).unwrap();
    fs::write(bench.path("fits too"), noise(8, 1 << 20)).unwrap();
    bench.put("fits too");
    assert_eq!(fs::read(bench.path("copy")).unwrap(), noise(6, 1 << 20));
}

#[test]
fn a_put_that_stopped_goes_on_where_it_was() {
    let options = || StoreOptions {
        quota_bytes: Some(6 << 20),
        ..StoreOptions::default()
    };
    let bench = Bench::with(options());
    fs::write(bench.path("file"), noise(9, 10 << 20)).unwrap();
    let path = bench.path("file");
    assert!(
        bench
            .store
            .put(&path, PutOptions::default(), &Ignore)
            .is_err()
    );
    let kept = bench.store.stats().unwrap().live_bytes;
    assert!(kept > 4 << 20);
    let bench = bench.reopen(StoreOptions::default());
    let report = bench.put("file");
    assert!(
        report.new_stored_bytes + kept < (10 << 20) + 200_000,
        "{report:?}"
    );
}

#[test]
fn cancelling_ends_a_put() {
    struct Stop;
    impl hypermesh_blocks::Observer for Stop {
        fn progress(&self, _: &hypermesh_blocks::Progress) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let result = bench
        .store
        .put(&bench.path("tree"), PutOptions::default(), &Stop);
    assert!(matches!(result, Err(StoreError::Cancelled)));
    assert!(bench.store.roots().unwrap().is_empty());
}

/// Writes to a file whenever a put looks at its observer, a number of times.
struct Writer {
    path: std::path::PathBuf,
    times: std::sync::atomic::AtomicU32,
}

impl hypermesh_blocks::Observer for Writer {
    fn progress(&self, progress: &hypermesh_blocks::Progress) {
        let counts = progress.phase == hypermesh_blocks::Phase::Store;
        let take = |left: u32| left.checked_sub(1);
        use std::sync::atomic::Ordering::SeqCst;
        if counts && self.times.fetch_update(SeqCst, SeqCst, take).is_ok() {
            let file = fs::File::options().append(true).open(&self.path).unwrap();
            std::io::Write::write_all(&mut &file, b"more").unwrap();
        }
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_refused_if_it_never_rests() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    let path = bench.path("tree/log");
    fs::write(&path, noise(1, 300_000)).unwrap();
    let once = Writer {
        path: path.clone(),
        times: 1.into(),
    };
    let tree = bench.path("tree");
    let report = bench
        .store
        .put(&tree, PutOptions::default(), &once)
        .unwrap();
    assert_eq!((report.files, report.content_bytes), (1, 300_004));
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    assert_eq!(snapshot(&tree), snapshot(&bench.path("copy")));
    let always = Writer {
        path: path.clone(),
        times: u32::MAX.into(),
    };
    let error = bench
        .store
        .put(&tree, PutOptions::default(), &always)
        .unwrap_err();
    assert!(
        matches!(&error, StoreError::Changed { path: named } if *named == path),
        "{error}"
    );
}

#[test]
fn a_sparse_file_costs_its_data() {
    let bench = Bench::new();
    let file = fs::File::create(bench.path("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 3 << 30).unwrap();
    file.set_len((4 << 30) + 12_345).unwrap();
    drop(file);
    let report = bench.put("sparse");
    assert_eq!(report.content_bytes, (4 << 30) + 12_345);
    assert!(report.new_content_bytes < 200_000, "{report:?}");
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    let meta = fs::metadata(bench.path("copy")).unwrap();
    assert_eq!(meta.len(), (4 << 30) + 12_345);
    assert!(std::os::unix::fs::MetadataExt::blocks(&meta) < 1_000);
    let mut seen = Vec::new();
    bench
        .store
        .cat(&report.root, b"", (3 << 30) - 2, 10, &mut |part| {
            seen.extend_from_slice(&part);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, b"\0\0middle\0\0");
}

#[test]
fn lists_stats_and_cats() {
    let bench = Bench::new();
    make_mixed(&bench.path("tree"));
    let root = bench.put("tree").root;
    let list = |path: &[u8], recursive| {
        let mut found = Vec::new();
        bench.store.list(&root, path, recursive, &mut |entry| {
            found.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok::<_, StoreError>(found)
    };
    let all = list(b"", true).unwrap();
    assert_eq!(all.len(), snapshot(&bench.path("tree")).len() - 1);
    let names: Vec<_> = list(b"a/b", false)
        .unwrap()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    assert_eq!(names, [b"a/b/c".to_vec()]);
    assert!(matches!(
        list(b"a/nothing", false),
        Err(StoreError::NotFound(_))
    ));
    assert!(matches!(
        list(b"a/../a", false),
        Err(StoreError::NotFound(_))
    ));
    let stat = bench.store.stat(&root, b"/a//b/").unwrap();
    assert_eq!(
        (stat.entry.kind, stat.entry.mode),
        (EntryKind::Directory, 0o500)
    );
    assert_eq!(stat.local_permille, 1_000);
    let whole = fs::read(bench.path("tree/holed")).unwrap();
    for (offset, length) in [
        (0, 0),
        (1, 1),
        (199_999, 2),
        (500_000, 150_000),
        (670_000, 5),
    ] {
        let mut seen = Vec::new();
        bench
            .store
            .cat(&root, b"holed", offset, length, &mut |part| {
                seen.extend_from_slice(&part);
                ControlFlow::Continue(())
            })
            .unwrap();
        let from = whole.len().min(offset as usize);
        let to = if length == 0 {
            whole.len()
        } else {
            whole.len().min((offset + length) as usize)
        };
        assert_eq!(seen, &whole[from..to]);
    }
}

#[test]
fn a_full_index_is_an_error_and_breaks_nothing() {
    let tiny = || StoreOptions {
        index_bytes_max: 0,
        ..StoreOptions::default()
    };
    let bench = Bench::with(tiny());
    fs::write(bench.path("small"), noise(1, 100_000)).unwrap();
    let small = bench.put("small");
    let mut error = None;
    for number in 0..100_000_u64 {
        let bytes = number.to_le_bytes();
        let block = hypermesh_blocks::StoredBlock {
            codec: 0,
            raw_len: 8,
            bytes: bytes::Bytes::copy_from_slice(&bytes),
        };
        let id = hypermesh_id::BlockId::of(&bytes);
        if let Err(failed) = bench.store.ingest(&id, block) {
            error = Some(failed);
            break;
        }
    }
    let error = error.unwrap().to_string();
    assert!(error.contains("index"), "{error}");
    bench
        .store
        .extract(&small.root, &bench.path("copy"), &Ignore)
        .unwrap();
    let bench = bench.reopen(StoreOptions::default());
    bench
        .store
        .extract(&small.root, &bench.path("second copy"), &Ignore)
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_round_trips(
        files in proptest::collection::btree_map("[a-cA-Z0-9.]{1,3}x", (0_usize..200_000, any::<u64>()), 0..40),
        folders in proptest::collection::btree_set("[a-c]{1,2}", 0..5),
    ) {
        let bench = Bench::new();
        let tree = bench.path("tree");
        fs::create_dir(&tree).unwrap();
        let folders: Vec<_> = folders.into_iter().collect();
        for folder in &folders {
            fs::create_dir(tree.join(folder)).unwrap();
        }
        for (at, (name, (length, seed))) in files.iter().enumerate() {
            let mut bytes = noise(seed % 8, *length);
            // Some zeros, aligned or not.
            if seed % 3 == 0 {
                let from = length / 3;
                bytes[from..].fill(0);
            }
            let folder = folders.get(at % 6).map_or(tree.clone(), |folder| tree.join(folder));
            fs::write(folder.join(name), bytes).unwrap();
        }
        let root = bench.put("tree").root;
        let bench = bench.reopen(StoreOptions::default());
        bench.store.extract(&root, &bench.path("copy"), &Ignore).unwrap();
        prop_assert_eq!(snapshot(&tree), snapshot(&bench.path("copy")));
    }
}

#[test]
fn bits_beyond_the_permissions_are_left_out_and_counted() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    for (name, mode) in [("plain", 0o755), ("setuid", 0o4755), ("setgid", 0o2755)] {
        let path = bench.path("tree").join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(bench.path("tree"), fs::Permissions::from_mode(0o1755)).unwrap();
    let report = bench.put("tree");
    assert_eq!(report.special_modes, 3);
    bench
        .store
        .extract(&report.root, &bench.path("copy"), &Ignore)
        .unwrap();
    // The snapshot of the copy fails where such a bit is set.
    assert_eq!(snapshot(&bench.path("copy")).len(), 4);
}

/// Files of the kernel that say they are empty and are not.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_does_not_tell_its_size_is_left_out_by_name() {
    let bench = Bench::new();
    let kernel = std::path::Path::new("/proc/sys/kernel/random");
    let report = bench.store.put(kernel, PutOptions::default(), &Ignore);
    let report = report.unwrap();
    assert!(
        report.skipped.contains(&kernel.join("boot_id")),
        "{report:?}"
    );
    assert_eq!((report.files, report.content_bytes), (0, 0));
    let top = bench
        .store
        .put(&kernel.join("boot_id"), PutOptions::default(), &Ignore)
        .unwrap_err();
    assert!(matches!(top, StoreError::Unsupported { .. }), "{top}");
}
