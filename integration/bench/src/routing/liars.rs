//! Rows on liars: one node in ten reports what is not so; pairs of honest nodes are scored.
//!
//! Lies are in the reports of liars about their own links. What honest nodes measure of them is true.

use crate::record::{BenchError, Ctx, Must, Samples};

use super::data::{Lots, Network};
use super::peers::Vivaldi;
use super::predict::{Errors, empty, name, take, unmeasured};

const NEIGHBOURS: usize = 16;
const LIARS_ONE_IN: usize = 10;
/// Most of the share within 10 % that lies may cost.
const COST: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    Inflate,
    Deflate,
    Oscillate,
    /// All claim to be where one other node is.
    Collude,
}

const LIES: [(Lie, &str); 4] = [
    (Lie::Inflate, "inflate: twice the truth"),
    (Lie::Deflate, "deflate: half of the truth"),
    (
        Lie::Oscillate,
        "oscillate: three times and a third by turns",
    ),
    (Lie::Collude, "collude: the round trips of one other node"),
];

impl Lie {
    /// What a liar says of its link; `turn` counts samples.
    fn claim(
        self,
        network: &Network,
        (from, to): (usize, usize),
        turn: usize,
        posed: usize,
    ) -> f64 {
        let truth = network.rtt(from, to);
        match self {
            Self::Inflate => truth * 2.0,
            Self::Deflate => truth / 2.0,
            Self::Oscillate if turn.is_multiple_of(2) => truth * 3.0,
            Self::Oscillate => truth / 3.0,
            Self::Collude => {
                let there = network.rtt(posed, to);
                if there.is_finite() { there } else { truth }
            }
        }
    }
}

pub(super) fn rows(ctx: &mut Ctx, network: &Network) -> Result<(), BenchError> {
    let mut lies: Vec<(Samples, Samples, [f64; 2])> = vec![Default::default(); LIES.len()];
    let seeds = ctx.rounds() as u64;
    for seed in 1..=seeds {
        let mut lots = Lots::new(seed);
        let samples = network.samples(NEIGHBOURS, &mut lots);
        let mut order: Vec<usize> = (1..network.nodes).collect();
        lots.shuffle(&mut order);
        let posed = order.pop().unwrap_or(0);
        let mut liar = vec![false; network.nodes];
        for node in &order[..network.nodes / LIARS_ONE_IN] {
            liar[*node] = true;
        }
        let honest: Vec<(usize, usize)> = unmeasured(network, &samples)
            .into_iter()
            .filter(|(a, b)| !liar[*a] && !liar[*b])
            .collect();
        let play = |lie: Option<Lie>| -> Result<([f64; 2], [f64; 2]), BenchError> {
            let said: Vec<f64> = samples
                .iter()
                .enumerate()
                .map(|(turn, (from, to))| match lie.filter(|_| liar[*from]) {
                    Some(lie) => lie.claim(network, (*from, *to), turn, posed),
                    None => network.rtt(*from, *to),
                })
                .collect();
            let mut matrix = empty(network, seed)?;
            for (at, (pair, rtt_ms)) in samples.iter().zip(&said).enumerate() {
                take(&mut matrix, *pair, *rtt_ms, at as u64)?;
            }
            let claims: std::collections::BTreeMap<(usize, usize), f64> =
                samples.iter().copied().zip(said).collect();
            let mut lots = Lots::new(seed);
            let vivaldi = Vivaldi::learn(network.nodes, &samples, &mut lots, |a, b| {
                claims.get(&(a, b)).copied().unwrap_or(f64::NAN)
            });
            let (mut ours, mut theirs) = (Errors::default(), Errors::default());
            for (a, b) in &honest {
                let rtt = network.rtt(*a, *b);
                ours.push(matrix.estimate(name(*a), name(*b))?.rtt_ms, rtt);
                theirs.push(vivaldi.rtt(*a, *b), rtt);
            }
            let mut caught = [0.0; 2];
            for (node, liar) in liar.iter().enumerate() {
                let (trusted, _) = matrix.trust(name(node))?;
                if !trusted {
                    caught[usize::from(!liar)] += 1.0;
                }
            }
            Ok(([ours.within(0.1), theirs.within(0.1)], caught))
        };
        let (truth, _) = play(None)?;
        for (sums, (lie, _)) in lies.iter_mut().zip(LIES) {
            let (told, caught) = play(Some(lie))?;
            sums.0.push(truth[0] - told[0]);
            sums.1.push(truth[1] - told[1]);
            sums.2[0] += caught[0] / seeds as f64;
            sums.2[1] += caught[1] / seeds as f64;
        }
    }
    for ((ours, vivaldi, caught), (_, what)) in lies.iter().zip(LIES) {
        let note = format!(
            "share of honest pairs within 10 % that is lost; of {} liars {:.1} are not believed at the end, of {} honest nodes {:.1}",
            network.nodes / LIARS_ONE_IN,
            caught[0],
            network.nodes - network.nodes / LIARS_ONE_IN,
            caught[1]
        );
        ctx.row(
            &format!("{}, one in ten lies, {what}", network.name),
            "",
            ours,
            Some(("Vivaldi on the same claims", vivaldi)),
            Must::AtMost(COST),
            &note,
        )?;
    }
    Ok(())
}
