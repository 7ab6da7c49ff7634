//! Rows of `bench-cache`: hit rates of the adaptive cache beside other policies and the optimum, and its speed.
//!
//! Objects count one each, and room is a share of all different objects, as in the literature. A cell is a trace and a
//! share; its gap is the part of the way from LRU to Belady's optimum.

mod ahead;
mod peers;
pub(crate) mod traces;

use hypermesh_placement::cache::{Adaptive, Answer, CacheOptions, Lru, Policy};

use crate::cpe::cpu_micros;
use crate::cpe::data::directory;
use crate::record::{BenchError, Ctx, Must, Samples};

use traces::{CELLS, OTHERS, Source, Trace};

/// Room, as shares of all different objects.
const SHARES: [f64; 2] = [0.01, 0.1];
const ROOM_MIN: usize = 10;
/// Requests from which on one round of timing is enough.
const LONG: usize = 2_000_000;
/// Requests of a quick run.
const QUICK: usize = 50_000;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let data = directory(ctx.root())?;
    let most = if ctx.quick { QUICK } else { usize::MAX };
    let mut tally = Tally::default();
    for source in CELLS {
        let trace = traces::load(&data, source, most)?;
        for share in SHARES {
            let cell = Cell::play(ctx, &trace, share)?;
            cell.report(ctx, &trace, share)?;
            tally.add(&trace, share, &cell);
        }
    }
    tally.report(ctx)?;
    bytes(ctx, &data, most)?;
    ahead::run(ctx, &data)?;
    others(ctx, &OTHERS, &data, most)
}

/// Hit rates of one trace with one room.
#[derive(Debug)]
struct Cell {
    ours: f64,
    lru: f64,
    opt: f64,
    peers: [(&'static str, f64); 3],
    /// Requests per second of computing.
    speed: Samples,
    lru_speed: Samples,
}

impl Cell {
    fn play(ctx: &Ctx, trace: &Trace, share: f64) -> Result<Self, BenchError> {
        let room = ((trace.objects as f64 * share) as usize).max(ROOM_MIN);
        let rate = |hits: usize| hits as f64 / trace.values.len() as f64;
        let (mut speed, mut lru_speed) = (Samples::default(), Samples::default());
        let (mut ours, mut lru) = (0, 0);
        // Hits are the same in every round, and a long trace is a mean of its own.
        let rounds = if ctx.quick || trace.values.len() > LONG {
            1
        } else {
            3
        };
        for _ in 0..rounds {
            let mut cache = Adaptive::new(CacheOptions::for_objects(room))?;
            let start = cpu_micros();
            ours = peers::played(&mut cache, trace);
            let middle = cpu_micros();
            lru = peers::lru(trace, room)?;
            let count = trace.values.len() as f64;
            speed.push(count / (middle - start));
            lru_speed.push(count / (cpu_micros() - middle));
        }
        let (numbers, objects) = (&trace.numbers, trace.objects);
        Ok(Self {
            ours: rate(ours),
            lru: rate(lru),
            opt: rate(peers::opt(numbers, objects, room, false, 0)),
            peers: [
                ("ARC", rate(peers::arc(numbers, objects, room))),
                ("S3-FIFO", rate(peers::s3_fifo(numbers, objects, room))),
                ("moka", rate(peers::moka(trace, room))),
            ],
            speed,
            lru_speed,
        })
    }

    fn gap(&self, hits: f64) -> f64 {
        (hits - self.lru) / (self.opt - self.lru)
    }

    fn report(&self, ctx: &mut Ctx, trace: &Trace, share: f64) -> Result<(), BenchError> {
        let peers = self.peers.iter();
        let rates = peers.map(|(name, hits)| format!("{name} {hits:.4} ({:+.3})", self.gap(*hits)));
        let note = format!(
            "{}; gap closed {:+.3}; LRU {:.4}, {}, OPT {:.4}",
            if trace.tuned {
                "looked at while shaping"
            } else {
                "held out"
            },
            self.gap(self.ours),
            self.lru,
            rates.collect::<Vec<_>>().join(", "),
            self.opt,
        );
        let (name, best) = self.peers.iter().fold(("LRU", self.lru), |best, peer| {
            if peer.1 > best.1 { *peer } else { best }
        });
        let metric = format!("{} {:.0} %, hit rate", trace.name, share * 100.0);
        ctx.row(
            &metric,
            "",
            &self.ours.into(),
            Some((name, &best.into())),
            Must::Report,
            &note,
        )?;
        let metric = format!("{} {:.0} %, speed", trace.name, share * 100.0);
        ctx.row(
            &metric,
            "M req/s",
            &self.speed,
            Some(("LRU", &self.lru_speed)),
            Must::Report,
            "time of the thread",
        )
    }
}

/// What is asked of all cells together.
#[derive(Debug, Default)]
struct Tally {
    tuned: Vec<f64>,
    held_out: Vec<f64>,
    peers: [Vec<f64>; 3],
    best: Vec<f64>,
    /// Hit rate over LRU's, the lowest first.
    over: Vec<(f64, String)>,
    speeds: Vec<(f64, String)>,
}

impl Tally {
    fn add(&mut self, trace: &Trace, share: f64, cell: &Cell) {
        let name = format!("{} {:.0} %", trace.name, share * 100.0);
        let gaps = if trace.tuned {
            &mut self.tuned
        } else {
            &mut self.held_out
        };
        gaps.push(cell.gap(cell.ours));
        let mut best = 0.0_f64;
        for (gaps, (_, hits)) in self.peers.iter_mut().zip(&cell.peers) {
            let gap = cell.gap(*hits);
            gaps.push(gap);
            best = best.max(gap);
        }
        self.best.push(best);
        self.over.push((cell.ours - cell.lru, name.clone()));
        let mut speeds = cell.speed.0.clone();
        speeds.sort_by(f64::total_cmp);
        self.speeds.push((speeds[speeds.len() / 2], name));
    }

    fn report(mut self, ctx: &mut Ctx) -> Result<(), BenchError> {
        let mean = |gaps: &[f64]| gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
        let all = [self.tuned.clone(), self.held_out.clone()].concat();
        let names = ["ARC", "S3-FIFO", "moka"].iter().zip(&self.peers);
        let theirs = names.map(|(name, gaps)| format!("{name} {:.3}", mean(gaps)));
        let note = format!(
            "mean of {} cells; {}; the best of LRU and these in each cell",
            all.len(),
            theirs.collect::<Vec<_>>().join(", ")
        );
        ctx.row(
            "gap from LRU to OPT closed, all cells",
            "",
            &mean(&all).into(),
            Some(("best for each cell", &mean(&self.best).into())),
            Must::AtLeast(0.25),
            &note,
        )?;
        ctx.row(
            "the same, held-out traces",
            "",
            &mean(&self.held_out).into(),
            None,
            Must::AtLeast(0.25),
            "P3, P6, orm-busy, cdn, multi2, multi3",
        )?;
        self.over.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.speeds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (least, cell) = &self.over[0];
        ctx.row(
            "hit rate over LRU's, least",
            "",
            &(*least).into(),
            None,
            Must::AtLeast(-0.01),
            cell,
        )?;
        let (least, cell) = &self.speeds[0];
        ctx.row(
            "speed, slowest cell",
            "M req/s",
            &(*least).into(),
            None,
            Must::AtLeast(1.0),
            cell,
        )
    }
}

/// Traces that are no cells: reported, in nobody's mean.
fn others(
    ctx: &mut Ctx,
    sources: &[Source],
    data: &std::path::Path,
    most: usize,
) -> Result<(), BenchError> {
    for source in sources {
        let trace = traces::load(data, *source, most)?;
        for share in SHARES {
            Cell::play(ctx, &trace, share)?.report(ctx, &trace, share)?;
        }
    }
    Ok(())
}

/// The trace that has sizes, with room in bytes: a share of the bytes of all different objects.
fn bytes(ctx: &mut Ctx, data: &std::path::Path, most: usize) -> Result<(), BenchError> {
    let Some(source) = CELLS.into_iter().find(|source| source.0 == "cdn") else {
        return Ok(());
    };
    let trace = traces::load(data, source, most)?;
    let mut largest = vec![0; trace.objects];
    for (number, size) in trace.numbers.iter().zip(&trace.sizes) {
        let known: &mut u64 = &mut largest[*number as usize];
        *known = (*known).max(*size);
    }
    let all: u64 = largest.iter().sum();
    for share in SHARES {
        let options = CacheOptions {
            bytes_max: ((all as f64 * share) as u64).max(1),
            objects_max: trace.objects,
            seed: 0,
        };
        let ours = played_bytes(&mut Adaptive::new(options)?, &trace);
        let lru = played_bytes(&mut Lru::new(options)?, &trace);
        for (at, what) in ["hit rate", "hit rate by bytes"].into_iter().enumerate() {
            ctx.row(
                &format!("cdn {:.0} % of all bytes, {what}", share * 100.0),
                "",
                &ours[at].into(),
                Some(("LRU", &lru[at].into())),
                Must::Report,
                "objects of any size; worth is per byte, so that small ones are favoured",
            )?;
        }
    }
    Ok(())
}

/// Hit rates by requests and by bytes.
fn played_bytes(policy: &mut impl Policy, trace: &Trace) -> [f64; 2] {
    let (mut dropped, mut hits, mut met, mut all) = (Vec::new(), 0.0, 0.0, 0.0);
    for (value, size) in trace.values.iter().zip(&trace.sizes) {
        dropped.clear();
        let hit = policy.request(*value, *size, &mut dropped) == Answer::Hit;
        all += *size as f64;
        if hit {
            hits += 1.0;
            met += *size as f64;
        }
    }
    [
        hits / trace.sizes.len().max(1) as f64,
        met / f64::max(all, 1.0),
    ]
}
