//! Rows of fetching ahead: hit rates beside the optimum of a cache that only fetches what is asked for.
//!
//! The first fifth of each trace warms up. What is fetched ahead is there at the next request, as in the literature's
//! figures; the optimum may also leave an object out. Nothing of this was tuned on any of these traces.

use std::path::Path;

use hypermesh_placement::ahead::{Ahead, AheadCounts, AheadOptions};
use hypermesh_placement::cache::{Adaptive, Answer, CacheOptions, Lru, Policy};

use crate::cpe::cpu_micros;
use crate::record::{BenchError, Ctx, Must};

use super::traces::{self, CELLS, Trace};
use super::{ROOM_MIN, SHARES, peers};

/// Traces and how much of them is played.
const PREFIXES: [(&str, usize); 6] = [
    ("orm-busy", 1_000_000),
    ("P3", 1_500_000),
    ("w106", 1_000_000),
    ("scarab", usize::MAX),
    ("OLTP", usize::MAX),
    ("web12", usize::MAX),
];

/// What one policy did after the warm-up, per request.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    hits: f64,
    fetches: f64,
    ahead: AheadCounts,
    micros: f64,
}

pub(super) fn run(ctx: &mut Ctx, data: &Path) -> Result<(), BenchError> {
    let (mut above, mut cells, mut least_used, mut most_fetched) = (0, 0, 1.0_f64, 0.0_f64);
    for (name, most) in PREFIXES {
        let Some(source) = CELLS.into_iter().find(|source| source.0 == name) else {
            continue;
        };
        let most = if ctx.quick { most.min(20_000) } else { most };
        let trace = traces::load(data, source, most)?;
        for share in SHARES {
            let room = ((trace.objects as f64 * share) as usize).max(ROOM_MIN);
            let from = trace.values.len() / 5;
            let lru = play(
                &trace,
                from,
                &mut Lru::new(CacheOptions::for_objects(room))?,
                None,
            );
            let plain = play(
                &trace,
                from,
                &mut Adaptive::new(CacheOptions::for_objects(room))?,
                None,
            );
            let mut ahead = Ahead::new(AheadOptions::default())?;
            let ours = play(
                &trace,
                from,
                &mut Adaptive::new(CacheOptions::for_objects(room))?,
                Some(&mut ahead),
            );
            let opt = peers::opt(&trace.numbers, trace.objects, room, true, from) as f64
                / (trace.values.len() - from) as f64;
            let settled = ours.ahead.used + ours.ahead.vain;
            let used = ours.ahead.used as f64 / settled.max(1) as f64;
            let fetched = ours.fetches / lru.fetches;
            let note = format!(
                "{} requests; LRU {:.4}, without fetching ahead {:.4}; {} fetched ahead, {:.3} of them used; fetches \
                 {fetched:.3} of LRU's; {} pauses; {:.1} us of the thread per request",
                trace.values.len(),
                lru.hits,
                plain.hits,
                ours.ahead.fetched,
                used,
                ours.ahead.pauses,
                ours.micros,
            );
            ctx.row(
                &format!(
                    "{name} {:.0} %, hit rate with fetching ahead",
                    share * 100.0
                ),
                "",
                &ours.hits.into(),
                Some(("OPT on demand", &opt.into())),
                Must::Report,
                &note,
            )?;
            cells += 1;
            above += usize::from(ours.hits > opt);
            most_fetched = most_fetched.max(fetched);
            if settled > 0 {
                least_used = least_used.min(used);
            }
        }
    }
    let note = format!("of {cells}");
    ctx.row(
        "fetching ahead, cells above the optimum on demand",
        "cells",
        &f64::from(above as u32).into(),
        None,
        Must::AtLeast(6.0),
        &note,
    )?;
    ctx.row(
        "fetching ahead, least share used",
        "",
        &least_used.into(),
        None,
        Must::AtLeast(0.8),
        "of the cells where anything was fetched; used is asked for before it is dropped",
    )?;
    ctx.row(
        "fetching ahead, most fetches over LRU's",
        "x",
        &most_fetched.into(),
        None,
        Must::AtMost(1.1),
        "",
    )
}

fn play(
    trace: &Trace,
    from: usize,
    cache: &mut impl Policy,
    mut ahead: Option<&mut Ahead>,
) -> Played {
    let mut dropped = Vec::new();
    let (mut hits, mut warm) = (0_u64, AheadCounts::default());
    let start = cpu_micros();
    for (at, value) in trace.values.iter().enumerate() {
        dropped.clear();
        let hit = cache.request(*value, 1, &mut dropped) == Answer::Hit;
        hits += u64::from(hit && at >= from);
        let Some(ahead) = &mut ahead else { continue };
        if at == from {
            warm = ahead.counts();
        }
        dropped.iter().for_each(|key| ahead.dropped(*key));
        let now = at as u64;
        ahead.asked(0, *value, 1, hit, now);
        let objects = cache.len();
        for want in ahead.next(0, now, objects, |key| cache.contains(key)) {
            dropped.clear();
            let held = cache.put_ahead(want.key, 1, &mut dropped);
            ahead.fetched(want, 1, held);
            dropped.iter().for_each(|key| ahead.dropped(*key));
        }
    }
    let all = trace.values.len();
    let counts = ahead.map_or(warm, |ahead| ahead.counts());
    let counts = AheadCounts {
        fetched: counts.fetched - warm.fetched,
        used: counts.used - warm.used,
        vain: counts.vain - warm.vain,
        pauses: counts.pauses - warm.pauses,
    };
    let requests = (all - from) as f64;
    Played {
        hits: hits as f64 / requests,
        fetches: (requests - hits as f64 + counts.fetched as f64) / requests,
        ahead: counts,
        micros: (cpu_micros() - start) / all as f64,
    }
}
