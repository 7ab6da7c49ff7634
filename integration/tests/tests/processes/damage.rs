//! Disks that lie or are full.

use std::fs;
use std::path::PathBuf;

use hypermesh_testkit::{Mesh, Random, tree};

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
