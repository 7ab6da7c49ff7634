//! Histories: each edit reads the version before in the author's region, then writes a new one there.
//!
//! The first half warms up; fixed placements are tuned on it. A block is one unit. A transfer is a read from another region,
//! or a copy of a new version beyond the one that the writer has.

use hypermesh_placement::place::{Block, Holder, IntelligentBlockSharding, Lineage, Region, Rules};

use crate::record::{BenchError, Ctx, Must};

use super::samples;
use super::world::{
    Copies, HISTORIES, REGIONS, World, by_hash, filled, largest, member, scattered, set,
    sharding_of_nine,
};

/// Per read.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    reads: f64,
    remote: f64,
    written: f64,
    millis: f64,
}

impl Played {
    fn remote(&self) -> f64 {
        self.remote / self.reads
    }

    fn total(&self) -> f64 {
        (self.remote + self.written) / self.reads
    }
}

pub(super) fn run(ctx: &mut Ctx, world: &World, seeds: &[u64]) -> Result<(), BenchError> {
    let everything = |_: usize| true;
    let held_out = |tenant: usize| !HISTORIES[tenant].1;
    part(ctx, world, seeds, "histories", everything, true)?;
    part(
        ctx,
        world,
        seeds,
        "held-out histories (tldr, opentelemetry.io, ohmyzsh)",
        held_out,
        false,
    )
}

fn part(
    ctx: &mut Ctx,
    world: &World,
    seeds: &[u64],
    name: &str,
    counted: impl Fn(usize) -> bool + Copy,
    gate: bool,
) -> Result<(), BenchError> {
    let fixed = fixed(world);
    let mut all: Vec<(&str, Vec<Played>)> = Vec::new();
    for seed in seeds {
        let mut add = |name, played| match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(played),
            None => all.push((name, vec![played])),
        };
        add(
            "rendezvous-3",
            play(world, counted, |at| {
                Ok(set(by_hash(world.edits[at].object, *seed)
                    .into_iter()
                    .take(3)))
            })?,
        );
        add("global top 3", play(world, counted, |_| Ok(fixed.global))?);
        add(
            "tenant top 3",
            play(world, counted, |at| {
                Ok(fixed.tenants[world.edits[at].tenant])
            })?,
        );
        let mut first = vec![0; world.groups.len()];
        add(
            "first touch + 2 hashed",
            play(world, counted, |at| {
                let edit = world.edits[at];
                let own = &mut first[edit.object];
                if *own == 0 {
                    *own = 1 << edit.region;
                }
                Ok(filled(*own, by_hash(edit.object, *seed), 3))
            })?,
        );
        for floor in [2, 3] {
            let name = if floor == 2 { "ours-2" } else { "ours-3" };
            let mut ours = Ours::new(world, floor, *seed)?;
            add(name, play(world, counted, |at| ours.write(at))?);
        }
        let next = next_regions(world);
        for count in [2, 3] {
            let name = if count == 2 {
                "clairvoyant-2"
            } else {
                "clairvoyant-3"
            };
            add(
                name,
                play(world, counted, |at| {
                    let writer = 1 << world.edits[at].region;
                    Ok(filled(
                        writer,
                        next[at].into_iter().chain(0..REGIONS),
                        count,
                    ))
                })?,
            );
        }
    }
    report(ctx, name, &all, gate)
}

fn report(
    ctx: &mut Ctx,
    name: &str,
    all: &[(&str, Vec<Played>)],
    gate: bool,
) -> Result<(), BenchError> {
    let samples = |which: &str, figure: fn(&Played) -> f64| samples(all, which, figure);
    let notes: Vec<String> = all
        .iter()
        .map(|(known, rounds)| {
            let one = rounds[0];
            format!(
                "{known} {:.3} local, {:.3} read, {:.3} in all, {:.1} ms",
                1.0 - one.remote(),
                one.remote(),
                one.total(),
                one.millis / one.reads
            )
        })
        .collect();
    let reads = all[0].1[0].reads;
    let note = format!("{reads} reads; first seed: {}", notes.join("; "));
    let must = |must| if gate { must } else { Must::Report };
    let local: fn(&Played) -> f64 = |played| 1.0 - played.remote();
    ctx.row(
        &format!("{name}, 2 copies, local reads"),
        "",
        &samples("ours-2", local),
        Some(("clairvoyant", &samples("clairvoyant-2", local))),
        must(Must::AtLeast(0.73)),
        &note,
    )?;
    ctx.row(
        &format!("{name}, 2 copies, transfers per read"),
        "",
        &samples("ours-2", Played::total),
        Some(("clairvoyant", &samples("clairvoyant-2", Played::total))),
        must(Must::AtMost(1.56)),
        "",
    )?;
    // The better of the two is what somebody who tunes would take.
    let sum = |which| samples(which, Played::remote).0.iter().sum::<f64>();
    let tuned = if sum("global top 3") < sum("tenant top 3") {
        "global top 3"
    } else {
        "tenant top 3"
    };
    for (ours, limit) in [
        ("ours-3", must(Must::RatioAtMost(0.75))),
        ("ours-2", Must::Report),
    ] {
        ctx.row(
            &format!("{name}, {} copies, read transfers per read", &ours[5..]),
            "",
            &samples(ours, Played::remote),
            Some((tuned, &samples(tuned, Played::remote))),
            limit,
            "the peer has 3 copies, in the regions that asked most in the first half",
        )?;
    }
    ctx.row(
        &format!("{name}, 3 copies, transfers per read"),
        "",
        &samples("ours-3", Played::total),
        Some((tuned, &samples(tuned, Played::total))),
        Must::Report,
        "",
    )
}

/// Plays all edits; `place` gives the regions of the version that edit number `at` wrote.
fn play(
    world: &World,
    counted: impl Fn(usize) -> bool,
    mut place: impl FnMut(usize) -> Result<Copies, BenchError>,
) -> Result<Played, BenchError> {
    let mut copies: Vec<Copies> = vec![0; world.groups.len()];
    let mut played = Played::default();
    let warm = world.edits.len() / 2;
    for (at, edit) in world.edits.iter().enumerate() {
        let old = copies[edit.object];
        let new = place(at)?;
        copies[edit.object] = new;
        if at < warm || !counted(edit.tenant) {
            continue;
        }
        played.written += f64::from((new & !(1 << edit.region)).count_ones());
        if old == 0 {
            continue;
        }
        played.reads += 1.0;
        if old >> edit.region & 1 == 0 {
            played.remote += 1.0;
            let holders = (0..REGIONS).filter(|region| old >> region & 1 == 1);
            let nearest = holders.map(|region| world.between(edit.region, region));
            played.millis += nearest.fold(f64::MAX, f64::min);
        }
    }
    Ok(played)
}

/// Placements tuned on the first half.
struct Fixed {
    global: Copies,
    tenants: Vec<Copies>,
}

fn fixed(world: &World) -> Fixed {
    let mut global = [0.0; REGIONS];
    let mut tenants = vec![[0.0; REGIONS]; HISTORIES.len()];
    for edit in &world.edits[..world.edits.len() / 2] {
        global[edit.region] += 1.0;
        tenants[edit.tenant][edit.region] += 1.0;
    }
    Fixed {
        global: set(largest(&global, 3)),
        tenants: tenants
            .iter()
            .map(|counts| set(largest(counts, 3)))
            .collect(),
    }
}

/// The region that reads each version.
fn next_regions(world: &World) -> Vec<Option<usize>> {
    let mut next = vec![None; world.groups.len()];
    let edits = world.edits.iter().rev();
    let mut found: Vec<Option<usize>> = edits
        .map(|edit| next[edit.object].replace(edit.region))
        .collect();
    found.reverse();
    found
}

/// Ours: learns from each edit, then decides for the version that it wrote.
struct Ours<'a> {
    world: &'a World,
    sharding: IntelligentBlockSharding,
    seed: u64,
}

impl<'a> Ours<'a> {
    fn new(world: &'a World, floor: usize, seed: u64) -> Result<Self, BenchError> {
        let rules = Rules {
            floor,
            most: REGIONS,
        };
        Ok(Self {
            world,
            sharding: sharding_of_nine(world, rules)?,
            seed,
        })
    }

    fn write(&mut self, at: usize) -> Result<Copies, BenchError> {
        let edit = self.world.edits[at];
        let lineage = Lineage {
            object: edit.object as u64,
            groups: &self.world.groups[edit.object],
        };
        let region = Region(edit.region as u8);
        self.sharding.affinity.observe(lineage, region, edit.time);
        let block = Block {
            key: scattered(self.seed << 40 | edit.object as u64),
            bytes: 1,
            lineage,
            holders: &[Holder {
                node: member(edit.region, edit.region).0,
                served: true,
            }],
            pins: &[],
            residency: None,
            relatives: &[],
            // The next edit reads it once.
            reads: 1.0,
        };
        let strategy = self
            .sharding
            .determine_optimal_placement(&block, edit.time)?;
        let regions = strategy.geographic_distribution.iter();
        Ok(set(regions.map(|(region, _)| usize::from(region.0))))
    }
}
