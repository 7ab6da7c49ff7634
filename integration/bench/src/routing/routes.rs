//! Rows on providers and relays: what part of the oracle's cut is kept, by how many probes.

use std::path::Path;

use hypermesh_id::NodeId;
use hypermesh_routing::{NeuralRoutingMatrix, RouterOptions, StoqRouter, choose};

use crate::record::{BenchError, Ctx, Must, Samples};

use super::data::{self, Lots, Network};
use super::peers::Vivaldi;
use super::predict::{empty, name, number, take};

const NEIGHBOURS: usize = 16;
/// Draws of a client and its replicas, or of a pair, per seed.
const DRAWS: usize = 2000;
const PROVIDER_PROBES: usize = 2;
/// How often traffic is seen.
const SEEN_EVERY_MS: u64 = 50;
/// How often a connection that carries nothing is kept open.
const KEEP_ALIVE_MS: u64 = 500;
const SECOND_MS: u64 = 1000;

pub(super) fn rows(ctx: &mut Ctx, data: &Path) -> Result<(), BenchError> {
    let wonder = data::wonder(data)?;
    let [learned, later] = [data::planetlab(data, 0)?, data::planetlab(data, 1)?];
    let now = Setting {
        title: wonder.name.clone(),
        learned: &wonder,
        probed: &wonder,
        gate: true,
    };
    let last = data::planetlab(data, 2)?;
    let stale = Setting {
        title: "planetlab490, learned 15 h before".to_owned(),
        learned: &learned,
        probed: &later,
        gate: false,
    };
    for setting in [&now, &stale] {
        for replicas in [3, 8] {
            providers(ctx, setting, replicas)?;
        }
        relays(ctx, setting)?;
    }
    drift(ctx, [&learned, &later, &last])
}

/// What is learned on, and what probes meet.
struct Setting<'a> {
    title: String,
    learned: &'a Network,
    probed: &'a Network,
    gate: bool,
}

impl Setting<'_> {
    fn must(&self, limit: f64) -> Must {
        if self.gate {
            Must::AtLeast(limit)
        } else {
            Must::Report
        }
    }

    fn learn(&self, seed: u64) -> Result<(NeuralRoutingMatrix, Vivaldi, Lots), BenchError> {
        let mut lots = Lots::new(seed);
        let samples = self.learned.samples(NEIGHBOURS, &mut lots);
        let mut matrix = empty(self.learned, seed)?;
        for (at, (from, to)) in samples.iter().enumerate() {
            take(
                &mut matrix,
                (*from, *to),
                self.learned.rtt(*from, *to),
                at as u64,
            )?;
        }
        let rtt = |a, b| self.learned.rtt(a, b);
        let vivaldi = Vivaldi::learn(self.learned.nodes, &samples, &mut lots, rtt);
        Ok((matrix, vivaldi, lots))
    }
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values
        .filter(|value| value.is_finite())
        .fold(f64::INFINITY, f64::min)
}

/// Mean latency to the chosen one of some replicas, between a random one (0) and the best (1).
fn providers(ctx: &mut Ctx, setting: &Setting<'_>, replicas: usize) -> Result<(), BenchError> {
    let (mut ours, mut unprobed, mut theirs, mut theirs_probed) = (
        Samples::default(),
        Samples::default(),
        Samples::default(),
        Samples::default(),
    );
    let mut cut = 0.0;
    for seed in 1..=ctx.rounds() as u64 {
        let (matrix, vivaldi, mut lots) = setting.learn(seed)?;
        let truth = |a, b| setting.probed.rtt(a, b);
        let (mut random, mut best) = (0.0, 0.0);
        let mut sums = [0.0; 4];
        let mut draws = 0;
        while draws < DRAWS {
            let client = lots.below(setting.probed.nodes);
            let mut drawn = Vec::new();
            while drawn.len() < replicas {
                let node = lots.below(setting.probed.nodes);
                if node != client && !drawn.contains(&node) && truth(client, node).is_finite() {
                    drawn.push(node);
                }
            }
            draws += 1;
            random += drawn.iter().map(|node| truth(client, *node)).sum::<f64>() / replicas as f64;
            best += least(drawn.iter().map(|node| truth(client, *node)));
            let names: Vec<_> = drawn.iter().map(|node| name(*node)).collect();
            let candidates = matrix.providers(name(client), &names)?;
            let met = |node| {
                let at = names.iter().position(|name| *name == node);
                at.map_or(f64::NAN, |at| truth(client, drawn[at]))
            };
            let probed: Vec<_> = candidates
                .iter()
                .take(PROVIDER_PROBES)
                .map(|candidate| (candidate.node, met(candidate.node)))
                .collect();
            for (sum, probed) in sums.iter_mut().zip([probed.as_slice(), &[]]) {
                *sum += choose(&candidates, probed).map_or(f64::NAN, met);
            }
            drawn.sort_by(|a, b| vivaldi.rtt(client, *a).total_cmp(&vivaldi.rtt(client, *b)));
            sums[2] += truth(client, drawn[0]);
            sums[3] += least(
                drawn[..PROVIDER_PROBES]
                    .iter()
                    .map(|node| truth(client, *node)),
            );
        }
        let kept = |sum: f64| (random - sum) / (random - best);
        ours.push(kept(sums[0]));
        unprobed.push(kept(sums[1]));
        theirs.push(kept(sums[2]));
        theirs_probed.push(kept(sums[3]));
        cut += (1.0 - best / random) / ctx.rounds() as f64;
    }
    let title = format!("{}, provider of {replicas}", setting.title);
    let note = format!(
        "share of the oracle's cut, which is {:.1} % of a random one's mean latency",
        cut * 100.0
    );
    let peer = ("serf's Vivaldi, 2 probes", &theirs_probed);
    ctx.row(
        &format!("{title}, 2 probes"),
        "",
        &ours,
        Some(peer),
        setting.must(0.93),
        &note,
    )?;
    let peer = ("serf's Vivaldi, no probe", &theirs);
    ctx.row(
        &format!("{title}, no probe"),
        "",
        &unprobed,
        Some(peer),
        Must::Report,
        "",
    )
}

/// Mean latency over at most one relay, between direct (0) and the best relay (1). The direct path is
/// measured by its connection; probes are of relays.
fn relays(ctx: &mut Ctx, setting: &Setting<'_>) -> Result<(), BenchError> {
    const PROBES: [usize; 2] = [6, 20];
    let mut ours = [Samples::default(), Samples::default()];
    let mut theirs = [Samples::default(), Samples::default()];
    let (mut random, mut unprobed) = (Samples::default(), Samples::default());
    let mut cut = 0.0;
    for seed in 1..=ctx.rounds() as u64 {
        let (matrix, vivaldi, mut lots) = setting.learn(seed)?;
        let nodes = setting.probed.nodes;
        let truth = |a, b| setting.probed.rtt(a, b);
        let (mut direct, mut best, mut alone, mut drawn_sum) = (0.0, 0.0, 0.0, 0.0);
        let (mut sums, mut vivaldi_sums, mut draws) = ([0.0; 2], [0.0; 2], 0);
        while draws < DRAWS {
            let (a, b) = (lots.below(nodes), lots.below(nodes));
            if a == b || !truth(a, b).is_finite() {
                continue;
            }
            draws += 1;
            let through = |via: usize| truth(a, via) + truth(via, b);
            let straight = truth(a, b);
            direct += straight;
            best += straight.min(least((0..nodes).map(through)));
            let most = PROBES[1];
            let candidates: Vec<usize> = matrix
                .relays(name(a), name(b), most)?
                .iter()
                .filter_map(|candidate| (0..nodes).find(|node| name(*node) == candidate.node))
                .collect();
            let mut by_vivaldi: Vec<usize> =
                (0..nodes).filter(|via| *via != a && *via != b).collect();
            let guess = |via: usize| vivaldi.rtt(a, via) + vivaldi.rtt(via, b);
            by_vivaldi.select_nth_unstable_by(most, |x, y| guess(*x).total_cmp(&guess(*y)));
            by_vivaldi.truncate(most);
            by_vivaldi.sort_by(|x, y| guess(*x).total_cmp(&guess(*y)));
            for (at, probes) in PROBES.into_iter().enumerate() {
                let chosen = |list: &[usize]| {
                    straight.min(least(list.iter().take(probes).map(|via| through(*via))))
                };
                sums[at] += chosen(&candidates);
                vivaldi_sums[at] += chosen(&by_vivaldi);
            }
            let lot: Vec<usize> = (0..PROBES[0]).map(|_| lots.below(nodes)).collect();
            drawn_sum += straight.min(least(lot.iter().map(|via| through(*via))));
            // Trusting the estimate: the relay if it promises 5 percent.
            let estimates = matrix.relays(name(a), name(b), 1)?;
            let promise = matrix.estimate(name(a), name(b))?.rtt_ms * 0.95;
            let promised = estimates
                .first()
                .is_some_and(|one| one.estimate.rtt_ms < promise);
            let taken = if promised {
                through(candidates[0])
            } else {
                straight
            };
            alone += if taken.is_finite() { taken } else { straight };
        }
        let kept = |sum: f64| (direct - sum) / (direct - best);
        for at in 0..PROBES.len() {
            ours[at].push(kept(sums[at]));
            theirs[at].push(kept(vivaldi_sums[at]));
        }
        random.push(kept(drawn_sum));
        unprobed.push(kept(alone));
        cut += (1.0 - best / direct) / ctx.rounds() as f64;
    }
    let title = format!("{}, relay", setting.title);
    let note = format!(
        "share of the oracle's cut, which is {:.1} % of the direct mean",
        cut * 100.0
    );
    let limits = [0.72, 0.85];
    for (at, probes) in PROBES.into_iter().enumerate() {
        let metric = format!("{title}, {probes} probes per pair and hour");
        let peer = ("serf's Vivaldi, as many probes", &theirs[at]);
        ctx.row(
            &metric,
            "",
            &ours[at],
            Some(peer),
            setting.must(limits[at]),
            &note,
        )?;
    }
    let metric = format!("{title}, 6 relays by lot, as RON");
    ctx.row(&metric, "", &random, None, Must::Report, "the peer alone")?;
    let metric = format!("{title}, estimate without a probe");
    ctx.row(
        &metric,
        "",
        &unprobed,
        None,
        Must::Report,
        "what the router never does",
    )
}

/// Relays that were chosen by probes in one slice and used in the next one, 15 hours on: how many are used on for more
/// than a second while they are more than 5 % worse than the direct path.
fn drift(ctx: &mut Ctx, slices: [&Network; 3]) -> Result<(), BenchError> {
    const ROUNDS: usize = 8;
    let (mut harmed, mut stale) = (Samples::default(), Samples::default());
    let mut used = 0;
    for round in 0..if ctx.quick { 1 } else { ROUNDS } {
        let [learned, probed, later] = slices.map(|slice| slice.renumbered(round * 61));
        let mut lots = Lots::new(round as u64);
        let mut matrix = empty(&learned, round as u64)?;
        for (at, (from, to)) in learned.samples(NEIGHBOURS, &mut lots).iter().enumerate() {
            take(
                &mut matrix,
                (*from, *to),
                learned.rtt(*from, *to),
                at as u64,
            )?;
        }
        let mut router = StoqRouter::new(RouterOptions::default())?;
        let (mut late, mut worse) = (0, 0);
        for to in 1..learned.nodes {
            let rtt = |network: &Network, path: &[NodeId]| match path {
                [via, _] => network.rtt(0, number(*via)) + network.rtt(number(*via), to),
                _ => network.rtt(0, to),
            };
            router.find_optimal_route(&matrix, name(to), 0)?;
            for probe in router.probes(&matrix, 0) {
                router.answered(probe.number, rtt(&probed, &probe.path), 0)?;
            }
            let path = router.find_optimal_route(&matrix, name(to), 0)?.path;
            let limit = later.rtt(0, to) * 1.05;
            used += usize::from(path.len() == 2);
            worse += usize::from(rtt(&later, &path) > limit);
            let mut bad_since = None;
            for now in (SEEN_EVERY_MS..=4 * SECOND_MS).step_by(SEEN_EVERY_MS as usize) {
                let path = router.find_optimal_route(&matrix, name(to), now)?.path;
                let met = rtt(&later, &path);
                bad_since = if met > limit {
                    bad_since.or(Some(now))
                } else {
                    None
                };
                if bad_since.is_some_and(|since| now - since > SECOND_MS) {
                    late += 1;
                    break;
                }
                router.observed(name(to), met, now)?;
                if now.is_multiple_of(KEEP_ALIVE_MS) {
                    router.observed_direct(name(to), later.rtt(0, to), now)?;
                }
            }
        }
        harmed.push(late as f64 / (learned.nodes - 1) as f64);
        stale.push(worse as f64 / (learned.nodes - 1) as f64);
    }
    let metric =
        "planetlab490, relays 15 h after their probes, pairs over 5 % worse for over a second";
    let note = format!(
        "share of pairs; {used} relays in use; the direct path is seen every {KEEP_ALIVE_MS} ms, as connections are kept open; the peer keeps what it chose"
    );
    let peer = ("without looking at traffic", &stale);
    ctx.row(metric, "", &harmed, Some(peer), Must::AtMost(0.0), &note)
}
