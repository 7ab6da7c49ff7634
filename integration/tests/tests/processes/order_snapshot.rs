//! Nodes that go on from a snapshot: their own after a kill, and that of others when they are far behind.

use std::fs;

use hypermesh_testkit::{Mesh, Node, Result, at, until};
use serde_json::Value;

use crate::order::{AGREED, join, mesh, number, some_root, wait_mesh};
use crate::{Outcome, counter, text};

/// A snapshot for every dozen heights, and one of others from ten heights on.
const SMALL: &str = "[alm]\nenabled = false\n[memory]\nenabled = false\n[consensus]\nsnapshot_every = \"16 KiB\"\nsnapshot_behind = 10\n";

fn name_many(node: &Node, root: &str, names: std::ops::Range<u32>) -> Outcome {
    for number in names {
        node.ok(&["name", "set", &format!("name/{number}"), root])?;
    }
    Ok(())
}

/// The snapshots of a node by height, newest first.
fn snapshots(node: &Node) -> Result<Vec<(u64, std::path::PathBuf)>> {
    let directory = node.directory().join("consensus");
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).map_err(at("consensus"))? {
        let path = entry.map_err(at("consensus"))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let height = name.and_then(|name| name.strip_prefix("snapshot-"));
        if let Some(Ok(height)) = height.map(str::parse) {
            all.push((height, path));
        }
    }
    all.sort_unstable_by(|one, other| other.cmp(one));
    Ok(all)
}

fn restored(node: &Node) -> Result<u64> {
    counter(node, "hypermesh_order_snapshot_restored_height")
}

#[test]
fn a_killed_node_goes_on_from_its_snapshot() -> Outcome {
    let mut place = Mesh::new()?;
    let mut node = place.node_with("a", SMALL, None)?;
    let root = some_root(&place, &node, 101)?;
    // Each is written a moment after its height.
    let mut names = 0;
    until("two snapshots", AGREED, || {
        name_many(&node, &root, names..names + 10)?;
        names += 10;
        Ok((snapshots(&node)?.len() == 2).then_some(()))
    })?;
    // One more may be due, and is written when it is.
    let before = wait_mesh(&node, "its newest", |mesh| {
        snapshots(&node).is_ok_and(|all| mesh["snapshot_height"] == all[0].0)
    })?;
    assert_eq!(restored(&node)?, 0);
    node.kill();
    let newest = snapshots(&node)?[0].0;
    let same = |node: &Node, from: u64| -> Outcome {
        let after = wait_mesh(node, "a mesh", |mesh| mesh["ready"] == true)?;
        assert_eq!(restored(node)?, from);
        for what in [
            "decided_height",
            "state_root",
            "names",
            "voters",
            "begins_after",
        ] {
            assert_eq!(after[what], before[what], "{what}");
        }
        Ok(())
    };
    node.start()?;
    same(&node, newest)?;
    // A damaged one costs time, and doctor says so. One may have been written since.
    node.kill();
    let all = snapshots(&node)?;
    let [(height, path), (older, _)] = &all[..] else {
        return Err(format!("{all:?}"));
    };
    let mut bytes = fs::read(path).map_err(at("snapshot"))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, &bytes).map_err(at("snapshot"))?;
    let doctor = node.run(&["doctor"])?;
    let said = format!("snapshot-{height} cannot be used");
    assert!(doctor.stdout.contains(&said), "{doctor:?}");
    node.start()?;
    same(&node, *older)?;
    name_many(&node, &root, names..names + 1)?;
    Ok(())
}

/// The one voter is away, so that nobody has blocks for the node that was away longer: a learner has a snapshot.
#[test]
fn a_node_that_was_away_goes_on_from_the_snapshot_of_a_learner() -> Outcome {
    let mut place = Mesh::new()?;
    let mut voter = place.node_with("a", SMALL, None)?;
    let learner = place.node_with("b", SMALL, None)?;
    let mut late = place.node_with("c", SMALL, None)?;
    let root = some_root(&place, &voter, 102)?;
    join(&learner, &[&voter])?;
    join(&late, &[&voter, &learner])?;
    let was = number(&mesh(&late)?["decided_height"])?;
    late.kill();
    name_many(&voter, &root, 0..50)?;
    wait_mesh(&learner, "a snapshot", |mesh| {
        mesh["snapshot_height"].as_u64() > Some(was + 25) && mesh["names"] == 50
    })?;
    voter.kill();
    late.start()?;
    let after = wait_mesh(&late, "a state of others", |mesh| {
        mesh["ready"] == true && mesh["begins_after"].as_u64() > Some(was + 25)
    })?;
    assert!(number(&after["names"])? > 20, "{after}");
    assert_eq!(restored(&late)?, number(&after["begins_after"])?);
    assert_eq!(late.ok(&["name", "get", "name/3"])?, root);
    // What it did not get is said, not made up.
    let log = late.run(&["--json", "log", "--from", "20", "--limit", "2"])?;
    assert!(log.code != 0 && log.stderr.contains("not here"), "{log:?}");
    // The voter is back: the rest comes as blocks, and a proof is as good as everybody's.
    voter.start()?;
    name_many(&voter, &root, 50..55)?;
    let now = wait_mesh(&late, "all names", |mesh| mesh["names"] == 55)?;
    assert_eq!(now["state_root"], mesh(&voter)?["state_root"], "{now}");
    let file = place.path().join("name.hmproof");
    late.ok(&["proof", "name/54", "--output", text(&file)])?;
    let of: Value = mesh(&voter)?["mesh"].clone();
    let of = of.as_str().ok_or("no mesh")?;
    let proven = voter.json(&["verify", text(&file), "--mesh", of])?;
    assert_eq!(proven["root"], root, "{proven}");
    // It names things itself, and starts again from where it began.
    name_many(&late, &root, 55..57)?;
    late.kill();
    late.start()?;
    let again = wait_mesh(&late, "all names", |mesh| mesh["names"] == 57)?;
    assert_eq!(again["begins_after"], after["begins_after"]);
    Ok(())
}
