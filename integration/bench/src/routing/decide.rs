//! Rows on the router: how long a decision takes, and how fast a relay is left that turned bad.

use hypermesh_routing::{
    NeuralRoutingMatrix, Options, Probe, Report, RouterOptions, StoqRouter, Why,
};

use crate::record::{BenchError, Ctx, Must, Samples};

use super::data::Lots;
use super::predict::{cpu_micros, name, number};

/// Nodes, samples per node, and the most a decision may take, in microseconds.
const SIZES: [(usize, usize, f64); 2] = [(1_000, 8, 100.0), (10_000, 2, 5_000.0)];
/// Most that a search for relays may take, in microseconds.
const SEARCH_MICROS: f64 = 5_000.0;
const TARGETS: usize = 200;
/// What a relay gets worse by, in milliseconds, and how often traffic is seen.
const WORSE_MS: f64 = 200.0;
const SEEN_EVERY_MS: u64 = 50;

pub(super) fn rows(ctx: &mut Ctx) -> Result<(), BenchError> {
    for (nodes, samples, limit) in SIZES {
        let world = World::new(nodes);
        let matrix = world.learned(samples)?;
        let (mut times, mut searches) = (Samples::default(), Samples::default());
        let mut delays = Samples::default();
        let mut worse = 0;
        for round in 0..ctx.rounds() {
            let mut router = StoqRouter::new(RouterOptions::default())?;
            let (mut spent, mut searched) = (Vec::new(), Vec::new());
            for turn in 0..TARGETS {
                let to = 1 + (round * TARGETS + turn) % (nodes - 1);
                let start = cpu_micros();
                router.find_optimal_route(&matrix, name(to), 0)?;
                spent.push(cpu_micros() - start);
                let start = cpu_micros();
                let probes = router.probes(&matrix, 0);
                searched.push(cpu_micros() - start);
                let left = world.turn_bad(&mut router, &matrix, to, probes)?;
                if let Some((delay, harm)) = left {
                    delays.push(delay as f64);
                    worse += harm;
                }
            }
            spent.sort_by(f64::total_cmp);
            times.push(spent[spent.len() / 2]);
            searched.sort_by(f64::total_cmp);
            searches.push(searched[searched.len() / 2]);
        }
        let metric = format!("decision, {nodes} nodes");
        let note = "a target that was not asked for before, without the search for relays, which is made beside it; median of 200";
        super::plain(ctx, &metric, "us", &times, Must::AtMost(limit), note)?;
        let metric = format!("search for 6 relays, {nodes} nodes");
        let note = "beside the decision: the path is direct until probes have answered";
        super::plain(
            ctx,
            &metric,
            "us",
            &searches,
            Must::AtMost(SEARCH_MICROS),
            note,
        )?;
        if delays.0.is_empty() {
            continue;
        }
        let slowest = delays.0.iter().copied().fold(0.0, f64::max);
        let note = format!(
            "{} relays in use got {WORSE_MS} ms slower, traffic was seen every {SEEN_EVERY_MS} ms; {worse} were used on while worse for more than a second",
            delays.0.len()
        );
        let metric = format!("relay that turned bad, {nodes} nodes, longest until direct");
        super::plain(
            ctx,
            &metric,
            "ms",
            &slowest.into(),
            Must::AtMost(1000.0),
            &note,
        )?;
    }
    Ok(())
}

/// Nodes on a plane with access delays; one path in three is a detour.
struct World {
    at: Vec<[f64; 3]>,
}

impl World {
    fn new(nodes: usize) -> Self {
        let mut lots = Lots::new(nodes as u64);
        let at = (0..nodes)
            .map(|_| {
                [
                    lots.unit() * 120.0,
                    lots.unit() * 80.0,
                    1.0 + 9.0 * lots.unit(),
                ]
            })
            .collect();
        Self { at }
    }

    fn rtt(&self, a: usize, b: usize) -> f64 {
        let (from, to) = (self.at[a], self.at[b]);
        let straight = (from[0] - to[0]).hypot(from[1] - to[1]) + from[2] + to[2];
        let lot = Lots::new((a.min(b) * self.at.len() + a.max(b)) as u64).unit();
        straight
            * if lot < 1.0 / 3.0 {
                1.2 + lot * 2.0
            } else {
                1.0
            }
    }

    fn learned(&self, samples: usize) -> Result<NeuralRoutingMatrix, BenchError> {
        let nodes = self.at.len();
        let options = Options {
            nodes_max: nodes,
            ..Options::default()
        };
        let mut matrix = NeuralRoutingMatrix::new(name(0), options)?;
        for node in 1..nodes {
            matrix.admit(name(node), None)?;
        }
        let mut lots = Lots::new(1);
        for at in 0..samples {
            for from in 1..nodes {
                let to = lots.below(nodes);
                if to != from {
                    matrix.reported(&Report {
                        reporter: name(from),
                        to: name(to),
                        rtt_ms: self.rtt(from, to),
                        at: at as u64,
                    })?;
                }
            }
        }
        Ok(matrix)
    }

    /// Answers the probes of a target; if a relay is chosen, makes it slower and plays traffic until it is left. How
    /// long that took, and whether it was too long.
    fn turn_bad(
        &self,
        router: &mut StoqRouter,
        matrix: &NeuralRoutingMatrix,
        to: usize,
        probes: Vec<Probe>,
    ) -> Result<Option<(u64, usize)>, BenchError> {
        for probe in probes {
            let path: Vec<usize> = probe.path.iter().map(|node| number(*node)).collect();
            let rtt_ms = match path[..] {
                [via, to] => self.rtt(0, via) + self.rtt(via, to),
                _ => self.rtt(0, to),
            };
            router.answered(probe.number, rtt_ms, rtt_ms as u64)?;
        }
        let start = 500;
        let route = router.find_optimal_route(matrix, name(to), start)?;
        if !matches!(route.why, Why::RelayIsFaster { .. }) {
            return Ok(None);
        }
        let mut now = start;
        loop {
            now += SEEN_EVERY_MS;
            router.observed(name(to), route.rtt_ms + WORSE_MS, now)?;
            let again = router.find_optimal_route(matrix, name(to), now)?;
            if again.path.len() == 1 || now > start + 10_000 {
                let delay = now - start;
                return Ok(Some((delay, usize::from(delay > 1000))));
            }
        }
    }
}
