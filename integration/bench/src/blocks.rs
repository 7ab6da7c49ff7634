//! Rows of `bench-blocks`: chunking beside its bare parts, `put` beside `restic backup`, what an
//! edit costs, and how much memory a large file takes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use fastcdc::v2020::FastCDC;
use hypermesh_blocks::{Ignore, PutOptions, Store, StoreOptions, chunk, limits};

use crate::files::{disk_bytes, noise, real_tree, resident};
use crate::peers::{bare, restic};
use crate::record::{BenchError, Ctx, Must, Samples};

/// First argument of the process whose memory is measured.
const CHILD: &str = "blocks-memory";
/// Most bytes of the tree that are chunked in memory.
const CORPUS_BYTES_MAX: usize = 512 << 20;
const LARGE_FILE_BYTES: u64 = 4 << 30;
const QUICK_FILE_BYTES: u64 = 256 << 20;
/// The level at which the store compresses.
const ZSTD_LEVEL: i32 = 3;
/// One file in this many is edited for the second version.
const EDITED_ONE_IN: usize = 100;
/// From this length on a file has several chunks.
const LARGE_FROM_BYTES: u64 = 256 << 10;
const LARGE_ONE_IN: usize = 4;
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
    second_version(ctx, &tree, "", 0, EDITED_ONE_IN)?;
    second_version(
        ctx,
        &tree,
        " of large files",
        LARGE_FROM_BYTES,
        LARGE_ONE_IN,
    )?;
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

/// Puts a tree, edits one file in `one_in` of those that have at least `from` bytes, puts it again.
fn second_version(
    ctx: &mut Ctx,
    tree: &Path,
    of: &str,
    from: u64,
    one_in: usize,
) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let copy = place.path().join("tree");
    // A delta is for this store's disk; between nodes blocks travel whole.
    let whole = StoreOptions {
        deltas: false,
        ..StoreOptions::default()
    };
    let store = Store::open(&place.path().join("store"), whole)?;
    let first = store.put(tree, PutOptions::default(), &Ignore)?;
    store.extract(&first.root, &copy, &Ignore)?;
    let mut files = Vec::new();
    regular_files(&copy, &mut files)?;
    files.retain(|path| fs::metadata(path).is_ok_and(|meta| meta.len() >= from));
    let (mut changed, mut compressed) = (0, 0);
    let mut edited = 0_u32;
    for path in files.iter().step_by(one_in) {
        let old = fs::read(path)?;
        let mut new = old.clone();
        new.splice(old.len() / 2..old.len() / 2, *b"// an added line\n");
        fs::write(path, &new)?;
        let known: HashSet<blake3::Hash> = pieces(&old).map(|(id, _)| id).collect();
        for (_, piece) in pieces(&new).filter(|(id, _)| !known.contains(id)) {
            changed += piece.len();
            // As a store keeps it: plain where compression does not shorten it.
            compressed += zstd::bulk::compress(piece, ZSTD_LEVEL)?
                .len()
                .min(piece.len());
        }
        edited += 1;
    }
    let second = store.put(&copy, PutOptions::default(), &Ignore)?;
    let stored = second.new_stored_bytes as f64 / MB;
    let plain = second.new_content_bytes as f64 / MB;
    let (changed, compressed) = (changed as f64 / MB, compressed as f64 / MB);
    let note = format!(
        "what travels to a node that has the first version, compressed, manifests included, beside the chunks that changed as \
         they are: a line into the middle of {edited} of {} files that have {from} bytes or more; blocks travel whole",
        files.len(),
    );
    let ours = Samples::from(stored);
    let peer = Samples::from(changed);
    let peer = Some(("changed chunks", &peer));
    ctx.row(
        &format!("second version{of}, bytes moved"),
        "MB",
        &ours,
        peer,
        Must::RatioAtMost(1.2),
        &note,
    )?;
    let note = format!(
        "like for like; the rest is manifests: {:.3} MB, {:.0} bytes for each edited file, whose entry stands in a directory \
         block of up to 128 entries, below those of the directories above",
        stored - compressed,
        (stored - compressed) * MB / f64::from(edited)
    );
    let peer = Samples::from(compressed);
    let name = format!("changed chunks, each zstd {ZSTD_LEVEL}");
    let peer = Some((name.as_str(), &peer));
    ctx.row(
        &format!("second version{of}, bytes moved, both compressed"),
        "MB",
        &ours,
        peer,
        Must::RatioAtMost(1.2),
        &note,
    )?;
    let ours = Samples::from(plain);
    let peer = Samples::from(changed);
    let peer = Some(("changed chunks", &peer));
    ctx.row(
        &format!("second version{of}, bytes moved, nothing compressed"),
        "MB",
        &ours,
        peer,
        Must::Report,
        "like for like the other way",
    )
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = (blake3::Hash, &[u8])> {
    let cutter = FastCDC::new(
        bytes,
        limits::CHUNK_BYTES_MIN,
        limits::CHUNK_BYTES_AVERAGE,
        limits::CHUNK_BYTES_MAX,
    );
    cutter.map(|piece| {
        let piece = &bytes[piece.offset..piece.offset + piece.length];
        (blake3::hash(piece), piece)
    })
}

fn regular_files(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            regular_files(&entry.path(), into)?;
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
    into.sort();
    Ok(())
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
