//! What a second version moves between two nodes, beside what changed.
//!
//! One node puts both versions; another has the first one and gets the second. What moves are the bytes of all frames
//! that ask for blocks and of all that answer, as the node that asks has counted them on its streams.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use fastcdc::v2020::FastCDC;
use hypermesh_blocks::limits;
use hypermesh_testkit::{Mesh, Node, tree};
use serde_json::Value;
use zstd::zstd_safe::{self, CCtx, CParameter};

use crate::record::{BenchError, Ctx, Must, Samples};

/// The level at which the store compresses.
const ZSTD_LEVEL: i32 = 3;
/// One file in this many is edited for the second version.
const EDITED_ONE_IN: usize = 100;
/// From this length on a file has several chunks.
const LARGE_FROM_BYTES: u64 = 256 << 10;
const LARGE_ONE_IN: usize = 4;
/// Both versions of the longest file fit into it.
const PATCH_WINDOW_LOG: u32 = 27;
const LINE: &[u8] = b"// an added line\n";
const MB: f64 = 1e6;

pub(crate) fn run(ctx: &mut Ctx, tree: &Path) -> Result<(), BenchError> {
    version(ctx, tree, "", 0, EDITED_ONE_IN)?;
    version(ctx, tree, " of large files", LARGE_FROM_BYTES, LARGE_ONE_IN)
}

/// What an edit changed, as others would count it.
#[derive(Default)]
struct Changed {
    files: u32,
    of: usize,
    /// Chunks that are new, as they are and each compressed alone.
    chunks: usize,
    compressed: usize,
    /// The new files, each compressed with the old one at hand.
    patches: usize,
}

/// Edits one file in `one_in` of those that have at least `from` bytes, and lets two nodes get what became of the tree.
fn version(
    ctx: &mut Ctx,
    tree: &Path,
    of: &str,
    from: u64,
    one_in: usize,
) -> Result<(), BenchError> {
    let mut mesh = Mesh::new().map_err(BenchError::new)?;
    let place = mesh.path().to_owned();
    let nodes = Nodes::new(&mut mesh)?;
    let (copy, first) = (place.join("tree"), put(&nodes.source, tree)?);
    nodes
        .source
        .ok(&["get", &first, &copy.to_string_lossy()])
        .map_err(BenchError::new)?;
    nodes.get(&first)?;
    let changed = edit(&copy, from, one_in)?;
    let second = put(&nodes.source, &copy)?;
    let gets = nodes.get(&second)?;
    for (at, node) in [&nodes.with, &nodes.without].into_iter().enumerate() {
        let to = place.join(format!("got{at}"));
        node.ok(&["get", &second, &to.to_string_lossy()])
            .map_err(BenchError::new)?;
        tree::compare(&copy, &to).map_err(BenchError::new)?;
        fs::remove_dir_all(&to)?;
    }
    rows(ctx, of, from, &changed, gets)
}

/// Lets two nodes get trees one after the other, from the first on, and adds up what the later ones move.
pub(crate) fn later_versions(
    ctx: &mut Ctx,
    trees: &[PathBuf],
    what: &str,
) -> Result<(), BenchError> {
    let mut mesh = Mesh::new().map_err(BenchError::new)?;
    let nodes = Nodes::new(&mut mesh)?;
    let mut moves = (Vec::new(), Vec::new());
    let (mut deltas, mut delta_bytes, mut blocks) = (0.0, 0.0, 0.0);
    for (number, tree) in trees.iter().enumerate() {
        let gets = nodes.get(&put(&nodes.source, tree)?)?;
        if number > 0 {
            moves.0.push(moved(&gets.with)? / MB);
            moves.1.push(moved(&gets.without)? / MB);
            deltas += number_of(&gets.with, "delta_blocks")?;
            delta_bytes += number_of(&gets.with, "delta_bytes")?;
            blocks += number_of(&gets.with, "fetched_blocks")?;
        }
    }
    let each = |moves: &[f64]| {
        let each: Vec<String> = moves.iter().map(|moved| format!("{moved:.1}")).collect();
        each.join(", ")
    };
    let peer_name = "ours, transfer.deltas = false";
    let note = format!(
        "{what} into one node; another gets each of them, and this is what all but the first move, in frames of both \
         directions: {} MB, and {} without deltas; {deltas} of {blocks} blocks come as deltas, {:.0} bytes each",
        each(&moves.0),
        each(&moves.1),
        delta_bytes / deltas.max(1.0)
    );
    let peer = Samples::from(moves.1.iter().sum::<f64>());
    let ours = Samples::from(moves.0.iter().sum::<f64>());
    let metric = "later versions, bytes moved";
    let peer = Some((peer_name, &peer));
    ctx.row(metric, "MB", &ours, peer, Must::Report, &note)?;
    let (ours, peer) = (stored(&nodes.with)?, stored(&nodes.without)?);
    ctx.row(
        "all versions, store of who got them",
        "MB",
        &ours.into(),
        Some((peer_name, &peer.into())),
        Must::Report,
        "what came as a delta is stored as one where that is clearly short; the rest goes the way of a put, which finds similar \
         blocks by their sketches in both",
    )
}

/// Megabytes that a node's store has written.
fn stored(node: &Node) -> Result<f64, BenchError> {
    let status = node.json(&["status"]).map_err(BenchError::new)?;
    let bytes = status.pointer("/store/stored_bytes");
    let bytes = bytes.and_then(Value::as_f64);
    bytes
        .map(|bytes| bytes / MB)
        .ok_or_else(|| BenchError::new(format!("no stored bytes in {status}")))
}

/// One node that has everything, and two that get it from there, the second without deltas.
struct Nodes {
    source: Node,
    with: Node,
    without: Node,
}

/// What two gets said, and the megabytes of datagrams that they took.
struct Gets {
    with: Value,
    without: Value,
    datagrams: (f64, f64),
}

impl Nodes {
    fn new(mesh: &mut Mesh) -> Result<Self, BenchError> {
        let mut node = |name: &str, config: &str| mesh.node_with(name, config, None);
        let off = "[transfer]\ndeltas = false\n";
        let nodes = (node("source", ""), node("with", ""), node("without", off));
        let nodes = Self {
            source: nodes.0.map_err(BenchError::new)?,
            with: nodes.1.map_err(BenchError::new)?,
            without: nodes.2.map_err(BenchError::new)?,
        };
        for node in [&nodes.with, &nodes.without] {
            node.join(&nodes.source).map_err(BenchError::new)?;
            node.wait_connected(&[&nodes.source])
                .map_err(BenchError::new)?;
        }
        Ok(nodes)
    }

    /// Both get a root, from the source and not from each other.
    fn get(&self, root: &str) -> Result<Gets, BenchError> {
        let get = |node: &Node| {
            let before = datagrams(node)?;
            let got = node.json(&["get", root, "--store", "--from", self.source.id()]);
            let got = got.map_err(BenchError::new)?;
            Ok::<_, BenchError>((got, datagrams(node)? - before))
        };
        let (with, without) = (get(&self.with)?, get(&self.without)?);
        Ok(Gets {
            with: with.0,
            without: without.0,
            datagrams: (with.1, without.1),
        })
    }
}

fn rows(
    ctx: &mut Ctx,
    of: &str,
    from: u64,
    changed: &Changed,
    gets: Gets,
) -> Result<(), BenchError> {
    let Gets {
        with,
        without,
        datagrams: (udp, udp_without),
    } = gets;
    let ours = Samples::from(moved(&with)? / MB);
    let name = |rest: &str| format!("second version{of}, bytes moved{rest}");
    let mut row = |rest: &str, ours: &Samples, peer: (&str, usize), must: Must, note: &str| {
        let bytes = Samples::from(peer.1 as f64 / MB);
        ctx.row(&name(rest), "MB", ours, Some((peer.0, &bytes)), must, note)
    };
    let deltas = number_of(&with, "delta_blocks")?;
    let note = format!(
        "every frame that asks for blocks or answers with them, manifests and the names of bases included, beside the chunks that changed \
         as they are: a line into the middle of {} of {} files that have {from} bytes or more, got by a node that has the \
         first version; {deltas} of {} blocks come as deltas, {:.0} bytes each, {:.3} MB are asked and {:.3} MB answered; QUIC makes of it \
         {udp:.3} MB of datagrams, all else between the two nodes included",
        changed.files,
        changed.of,
        number_of(&with, "fetched_blocks")?,
        number_of(&with, "delta_bytes")? / deltas.max(1.0),
        number_of(&with, "asked_bytes")? / MB,
        number_of(&with, "answered_bytes")? / MB,
    );
    let must = Must::RatioAtMost(1.2);
    let peer = ("changed chunks", changed.chunks);
    row("", &ours, peer, must, &note)?;
    let zstd = format!("changed chunks, each zstd {ZSTD_LEVEL}");
    let note = "the same; the peer compresses each changed chunk alone and moves nothing else";
    let compressed = (&zstd[..], changed.compressed);
    row(", both compressed", &ours, compressed, must, note)?;
    let note = "the stricter reading: the peer compresses each changed file with its old version at hand and moves nothing \
        else, no name, no manifest, no question; the rest is what it costs to find out what changed";
    let zstd = format!("changed files, zstd {ZSTD_LEVEL} --patch-from");
    let patches = (&zstd[..], changed.patches);
    row(", beside patches", &ours, patches, Must::Report, note)?;
    let whole = Samples::from(moved(&without)? / MB);
    let note = format!(
        "with `transfer.deltas = false`, beside the chunks each compressed alone; {udp_without:.3} MB of datagrams"
    );
    row(", without deltas", &whole, compressed, Must::Report, &note)
}

fn put(node: &Node, path: &Path) -> Result<String, BenchError> {
    let root = node.ok(&["put", &path.to_string_lossy()]);
    Ok(root.map_err(BenchError::new)?.trim().to_owned())
}

fn number_of(got: &Value, name: &str) -> Result<f64, BenchError> {
    got[name]
        .as_f64()
        .ok_or_else(|| BenchError::new(format!("no {name} in {got}")))
}

fn moved(got: &Value) -> Result<f64, BenchError> {
    Ok(number_of(got, "asked_bytes")? + number_of(got, "answered_bytes")?)
}

/// Megabytes of the datagrams that a node has sent and received.
fn datagrams(node: &Node) -> Result<f64, BenchError> {
    let status = node.json(&["status"]).map_err(BenchError::new)?;
    let of = |name: &str| status.pointer(&format!("/transport/{name}"))?.as_f64();
    let both = of("bytes_sent").zip(of("bytes_received"));
    both.map(|(sent, received)| (sent + received) / MB)
        .ok_or_else(|| BenchError::new(format!("no datagrams in {status}")))
}

fn edit(copy: &Path, from: u64, one_in: usize) -> Result<Changed, BenchError> {
    let mut files = Vec::new();
    regular_files(copy, &mut files)?;
    files.retain(|path| fs::metadata(path).is_ok_and(|meta| meta.len() >= from));
    let mut changed = Changed {
        of: files.len(),
        ..Changed::default()
    };
    for path in files.iter().step_by(one_in) {
        let old = fs::read(path)?;
        let mut new = old.clone();
        new.splice(old.len() / 2..old.len() / 2, LINE.iter().copied());
        fs::write(path, &new)?;
        let known: HashSet<blake3::Hash> = pieces(&old).map(|(id, _)| id).collect();
        for (_, piece) in pieces(&new).filter(|(id, _)| !known.contains(id)) {
            changed.chunks += piece.len();
            // As a store keeps it: plain where compression does not shorten it.
            changed.compressed += zstd::bulk::compress(piece, ZSTD_LEVEL)?
                .len()
                .min(piece.len());
        }
        changed.patches += patch(&old, &new)?;
        changed.files += 1;
    }
    Ok(changed)
}

/// Bytes of what `zstd --patch-from` makes of two versions of a file.
fn patch(old: &[u8], new: &[u8]) -> Result<usize, BenchError> {
    let failed = |code| BenchError::new(format!("zstd: {}", zstd_safe::get_error_name(code)));
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(ZSTD_LEVEL),
        CParameter::WindowLog(PATCH_WINDOW_LOG),
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(old).map_err(failed)?;
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(new.len()));
    context.compress2(&mut out, new).map_err(failed)
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
