//! Traces of real requests, whole, with keys in the order of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::record::BenchError;

/// One trace.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    /// Whether its figures were looked at while the cache was shaped.
    pub(crate) tuned: bool,
    /// What the source calls each object that is asked for.
    pub(crate) values: Vec<u64>,
    /// The same as numbers from 0, in order of first appearance: for peers' arrays, never a feature.
    pub(crate) numbers: Vec<u32>,
    /// Bytes of each request's object, where the trace has them.
    pub(crate) sizes: Vec<u64>,
    /// Different objects.
    pub(crate) objects: usize,
}

/// How a file is read.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Big-endian numbers of 4 or 8 bytes.
    Words(usize),
    /// Lines that begin with `first count`: so many blocks from the first on.
    Blocks,
    /// Lines with one number.
    Lines,
    /// Lines `time number size`.
    Sizes,
}

/// Name, file below `content/`, form, whether it was looked at.
pub(crate) type Source = (&'static str, &'static str, &'static str, bool);

/// The traces of the 24 cells: the eight that the table of research has, and the LIRS set's sprite and multi 1 to 3.
pub(crate) const CELLS: [Source; 12] = [
    ("OLTP", "moka-arc/OLTP.lis.zst", "blocks", true),
    ("P3", "moka-arc/P3.lis.zst", "blocks", false),
    ("P6", "moka-arc/P6.lis.zst", "blocks", false),
    ("w106", "caffeine/cloud_physics_w106.trace.xz", "u32", true),
    (
        "scarab",
        "caffeine/scarab_scarab-recs.trace.xz",
        "u64",
        true,
    ),
    (
        "orm-busy",
        "caffeine/cache2k_orm-busy.trace.xz",
        "u32",
        false,
    ),
    ("web12", "caffeine/cache2k_web12.trace.xz", "u32", true),
    (
        "cdn",
        "caffeine/adapt_size_request.trace.xz",
        "sizes",
        false,
    ),
    ("sprite", "caffeine/lirs_sprite.trace.gz", "lines", true),
    ("multi1", "caffeine/lirs_multi1.trace.gz", "lines", true),
    ("multi2", "caffeine/lirs_multi2.trace.gz", "lines", false),
    ("multi3", "caffeine/lirs_multi3.trace.gz", "lines", false),
];

/// Traces beside the cells: too small, or loops that LRU never hits in.
pub(crate) const OTHERS: [Source; 7] = [
    ("2_pools", "caffeine/lirs_2_pools.trace.gz", "lines", false),
    ("cpp", "caffeine/lirs_cpp.trace.gz", "lines", false),
    ("cs", "caffeine/lirs_cs.trace.gz", "lines", false),
    ("gli", "caffeine/lirs_gli.trace.gz", "lines", false),
    ("loop", "caffeine/lirs_loop.trace.gz", "lines", false),
    ("ps", "caffeine/lirs_ps.trace.gz", "lines", false),
    (
        "corda",
        "caffeine/corda_trace_vaultservice.gz",
        "u64",
        false,
    ),
];

/// Reads a trace, its first `most` requests.
pub(crate) fn load(data: &Path, source: Source, most: usize) -> Result<Trace, BenchError> {
    let (name, file, form, tuned) = source;
    let form = match form {
        "u32" => Form::Words(4),
        "u64" => Form::Words(8),
        "blocks" => Form::Blocks,
        "sizes" => Form::Sizes,
        _ => Form::Lines,
    };
    let path = data.join("content").join(file);
    let bytes = unpacked(&path)?;
    let (mut values, mut sizes) = parse(form, &bytes);
    values.truncate(most);
    sizes.truncate(most);
    if values.is_empty() {
        return Err(BenchError::new(format!(
            "{} has no requests",
            path.display()
        )));
    }
    let mut known = HashMap::new();
    let numbers = values
        .iter()
        .map(|value| {
            let next = known.len() as u32;
            *known.entry(*value).or_insert(next)
        })
        .collect();
    Ok(Trace {
        name,
        tuned,
        objects: known.len(),
        values,
        sizes,
        numbers,
    })
}

/// What is asked for, and its sizes where there are any.
fn parse(form: Form, bytes: &[u8]) -> (Vec<u64>, Vec<u64>) {
    if let Form::Words(size) = form {
        let word = |chunk: &[u8]| {
            let number = chunk
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            // Some numbers are negative.
            if size == 4 {
                number as u32 as i32 as i64 as u64
            } else {
                number
            }
        };
        return (bytes.chunks_exact(size).map(word).collect(), Vec::new());
    }
    let text = String::from_utf8_lossy(bytes);
    let (mut values, mut sizes) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut numbers = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse::<u64>().ok());
        match (form, numbers.next(), numbers.next()) {
            (Form::Blocks, Some(first), Some(count)) => values.extend(first..first + count),
            (Form::Lines, Some(number), _) => values.push(number),
            (Form::Sizes, _, Some(number)) => {
                values.push(number);
                sizes.push(numbers.next().unwrap_or(1));
            }
            // Some traces end with a line of another kind.
            _ => {}
        }
    }
    (values, sizes)
}

pub(crate) fn unpacked(path: &Path) -> Result<Vec<u8>, BenchError> {
    let file = File::open(path).map_err(|error| {
        BenchError::new(format!(
            "{}: {error}; MFN_DATA names the directory of data",
            path.display()
        ))
    })?;
    let file = BufReader::new(file);
    let mut bytes = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut bytes)?,
        Some("xz") => lzma_rust2::XzReader::new(file, true).read_to_end(&mut bytes)?,
        _ => zstd::stream::read::Decoder::new(file)?.read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}
