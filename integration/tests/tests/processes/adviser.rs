//! The adviser comes and goes; the node does not care.

use std::time::Duration;

use hypermesh_testkit::{Forwarder, Mesh, Node, Random, Result, at, tree, until};
use serde_json::Value;

use crate::rogue::Serving;
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
fn gets_go_on_while_almd_is_killed_every_second() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let c = mesh.node_with("c", "", None)?;
    c.join(&a)?;
    c.wait_connected(&[&a])?;
    let mut random = Random::new(51);
    let until_kills = 10;
    let (mut kills, mut round) = (0, 0);
    // Killed from beside, as soon as it is there again, at most once a second.
    std::thread::scope(|scope| {
        let (done, stop) = std::sync::mpsc::channel::<()>();
        let killer = scope.spawn({
            let c = &c;
            move || -> Result<u64> {
                let mut kills = 0;
                loop {
                    if let Some(pid) = almd(c)? {
                        let pid = i32::try_from(pid)
                            .ok()
                            .and_then(rustix::process::Pid::from_raw);
                        let pid = pid.ok_or("no process id")?;
                        // It may have ended by itself meanwhile.
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                        kills += 1;
                    }
                    match stop.recv_timeout(Duration::from_secs(1)) {
                        Err(std::sync::mpsc::RecvTimeoutError::Timeout) if kills < until_kills => {}
                        _ => return Ok(kills),
                    }
                }
            }
        });
        let gets = loop {
            let path = mesh.path().join(format!("tree-{round}"));
            let copy = mesh.path().join(format!("copy-{round}"));
            let get = || -> Outcome {
                tree::write(&path, &mut random, 20, 50_000)?;
                let (root, _) = put(&a, &path)?;
                c.ok(&["get", &root, text(&copy)])?;
                tree::compare(&path, &copy).map(drop)
            };
            let got = { get }();
            round += 1;
            if got.is_err() || killer.is_finished() {
                break got;
            }
        };
        drop(done);
        kills = killer.join().unwrap()?;
        gets
    })?;
    assert_eq!(kills, until_kills, "{round} gets went well");
    until("almd started again", Duration::from_secs(120), || {
        Ok((restarts(&c)? >= until_kills && almd(&c)?.is_some()).then_some(()))
    })
}

/// Edges that the node's adviser holds.
fn links(node: &Node) -> Result<u64> {
    let layers = node.json(&["status"])?["layers"].clone();
    let alm = layers
        .as_array()
        .and_then(|layers| layers.iter().find(|layer| layer["name"] == "alm").cloned())
        .ok_or("no alm")?;
    Ok(alm["entries"].as_u64().unwrap_or_default())
}

#[test]
fn almd_learns_links_and_remembers_them() -> Outcome {
    let mut mesh = Mesh::new()?;
    let a = mesh.node("a")?;
    let mut c = mesh.node_with("c", "", None)?;
    c.join(&a)?;
    c.wait_connected(&[&a])?;
    until("a measured link", Duration::from_secs(60), || {
        Ok((links(&c)? > 0).then_some(()))
    })?;
    // Alone after the restart, so that it can only remember.
    let mut a = a;
    a.kill();
    let pid = i32::try_from(c.pid().ok_or("not running")?).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    c.wait_ended()?;
    c.start()?;
    until("the link remembered", Duration::from_secs(60), || {
        Ok((almd(&c)?.is_some() && links(&c)? > 0).then_some(()))
    })
}

/// Asks one that lies, alone and in vain, and answers who is asked first after that and after a restart.
fn first_after_a_lie(config: &str) -> Result<[String; 2]> {
    let mut mesh = Mesh::new()?;
    // Far away, so that whoever goes by round-trip time alone asks the liar first.
    let path = Forwarder::new()?;
    let a = mesh.node_with("a", "[alm]\nenabled = false\n", Some(&path))?;
    path.set_delay(Duration::from_millis(40));
    let liar = Serving::start("WrongBytes")?;
    let config = format!("{config}[transport]\npeers = [\"{}\"]\n", liar.peer);
    let mut c = mesh.node_with("c", &config, None)?;
    c.join(&a)?;
    let known = |c: &Node| -> Outcome {
        c.wait_connected(&[&a])?;
        liar.wait_connected_to(c)?;
        // Both paths are measured.
        until("round-trip times", Duration::from_secs(60), || {
            let peers = c.run(&["peers", "--json"])?.stdout;
            let measured = peers.lines().filter_map(|line| {
                let peer: Value = serde_json::from_str(line).ok()?;
                peer["rtt_ns"].as_u64().filter(|rtt| *rtt > 0)
            });
            Ok((measured.count() >= 2).then_some(()))
        })
    };
    known(&c)?;
    let file = mesh.path().join("file");
    let mut random = Random::new(71);
    let mut root = || -> Result<String> {
        std::fs::write(&file, random.bytes(50_000)).map_err(at("a file"))?;
        Ok(put(&a, &file)?.0)
    };
    let lied_about = root()?;
    let failed = c.run(&["get", &lied_about, "--store", "--from", liar.id()?])?;
    assert!(failed.code != 0, "{failed:?}");
    let first = |c: &Node, root: &str| -> Result<String> {
        let got = c.json(&["get", root, "--store"])?;
        let first = got["providers"][0]["node_id"].as_str();
        let first = first.ok_or("no providers")?;
        Ok(if first == a.id() { "a" } else { "liar" }.to_owned())
    };
    let before = first(&c, &root()?)?;
    let kept = c.directory().join("memory/serving");
    until("what was learned", Duration::from_secs(60), || {
        Ok(kept.exists().then_some(()))
    })?;
    c.kill();
    c.start()?;
    known(&c)?;
    Ok([before, first(&c, &root()?)?])
}

#[test]
fn a_get_that_fails_teaches_whom_not_to_ask_and_a_restart_does_not_forget() -> Outcome {
    for config in ["[alm]\nenabled = false\n", ""] {
        assert_eq!(first_after_a_lie(config)?, ["a", "a"], "{config}");
    }
    Ok(())
}

#[test]
fn status_says_when_there_is_no_adviser() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let status: Value = node.json(&["status"])?;
    assert_eq!(status["scheduler"]["adviser_available"], false);
    assert_eq!(status["layers"][0]["name"], "ifr");
    Ok(())
}
