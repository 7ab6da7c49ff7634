//! Whole nodes: how much memory the processes take, idle and with a large file on its way between two of them.

use std::time::Instant;

use hypermesh_testkit::{Mesh, Node, tree};

use crate::files::{noise, resident};
use crate::record::{BenchError, Ctx, Must, Samples};

const LARGE_FILE_BYTES: u64 = 4 << 30;
const QUICK_FILE_BYTES: u64 = 64 << 20;
const MB: f64 = 1e6;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let mut mesh = Mesh::new().map_err(BenchError::new)?;
    let mut start = || -> Result<(Node, Node), String> {
        let (a, b) = (mesh.node("a")?, mesh.node("b")?);
        b.join(&a)?;
        a.wait_connected(&[&b])?;
        Ok((a, b))
    };
    let (a, b) = start().map_err(BenchError::new)?;
    let note = "resident memory of `hypermesh up` with one peer connected and an empty store; almd is another process";
    let idle = Samples(vec![memory(&a, "VmRSS:")?, memory(&b, "VmRSS:")?]);
    ctx.row("idle, memory", "MB", &idle, None, Must::AtMost(60.0), note)?;

    let bytes = if ctx.quick {
        QUICK_FILE_BYTES
    } else {
        LARGE_FILE_BYTES
    };
    let gib = bytes as f64 / f64::from(1 << 30);
    let file = mesh.path().join("file");
    noise(&file, bytes)?;
    let began = Instant::now();
    let root = a
        .ok(&["put", &file.to_string_lossy()])
        .map_err(BenchError::new)?;
    let put_rate = bytes as f64 / MB / began.elapsed().as_secs_f64();
    let copy = mesh.path().join("copy");
    let began = Instant::now();
    b.ok(&["get", root.trim(), &copy.to_string_lossy()])
        .map_err(BenchError::new)?;
    let get_rate = bytes as f64 / MB / began.elapsed().as_secs_f64();
    tree::compare(&file, &copy).map_err(BenchError::new)?;

    let note = format!(
        "peak resident memory of the node's process; one file of {gib} GiB of random bytes, over QUIC on loopback"
    );
    for (metric, node) in [("put and serve, peak memory", &a), ("get, peak memory", &b)] {
        let peak = Samples::from(memory(node, "VmHWM:")?);
        ctx.row(metric, "MB", &peak, None, Must::AtMost(200.0), &note)?;
    }
    let note = "the same file, from the command's start to its end: stored, synced, acknowledged";
    ctx.row(
        "put, command",
        "MB/s",
        &Samples::from(put_rate),
        None,
        Must::Report,
        note,
    )?;
    let note = "the same file, fetched, verified, stored, and written to its destination";
    ctx.row(
        "get, command",
        "MB/s",
        &Samples::from(get_rate),
        None,
        Must::Report,
        note,
    )
}

fn memory(node: &Node, field: &str) -> Result<f64, BenchError> {
    let pid = node.pid();
    resident(
        pid.ok_or_else(|| BenchError::new("the node has ended"))?,
        field,
    )
}
