//! `hypermesh ipc` and metrics over HTTP, on a running node.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use hypermesh_testkit::{Mesh, Random, tree, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Outcome, put, text};

fn objects(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn any_method_can_be_called_and_any_socket_described() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let path = mesh.path().join("tree");
    tree::write(&path, &mut Random::new(91), 6, 4_000)?;
    let (root, _) = put(&node, &path)?;

    let mut sockets = objects(&node.ok(&["ipc", "ls", "--json"])?);
    // A process of its own serves ifr, from when it is up.
    sockets.retain(|socket| socket["service"] != "ifr");
    assert_eq!(sockets.len(), 7);
    for socket in &sockets {
        let is_of_the_node = socket["pid"].as_u64() == node.pid().map(u64::from);
        assert_ne!(is_of_the_node, hypermesh_testkit::split(), "{socket}");
        assert_eq!(socket["wire_version"], 1);
        assert!(socket["requests_in_flight_max"].as_u64().unwrap() > 0);
    }
    assert!(node.ok(&["ipc", "call", "state"])?.contains("CatRequest"));

    let stat = node.json(&[
        "ipc",
        "call",
        "state",
        "stat",
        &format!(r#"{{"root":"{root}"}}"#),
    ])?;
    assert_eq!(stat["kind"], "directory");
    let list = format!(r#"{{"root":"{root}","recursive":true}}"#);
    let listed = objects(&node.ok(&["ipc", "call", "state", "list", &list, "--json"])?);
    let (reply, entries) = listed.split_last().unwrap();
    assert_eq!(reply["entries"].as_u64(), Some(entries.len() as u64));
    let status = node.json(&["ipc", "call", "metrics", "1", "--trace"])?;
    assert_eq!(status["node_id"], node.id());
    let scraped = node.ok(&["ipc", "call", "metrics", "scrape", "--deadline", "30s"])?;
    assert!(scraped.contains("hypermesh_store_blocks"), "{scraped}");
    assert!(node.ok(&["ipc", "stats"])?.contains("VIOLATIONS"));

    for wrong in [
        vec!["ipc", "call", "nobody"],
        vec!["ipc", "call", "state", "fly"],
        vec!["ipc", "call", "state", "stat", "{"],
        vec!["ipc", "call", "state", "roots", r#"{"x":1}"#],
    ] {
        assert_eq!(node.run(&wrong)?.code, 2, "{wrong:?}");
    }
    let unknown = node.run(&["ipc", "call", "state", "stat", r#"{"root":"hmr1q"}"#])?;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    Ok(())
}

/// Ended when the test is over, however.
struct Tap(Child);

impl Drop for Tap {
    fn drop(&mut self) {
        // It may have ended already.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

#[test]
fn a_tap_shows_the_frames_that_pass_and_goes_without_a_trace() -> Outcome {
    let mut mesh = Mesh::new()?;
    let node = mesh.node("a")?;
    let socket = node.sockets().join("tap_state.sock");
    let child = node
        .command(&["ipc", "tap", "state", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut tap = Tap(child);
    until("the tap's socket", Duration::from_secs(30), || {
        Ok(socket.exists().then_some(()))
    })?;
    node.ok(&["ipc", "call", "state", "status", "--socket", text(&socket)])?;
    let gc = [
        "ipc",
        "call",
        "state",
        "gc",
        r#"{"dry_run":true}"#,
        "--socket",
    ];
    node.ok(&[&gc[..], &[text(&socket)]].concat())?;
    let pid = Pid::from_raw(i32::try_from(tap.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let mut shown = String::new();
    let output = tap.0.stdout.as_mut().unwrap();
    output.read_to_string(&mut shown).unwrap();
    let status = tap.0.wait().unwrap();
    assert!(status.success(), "{status}");
    let frames = objects(&shown);
    let seen = |kind: &str, method: &str| {
        frames
            .iter()
            .find(|frame| frame["kind"] == kind && frame["method"] == method)
            .unwrap_or(&Value::Null)
    };
    assert_eq!(seen("request", "gc")["body"]["dry_run"], true);
    assert!(seen("reply", "status")["body"]["quota_bytes"].is_u64());
    assert_eq!(seen("request", "status")["from"], "client");
    assert!(frames.iter().any(|frame| frame["kind"] == "hello"));
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn metrics_are_served_over_http_to_this_machine() -> Outcome {
    let mut mesh = Mesh::new()?;
    // A port that was free a moment ago.
    let address = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
    let configuration = format!("[alm]\nenabled = false\n[metrics]\nhttp = \"{address}\"\n");
    let _node = mesh.node_with("a", &configuration, None)?;
    let get = |path: &str, host: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let good = get("/metrics", &address.to_string());
    assert!(
        good.starts_with("HTTP/1.1 200") && good.contains("hypermesh_socket_requests"),
        "{good}"
    );
    assert!(get("/other", "localhost").starts_with("HTTP/1.1 404"));
    assert!(get("/metrics", "elsewhere.example").starts_with("HTTP/1.1 403"));
    Ok(())
}
