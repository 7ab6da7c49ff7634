//! Whole nodes: what a file's way from one to the other takes beside a raw upload, and how much memory the processes
//! take, idle and with a large file on its way.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use hypermesh_testkit::{Mesh, Node, tree};

use crate::cpu;
use crate::files::{noise, resident};
use crate::peers::quic::{self, Packets, RawClient, RawServer};
use crate::record::{BenchError, Ctx, Must, Samples};

const LARGE_FILE_BYTES: u64 = 4 << 30;
const QUICK_FILE_BYTES: u64 = 64 << 20;
/// The file of one round of a get.
const GET_FILE_BYTES: u64 = 1 << 30;
const GET_ROUNDS: u64 = 5;
/// What is read and written at once, and what is hashed by itself.
const PIECE_BYTES: usize = 1 << 20;
const HASHED_BYTES: usize = 64 << 10;
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
    )?;
    drop((a, b, mesh));
    crate::split::run(ctx)
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
    let server = quic::serve(
        key.as_bytes(),
        there,
        Packets::AsOurs,
        Some(plain_file.clone()),
    )?;
    let as_it_comes = quic::serve(key.as_bytes(), there, Packets::AsItComes, None)?;
    let (mut kept, mut written) = (Samples::default(), Samples::default());
    let (mut raw, mut plain) = (Samples::default(), Samples::default());
    let (mut small, mut disk) = (Samples::default(), Samples::default());
    let mut work = Samples::default();
    let rate = |began: Instant| bytes as f64 / MB / began.elapsed().as_secs_f64();
    for round in 0..rounds {
        for (number, samples) in [(2 * round + 1, &mut kept), (2 * round + 2, &mut written)] {
            let file = place.join("round");
            let copy = place.join("round-copy");
            noise(&file, bytes, number)?;
            // Else the system writes it out while the get is timed.
            fs::File::open(&file)?.sync_all()?;
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
                let took = upload(&server, Some(&file), bytes, None)?;
                plain.push(bytes as f64 / MB / took.seconds);
                fs::remove_file(&plain_file)?;
            }
            if number % 2 == 0 {
                let quic = upload(&server, None, bytes, Some(here))?;
                let read = plain_read(&file)?;
                let write = plain_write(&place.join("plain"), bytes)?;
                let hash = plain_hash(bytes);
                let processor = quic.processor + read + write.processor + hash;
                raw.push(bytes as f64 / MB / quic.seconds);
                disk.push(bytes as f64 / MB / write.seconds);
                work.push(bytes as f64 / MB / (processor / 2.0));
            }
            fs::remove_file(&file)?;
            // What was measured makes room for what follows.
            for node in [a, b] {
                node.ok(&["unpin", root.trim()]).map_err(BenchError::new)?;
                node.ok(&["gc"]).map_err(BenchError::new)?;
            }
        }
        let took = upload(&as_it_comes, None, bytes, Some(here))?;
        small.push(bytes as f64 / MB / took.seconds);
    }
    let mib = bytes >> 20;
    let peer = Some(("raw quinn upload, as it comes", &small));
    let note = format!(
        "`hypermesh get --store` of one file of {mib} MiB of random bytes between two nodes on loopback: fetched, every block verified, stored, synced, all processes of both nodes on two cores; the peer keeps nothing, has a core for each side, and packets of 1,452 bytes as quinn leaves them"
    );
    let must = Must::RatioAtLeast(0.5);
    ctx.row("get --store, command", "MB/s", &kept, peer, must, &note)?;
    let note = "`hypermesh get` of another such file: the same, and written to its destination";
    ctx.row("get, command", "MB/s", &written, peer, must, note)?;

    let peer = Some(("raw quinn upload, packets like ours", &raw));
    let note = "the same get; the peer's packets are of nearly 64 KiB as ours are on loopback";
    let metric = "get --store, beside packets like ours";
    ctx.row(metric, "MB/s", &kept, peer, must, note)?;
    let metric = "get, beside packets like ours";
    ctx.row(metric, "MB/s", &written, peer, must, note)?;
    let mut report =
        |metric, ours, peer, note| ctx.row(metric, "MB/s", ours, peer, Must::Report, note);
    let note = "the most that two cores could move, were they never idle: the bytes over half of the processor time that a raw upload with packets like ours takes on both sides, reading the file, hashing it once, and writing and syncing it once, each measured alone in the same round. What stores and verifies cannot be quicker by these parts";
    report("the least work of a kept upload", &work, peer, note)?;
    let note = "the same get; a simple program over the same raw QUIC that also reads, hashes, writes and syncs: two threads on each side, no blocks, no index";
    let peer = Some(("raw quinn, hashed, written, synced", &plain));
    report("get --store, beside a plain kept upload", &kept, peer, note)?;
    let note = "the same get; as many bytes written to a file in pieces of 1 MiB, and one fsync";
    let peer = Some(("write and fsync", &disk));
    report("get --store, beside the disk", &kept, peer, note)
}

/// What something took: by the clock, and of processors.
#[derive(Clone, Copy, Debug)]
struct Took {
    seconds: f64,
    processor: f64,
}

/// A file that is written and synced.
fn plain_write(path: &Path, bytes: u64) -> Result<Took, BenchError> {
    let piece = vec![0x5a; PIECE_BYTES];
    let (began, spent) = (Instant::now(), cpu::thread_time());
    let mut file = fs::File::create(path)?;
    for _ in 0..bytes / PIECE_BYTES as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let took = Took {
        seconds: began.elapsed().as_secs_f64(),
        processor: cpu::thread_time() - spent,
    };
    fs::remove_file(path)?;
    Ok(took)
}

/// Processor seconds that reading a file takes which the system has in memory.
fn plain_read(path: &Path) -> Result<f64, BenchError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut file = fs::File::open(path)?;
    let spent = cpu::thread_time();
    while file.read(&mut piece)? > 0 {}
    Ok(cpu::thread_time() - spent)
}

/// Processor seconds that hashing so many bytes in blocks takes.
fn plain_hash(bytes: u64) -> f64 {
    // More than what stays in a core's own cache.
    let mut pieces = vec![0x5a; 16 * PIECE_BYTES];
    let spent = cpu::thread_time();
    for round in 0..bytes / pieces.len() as u64 {
        pieces[0] = round as u8;
        for block in pieces.chunks(HASHED_BYTES) {
            std::hint::black_box(blake3::hash(block));
        }
    }
    cpu::thread_time() - spent
}

/// What a raw upload takes, of as many bytes or of a file that is kept; its client on a thread of its own, so that the
/// nodes stay free to move. Both sides are in this process.
fn upload(
    server: &RawServer,
    file: Option<&Path>,
    bytes: u64,
    processor: Option<usize>,
) -> Result<Took, BenchError> {
    let client = || {
        processor.map(cpu::pin).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let client = RawClient::connect(server).await?;
            // The first megabytes find the packet size.
            client.upload(16 << 20).await?;
            let spent = cpu::process_time();
            let took = match file {
                Some(file) => client.upload_file(file).await?,
                None => client.upload(bytes).await?,
            };
            Ok(Took {
                seconds: took.as_secs_f64(),
                processor: cpu::process_time() - spent,
            })
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
