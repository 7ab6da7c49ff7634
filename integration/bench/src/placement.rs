//! Rows of `bench-placement`: transfers between nine regions when copies follow who asks, beside placements that are fixed
//! or know the future.
//!
//! `edits` plays real histories: each edit reads the version before, then writes a new one. `reads` is half made, and says
//! so: real popularity and times, affinities drawn from the histories, real curves of the day. Authors are nowhere a
//! feature: a request has a time, a region and an object.

mod edits;
mod reads;
mod world;

use std::time::Instant;

use hypermesh_placement::place::{Block, IntelligentBlockSharding, Lineage, Rules};

use crate::cpe::data::directory;
use crate::record::{BenchError, Ctx, Must, Samples};

use world::{World, member, sharding};

/// Hash seeds: what they choose is the spread of a row.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let data = directory(ctx.root())?;
    let world = World::load(&data, if ctx.quick { 4_000 } else { usize::MAX })?;
    let seeds = if ctx.quick { &SEEDS[..1] } else { &SEEDS };
    edits::run(ctx, &world, seeds)?;
    reads::run(ctx, &data, &world, seeds)?;
    decisions(ctx, &world)
}

/// A figure of each round of a placement that was played under this name; none, if it was not.
fn samples<P>(all: &[(&str, Vec<P>)], which: &str, figure: fn(&P) -> f64) -> Samples {
    let found = all.iter().find(|(known, _)| *known == which);
    Samples(found.map_or(Vec::new(), |(_, rounds)| {
        rounds.iter().map(figure).collect()
    }))
}

/// Time of a decision by the number of nodes.
fn decisions(ctx: &mut Ctx, world: &World) -> Result<(), BenchError> {
    for (count, most) in [(1_000, 100.0), (10_000, 5_000.0)] {
        let mut sharding = sharding(world, Rules::default())?;
        for number in 0..count {
            let (id, node) = member(number, number % 9);
            sharding.nodes.set(id, node)?;
        }
        let mut micros = Samples::default();
        for _ in 0..ctx.rounds() {
            let start = Instant::now();
            decide_some(&sharding)?;
            micros.push(start.elapsed().as_secs_f64() * 1e6 / 100.0);
        }
        ctx.row(
            &format!("one decision among {count} nodes"),
            "us",
            &micros,
            None,
            Must::AtMost(most),
            "mean of 100 blocks",
        )?;
    }
    Ok(())
}

fn decide_some(sharding: &IntelligentBlockSharding) -> Result<(), BenchError> {
    for key in 0..100 {
        let lineage = Lineage {
            object: key,
            groups: &[1_000, 1_001],
        };
        let block = Block {
            key,
            bytes: 1 << 16,
            lineage,
            holders: &[],
            pins: &[],
            residency: None,
            relatives: &[],
            reads: 5.0,
        };
        std::hint::black_box(sharding.determine_optimal_placement(&block, 0)?);
    }
    Ok(())
}
