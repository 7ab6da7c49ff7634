//! Versions that travel as deltas between nodes.

use std::fs;
use std::path::Path;

use hypermesh_testkit::{Mesh, Node, Random, Result, at, tree};
use serde_json::Value;

use crate::{Outcome, counter, fsck, put, text};

const PLAIN: &str = "[alm]\nenabled = false\n";
const NO_DELTAS: &str = "[alm]\nenabled = false\n[transfer]\ndeltas = false\n";

/// Everything that a get moved, in both directions.
fn moved(got: &Value) -> u64 {
    let number = |name: &str| got[name].as_u64().unwrap();
    number("asked_bytes") + number("answered_bytes")
}

#[test]
fn a_second_version_moves_less_where_deltas_are_on() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node_with("a", PLAIN, None)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(71), 300, 60_000)?;
    let (first, _) = put(&a, &path)?;
    let other = mesh.path().join("other");
    tree::write(&other, &mut Random::new(72), 100, 20_000)?;
    let (unlike, _) = put(&a, &other)?;
    tree::edit(&path, &mut Random::new(73), 10)?;
    let (second, _) = put(&a, &path)?;
    let mut bytes = Vec::new();
    for (name, config) in [("with", PLAIN), ("without", NO_DELTAS)] {
        let node = mesh.node_with(name, config, None)?;
        node.join(&a)?;
        node.wait_connected(&[&a])?;
        node.ok(&["get", &first, "--store"])?;
        // Another tree, and a later one: it is not taken for the older version.
        node.ok(&["get", &unlike, "--store"])?;
        let copy = mesh.path().join(format!("copy-{name}"));
        let got = node.json(&["get", &second, text(&copy)])?;
        tree::compare(&path, &copy)?;
        fsck(&node)?;
        let deltas = got["delta_blocks"].as_u64().unwrap();
        assert_eq!(deltas > 0, config == PLAIN, "{got}");
        bytes.push((moved(&got), got));
    }
    let [(with, _), (without, _)] = &bytes[..] else {
        return Err("two gets".into());
    };
    assert!(2 * with < *without, "{bytes:?}");
    Ok(())
}

#[test]
fn a_base_can_be_named_if_it_is_here() -> Outcome {
    let mut mesh = Mesh::new()?;
    let (a, b) = (
        mesh.node_with("a", PLAIN, None)?,
        mesh.node_with("b", PLAIN, None)?,
    );
    let c = mesh.node_with("c", NO_DELTAS, None)?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(74), 100, 30_000)?;
    let (first, _) = put(&a, &path)?;
    tree::edit(&path, &mut Random::new(75), 5)?;
    let (second, _) = put(&a, &path)?;
    for node in [&b, &c] {
        node.join(&a)?;
        node.wait_connected(&[&a])?;
    }
    let refused = b.run(&["get", &second, "--store", "--base", &first])?;
    assert!(refused.complaint().contains("is not here"), "{refused:?}");
    b.ok(&["get", &first, "--store"])?;
    let got = b.json(&["get", &second, "--store", "--base", &first])?;
    assert!(got["delta_blocks"].as_u64().unwrap() > 0, "{got}");
    c.ok(&["get", &first, "--store"])?;
    let refused = c.run(&["get", &second, "--store", "--base", &first])?;
    assert!(
        refused.complaint().contains("transfer.deltas"),
        "{refused:?}"
    );
    Ok(())
}

/// Files of a version, read one after the other.
const READ: u64 = 24;

fn read(node: &Node, root: &str, tree: &Path) -> Outcome {
    for file in 0..READ {
        let read = node.command(&["cat", &format!("{root}/f{file}")]).output();
        let read = read.map_err(at("cat"))?.stdout;
        let there = fs::read(tree.join(format!("f{file}"))).map_err(at("a file"))?;
        assert!(read == there, "f{file} of {root} is wrong");
    }
    Ok(())
}

/// Reads two versions file by file, without ever getting a tree. Answers the bytes of blocks that the second one moved,
/// and how many of its files came before they were asked for.
fn second_version_read(deltas: bool, ahead: bool) -> Result<(u64, u64)> {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let config = format!(
        "[alm]\nenabled = false\n[transfer]\ndeltas = {deltas}\n[prefetch]\nenabled = {ahead}\n"
    );
    let b = mesh.node_with("b", &config, None)?;
    b.join(&a)?;
    b.wait_connected(&[&a])?;
    let mut versions = Vec::new();
    for version in 0..2 {
        let path = mesh.path().join(format!("version{version}"));
        tree::write_version(&path, 76, version, READ, 60_000)?;
        versions.push((put(&a, &path)?.0, path));
    }
    let [(first, old), (second, new)] = &versions[..] else {
        return Err("two versions".into());
    };
    // As often as it takes to know the order.
    for _ in 0..3 {
        read(&b, first, old)?;
    }
    let before = counter(&b, "stoq_block_bytes_received")?;
    read(&b, second, new)?;
    fsck(&b)?;
    let moved = counter(&b, "stoq_block_bytes_received")? - before;
    Ok((moved, counter(&b, "hypermesh_ahead")?))
}

#[test]
fn a_file_of_a_second_version_is_read_as_a_delta_on_demand_and_ahead() -> Outcome {
    let (whole, _) = second_version_read(false, false)?;
    let (asked, _) = second_version_read(true, false)?;
    let (foreseen, ahead) = second_version_read(true, true)?;
    println!(
        "bytes of blocks for {READ} files of a second version: {whole} whole, {asked} as deltas, {foreseen} with {ahead} of them ahead"
    );
    assert!(ahead > READ / 2, "{ahead} came ahead");
    for moved in [asked, foreseen] {
        assert!(20 * moved < whole, "{moved} bytes moved, {whole} without");
    }
    Ok(())
}
