//! Versions that travel as deltas between nodes.

use hypermesh_testkit::{Mesh, Random, tree};
use serde_json::Value;

use crate::{Outcome, fsck, put, text};

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
