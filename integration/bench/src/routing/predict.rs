//! Rows on pairs that nobody measured, and on what liars cost.

use hypermesh_id::NodeId;
use hypermesh_routing::{NeuralRoutingMatrix, Options, Report};
use rustix::time::{ClockId, clock_gettime};

use crate::record::{BenchError, Ctx, Must, Samples};

use super::data::{Lots, Network};
use super::peers::{Line, Vivaldi};

/// Neighbours of each node.
const COUNTS: [usize; 3] = [8, 16, 32];
const GATE: usize = 16;
/// Most that one update may take on the mean, in microseconds of processor.
const UPDATE_MICROS: f64 = 1000.0;

/// The name of a node.
pub(super) fn name(node: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    NodeId(bytes)
}

/// The number of a name.
pub(super) fn number(node: NodeId) -> usize {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&node.0[..8]);
    u64::from_be_bytes(bytes) as usize - 1
}

/// Shares of relative errors.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors(Vec<f64>);

impl Errors {
    pub(super) fn push(&mut self, predicted: f64, rtt: f64) {
        self.0.push((predicted / rtt - 1.0).abs());
    }

    pub(super) fn within(&self, limit: f64) -> f64 {
        let near = self.0.iter().filter(|error| **error <= limit).count();
        near as f64 / self.0.len().max(1) as f64
    }

    fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn text(&self) -> String {
        format!(
            "{:.3}/{:.3}/{:.3}",
            self.within(0.1),
            self.within(0.2),
            self.median()
        )
    }
}

/// A matrix with all nodes of a network, nothing measured.
pub(super) fn empty(network: &Network, seed: u64) -> Result<NeuralRoutingMatrix, BenchError> {
    let options = Options {
        nodes_max: network.nodes,
        seed,
        ..Options::default()
    };
    let mut matrix = NeuralRoutingMatrix::new(name(0), options)?;
    for node in 0..network.nodes {
        matrix.admit(name(node), network.places[node])?;
    }
    Ok(matrix)
}

/// Takes a sample in: the node 0 is this one, all others report.
pub(super) fn take(
    matrix: &mut NeuralRoutingMatrix,
    (from, to): (usize, usize),
    rtt_ms: f64,
    at: u64,
) -> Result<(), BenchError> {
    if from == 0 {
        return Ok(matrix.measured(name(to), rtt_ms, at)?);
    }
    Ok(matrix.reported(&Report {
        reporter: name(from),
        to: name(to),
        rtt_ms,
        at,
    })?)
}

/// Processor time of this thread in microseconds.
pub(super) fn cpu_micros() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Pairs that nobody measured, the smaller number first.
pub(super) fn unmeasured(network: &Network, samples: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut measured = vec![false; network.nodes * network.nodes];
    for (from, to) in samples {
        measured[from.min(to) * network.nodes + from.max(to)] = true;
    }
    (0..network.nodes)
        .flat_map(|a| (a + 1..network.nodes).map(move |b| (a, b)))
        .filter(|(a, b)| !measured[a * network.nodes + b] && network.rtt(*a, *b).is_finite())
        .collect()
}

/// Samples of a run, one per seed.
#[derive(Debug, Default)]
struct Run {
    ours: [Samples; 3],
    vivaldi: [Samples; 3],
    covered: Samples,
    micros: Samples,
    slowest: Samples,
    predict: Samples,
    others: String,
}

pub(super) fn rows(ctx: &mut Ctx, network: &Network) -> Result<(), BenchError> {
    for k in COUNTS {
        // The other counts are for the networks of the gate; half networks have few nodes to leave unmeasured.
        if k == GATE || (network.gate.is_some() && !ctx.quick) {
            report(ctx, network, k, &play(network, k, ctx.rounds() as u64)?)?;
        }
    }
    Ok(())
}

fn play(network: &Network, k: usize, seeds: u64) -> Result<Run, BenchError> {
    let mut run = Run::default();
    for seed in 1..=seeds {
        let mut lots = Lots::new(seed);
        let samples = network.samples(k, &mut lots);
        let mut matrix = empty(network, seed)?;
        let mut times = Vec::with_capacity(samples.len());
        for (at, (from, to)) in samples.iter().enumerate() {
            let start = cpu_micros();
            take(
                &mut matrix,
                (*from, *to),
                network.rtt(*from, *to),
                at as u64,
            )?;
            times.push(cpu_micros() - start);
        }
        let vivaldi = Vivaldi::learn(network.nodes, &samples, &mut lots, |a, b| network.rtt(a, b));
        let line = Line::learn(network, &samples);
        let mut measured: Vec<f64> = samples.iter().map(|(a, b)| network.rtt(*a, *b)).collect();
        measured.sort_by(f64::total_cmp);
        let middle = measured[measured.len() / 2];
        let mut errors: [Errors; 4] = Default::default();
        let pairs = unmeasured(network, &samples);
        let mut covered = 0;
        let start = cpu_micros();
        for (a, b) in &pairs {
            let rtt = network.rtt(*a, *b);
            let estimate = matrix.estimate(name(*a), name(*b))?;
            errors[0].push(estimate.rtt_ms, rtt);
            covered += usize::from(rtt <= estimate.quantiles_ms[1]);
        }
        run.predict
            .push((cpu_micros() - start) / pairs.len() as f64);
        for (a, b) in &pairs {
            let rtt = network.rtt(*a, *b);
            errors[1].push(vivaldi.rtt(*a, *b), rtt);
            errors[2].push(middle, rtt);
            if let Some(far) = line.and_then(|line| line.rtt(network, *a, *b)) {
                errors[3].push(far, rtt);
            }
        }
        for (samples, errors) in [(&mut run.ours, &errors[0]), (&mut run.vivaldi, &errors[1])] {
            samples[0].push(errors.within(0.1));
            samples[1].push(errors.within(0.2));
            samples[2].push(errors.median());
        }
        times.sort_by(f64::total_cmp);
        run.micros
            .push(times.iter().sum::<f64>() / times.len() as f64);
        run.slowest.push(times[times.len() * 999 / 1000]);
        run.covered.push(covered as f64 / pairs.len() as f64);
        run.others = format!("median of all samples {}", errors[2].text());
        if line.is_some() {
            run.others += &format!(", distance fit {}", errors[3].text());
        }
    }
    Ok(run)
}

fn report(ctx: &mut Ctx, network: &Network, k: usize, run: &Run) -> Result<(), BenchError> {
    let title = format!("{}, k = {k}", network.name);
    let gate = network.gate.filter(|_| k == GATE);
    let must = |at: usize| gate.map_or(Must::Report, |gate| Must::AtLeast(gate[at]));
    let others = format!("{} (within 10 %, 20 %, median error)", run.others);
    let rows = [
        ("within 10 %", must(0), others.as_str()),
        ("within 20 %", must(1), ""),
        ("median error", Must::Report, ""),
    ];
    for (at, (what, must, note)) in rows.into_iter().enumerate() {
        let peer = Some(("serf's Vivaldi", &run.vivaldi[at]));
        ctx.row(
            &format!("{title}, {what}"),
            "",
            &run.ours[at],
            peer,
            must,
            note,
        )?;
    }
    if k == GATE {
        let below = "share of unmeasured pairs below their predicted quantile 0.9";
        super::plain(
            ctx,
            &format!("{title}, covered"),
            "",
            &run.covered,
            Must::Report,
            below,
        )?;
    }
    if gate.is_some() {
        let micros = |what: &str| format!("{title}, {what}");
        super::plain(
            ctx,
            &micros("update, mean"),
            "us",
            &run.micros,
            Must::AtMost(UPDATE_MICROS),
            "",
        )?;
        let note = "one in a thousand takes longer";
        super::plain(
            ctx,
            &micros("update, quantile 0.999"),
            "us",
            &run.slowest,
            Must::Report,
            note,
        )?;
        super::plain(
            ctx,
            &micros("estimate"),
            "us",
            &run.predict,
            Must::Report,
            "",
        )?;
    }
    Ok(())
}
