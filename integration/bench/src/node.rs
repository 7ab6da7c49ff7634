//! Whole nodes: what a file's way from one to the other takes beside a raw upload, and how much memory the processes
//! take, idle and with a large file on its way.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use hypermesh_testkit::{Mesh, Node, tree};

use crate::cpu;
use crate::files::{noise, resident};
use crate::peers::quic::{self, RawClient, RawServer};
use crate::record::{BenchError, Ctx, Must, Samples};

const LARGE_FILE_BYTES: u64 = 4 << 30;
const QUICK_FILE_BYTES: u64 = 64 << 20;
/// The file of one round of a get.
const GET_FILE_BYTES: u64 = 1 << 30;
const GET_ROUNDS: u64 = 3;
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

    getting(ctx, mesh.path(), &a, &b)?;

    let bytes = if ctx.quick {
        QUICK_FILE_BYTES
    } else {
        LARGE_FILE_BYTES
    };
    let gib = bytes as f64 / f64::from(1 << 30);
    let file = mesh.path().join("file");
    noise(&file, bytes, 0)?;
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
        "get of the large file, command",
        "MB/s",
        &Samples::from(get_rate),
        None,
        Must::Report,
        note,
    )
}

/// What a person gets: the command from its start to its end, beside a raw upload of as many bytes in the same round.
fn getting(ctx: &mut Ctx, place: &Path, a: &Node, b: &Node) -> Result<(), BenchError> {
    let (bytes, rounds) = if ctx.quick {
        (QUICK_FILE_BYTES, 1)
    } else {
        (GET_FILE_BYTES, GET_ROUNDS)
    };
    let processors = cpu::allowed()?;
    let (there, here) = match processors[..] {
        [first, second, ..] => (first, second),
        _ => return Err(BenchError::new("one core for each side: two are needed")),
    };
    let key = SigningKey::from_bytes(&[3; 32]).to_pkcs8_der()?;
    let plain_file = place.join("plain-kept");
    let server = quic::serve(key.as_bytes(), there, Some(plain_file.clone()))?;
    let (mut kept, mut written) = (Samples::default(), Samples::default());
    let (mut raw, mut plain) = (Samples::default(), Samples::default());
    let mut disk = Samples::default();
    let rate = |began: Instant| bytes as f64 / MB / began.elapsed().as_secs_f64();
    for round in 0..rounds {
        for (number, samples) in [(2 * round + 1, &mut kept), (2 * round + 2, &mut written)] {
            let file = place.join("round");
            let copy = place.join("round-copy");
            noise(&file, bytes, number)?;
            let root = a
                .ok(&["put", &file.to_string_lossy()])
                .map_err(BenchError::new)?;
            let to = if number % 2 == 1 {
                "--store".into()
            } else {
                copy.to_string_lossy()
            };
            let began = Instant::now();
            b.ok(&["get", root.trim(), &to]).map_err(BenchError::new)?;
            samples.push(rate(began));
            if copy.exists() {
                tree::compare(&file, &copy).map_err(BenchError::new)?;
                fs::remove_file(&copy)?;
            }
            if number % 2 == 1 {
                plain.push(bytes as f64 / MB / upload(&server, Some(&file), bytes, None)?);
                fs::remove_file(&plain_file)?;
            }
            fs::remove_file(&file)?;
        }
        raw.push(bytes as f64 / MB / upload(&server, None, bytes, Some(here))?);
        disk.push(plain_write(&place.join("plain"), bytes)?);
    }
    let mib = bytes >> 20;
    let peer = Some(("raw quinn upload", &raw));
    let note = format!(
        "`hypermesh get --store` of one file of {mib} MiB of random bytes between two nodes on loopback: fetched, every block verified, stored, synced, all processes of both nodes on two cores; the peer keeps nothing and has a core for each side"
    );
    let must = Must::RatioAtLeast(0.5);
    ctx.row("get --store, command", "MB/s", &kept, peer, must, &note)?;
    let note = "`hypermesh get` of another such file: the same, and written to its destination";
    ctx.row("get, command", "MB/s", &written, peer, must, note)?;
    let note = "a simple program over the same raw QUIC that also reads, hashes, writes and syncs; two threads on each side, no blocks, no index. A peer, not a bound: ours hashes and writes on more threads and can be quicker";
    let metric = "plain kept upload";
    ctx.row(metric, "MB/s", &plain, peer, Must::Report, note)?;
    let metric = "get --store, command, beside a plain kept upload";
    let note = "the same get, beside the plain kept upload";
    let peer = Some(("raw quinn, hashed, written, synced", &plain));
    ctx.row(metric, "MB/s", &kept, peer, Must::Report, note)?;
    let note = "the same get, beside the disk alone: as many bytes written to a file in pieces of 1 MiB, and one fsync";
    let peer = Some(("write and fsync", &disk));
    let metric = "get --store, command, beside the disk";
    ctx.row(metric, "MB/s", &kept, peer, Must::Report, note)
}

/// Megabytes a second of a file that is written and synced.
fn plain_write(path: &Path, bytes: u64) -> Result<f64, BenchError> {
    let piece = vec![0x5a; 1 << 20];
    let began = Instant::now();
    let mut file = fs::File::create(path)?;
    for _ in 0..bytes >> 20 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let rate = bytes as f64 / MB / began.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// Seconds that a raw upload takes, of as many bytes or of a file that is kept; its client on a thread of its own, so that
/// the nodes stay free to move.
fn upload(
    server: &RawServer,
    file: Option<&Path>,
    bytes: u64,
    processor: Option<usize>,
) -> Result<f64, BenchError> {
    let client = || {
        processor.map(cpu::pin).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let client = RawClient::connect(server).await?;
            // The first megabytes find the packet size.
            client.upload(16 << 20).await?;
            let took = match file {
                Some(file) => client.upload_file(file).await?,
                None => client.upload(bytes).await?,
            };
            Ok(took.as_secs_f64())
        })
    };
    std::thread::scope(|scope| scope.spawn(client).join())
        .map_err(|_| BenchError::new("the raw client failed"))?
}

fn memory(node: &Node, field: &str) -> Result<f64, BenchError> {
    let pid = node.pid();
    resident(
        pid.ok_or_else(|| BenchError::new("the node has ended"))?,
        field,
    )
}
