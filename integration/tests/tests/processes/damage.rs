//! Disks that lie or are full.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hypermesh_testkit::{Forwarder, Mesh, Random, tree};

use crate::{Outcome, fsck, put, text};

/// The segment files of a store.
fn segments(directory: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains(".seg"))
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_flipped_bit_is_named_and_healed_from_a_peer() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut b = mesh.node("b")?;
    b.join(&a)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(21), 20, 100_000)?;
    let (root, _) = put(&a, &path)?;
    b.wait_connected(&[&a])?;
    b.ok(&["get", &root, "--store"])?;
    b.kill();
    let segment = segments(&b.directory().join("blocks"))
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len());
    let segment = segment.ok_or("no segment file")?;
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&segment, &bytes).unwrap();
    b.start()?;
    let found = b.run(&["fsck"])?;
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.stdout.contains("damaged"), "{found:?}");
    b.wait_connected(&[&a])?;
    let healed = b.run(&["fsck", "--repair"])?;
    assert_eq!(healed.code, 0, "{healed:?}");
    fsck(&b)?;
    let copy = mesh.path().join("copy");
    b.ok(&["get", &root, text(&copy)])?;
    tree::compare(&path, &copy).map(drop)
}

#[test]
fn a_full_store_refuses_and_stays_whole() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node_with(
        "a",
        "[alm]\nenabled = false\n[store]\nquota = \"3 MiB\"\n",
        None,
    )?;
    let (small, large) = (mesh.path().join("small"), mesh.path().join("large"));
    let mut random = Random::new(22);
    tree::write(&small, &mut random, 10, 50_000)?;
    fs::create_dir(&large).unwrap();
    for number in 0..20 {
        fs::write(large.join(number.to_string()), random.bytes(500_000)).unwrap();
    }
    let (root, _) = put(&node, &small)?;
    let refused = node.run(&["--json", "put", text(&large)])?;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("QUOTA"), "{refused:?}");
    fsck(&node)?;
    let copy = mesh.path().join("copy");
    node.ok(&["get", &root, text(&copy)])?;
    tree::compare(&small, &copy)?;
    // What the refused put had stored goes, and there is room again.
    node.ok(&["gc"])?;
    let other = mesh.path().join("other");
    tree::write(&other, &mut random, 10, 50_000)?;
    put(&node, &other).map(drop)
}

/// The database of roots is lost: no empty store, no collection of everything, and a way back.
#[test]
fn a_lost_database_is_refused_and_made_anew() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(23), 20, 50_000)?;
    let (root, _) = put(&node, &path)?;
    let running = node.run(&["fsck", "--rebuild"])?;
    assert_eq!(running.code, 1, "{running:?}");
    assert!(running.stderr.contains("already runs"), "{running:?}");
    let database = node.directory().join("blocks/meta.redb");
    for damage in ["lost", "overwritten"] {
        node.kill();
        if damage == "lost" {
            fs::remove_file(&database).unwrap();
        } else {
            let mut bytes = fs::read(&database).unwrap();
            bytes[..16_384].fill(0xee);
            fs::write(&database, bytes).unwrap();
        }
        let refused = node.start().err().unwrap_or_default();
        node.kill();
        assert!(refused.contains("fsck --rebuild"), "{damage}: {refused}");
        assert!(!refused.contains("panicked"), "{damage}: {refused}");
        let doctor = node.run(&["doctor"])?;
        assert_eq!(doctor.code, 1, "{damage}: {doctor:?}");
        assert!(doctor.stdout.contains("fsck --rebuild"), "{doctor:?}");
        let made = node.json(&["fsck", "--rebuild"])?;
        assert_eq!(made["whole_roots"], 1, "{damage}: {made}");
        assert_eq!(node.run(&["doctor"])?.code, 0);
        node.start()?;
        node.ok(&["gc"])?;
        fsck(&node)?;
        let copy = mesh.path().join(damage);
        node.ok(&["get", &root, text(&copy)])?;
        tree::compare(&path, &copy)?;
    }
    Ok(())
}

/// Gets that cannot end leave nothing behind that cannot be removed.
#[test]
fn gets_that_were_given_up_can_be_let_go() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let b = mesh.node_with(
        "b",
        "[alm]\nenabled = false\n[store]\nquota = \"1 MiB\"\n[get]\npeer_wait = \"5s\"\n",
        None,
    )?;
    b.join(&a)?;
    let path = mesh.path().join("tree");
    fs::create_dir(&path).unwrap();
    let mut random = Random::new(24);
    for number in 0..20 {
        fs::write(path.join(number.to_string()), random.bytes(200_000)).unwrap();
    }
    let (root, _) = put(&a, &path)?;
    b.wait_connected(&[&a])?;
    let copy = mesh.path().join("copy");
    // A root that nobody who is connected has.
    let alone = mesh.node("alone")?;
    let (unknown, _) = put(&alone, &path.join("0"))?;
    for arguments in [
        ["get", "--pin", "--store", &unknown],
        ["get", "--quiet", "--store", &unknown],
    ] {
        let refused = b.run(&arguments)?;
        assert_eq!(refused.code, 1, "{refused:?}");
    }
    assert_eq!(b.ok(&["roots"])?, "", "a hash alone is remembered");
    b.ok(&["gc"])?;
    // Too large for this node.
    let full = b.run(&["--json", "get", &root, text(&copy)])?;
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.stderr.contains("QUOTA"), "{full:?}");
    assert!(!copy.exists());
    assert!(b.ok(&["roots"])?.contains("partly"));
    b.ok(&["gc"])?;
    let kept = crate::status(&b, "/store/blocks")?;
    assert!(kept > 1, "gc took what an unfinished get brought");
    b.ok(&["unpin", &root])?;
    assert_eq!(b.ok(&["roots"])?, "");
    b.ok(&["gc"])?;
    assert_eq!(crate::status(&b, "/store/blocks")?, 0);
    Ok(())
}

/// How many files there are below a directory, at any depth.
fn files_below(directory: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        _ => 1,
    };
    entries.flatten().map(count).sum()
}

/// The store is full in the middle of a get that has begun to write its tree out.
#[test]
fn a_get_that_fills_the_store_leaves_nothing_of_what_it_wrote_out() -> Outcome {
    let mut mesh = Mesh::new()?;
    let path = Forwarder::new()?;
    let a = mesh.node_with("a", "[alm]\nenabled = false\n", Some(&path))?;
    let b = mesh.node_with(
        "b",
        "[alm]\nenabled = false\n[store]\nquota = \"6 MiB\"\n",
        None,
    )?;
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let (large, small) = (mesh.path().join("large"), mesh.path().join("small"));
    fs::create_dir(&large).unwrap();
    let mut random = Random::new(26);
    for number in 0..60 {
        fs::write(large.join(number.to_string()), random.bytes(200_000)).unwrap();
    }
    tree::write(&small, &mut random, 10, 20_000)?;
    let ((root, _), (fits, _)) = (put(&a, &large)?, put(&a, &small)?);
    // Far away, so that the tree is seen as it grows.
    path.set_delay(Duration::from_millis(5));
    let place = mesh.path().join("place");
    fs::create_dir(&place).unwrap();
    let copy = place.join("copy");
    let ended = AtomicBool::new(false);
    let (full, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                assert!(!copy.exists(), "half of a tree is there");
                most = most.max(files_below(&place));
            }
            most
        });
        let full = b.run(&["--json", "get", &root, text(&copy)]);
        ended.store(true, Ordering::Relaxed);
        full.map(|full| (full, watching.join().unwrap()))
    })?;
    assert_eq!(full.code, 1, "{full:?}");
    for part in ["QUOTA", "quota of", "run gc"] {
        assert!(full.stderr.contains(part), "{full:?}");
    }
    assert!(seen > 0, "it had not begun to write");
    assert_eq!(files_below(&place), 0, "something stayed beside it");
    fsck(&b)?;
    // As the error says.
    b.ok(&["unpin", &root])?;
    b.ok(&["gc"])?;
    b.ok(&["get", &fits, text(&copy)])?;
    tree::compare(&small, &copy).map(drop)
}

/// A copy would be taken for a part of the store.
#[test]
fn nothing_is_written_out_into_the_nodes_own_directory() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(25), 3, 1_000)?;
    let (root, _) = put(&node, &path)?;
    std::os::unix::fs::symlink(node.directory(), mesh.path().join("link")).unwrap();
    for inside in [
        node.directory().join("copy"),
        node.directory().join("blocks/segments/00000009.seg"),
        mesh.path().join("link/blocks/copy"),
    ] {
        let refused = node.run(&["get", &root, text(&inside)])?;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("own directory"), "{refused:?}");
        assert!(!inside.exists());
    }
    Ok(())
}
