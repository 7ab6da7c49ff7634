//! The Zig table beside the hash maps that a Rust program would use: look-ups, inserts, bytes per entry, shared reads.
//!
//! The first peer is hashbrown with no hash at all: a digest's own bits. It is not safe against chosen keys, and the
//! fastest there is. All maps see the same keys in the same random order, round by round.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::Instant;

use mfn_ifr::{Digest, Filter, Ifr, Options, Summary, Value};

use crate::record::{BenchError, Ctx, Must, Samples};

const OWN_BITS: &str = "hashbrown, the digest's own bits as hash";
const FOLDHASH: &str = "hashbrown + foldhash";
const STD: &str = "std HashMap (SipHash)";
/// Keys of one batched look-up.
const BATCH: usize = 256;

/// Takes the first 8 bytes of a digest as its hash.
#[derive(Clone, Default)]
struct OwnBits(u64);

impl Hasher for OwnBits {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

type Map<S> = hashbrown::HashMap<Digest, Value, S>;

/// Digests of numbers: as evenly spread as the ids of blocks are.
pub(crate) fn keys(from: u64, count: usize) -> Vec<Digest> {
    (from..)
        .take(count)
        .map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes())
        .collect()
}

/// Every key once, in a fixed order that has nothing to do with that of the inserts.
fn shuffled(keys: &[Digest]) -> Vec<Digest> {
    let mut order = keys.to_vec();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(at, (state % (at as u64 + 1)) as usize);
    }
    order
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
    let counts: &[usize] = match (ctx.quick, ctx.large) {
        (true, _) => &[10_000],
        (false, false) => &[1_000_000, 10_000_000],
        (false, true) => &[1_000_000, 10_000_000, 30_000_000],
    };
    for count in counts {
        table(ctx, *count)?;
        growth(ctx, *count)?;
    }
    memory(ctx)?;
    filter(ctx, counts[0])?;
    shared(ctx, counts[0])
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
    let note = "len() in Zig through the C border, recovery point and checks of the handle included, minus a plain call";
    ctx.row(
        "Rust to Zig call, over a plain one",
        "ns",
        &over,
        None,
        Must::AtMost(3.0),
        note,
    )
}

/// Nanoseconds of one map for each of the four operations; a map has no batches.
struct Times {
    insert: f64,
    hit: f64,
    miss: f64,
    bytes: f64,
}

fn peer<S: BuildHasher + Default>(
    present: &[Digest],
    order: &[Digest],
    absent: &[Digest],
) -> Result<Times, BenchError> {
    let mut map: Map<S> = Map::default();
    let start = Instant::now();
    for key in present {
        map.insert(*key, [5; 16]);
    }
    let insert = per_item(start, present.len());
    let start = Instant::now();
    let hits = order
        .iter()
        .filter(|key| map.get(*key).copied().map(black_box).is_some())
        .count();
    let hit = per_item(start, order.len());
    let start = Instant::now();
    let wrong = absent.iter().filter(|key| map.get(*key).is_some()).count();
    let miss = per_item(start, absent.len());
    if hits != present.len() || wrong != 0 {
        return Err(BenchError::new("the peer lost a key"));
    }
    let bytes = map.allocation_size() as f64 / present.len() as f64;
    Ok(Times {
        insert,
        hit,
        miss,
        bytes,
    })
}

fn table(ctx: &mut Ctx, count: usize) -> Result<(), BenchError> {
    let (present, absent) = (keys(0, count), keys(1 << 40, count.min(1_000_000)));
    let order = shuffled(&present);
    let mut ours: [Samples; 6] = Default::default();
    let mut own: [Samples; 4] = Default::default();
    let mut fold: [Samples; 4] = Default::default();
    let mut std_hit = Samples::default();
    let mut false_positives = Samples::default();
    // One round's ratio differs from the next one's by more than a ratio may be from its bound.
    let rounds = match (ctx.quick, count) {
        (true, _) => ctx.rounds(),
        (false, ..=1_000_000) => 15,
        (false, ..=10_000_000) => 5,
        (false, _) => 3,
    };
    for _ in 0..rounds {
        let mut ifr = Ifr::new(Options {
            bytes_max: 4 << 30,
            ..Options::default()
        })?;
        let start = Instant::now();
        for key in &present {
            ifr.insert(key, [5; 16])?;
        }
        ours[0].push(per_item(start, count));
        let start = Instant::now();
        let hits = order
            .iter()
            .filter(|key| ifr.get(key).map(black_box).is_some())
            .count();
        ours[1].push(per_item(start, count));
        let start = Instant::now();
        let wrong = absent.iter().filter(|key| ifr.get(key).is_some()).count();
        ours[2].push(per_item(start, absent.len()));
        if hits != count || wrong != 0 {
            return Err(BenchError::new("the table lost a key"));
        }
        let mut out = [None; BATCH];
        let start = Instant::now();
        for keys in order.chunks_exact(BATCH) {
            ifr.get_many(keys, &mut out);
            black_box(&out);
        }
        ours[3].push(per_item(start, count));
        ours[4].push(ifr.stats().bytes as f64 / count as f64);
        let maybes = absent.iter().filter(|key| ifr.may_contain(key)).count();
        false_positives.push(maybes as f64 / absent.len() as f64 * 100.0);
        drop(ifr);
        let times = peer::<BuildHasherDefault<OwnBits>>(&present, &order, &absent)?;
        for (samples, time) in
            own.iter_mut()
                .zip([times.insert, times.hit, times.miss, times.bytes])
        {
            samples.push(time);
        }
        let times = peer::<foldhash::fast::RandomState>(&present, &order, &absent)?;
        for (samples, time) in
            fold.iter_mut()
                .zip([times.insert, times.hit, times.miss, times.bytes])
        {
            samples.push(time);
        }
        if count <= 1_000_000 {
            let map: HashMap<Digest, Value> = present.iter().map(|key| (*key, [5; 16])).collect();
            let start = Instant::now();
            black_box(
                order
                    .iter()
                    .filter(|key| map.get(*key).copied().map(black_box).is_some())
                    .count(),
            );
            std_hit.push(per_item(start, count));
        }
    }
    let note = format!("{count} keys of 32 bytes, values of 16");
    let name = |metric: &str| format!("{metric}, {:.0e}", count as f64);
    ctx.row(
        &name("insert"),
        "ns",
        &ours[0],
        Some((OWN_BITS, &own[0])),
        Must::RatioAtMost(1.3),
        &note,
    )?;
    ctx.row(
        &name("look-up, present"),
        "ns",
        &ours[1],
        Some((OWN_BITS, &own[1])),
        Must::RatioAtMost(1.3),
        &note,
    )?;
    ctx.row(
        &name("look-up, 256 at once"),
        "ns",
        &ours[3],
        Some((OWN_BITS, &own[1])),
        Must::RatioAtMost(0.6),
        &note,
    )?;
    ctx.row(
        &name("look-up, absent"),
        "ns",
        &ours[2],
        Some((OWN_BITS, &own[2])),
        Must::Report,
        &note,
    )?;
    ctx.row(
        &name("insert beside foldhash"),
        "ns",
        &ours[0],
        Some((FOLDHASH, &fold[0])),
        Must::Report,
        &note,
    )?;
    ctx.row(
        &name("look-up, present, beside foldhash"),
        "ns",
        &ours[1],
        Some((FOLDHASH, &fold[1])),
        Must::Report,
        &note,
    )?;
    ctx.row(
        &name("memory per entry"),
        "B",
        &ours[4],
        Some((OWN_BITS, &own[3])),
        Must::AtMost(70.0),
        &note,
    )?;
    let tags =
        "absent keys that the index in front of the entries (15 bits of hash each) does not deny";
    ctx.row(
        &name("index says maybe"),
        "%",
        &false_positives,
        None,
        Must::AtMost(0.5),
        tags,
    )?;
    if count <= 1_000_000 {
        ctx.row(
            &name("look-up, present, beside std"),
            "ns",
            &ours[1],
            Some((STD, &std_hit)),
            Must::Report,
            &note,
        )?;
    }
    Ok(())
}

/// The worst single insert while a table grows; reading the clock is included.
fn growth(ctx: &mut Ctx, count: usize) -> Result<(), BenchError> {
    let present = keys(0, count);
    let (mut worst, mut peer_worst) = (Samples::default(), Samples::default());
    for _ in 0..ctx.rounds().min(3) {
        let mut ifr = Ifr::new(Options {
            bytes_max: 4 << 30,
            ..Options::default()
        })?;
        let mut longest = 0.0_f64;
        for key in &present {
            let start = Instant::now();
            ifr.insert(key, [5; 16])?;
            longest = longest.max(start.elapsed().as_nanos() as f64);
        }
        worst.push(longest / 1e3);
        drop(ifr);
        let mut map: Map<BuildHasherDefault<OwnBits>> = Map::default();
        let mut longest = 0.0_f64;
        for key in &present {
            let start = Instant::now();
            map.insert(*key, [5; 16]);
            longest = longest.max(start.elapsed().as_nanos() as f64);
        }
        peer_worst.push(longest / 1e3);
    }
    let note = "wall time: whatever else the machine did meanwhile is in it";
    ctx.row(
        &format!("worst single insert, growing to {:.0e}", count as f64),
        "µs",
        &worst,
        Some((OWN_BITS, &peer_worst)),
        Must::AtMost(1000.0),
        note,
    )
}

/// The most bytes per entry at any of 30 sizes.
fn memory(ctx: &mut Ctx) -> Result<(), BenchError> {
    let (from, to, steps): (f64, f64, i32) = if ctx.quick {
        (1e4, 1e5, 10)
    } else {
        (1e5, 1e7, 30)
    };
    let mut ifr = Ifr::new(Options {
        bytes_max: 4 << 30,
        ..Options::default()
    })?;
    let mut map: Map<BuildHasherDefault<OwnBits>> = Map::default();
    let (mut most, mut peer_most, mut number) = (0.0_f64, 0.0_f64, 0_u64);
    for step in 0..steps {
        let size = (from * (to / from).powf(f64::from(step) / f64::from(steps - 1))) as u64;
        while number < size {
            let key = *blake3::hash(&number.to_le_bytes()).as_bytes();
            ifr.insert(&key, [5; 16])?;
            map.insert(key, [5; 16]);
            number += 1;
        }
        most = most.max(ifr.stats().bytes as f64 / size as f64);
        peer_most = peer_most.max(map.allocation_size() as f64 / size as f64);
    }
    ctx.row(
        "memory per entry, the most at any size",
        "B",
        &most.into(),
        Some((OWN_BITS, &peer_most.into())),
        Must::AtMost(70.0),
        &format!(
            "{steps} sizes between {from:.0e} and {to:.0e}; 48 of the bytes are key and value"
        ),
    )
}

/// The filter that forgets, filled to its capacity, and the summary of the same keys.
fn filter(ctx: &mut Ctx, count: usize) -> Result<(), BenchError> {
    let (present, absent) = (keys(0, count), keys(1 << 40, 1_000_000));
    let mut updatable = Filter::new(count as u64)?;
    for key in &present {
        updatable.insert(key)?;
    }
    let summary = Summary::build(&present, 1)?;
    if !present
        .iter()
        .all(|key| updatable.may_contain(key) && summary.may_contain(key))
    {
        return Err(BenchError::new("a filter denies what is in it"));
    }
    let share = |maybe: &dyn Fn(&Digest) -> bool| -> Samples {
        let wrong = absent.iter().filter(|key| maybe(key)).count();
        (wrong as f64 / absent.len() as f64 * 100.0).into()
    };
    let bits = |bytes: u64| -> Samples { (bytes as f64 * 8.0 / count as f64).into() };
    let note = format!("filled to its capacity of {count} digests, removals supported");
    let wrong = share(&|key| updatable.may_contain(key));
    ctx.row(
        "updatable filter, false positives",
        "%",
        &wrong,
        None,
        Must::AtMost(0.5),
        &note,
    )?;
    ctx.row(
        "updatable filter, bits per key",
        "bit",
        &bits(updatable.bytes()),
        None,
        Must::AtMost(12.0),
        &note,
    )?;
    let note = format!("binary fuse filter of {count} digests, immutable");
    let wrong = share(&|key| summary.may_contain(key));
    ctx.row(
        "summary, false positives",
        "%",
        &wrong,
        None,
        Must::AtMost(0.5),
        &note,
    )?;
    ctx.row(
        "summary, bits per key",
        "bit",
        &bits(summary.as_bytes().len() as u64),
        None,
        Must::Report,
        &note,
    )
}

/// Look-ups per second of two threads over those of one.
fn shared(ctx: &mut Ctx, count: usize) -> Result<(), BenchError> {
    let present = keys(0, count);
    let order = shuffled(&present);
    let mut ifr = Ifr::new(Options {
        bytes_max: 4 << 30,
        ..Options::default()
    })?;
    for key in &present {
        ifr.insert(key, [5; 16])?;
    }
    let ifr = &ifr;
    let map: papaya::HashMap<Digest, Value, foldhash::fast::RandomState> =
        papaya::HashMap::default();
    for key in &present {
        map.pin().insert(*key, [5; 16]);
    }
    let map = &map;
    let ours = |key: &Digest| ifr.get(key).is_some();
    let (mut gain, mut peer_gain) = (Samples::default(), Samples::default());
    let (mut one, mut peer_one) = (Samples::default(), Samples::default());
    for _ in 0..ctx.rounds() {
        let alone = readers(1, &order, &|keys| {
            keys.iter().filter(|key| ours(key)).count()
        });
        let both = readers(2, &order, &|keys| {
            keys.iter().filter(|key| ours(key)).count()
        });
        gain.push(2.0 * alone / both);
        one.push(alone);
        let theirs = |keys: &[Digest]| {
            let pinned = map.pin();
            keys.iter().filter(|key| pinned.get(*key).is_some()).count()
        };
        let alone = readers(1, &order, &theirs);
        let both = readers(2, &order, &theirs);
        peer_gain.push(2.0 * alone / both);
        peer_one.push(alone);
    }
    let name = "papaya + foldhash";
    let note = "each thread looks up every key";
    ctx.row(
        "shared look-ups, two threads over one",
        "x",
        &gain,
        Some((name, &peer_gain)),
        Must::AtLeast(1.9),
        note,
    )?;
    ctx.row(
        "look-up, present, beside a concurrent map",
        "ns",
        &one,
        Some((name, &peer_one)),
        Must::Report,
        note,
    )
}

/// Nanoseconds per key of one of so many threads.
fn readers(threads: usize, order: &[Digest], look_up: &(dyn Fn(&[Digest]) -> usize + Sync)) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                // Not in step with each other.
                let (tail, head) = order.split_at(order.len() / threads * thread);
                black_box(look_up(head) + look_up(tail));
            });
        }
    });
    per_item(start, order.len())
}
