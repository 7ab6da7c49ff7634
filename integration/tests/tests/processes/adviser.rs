//! The adviser comes and goes; the node does not care.

use std::time::Duration;

use hypermesh_testkit::{Mesh, Node, Random, Result, tree, until};
use serde_json::Value;

use crate::{Outcome, put, text};

/// The process of the node's `almd`, while it runs.
fn almd(node: &Node) -> Result<Option<u32>> {
    let status = node.json(&["status"])?;
    let layers = status["layers"].as_array().ok_or("no layers")?;
    let alm = layers
        .iter()
        .find(|layer| layer["name"] == "alm")
        .ok_or("no alm")?;
    let detail = alm["detail"].as_str().unwrap_or_default();
    Ok(detail
        .strip_prefix("running as process ")
        .and_then(|pid| pid.parse().ok()))
}

fn restarts(node: &Node) -> Result<u64> {
    let status = node.json(&["status"])?;
    let layers = status["layers"].as_array().ok_or("no layers")?;
    let alm = layers
        .iter()
        .find(|layer| layer["name"] == "alm")
        .ok_or("no alm")?;
    alm["restarts"].as_u64().ok_or("no restarts".into())
}

#[test]
fn gets_go_on_while_almd_is_killed_again_and_again() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let c = mesh.node_with("c", "", None)?;
    c.join(&a)?;
    let mut random = Random::new(51);
    for round in 0..5u64 {
        let pid = until("almd", Duration::from_secs(60), || almd(&c))?;
        let path = mesh.path().join(format!("tree-{round}"));
        tree::write(&path, &mut random, 20, 50_000)?;
        let (root, _) = put(&a, &path)?;
        c.wait_connected(&[&a])?;
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let copy = mesh.path().join(format!("copy-{round}"));
        c.ok(&["get", &root, text(&copy)])?;
        tree::compare(&path, &copy)?;
    }
    until("almd started again", Duration::from_secs(60), || {
        Ok((restarts(&c)? >= 5 && almd(&c)?.is_some()).then_some(()))
    })
}

#[test]
fn almd_learns_links_and_remembers_them() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut c = mesh.node_with("c", "", None)?;
    c.join(&a)?;
    c.wait_connected(&[&a])?;
    until("almd", Duration::from_secs(60), || almd(&c))?;
    // It is told what is measured every few seconds; its snapshot, at its end, has it.
    let snapshot = c.directory().join("alm/graph.snapshot");
    until("a link in the snapshot", Duration::from_secs(60), || {
        c.kill();
        c.start()?;
        until("almd", Duration::from_secs(60), || almd(&c))?;
        c.wait_connected(&[&a])?;
        std::thread::sleep(Duration::from_secs(3));
        c.kill();
        let saved = until("the snapshot", Duration::from_secs(5), || {
            Ok(snapshot.exists().then_some(()))
        });
        c.start()?;
        Ok(saved.ok())
    })
}

#[test]
fn status_says_when_there_is_no_adviser() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let status: Value = node.json(&["status"])?;
    assert_eq!(status["scheduler"]["adviser_available"], false);
    assert_eq!(status["consensus"]["ready"], false);
    assert_eq!(status["layers"][0]["name"], "ifr");
    Ok(())
}
