//! Order between regions of clouds, in virtual time: what a height takes beside the least that three delays allow, and what the
//! simulator itself costs.
//!
//! Real replicas exchange real messages; delays are half of measured round trips. Processors, disks and signatures cost nothing
//! here: the other rows say what they do.
//!
//! The bound is no estimate. With `d` the delays, a block proposed by `p` at 0 is at a node at `d(p, node)`, when its prevote goes
//! out; a node may precommit when it has the block and a quorum's prevotes, and decide when it has the block and a quorum's
//! precommits. No protocol of three phases decides before, whatever it does.

use std::collections::BTreeMap;

use hypermesh_consensus::Timeouts;
use hypermesh_sim::{Delays, Happened, Random, Scenario, retell, run as simulate};

use crate::cpu;
use crate::record::{BenchError, Ctx, Must, Samples};

/// Where the voters stand.
const FOUR: [[&str; 4]; 5] = [
    [
        "aws:eu-central-1",
        "aws:eu-west-1",
        "aws:eu-north-1",
        "azure:westeurope",
    ],
    [
        "aws:us-east-1",
        "aws:us-west-2",
        "aws:eu-west-2",
        "aws:eu-central-1",
    ],
    [
        "aws:us-east-1",
        "aws:eu-central-1",
        "aws:ap-northeast-1",
        "aws:sa-east-1",
    ],
    [
        "aws:ap-southeast-1",
        "aws:ap-south-1",
        "aws:me-south-1",
        "aws:af-south-1",
    ],
    [
        "aws:ap-southeast-2",
        "azure:brazilsouth",
        "azure:southafricanorth",
        "azure:norwayeast",
    ],
];
const SEVEN: [[&str; 7]; 3] = [
    [
        "aws:eu-central-1",
        "aws:eu-west-1",
        "aws:eu-north-1",
        "aws:eu-south-1",
        "azure:westeurope",
        "azure:uksouth",
        "azure:switzerlandnorth",
    ],
    [
        "aws:us-east-1",
        "aws:us-west-2",
        "aws:eu-central-1",
        "aws:eu-west-1",
        "aws:ap-northeast-1",
        "aws:ap-southeast-1",
        "aws:sa-east-1",
    ],
    [
        "aws:af-south-1",
        "aws:me-south-1",
        "aws:ap-south-1",
        "aws:ap-southeast-2",
        "azure:brazilsouth",
        "azure:canadacentral",
        "azure:swedencentral",
    ],
];

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let heights = if ctx.quick { 40 } else { 400 };
    let four: Vec<&[&str]> = FOUR.iter().map(<[_; 4]>::as_slice).collect();
    let seven: Vec<&[&str]> = SEVEN.iter().map(<[_; 7]>::as_slice).collect();
    let peer = "least with three delays";
    for (places, count) in [(&four, "four"), (&seven, "seven")] {
        for spread in [false, true] {
            let (mut ours, mut least) = (Samples::default(), Samples::default());
            let mut worst = Samples::default();
            for places in places {
                let height = height(places, heights, spread)?;
                ours.push(height.median);
                least.push(height.least);
                worst.push(height.worst);
            }
            let delays = if spread {
                "delays spread as measured round trips"
            } else {
                "each delay the same every time"
            };
            let note = format!(
                "virtual time from a proposal to its decision, median over {heights} heights and all nodes, for {} choices of regions; {delays}; the bound is that of the same proposers, nodes and mean delays",
                places.len()
            );
            let kind = if spread { ", delays that spread" } else { "" };
            ctx.row(
                &format!("height of {count} nodes far apart{kind}"),
                "ms",
                &ours,
                Some((peer, &least)),
                Must::RatioAtMost(1.3),
                &note,
            )?;
            let note =
                "one height at one node in a hundred takes longer, as a multiple of its bound";
            ctx.row(
                &format!("slowest of {count} nodes far apart{kind}"),
                "x",
                &worst,
                None,
                Must::Report,
                note,
            )?;
        }
    }
    simulator(ctx)
}

/// What heights took in one place, in milliseconds.
struct Taken {
    median: f64,
    least: f64,
    /// 99th of 100 of what each took by its bound.
    worst: f64,
}

fn height(places: &[&str], heights: u64, spread: bool) -> Result<Taken, BenchError> {
    let regions = Delays::regions();
    let places: Vec<usize> = places
        .iter()
        .map(|place| regions.place(place))
        .collect::<Option<_>>()
        .ok_or_else(|| BenchError::new("a region that is not among the measurements"))?;
    let mut scenario = Scenario::quiet(1, places.len()).between(regions, 0, &places);
    let delays = scenario.delays.clone();
    if spread {
        scenario = scenario.spread_as_measured(&mut Random::new(1, 6));
    }
    scenario.jitter = 0;
    scenario.timeouts = Timeouts::default();
    (scenario.heals, scenario.more, scenario.within) = (0, heights, u64::MAX / 2);
    let mut proposed: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let (mut taken, mut least, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut unknown = 0;
    let report = retell(&scenario, |time, happened| match *happened {
        Happened::Proposes { node, height, .. } => {
            // That of the first round: a height that needs another has to be seen to.
            proposed.entry(height.0).or_insert((time, node));
        }
        Happened::Decides { node, height, .. } => match proposed.get(&height.0) {
            Some((began, proposer)) => {
                let (took, bound) = (time - began, bound(&delays, *proposer, node));
                taken.push(took as f64 / 1e6);
                least.push(bound as f64 / 1e6);
                ratios.push(took as f64 / bound as f64);
            }
            None => unknown += 1,
        },
        _ => {}
    });
    report.map_err(|violation| BenchError::new(violation.to_string()))?;
    if unknown > 0 || taken.is_empty() {
        return Err(BenchError::new("a decision of what nobody proposed"));
    }
    Ok(Taken {
        median: of_hundred(&mut taken, 50),
        least: of_hundred(&mut least, 50),
        worst: of_hundred(&mut ratios, 99),
    })
}

fn of_hundred(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// The least time from a proposal to the decision at a node: see above.
fn bound(delays: &[Vec<u64>], proposer: usize, node: usize) -> u64 {
    let nodes = delays.len();
    let quorum = nodes * 2 / 3 + 1;
    let way = |from: usize, to: usize| if from == to { 0 } else { delays[from][to] };
    let block = |node| way(proposer, node);
    let when = |from: &dyn Fn(usize) -> u64, node: usize| {
        let mut arrive: Vec<u64> = (0..nodes)
            .map(|other| from(other) + way(other, node))
            .collect();
        arrive.sort_unstable();
        arrive[quorum - 1].max(block(node))
    };
    when(&|other| when(&block, other), node)
}

/// What a height of four nodes costs the simulator, in processor time.
fn simulator(ctx: &mut Ctx) -> Result<(), BenchError> {
    let mut cost = Samples::default();
    for round in 0..ctx.rounds() {
        let mut scenario = Scenario::quiet(round as u64, 4);
        (scenario.heals, scenario.within) = (0, u64::MAX / 2);
        scenario.more = if ctx.quick { 100 } else { 1000 };
        let began = cpu::thread_time();
        let report = simulate(&scenario).map_err(|broken| BenchError::new(broken.to_string()))?;
        cost.push((cpu::thread_time() - began) * 1e6 / report.heights.1 as f64);
    }
    let note = "processor time of a decided height of four simulated nodes, all checks included; signatures are keyed hashes";
    ctx.row(
        "simulator: a height of four nodes",
        "µs",
        &cost,
        None,
        Must::Report,
        note,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_three_delays() {
        let same = vec![vec![20; 4]; 4];
        // The proposer has its own block at once; its vote is among the quorum that others wait for.
        assert_eq!(bound(&same, 0, 1), 60);
        assert_eq!(bound(&same, 0, 0), 60);
        // One far away is waited for by nobody but itself.
        let far = |from: usize, to: usize| if from == 3 || to == 3 { 500 } else { 20 };
        let one_far: Vec<Vec<u64>> = (0..4)
            .map(|from| (0..4).map(|to| far(from, to)).collect())
            .collect();
        assert_eq!(bound(&one_far, 0, 1), 60);
        assert_eq!(bound(&one_far, 0, 3), 540);
        assert_eq!(bound(&one_far, 3, 0), 540);
    }

    #[test]
    fn heights_far_apart_are_measured_and_can_be_slow() {
        let quick = height(&FOUR[0], 10, false).unwrap();
        assert!(quick.median >= quick.least && quick.worst >= 1.0);
        let spread = height(&SEVEN[1], 10, true).unwrap();
        assert!(spread.median != spread.least);
    }
}
