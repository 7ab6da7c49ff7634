//! Reads NumPy's `.npz`: a zip file of arrays, whole numbers and floats only; arrays of text are passed over.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use crate::record::BenchError;

/// The arrays of a file by name, flat, as floats.
pub(crate) type Arrays = BTreeMap<String, Vec<f64>>;

const END: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: usize = 22;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

pub(crate) fn load(path: &Path) -> Result<Arrays, BenchError> {
    let wrong = |what: &str| BenchError::new(format!("{}: {what}", path.display()));
    let bytes = fs::read(path)
        .map_err(|error| wrong(&format!("{error}; MFN_DATA names the directory of data")))?;
    let end = bytes
        .len()
        .checked_sub(END_BYTES)
        .and_then(|last| (0..=last).rev().find(|at| bytes[*at..].starts_with(&END)))
        .ok_or_else(|| wrong("no zip directory"))?;
    let cut = || wrong("cut off");
    let count = short(&bytes, end + 10).ok_or_else(cut)?;
    let mut entry = long(&bytes, end + 16).ok_or_else(cut)?;
    let mut arrays = Arrays::new();
    for _ in 0..count {
        let method = short(&bytes, entry + 10).ok_or_else(cut)?;
        let packed = long(&bytes, entry + 20).ok_or_else(cut)?;
        let lengths = [28, 30, 32].map(|at| short(&bytes, entry + at).unwrap_or(0) as usize);
        let local = long(&bytes, entry + 42).ok_or_else(cut)?;
        let name = bytes
            .get(entry + 46..entry + 46 + lengths[0])
            .ok_or_else(cut)?;
        let name = String::from_utf8_lossy(name)
            .trim_end_matches(".npy")
            .to_owned();
        // The local header has lengths of its own.
        let [own_name, own_extra] =
            [26, 28].map(|at| short(&bytes, local + at).unwrap_or(0) as usize);
        let start = local + 30 + own_name + own_extra;
        let part = bytes.get(start..start + packed).ok_or_else(cut)?;
        let mut array = Vec::new();
        match method {
            STORED => array.extend_from_slice(part),
            DEFLATED => drop(flate2::read::DeflateDecoder::new(part).read_to_end(&mut array)?),
            _ => return Err(wrong("a packing method other than stored or deflated")),
        }
        if !is_text(&array) {
            let numbers = numbers(&array).ok_or_else(|| wrong("an array of an unknown kind"))?;
            arrays.insert(name, numbers);
        }
        entry += 46 + lengths.iter().sum::<usize>();
    }
    Ok(arrays)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

/// Whether an `.npy` file holds names, which no benchmark reads.
fn is_text(bytes: &[u8]) -> bool {
    let header = &bytes[..bytes.len().min(128)];
    let has = |what: &[u8]| header.windows(what.len()).any(|part| part == what);
    has(b"'descr': '|S") || has(b"'descr': '<U")
}

/// The numbers of an `.npy` file of version 1, in C order.
fn numbers(bytes: &[u8]) -> Option<Vec<f64>> {
    let length = usize::from(short(bytes, 8)?);
    let header = std::str::from_utf8(bytes.get(10..10 + length)?).ok()?;
    let data = bytes.get(10 + length..)?;
    let all = |size: usize, read: fn(&[u8]) -> f64| data.chunks_exact(size).map(read).collect();
    // The length was chosen by chunks_exact, so no conversion can fail.
    fn le<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap_or([0; N])
    }
    Some(
        match header.split("'descr': '").nth(1)?.split('\'').next()? {
            "<f4" => all(4, |bytes| f64::from(f32::from_le_bytes(le(bytes)))),
            "<f8" => all(8, |bytes| f64::from_le_bytes(le(bytes))),
            "<i4" => all(4, |bytes| f64::from(i32::from_le_bytes(le(bytes)))),
            "<u2" => all(2, |bytes| f64::from(u16::from_le_bytes(le(bytes)))),
            "|u1" => all(1, |bytes| f64::from(bytes[0])),
            _ => return None,
        },
    )
}
