//! `hypermesh mem`: the four layers of a running node as one memory, through kills and without some of them.

use std::time::Duration;

use hypermesh_testkit::{Mesh, Node, Result, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Outcome, could_not, text};

/// A layer's part of an answer of `mem ask` or `mem explain`.
fn part<'a>(answer: &'a Value, layer: &str) -> Result<&'a Value> {
    let layers = answer["layers"].as_array().ok_or("no layers")?;
    let found = layers.iter().find(|one| one["layer"] == layer);
    found.ok_or(format!("no {layer} in {answer}"))
}

/// Fails with status 1 and a message that says these things.
fn refused(node: &Node, arguments: &[&str], says: &[&str]) -> Outcome {
    let answer = node.run(arguments)?;
    let said = says.iter().all(|wanted| answer.stderr.contains(wanted));
    if answer.code == 1 && answer.stdout.is_empty() && said {
        return Ok(());
    }
    Err(format!("{arguments:?}: {answer:?}, wanted {says:?}"))
}

/// The process of a daemon of the node, while it runs.
fn daemon(node: &Node, layer: &str) -> Result<Option<Pid>> {
    let status = node.json(&["status"])?;
    let layers = status["layers"].as_array().ok_or("no layers")?;
    let one = layers.iter().find(|one| one["name"] == layer);
    let detail = one.and_then(|one| one["detail"].as_str());
    let number = detail.and_then(|detail| detail.strip_prefix("running as process "));
    let number = number.and_then(|text| text.split(',').next()?.parse().ok());
    Ok(number.and_then(Pid::from_raw))
}

const TEXTS: [(&str, &str); 3] = [
    ("fox", "the quick brown fox jumps over the lazy dog"),
    ("route", "a route is direct or through one relay"),
    ("salt", "two teaspoons of salt and a pinch of pepper"),
];

fn put_all(node: &Node) -> Outcome {
    for (key, value) in TEXTS {
        node.ok(&["mem", "put", key, value])?;
    }
    Ok(())
}

/// What must be the same before and after a kill.
fn recalled(node: &Node) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (key, _) in TEXTS {
        all.push(node.ok(&["mem", "get", key, "--no-learn"])?);
    }
    let similar = ["mem", "similar", "--text", "brown foxes, lazy dogs"];
    all.push(node.ok(&similar)?);
    all.push(node.ok(&["mem", "next", "--stream", "days"])?);
    Ok(all)
}

#[test]
fn what_was_put_is_there_after_a_kill() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node_with("a", "", None)?;
    put_all(&node)?;
    // In a stream of its own, so that what is asked later does not change it.
    for _ in 0..4 {
        for key in ["fox", "route", "salt"] {
            node.ok(&["mem", "get", key, "--stream", "days"])?;
        }
    }
    let before = recalled(&node)?;
    assert_eq!(before[0], TEXTS[0].1);
    assert!(before[3].contains("fox"), "{before:?}");
    // Whole lines of whole answers hold times that pass: compared is what was learnt.
    let learnt = |all: &[String]| -> Vec<String> {
        let next = all[4].lines().nth(1).unwrap_or_default();
        let mut kept = all[..4].to_vec();
        kept.extend(next.split_whitespace().next().map(str::to_owned));
        kept
    };
    let kept = learnt(&before);
    assert_eq!(kept[4], "fox");
    // Ten rounds, each killed right after an acknowledged change.
    for round in 0..10 {
        let value = format!("value {round}");
        node.ok(&["mem", "put", "changing", &value, "--stream", "other"])?;
        node.kill();
        node.start()?;
        let got = node.ok(&["mem", "get", "changing", "--no-learn"])?;
        assert_eq!(got, value);
    }
    assert_eq!(learnt(&recalled(&node)?), kept);
    Ok(())
}

#[test]
fn links_and_groups_are_there_after_a_kill() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node_with("a", "", None)?;
    if daemon(&node, "alm")?.is_none() {
        return could_not("links of `mem`: almd was not built beside the command");
    }
    put_all(&node)?;
    node.ok(&["mem", "put", "pepper", "ground", "--with", "salt"])?;
    node.ok(&["mem", "link", "home", "office", "--strength", "0.9"])?;
    node.ok(&["mem", "link", "office", "shop", "--strength", "0.8"])?;
    let ways = |node: &Node| -> Outcome {
        let way = node.json(&["mem", "path", "home", "shop"])?;
        let strength = way["strength"].as_f64().unwrap_or_default();
        assert!((strength - 0.72).abs() < 1e-3, "{way}");
        assert_eq!(way["nodes"][1]["key"], "office");
        let with = node.json(&["mem", "related", "pepper"])?;
        assert_eq!(with["key"], "salt");
        refused(node, &["mem", "path", "shop", "home"], &["mem link"])
    };
    ways(&node)?;
    node.kill();
    node.start()?;
    until("links after the kill", Duration::from_secs(60), || {
        Ok(node
            .run(&["mem", "path", "home", "shop"])?
            .code
            .eq(&0)
            .then_some(()))
    })?;
    ways(&node)?;
    let all = node.json(&["mem", "explain", "pepper"])?;
    assert_eq!(part(&all, "ifr")?["said"], "found");
    assert_eq!(part(&all, "alm")?["items"][0]["key"], "salt");
    Ok(())
}

#[test]
fn what_is_missing_is_a_failure_with_a_repair() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    refused(&node, &["mem", "get", "fox"], &["'fox'", "mem put"])?;
    refused(&node, &["mem", "forget", "fox"], &["mem put"])?;
    refused(&node, &["mem", "similar", "fox"], &["put more"])?;
    refused(&node, &["mem", "next"], &["mem put"])?;
    // A layer that is switched off is named, and only what needs it fails.
    let answer = node.run(&["mem", "put", "fox", TEXTS[0].1, "--with", "dog"])?;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.stderr.contains("alm is absent"), "{answer:?}");
    assert!(answer.stdout.starts_with("hmr1"), "{answer:?}");
    refused(&node, &["mem", "related", "fox"], &["alm is absent"])?;
    let answer = node.json(&["mem", "ask", "foxes", "--text", "quick brown foxes"])?;
    assert_eq!(answer["by"], "dsr");
    assert_eq!(part(&answer, "dsr")?["items"][0]["key"], "fox");
    assert_eq!(part(&answer, "ifr")?["said"], "nothing");
    let all = node.json(&["mem", "explain", "fox"])?;
    assert_eq!(part(&all, "alm")?["said"], "absent");
    assert_eq!(part(&all, "ifr")?["said"], "found");
    // Replaced, then forgotten; the old value is named.
    let replaced = node.json(&["mem", "put", "fox", "another"])?;
    assert!(
        replaced["replaced"]
            .as_str()
            .unwrap_or_default()
            .starts_with("hmr1")
    );
    assert_eq!(node.ok(&["mem", "get", "fox"])?, "another");
    node.ok(&["mem", "forget", "fox"])?;
    refused(&node, &["mem", "get", "fox"], &["mem put"])?;
    // Bytes as they are, from a file.
    let path = node.directory().with_file_name("bytes");
    std::fs::write(&path, [0, 255, 10, 13, 0]).unwrap();
    node.ok(&["mem", "put", "bytes", "--file", text(&path)])?;
    let got = node.json(&["mem", "get", "bytes"])?;
    assert_eq!(got["value_hex"], "00ff0a0d00");
    // Standard input has nothing: neither has the value.
    node.ok(&["mem", "put", "empty", "--file", "-"])?;
    assert_eq!(node.ok(&["mem", "get", "empty"])?, "");
    let stats = node.json(&["mem", "stats"])?;
    assert_eq!(part(&stats, "alm")?["state"], "absent");
    let frame = node.ok(&["mem", "top", "--every", "100ms"])?;
    assert!(
        frame.contains("CALLS/S") && frame.contains("alm is absent"),
        "{frame}"
    );
    Ok(())
}

#[test]
fn without_a_layer_the_others_answer() -> Outcome {
    let mut mesh = Mesh::new()?;
    let mut node = mesh.node("a")?;
    put_all(&node)?;
    // CPE does not open.
    node.kill();
    let log = node.directory().join("memory/cpe/log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    node.start()?;
    for mode in ["sequential", "parallel", "adaptive"] {
        let question = [
            "mem",
            "ask",
            "--text",
            "brown fox",
            "--next",
            "--mode",
            mode,
        ];
        let answer = node.json(&question)?;
        assert_eq!(answer["by"], "dsr", "{answer}");
        assert_eq!(part(&answer, "cpe")?["said"], "absent");
    }
    refused(&node, &["mem", "next"], &["cpe is absent", "memory/cpe"])?;
    let put = node.run(&["mem", "put", "dog", "a lazy one"])?;
    assert_eq!(put.code, 0, "{put:?}");
    assert!(put.stderr.contains("cpe is absent"), "{put:?}");
    assert_eq!(node.ok(&["mem", "get", "dog", "--no-learn"])?, "a lazy one");
    Ok(())
}

#[test]
fn ifrd_is_started_again_with_what_it_acknowledged() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    put_all(&node)?;
    for _ in 0..3 {
        let pid = until("ifrd", Duration::from_secs(60), || daemon(&node, "ifrd"))?;
        kill_process(pid, Signal::KILL).map_err(|error| error.to_string())?;
        until("the value after the kill", Duration::from_secs(60), || {
            let got = node.run(&["mem", "get", "salt", "--no-learn"])?;
            Ok((got.code == 0 && got.stdout == TEXTS[2].1).then_some(()))
        })?;
    }
    Ok(())
}
