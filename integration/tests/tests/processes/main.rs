//! Faults on built processes. Every test has its own nodes in its own directory; seeds are in the code and in messages.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adviser;
mod command;
mod damage;
mod deltas;
mod doors;
mod faults;
mod foresight;
mod hostile;
mod ifrd;
mod ipc;
mod kill;
mod mem;
mod memory;
mod order;
mod order_snapshot;
mod paths;
mod rogue;
mod split;

use hypermesh_testkit::{Node, Result};
use serde_json::Value;

/// How a test ends.
type Outcome = Result<()>;

/// A path as the command takes it.
fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Puts a tree; its root and what the command said of it.
fn put(node: &Node, path: &std::path::Path) -> Result<(String, Value)> {
    let put = node.json(&["put", text(path)])?;
    let root = put["root"].as_str().ok_or("no root")?.to_owned();
    Ok((root, put))
}

/// Fails unless the store is without fault.
fn fsck(node: &Node) -> Outcome {
    node.ok(&["fsck"]).map(drop)
}

/// A number of the node's status, such as `/store/blocks`.
fn status(node: &Node, pointer: &str) -> Result<u64> {
    let status = node.json(&["status"])?;
    status
        .pointer(pointer)
        .and_then(Value::as_u64)
        .ok_or(format!("no {pointer} in {status}"))
}

/// A counter of the node.
fn counter(node: &Node, name: &str) -> Result<u64> {
    let scraped = node.ok(&["ipc", "call", "metrics", "scrape"])?;
    let value = scraped
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    match value {
        None => Ok(0),
        Some(value) => value.parse().map_err(|_| format!("{name} is {value}")),
    }
}

/// Says that a test could not be made here; a failure where everything must be tried. The line goes past the test
/// runner, which shows nothing of a test that passes, and is counted as a skipped test.
fn could_not(what: &str) -> Outcome {
    use std::io::Write;
    let line = format!("NOT TRIED: {what}\n");
    // Not `eprintln!`: that is what the runner catches.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if std::env::var_os("STRICT").is_some_and(|value| value == "1") {
        Err(what.into())
    } else {
        Ok(())
    }
}
