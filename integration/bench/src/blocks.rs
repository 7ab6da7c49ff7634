//! Rows of `bench-blocks`: chunking beside its bare parts, `put` beside `restic backup`, what a
//! second version moves, and how much memory a large file takes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use hypermesh_blocks::{Ignore, PutOptions, Store, StoreOptions, chunk, limits};

use crate::files::{disk_bytes, noise, real_tree, resident};
use crate::peers::{bare, restic};
use crate::record::{BenchError, Ctx, Must, Samples};
use crate::second;

/// First argument of the process whose memory is measured.
const CHILD: &str = "blocks-memory";
/// Most bytes of the tree that are chunked in memory.
const CORPUS_BYTES_MAX: usize = 512 << 20;
const LARGE_FILE_BYTES: u64 = 4 << 30;
const QUICK_FILE_BYTES: u64 = 256 << 20;
const MB: f64 = 1e6;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let tree = real_tree(ctx.root())?;
    let mut corpus = Vec::new();
    gather(&tree, &mut corpus)?;
    let size = format!("{:.0} MB", corpus.len() as f64 / MB);
    println!("tree: {}, {size}", tree.display());
    chunking(ctx, &corpus, &size)?;
    drop(corpus);
    putting(ctx, &tree)?;
    second::run(ctx, &tree)?;
    memory(ctx)
}

/// The bytes of the tree's files, one after the other.
fn gather(path: &Path, into: &mut Vec<u8>) -> Result<(), BenchError> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            gather(&entry.path(), into)?;
        } else if kind.is_file() && into.len() < CORPUS_BYTES_MAX {
            File::open(entry.path())?.read_to_end(into)?;
        }
    }
    Ok(())
}

fn chunking(ctx: &mut Ctx, corpus: &[u8], size: &str) -> Result<(), BenchError> {
    let (mut ours, mut peer) = (Samples::default(), Samples::default());
    let (min, average, max) = (
        limits::CHUNK_BYTES_MIN,
        limits::CHUNK_BYTES_AVERAGE,
        limits::CHUNK_BYTES_MAX,
    );
    let place = tempfile::tempdir()?;
    let file = place.path().join("corpus");
    fs::write(&file, corpus)?;
    for _ in 0..ctx.rounds() {
        let start = Instant::now();
        let ids = chunk::ids(File::open(&file)?)?;
        ours.push(corpus.len() as f64 / start.elapsed().as_secs_f64() / MB);
        let start = Instant::now();
        let (chunks, _) = bare::chunk_and_hash(corpus, min, average, max);
        peer.push(corpus.len() as f64 / start.elapsed().as_secs_f64() / MB);
        if ids.len() != chunks {
            return Err(BenchError::new("ours and the bare parts cut differently"));
        }
    }
    let note = format!(
        "{size} of a real tree in one file; ours reads it from the page cache on one thread, cuts on another, hashes on the rest; bare has it in memory, one thread"
    );
    let peer = Some(("fastcdc + BLAKE3, bare", &peer));
    let must = Must::RatioAtLeast(0.9);
    ctx.row("chunk + hash", "MB/s", &ours, peer, must, &note)
}

fn putting(ctx: &mut Ctx, tree: &Path) -> Result<(), BenchError> {
    let version = restic::version()?;
    let (mut wall, mut peer_wall) = (Samples::default(), Samples::default());
    let (mut bytes, mut peer_bytes) = (Samples::default(), Samples::default());
    let (mut extract, mut copy) = (Samples::default(), Samples::default());
    for _ in 0..ctx.rounds() {
        let place = tempfile::tempdir()?;
        let start = Instant::now();
        let store = Store::open(&place.path().join("store"), StoreOptions::default())?;
        let report = store.put(tree, PutOptions::default(), &Ignore)?;
        wall.push(start.elapsed().as_secs_f64());
        bytes.push(disk_bytes(&place.path().join("store"))? as f64 / MB);
        let start = Instant::now();
        store.extract(&report.root, &place.path().join("copy"), &Ignore)?;
        extract.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let status = Command::new("cp")
            .arg("-r")
            .arg(tree)
            .arg(place.path().join("cp"))
            .status()?;
        if !status.success() {
            return Err(BenchError::new("cp -r failed"));
        }
        copy.push(start.elapsed().as_secs_f64());
        let (elapsed, taken) = restic::backup(&place.path().join("restic"), tree)?;
        peer_wall.push(elapsed.as_secs_f64());
        peer_bytes.push(taken as f64 / MB);
    }
    let note = "the tree is in the page cache; both compress, both end with what they make durable";
    let must = Must::RatioAtMost(1.5);
    ctx.row(
        "put, wall time",
        "s",
        &wall,
        Some((&version, &peer_wall)),
        must,
        note,
    )?;
    let note = "everything in the store's directory";
    ctx.row(
        "put, stored bytes",
        "MB",
        &bytes,
        Some((&version, &peer_bytes)),
        must,
        note,
    )?;
    let note = "every block verified; neither side syncs; mostly the file system making inodes";
    let peer = Some(("cp -r", &copy));
    ctx.row(
        "extract, wall time",
        "s",
        &extract,
        peer,
        Must::Report,
        note,
    )
}

/// Puts and extracts one large file in processes of their own.
fn memory(ctx: &mut Ctx) -> Result<(), BenchError> {
    let bytes = if ctx.quick {
        QUICK_FILE_BYTES
    } else {
        LARGE_FILE_BYTES
    };
    let place = tempfile::tempdir()?;
    let file = place.path().join("file");
    noise(&file, bytes, 0)?;
    let gib = bytes as f64 / f64::from(1 << 30);
    let note =
        format!("peak resident memory of a process with one file of {gib} GiB of random bytes");
    for word in ["put", "extract"] {
        let output = Command::new(std::env::current_exe()?)
            .args([CHILD, word])
            .arg(place.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let peak: f64 = text.trim().parse().map_err(|_| {
            BenchError::new(format!(
                "{word}: {}",
                String::from_utf8_lossy(&output.stderr)
            ))
        })?;
        let ours = Samples::from(peak);
        ctx.row(
            &format!("{word}, peak memory"),
            "MB",
            &ours,
            None,
            Must::AtMost(200.0),
            &note,
        )?;
    }
    Ok(())
}

/// The measured process: prints its peak resident memory in megabytes.
pub(crate) fn child(arguments: &[String]) -> Option<ExitCode> {
    let [first, word, place] = arguments else {
        return None;
    };
    if first != CHILD {
        return None;
    }
    match measured(word, Path::new(place)) {
        Ok(peak) => {
            println!("{peak}");
            Some(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn measured(word: &str, place: &Path) -> Result<f64, BenchError> {
    let store = Store::open(&place.join("store"), StoreOptions::default())?;
    if word == "put" {
        store.put(&place.join("file"), PutOptions::default(), &Ignore)?;
    } else {
        for record in store.roots()? {
            store.extract(&record.root, &place.join("copy"), &Ignore)?;
        }
    }
    resident(std::process::id(), "VmHWM:")
}
