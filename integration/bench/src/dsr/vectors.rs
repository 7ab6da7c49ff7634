//! Queries per second at equal recall, bytes, build, churn, and what the winner code is worth alone.

use std::collections::BTreeMap;
use std::time::Instant;

use mfn_dsr::{EXACT_ROWS, Options, Precision, Scratch, Well};

use super::data::Data;
use super::python::{Peers, Round, TARGETS};
use super::simhash::SimHash;
use crate::record::{BenchError, Ctx, Must, Samples};

const GRAPH: &str = "hnswlib";
const SCAN: &str = "faiss IVF fast scan";
const LISTS: &str = "faiss IVF";

/// Rates and recalls of one contender, round by round.
#[derive(Debug, Default)]
struct Runs {
    rate: Samples,
    recall: Samples,
}

impl Runs {
    fn push(&mut self, (rate, recall): (f64, f64)) {
        self.rate.push(rate);
        self.recall.push(recall);
    }

    fn recall(&self) -> f64 {
        self.recall.0.first().copied().unwrap_or(0.0)
    }
}

pub(crate) fn run(
    ctx: &mut Ctx,
    data: &Data,
    mut peers: Option<&mut Peers>,
) -> Result<(), BenchError> {
    let mut wells = Vec::new();
    let mut build = Samples::default();
    for target in TARGETS {
        let start = Instant::now();
        let recall = target.parse()?;
        wells.push(fill(
            data,
            Options {
                recall,
                ..Options::new(data.dims)
            },
        )?);
        build.push(start.elapsed().as_secs_f64());
    }
    let mut built: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut settings: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    if let Some(peers) = &mut peers {
        built = peers.ask("build")?;
        settings = peers.ask("tune")?;
    }
    let hash = SimHash::build(&data.base, data.dims);
    let mut runs: BTreeMap<(String, String), Runs> = BTreeMap::new();
    for _ in 0..ctx.rounds() {
        for (target, well) in TARGETS.iter().zip(&wells) {
            let key = ((*target).to_owned(), "ours".to_owned());
            runs.entry(key).or_default().push(ask(data, well)?);
        }
        let key = ("0.95".to_owned(), "SimHash".to_owned());
        runs.entry(key)
            .or_default()
            .push(ask_simhash(data, &wells[1], &hash)?);
        if let Some(peers) = &mut peers {
            let round: Round = peers.ask("round")?;
            for (target, names) in round {
                for (name, run) in names {
                    runs.entry((target.clone(), name)).or_default().push(run);
                }
            }
        }
    }
    let empty = Runs::default();
    let of = |target: &str, name: &str| {
        runs.get(&(target.to_owned(), name.to_owned()))
            .unwrap_or(&empty)
    };
    for (target, well) in TARGETS.iter().zip(&wells) {
        let stats = well.stats();
        for peer in [GRAPH, SCAN, LISTS] {
            let (ours, theirs) = (of(target, "ours"), of(target, peer));
            let must = match (*target, peer) {
                ("0.95", GRAPH) => Must::RatioAtLeast(1.0),
                _ => Must::Report,
            };
            let setting = settings.get(*target).and_then(|names| names.get(peer));
            let note = format!(
                "{}; recall {:.3} ours ({} of {} neurons win, {} candidates, chosen on held-out entries), {:.3} theirs ({})",
                data.note,
                ours.recall(),
                stats.winners,
                stats.neurons,
                stats.refine,
                theirs.recall(),
                setting.map_or("not measured", String::as_str),
            );
            let beside = (!theirs.rate.0.is_empty()).then_some((peer, &theirs.rate));
            let metric = format!("queries, recall {target}, beside {peer}");
            ctx.row(&metric, "/s", &ours.rate, beside, must, &note)?;
        }
    }
    let ours = of("0.95", "ours");
    let note =
        "the well measures on its own held-out entries what it takes; the queries are strangers";
    ctx.row(
        "recall of the ten nearest, asked for .95",
        "",
        &ours.recall,
        None,
        Must::AtLeast(0.95),
        note,
    )?;
    let bytes = Samples::from(wells[1].bytes() as f64 / wells[1].len() as f64);
    let peer_of = |name: &str, which: fn(&(f64, f64)) -> f64| {
        built.get(name).map(|both| Samples::from(which(both)))
    };
    let graph = peer_of(GRAPH, |both| both.1);
    let note = "all counted: codes, 8-bit rows, ids, their table, prototypes, room for growth; peers: the saved index";
    let beside = graph.as_ref().map(|samples| (GRAPH, samples));
    ctx.row(
        "bytes per vector",
        "B",
        &bytes,
        beside,
        Must::RatioAtMost(0.5),
        note,
    )?;
    let scan = peer_of(SCAN, |both| both.1);
    let beside = scan.as_ref().map(|samples| (SCAN, samples));
    ctx.row(
        "bytes per vector, beside faiss",
        "B",
        &bytes,
        beside,
        Must::Report,
        "faiss refines with 32-bit rows",
    )?;
    let graph = peer_of(GRAPH, |both| both.0);
    let beside = graph.as_ref().map(|samples| (GRAPH, samples));
    let note = "one insert after the other, calibration included; the target is a fifth";
    let median = Samples::from(build.0[1]);
    ctx.row("build", "s", &median, beside, Must::Report, note)?;
    let simhash = of("0.95", "SimHash");
    let note = format!(
        "64-byte codes, all compared, {SIMHASH_REFINE} re-ranked: recall {:.3}",
        simhash.recall()
    );
    ctx.row(
        "queries, recall 0.95, beside SimHash",
        "/s",
        &ours.rate,
        Some(("SimHash", &simhash.rate)),
        Must::Report,
        &note,
    )?;
    alone(ctx, data, &wells[1], &hash)?;
    small(ctx, data)?;
    churn(ctx, data, wells.swap_remove(1), peers)
}

fn fill(data: &Data, options: Options) -> Result<Well, BenchError> {
    let mut well = Well::new(options)?;
    for (id, vector) in data.entries() {
        well.insert(id, vector)?;
    }
    Ok(well)
}

/// Queries per second and recall; ids count modulo the number of entries.
fn ask(data: &Data, well: &Well) -> Result<(f64, f64), BenchError> {
    let mut scratch = Scratch::default();
    let mut answers = Vec::with_capacity(data.truth.len());
    let start = Instant::now();
    for query in data.queries.chunks_exact(data.dims) {
        answers.push(well.search(&mut scratch, query, 10, -1.0)?);
    }
    let rate = answers.len() as f64 / start.elapsed().as_secs_f64();
    let count = (data.base.len() / data.dims) as u64;
    let hits = answers.iter().zip(&data.truth).map(|(found, truth)| {
        found
            .iter()
            .filter(|one| truth.contains(&(one.id % count)))
            .count()
    });
    Ok((
        rate,
        hits.sum::<usize>() as f64 / (10 * answers.len()) as f64,
    ))
}

/// Candidates of SimHash that are compared exactly.
const SIMHASH_REFINE: usize = 150;
/// Queries that the linear contenders are asked.
const FEW: usize = 200;

fn ask_simhash(data: &Data, well: &Well, hash: &SimHash) -> Result<(f64, f64), BenchError> {
    let rows: Vec<&[f32]> = data.base.chunks_exact(data.dims).collect();
    let mut hits = 0;
    let few = FEW.min(data.truth.len());
    let start = Instant::now();
    for (query, truth) in data
        .queries
        .chunks_exact(data.dims)
        .zip(&data.truth)
        .take(few)
    {
        let near = hash.nearest(query, SIMHASH_REFINE);
        let cosine = |id: &u64| {
            rows[*id as usize]
                .iter()
                .zip(query)
                .map(|(a, b)| a * b)
                .sum::<f32>()
        };
        let mut scored: Vec<(f32, u64)> = near.iter().map(|id| (cosine(id), *id)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits += scored
            .iter()
            .take(10)
            .filter(|(_, id)| truth.contains(id))
            .count();
    }
    let _ = well;
    Ok((
        few as f64 / start.elapsed().as_secs_f64(),
        hits as f64 / (10 * few) as f64,
    ))
}

/// What the codes find without any re-rank: 32 winners of 2 bytes beside 64 bytes of SimHash.
fn alone(ctx: &mut Ctx, data: &Data, well: &Well, hash: &SimHash) -> Result<(), BenchError> {
    const WINNERS: usize = 32;
    let mut scratch = Scratch::default();
    let mut owners: Vec<Vec<u32>> = Vec::new();
    for (id, vector) in data.entries() {
        for spike in well.fire(&mut scratch, vector, WINNERS)? {
            let neuron = usize::from(spike.neuron);
            owners.resize(owners.len().max(neuron + 1), Vec::new());
            owners[neuron].push(id as u32);
        }
    }
    let few = FEW.min(data.truth.len());
    let (mut ours, mut theirs) = (0, 0);
    let mut shared = vec![0u8; data.base.len() / data.dims];
    for (query, truth) in data
        .queries
        .chunks_exact(data.dims)
        .zip(&data.truth)
        .take(few)
    {
        shared.fill(0);
        for spike in well.fire(&mut scratch, query, WINNERS)? {
            for id in owners.get(usize::from(spike.neuron)).into_iter().flatten() {
                shared[*id as usize] += 1;
            }
        }
        let mut order: Vec<(u8, u64)> = shared.iter().copied().zip(0..).collect();
        order.select_nth_unstable_by(10, |a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        ours += order[..10]
            .iter()
            .filter(|(_, id)| truth.contains(id))
            .count();
        theirs += hash
            .nearest(query, 10)
            .iter()
            .filter(|id| truth.contains(id))
            .count();
    }
    let recall = |hits: usize| Samples::from(hits as f64 / (10 * few) as f64);
    let note = "64 bytes each, no re-rank. Where ours is lower, competition pays as the coarse stage only, and there it stands";
    ctx.row(
        "recall of the code alone",
        "",
        &recall(ours),
        Some(("SimHash", &recall(theirs))),
        Must::Report,
        note,
    )
}

/// Where a well becomes indexed: one query against as many entries, both ways.
fn small(ctx: &mut Ctx, data: &Data) -> Result<(), BenchError> {
    let count = EXACT_ROWS.min(data.base.len() / data.dims);
    let mut wells = Vec::new();
    for exact in [false, true] {
        let mut well = Well::new(Options {
            exact,
            ..Options::new(data.dims)
        })?;
        for (id, vector) in data.entries().take(count) {
            well.insert(id, vector)?;
        }
        wells.push(well);
    }
    let mut times = [Samples::default(), Samples::default()];
    let mut scratch = Scratch::default();
    for _ in 0..ctx.rounds() {
        for (well, times) in wells.iter().zip(&mut times) {
            let start = Instant::now();
            for query in data.queries.chunks_exact(data.dims) {
                std::hint::black_box(well.search(&mut scratch, query, 10, -1.0)?);
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / data.truth.len() as f64);
        }
    }
    let note = format!(
        "{count} entries, where a well becomes indexed: below, comparing with all is the default"
    );
    let [indexed, exact] = &times;
    ctx.row(
        "one query at the border to exact",
        "us",
        indexed,
        Some(("ours, exact", exact)),
        Must::Report,
        &note,
    )
}

/// Half of the entries go and come again under other ids: the truth keeps its vectors.
fn churn(
    ctx: &mut Ctx,
    data: &Data,
    mut well: Well,
    peers: Option<&mut Peers>,
) -> Result<(), BenchError> {
    let before = ask(data, &well)?.1;
    let count = (data.base.len() / data.dims) as u64;
    let bytes = well.bytes();
    let half = |id: &u64| (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) == 1;
    for (id, _) in data.entries().filter(|(id, _)| half(id)) {
        well.remove(id);
    }
    for (id, vector) in data.entries().filter(|(id, _)| half(id)) {
        well.insert(id + count, vector)?;
    }
    let after = ask(data, &well)?.1;
    let theirs = match peers {
        Some(peers) => peers
            .ask::<BTreeMap<String, f64>>("churn")?
            .get("recall")
            .copied(),
        None => None,
    };
    let note = format!(
        "recall {before:.3} before, {after:.3} after; {:.3} of the bytes; hnswlib with its settings for .95 after the same: {}",
        well.bytes() as f64 / bytes as f64,
        theirs.map_or("not measured".into(), |recall| format!("{recall:.3}")),
    );
    ctx.row(
        "recall lost by replacing half the entries",
        "",
        &Samples::from(before - after),
        None,
        Must::AtMost(0.01),
        &note,
    )?;
    let floats = fill(
        data,
        Options {
            precision: Precision::Floats,
            ..Options::new(data.dims)
        },
    )?;
    let (rate, recall) = ask(data, &floats)?;
    let note = format!(
        "recall {recall:.3}, {:.0} bytes per vector",
        floats.bytes() as f64 / floats.len() as f64
    );
    ctx.row(
        "queries with 32-bit rows, recall 0.95",
        "/s",
        &Samples::from(rate),
        None,
        Must::Report,
        &note,
    )
}
