//! Streams of real events: edits of files in git repositories, and block traces.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::record::BenchError;

/// Most events of a stream that are played.
pub(super) const EVENTS_MAX: usize = 200_000;

/// One event as all methods see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Region of an author; 0 in a block trace.
    pub(super) lane: u32,
    /// What the source calls it: a block's address, or the number of a path.
    pub(super) value: i64,
    /// The symbol ours is given: the address, or a hash of the path's number. Path numbers were given in order of
    /// first appearance, so that the next new one could be guessed from its number.
    pub(super) symbol: u64,
    /// Numbers of symbols from 0, in order of first appearance: what the single methods are given.
    pub(super) number: u32,
    /// Seconds in git, the event's position elsewhere.
    pub(super) time: u64,
}

/// A stream and its alphabet.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) name: &'static str,
    pub(super) git: bool,
    pub(super) events: Vec<Event>,
    pub(super) alphabet: u32,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Lines `time region path …`, zstd.
    Git,
    /// Lines with one address, gzip.
    Lirs,
    /// Lines `address count 0 request`, zstd.
    Arc,
}

/// Name, file below `content/`, form.
type Source = (&'static str, &'static str, Form);

/// The streams of the gate.
const STREAMS: [Source; 15] = [
    ("git numpy", "gitregion/numpy+numpy.tsv.zst", Form::Git),
    (
        "git rust-analyzer",
        "gitregion/rust-lang+rust-analyzer.tsv.zst",
        Form::Git,
    ),
    (
        "git ohmyzsh",
        "gitregion/ohmyzsh+ohmyzsh.tsv.zst",
        Form::Git,
    ),
    (
        "git opentelemetry.io",
        "gitregion/open-telemetry+opentelemetry.io.tsv.zst",
        Form::Git,
    ),
    ("git tldr", "gitregion/tldr-pages+tldr.tsv.zst", Form::Git),
    ("sprite", "caffeine/lirs_sprite.trace.gz", Form::Lirs),
    ("multi1", "caffeine/lirs_multi1.trace.gz", Form::Lirs),
    ("cpp", "caffeine/lirs_cpp.trace.gz", Form::Lirs),
    ("cs", "caffeine/lirs_cs.trace.gz", Form::Lirs),
    ("ps", "caffeine/lirs_ps.trace.gz", Form::Lirs),
    ("loop", "caffeine/lirs_loop.trace.gz", Form::Lirs),
    ("2_pools", "caffeine/lirs_2_pools.trace.gz", Form::Lirs),
    ("OLTP", "moka-arc/OLTP.lis.zst", Form::Arc),
    ("P3", "moka-arc/P3.lis.zst", Form::Arc),
    ("P6", "moka-arc/P6.lis.zst", Form::Arc),
];

/// Streams that nothing was looked at on while the predictor was shaped.
const OTHERS: [Source; 3] = [
    ("multi2", "caffeine/lirs_multi2.trace.gz", Form::Lirs),
    ("multi3", "caffeine/lirs_multi3.trace.gz", Form::Lirs),
    ("gli", "caffeine/lirs_gli.trace.gz", Form::Lirs),
];

/// The directory of data: `$MFN_DATA`, else `../shared/data` beside the tree.
pub(crate) fn directory(root: &Path) -> Result<PathBuf, BenchError> {
    let path =
        std::env::var_os("MFN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    if path.is_dir() {
        return Ok(path);
    }
    Err(BenchError::new(format!(
        "no data: {} is not a directory; name the one with content/ and routing/ in MFN_DATA",
        path.display()
    )))
}

/// Names of the streams of the gate, then of the others.
pub(super) fn names() -> impl Iterator<Item = (usize, bool)> {
    (0..STREAMS.len() + OTHERS.len()).map(|at| (at, at < STREAMS.len()))
}

/// Reads one stream.
pub(super) fn load(data: &Path, at: usize, events_max: usize) -> Result<Trace, BenchError> {
    let (name, file, form) = STREAMS
        .get(at)
        .copied()
        .unwrap_or_else(|| OTHERS[at - STREAMS.len()]);
    let path = data.join("content").join(file);
    let text = unpacked(&path)?;
    let mut numbers = HashMap::new();
    let mut events = Vec::new();
    let mut push = |lane: u32, value: i64, time: Option<u64>| {
        let next = numbers.len() as u32;
        let number = *numbers.entry(value).or_insert(next);
        let symbol = if form == Form::Git {
            scattered(value as u64)
        } else {
            value as u64
        };
        let time = time.unwrap_or(events.len() as u64);
        events.push(Event {
            lane,
            value,
            symbol,
            number,
            time,
        });
        events.len() < events_max
    };
    for line in text.lines() {
        let numbers: Vec<i64> = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        let more = match (form, &numbers[..]) {
            (Form::Git, [time, region, path, ..]) => {
                push(*region as u32, *path, Some(*time as u64))
            }
            (Form::Lirs, [address]) => push(0, *address, None),
            (Form::Arc, [address, count, ..]) => {
                (*address..address + count).all(|block| push(0, block, None))
            }
            // Some traces end with a line of another kind.
            _ => true,
        };
        if !more {
            break;
        }
    }
    if events.is_empty() {
        return Err(BenchError::new(format!("{} has no events", path.display())));
    }
    let alphabet = numbers.len() as u32;
    Ok(Trace {
        name,
        git: form == Form::Git,
        events,
        alphabet,
    })
}

fn unpacked(path: &Path) -> Result<String, BenchError> {
    let missing = |error: std::io::Error| {
        BenchError::new(format!(
            "{}: {error}; MFN_DATA names the directory of data",
            path.display()
        ))
    };
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let file = File::open(path).map_err(missing)?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    } else {
        let bytes = fs::read(path).map_err(missing)?;
        zstd::stream::read::Decoder::new(&bytes[..])?.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The finaliser of splitmix64: a one-to-one map without order.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
