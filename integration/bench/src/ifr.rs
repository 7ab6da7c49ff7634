//! Rows of `bench-ifr`: the C border, look-ups and inserts beside `std`'s table, bytes per entry.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use mfn_ifr::{Ifr, Options};

use crate::record::{BenchError, Ctx, Must, Samples};

const PEER: &str = "std HashMap (SipHash)";
/// Keys of one batched look-up.
const BATCH: usize = 64;

/// Digests of numbers: as evenly spread as the ids of blocks are.
pub(crate) fn keys(from: u64, count: usize) -> Vec<[u8; 32]> {
    (from..)
        .take(count)
        .map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes())
        .collect()
}

fn per_item(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// What a plain call of the same size costs.
#[inline(never)]
fn plain(value: &u64) -> u64 {
    *black_box(value)
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    border(ctx)?;
    let count = match (ctx.quick, ctx.large) {
        (true, _) => 10_000,
        (false, true) => 10_000_000,
        (false, false) => 1_000_000,
    };
    table(ctx, count)
}

fn border(ctx: &mut Ctx) -> Result<(), BenchError> {
    const CALLS: usize = 10_000_000;
    let ifr = Ifr::new(Options::default())?;
    let value = 7;
    let mut over = Samples::default();
    for _ in 0..ctx.rounds() {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(black_box(&ifr).len());
        }
        let ours = per_item(start, CALLS);
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(plain(black_box(&value)));
        }
        over.push(ours - per_item(start, CALLS));
    }
    let note =
        "len() in Zig through the C border, checks of the handle included, minus a plain call";
    ctx.row(
        "Rust to Zig call, over a plain one",
        "ns",
        &over,
        None,
        Must::AtMost(3.0),
        note,
    )
}

fn table(ctx: &mut Ctx, count: usize) -> Result<(), BenchError> {
    let (present, absent) = (keys(0, count), keys(1 << 40, count));
    let value = [5; 16];
    let mut rows: [(&str, Samples, Samples); 4] = [
        ("insert", Samples::default(), Samples::default()),
        ("look-up, present", Samples::default(), Samples::default()),
        ("look-up, absent", Samples::default(), Samples::default()),
        (
            "look-up, 64 at once",
            Samples::default(),
            Samples::default(),
        ),
    ];
    let mut bytes = Samples::default();
    for _ in 0..ctx.rounds() {
        let mut ifr = Ifr::new(Options {
            bytes_max: 4 << 30,
            ..Options::default()
        })?;
        let mut peer: HashMap<[u8; 32], [u8; 16]> = HashMap::new();
        let mut measured = [[0.0; 2]; 4];
        let start = Instant::now();
        for key in &present {
            ifr.insert(key, value)?;
        }
        measured[0][0] = per_item(start, count);
        let start = Instant::now();
        for key in &present {
            peer.insert(*key, value);
        }
        measured[0][1] = per_item(start, count);
        for (at, keys) in [(1, &present), (2, &absent)] {
            let start = Instant::now();
            let found = keys.iter().filter(|key| ifr.get(key).is_some()).count();
            measured[at][0] = per_item(start, count);
            let start = Instant::now();
            let expected = keys.iter().filter(|key| peer.contains_key(*key)).count();
            measured[at][1] = per_item(start, count);
            if found != expected {
                return Err(BenchError::new("the tables disagree"));
            }
        }
        let mut out = [None; BATCH];
        let start = Instant::now();
        for keys in present.chunks_exact(BATCH) {
            ifr.get_many(keys, &mut out);
            black_box(&out);
        }
        measured[3] = [per_item(start, count), measured[1][1]];
        for ((_, ours, theirs), [one, other]) in rows.iter_mut().zip(measured) {
            ours.push(one);
            theirs.push(other);
        }
        bytes.push(ifr.stats().bytes as f64 / count as f64);
    }
    let note = format!("{count} keys of 32 bytes, values of 16, filter on");
    for (metric, ours, theirs) in &rows {
        ctx.row(
            metric,
            "ns",
            ours,
            Some((PEER, theirs)),
            Must::Report,
            &note,
        )?;
    }
    ctx.row("memory per entry", "B", &bytes, None, Must::Report, &note)
}
