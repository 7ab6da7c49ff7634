//! Reads, half made: popularity and order of a real trace, affinities of its objects drawn from the histories (clusters of
//! 64 share most of theirs), regions drawn with real curves of the day. Each seed draws anew.
//!
//! 36 epochs, the first third warms up. A transfer is a read from another region or a copy that a decision moves; the copies
//! of a new object are placed for nothing, for everybody. Room for caches is counted in copies of all objects.

use std::collections::BTreeMap;
use std::path::Path;

use hypermesh_placement::cache::{Adaptive, Answer, CacheOptions, Lru, Policy};
use hypermesh_placement::place::{Block, Holder, Lineage, Region, Rules};

use crate::cache::traces::{self, unpacked};
use crate::record::{BenchError, Ctx, Must};

use super::samples;
use super::world::{
    Copies, HISTORIES, REGIONS, World, by_hash, filled, largest, member, scattered, set,
    sharding_of_nine,
};

const REQUESTS: usize = 350_000;
const EPOCHS: usize = 36;
const WARM: usize = 12;
const CLUSTER: usize = 64;
/// Edits that an object of the histories must have for its shares to be drawn from.
const EDITS_MIN: f64 = 8.0;
const POOL_MAX: usize = 400;
const DAYS: f64 = 7.0;
/// Hours from UTC of the regions' day curves.
const HOURS: [f64; REGIONS] = [-8.0, -5.0, -3.0, 1.0, 2.0, 5.5, 8.0, 9.0, 10.0];
/// Requests that share one point of the day curve.
const STEP: usize = 2_000;
/// Room for caches, in copies of all objects: ours in two sizes, and that of the pull-through baseline.
const CACHE: f64 = 0.45;
const CACHE_SMALL: f64 = 0.24;
const CACHE_PLAIN: f64 = 1.0;

/// Who asks for what, in order.
struct Requests {
    objects: usize,
    events: Vec<(usize, usize)>,
    clusters: Vec<u64>,
}

/// What a policy did after the warm-up.
#[derive(Clone, Copy, Debug, Default)]
struct Played {
    reads: f64,
    remote: f64,
    moved: f64,
    /// Copies of an object on average, caches included.
    copies: f64,
    /// Copies above the floor that served nothing in an epoch and were kept after it.
    idle_kept: f64,
}

impl Played {
    fn total(&self) -> f64 {
        (self.remote + self.moved) / self.reads
    }
}

pub(super) fn run(
    ctx: &mut Ctx,
    data: &Path,
    world: &World,
    seeds: &[u64],
) -> Result<(), BenchError> {
    let most = if ctx.quick { 20_000 } else { REQUESTS };
    let source = traces::CELLS
        .into_iter()
        .find(|source| source.0 == "scarab");
    let source = source.ok_or_else(|| BenchError::new("no trace of requests"))?;
    let trace = traces::load(data, source, most)?;
    let days = days(&data.join("content/spacegen/web.time.json.xz"))?;
    let mut all: Vec<(&str, Vec<Played>)> = Vec::new();
    for seed in seeds {
        let requests = draw(&trace, world, &days, *seed);
        let mut add = |name, played| match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(played),
            None => all.push((name, vec![played])),
        };
        let hashed = |object: usize| by_hash(object, *seed);
        add(
            "rendezvous-3",
            fixed(&requests, 0.0, |object, _| {
                set(hashed(object).into_iter().take(3))
            })?,
        );
        let top = top(&requests);
        add("NTS-3", fixed(&requests, 0.0, |_, _| top)?);
        add(
            "first touch + 1 hashed, LRU of 1 copy",
            fixed(&requests, CACHE_PLAIN, |object, first| {
                filled(1 << first, hashed(object), 2)
            })?,
        );
        add(
            "clairvoyant top 3 of each epoch",
            clairvoyant(&requests, *seed),
        );
        add("ours", ours(&requests, world, *seed, CACHE)?);
        add(
            "ours, small caches",
            ours(&requests, world, *seed, CACHE_SMALL)?,
        );
    }
    report(ctx, &all)
}

fn report(ctx: &mut Ctx, all: &[(&str, Vec<Played>)]) -> Result<(), BenchError> {
    let samples = |which: &str, figure: fn(&Played) -> f64| samples(all, which, figure);
    let notes: Vec<String> = all
        .iter()
        .map(|(name, rounds)| {
            let one = rounds[0];
            let reads = one.reads;
            format!(
                "{name} {:.3} (read {:.3}, moved {:.3}) at {:.2} copies",
                one.total(),
                one.remote / reads,
                one.moved / reads,
                one.copies
            )
        })
        .collect();
    let note = format!(
        "half made, see the top of reads.rs; first seed: {}",
        notes.join("; ")
    );
    let plain = "first touch + 1 hashed, LRU of 1 copy";
    ctx.row(
        "reads, transfers per read",
        "",
        &samples("ours", Played::total),
        Some((plain, &samples(plain, Played::total))),
        Must::AtMost(0.15),
        &note,
    )?;
    ctx.row(
        "reads, copies of an object with caches",
        "copies",
        &samples("ours", |played| played.copies),
        Some((plain, &samples(plain, |played| played.copies))),
        Must::AtMost(2.5),
        "",
    )?;
    for (figure, unit, value) in [
        (
            "transfers per read",
            "",
            Played::total as fn(&Played) -> f64,
        ),
        ("copies of an object with caches", "copies", |played| {
            played.copies
        }),
    ] {
        ctx.row(
            &format!("reads, small caches, {figure}"),
            unit,
            &samples("ours, small caches", value),
            Some((plain, &samples(plain, value))),
            Must::Report,
            "",
        )?;
    }
    ctx.row(
        "reads, copies above the floor that were kept after an idle epoch",
        "copies",
        &samples("ours", |played| played.idle_kept),
        None,
        Must::AtMost(0.0),
        "",
    )
}

/// Requests per point of the day, for each place in the file, relative to their mean.
fn days(path: &Path) -> Result<Vec<Vec<f64>>, BenchError> {
    let curves: BTreeMap<String, Vec<Vec<f64>>> = serde_json::from_slice(&unpacked(path)?)?;
    let curves = curves.into_values().map(|rows| {
        let curve: Vec<f64> = rows.iter().filter_map(|row| row.get(1).copied()).collect();
        let mean = curve.iter().sum::<f64>() / curve.len().max(1) as f64;
        curve.into_iter().map(|count| count / mean).collect()
    });
    let curves: Vec<Vec<f64>> = curves
        .filter(|curve: &Vec<f64>| !curve.is_empty())
        .collect();
    if curves.is_empty() {
        return Err(BenchError::new(format!("{} has no curves", path.display())));
    }
    Ok(curves)
}

/// Draws from a seed: the same seed, the same numbers.
struct Draws(u64);

impl Draws {
    /// 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (scattered(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        ((self.share() * count as f64) as usize).min(count - 1)
    }
}

fn draw(trace: &traces::Trace, world: &World, days: &[Vec<f64>], seed: u64) -> Requests {
    let mut draws = Draws(scattered(seed));
    let pool = pool(world, &mut draws);
    let objects = trace.objects;
    // Which objects are together has nothing to do with the order in which they appear.
    let mut order: Vec<usize> = (0..objects).collect();
    for at in (1..objects).rev() {
        order.swap(at, draws.below(at + 1));
    }
    let mut clusters = vec![0; objects];
    for (at, object) in order.into_iter().enumerate() {
        clusters[object] = (at / CLUSTER) as u64;
    }
    let shared: Vec<usize> = (0..=objects / CLUSTER)
        .map(|_| draws.below(pool.len()))
        .collect();
    let own: Vec<usize> = (0..objects).map(|_| draws.below(pool.len())).collect();
    let count = trace.numbers.len() as f64;
    let mut weights = [1.0; REGIONS];
    let events = trace.numbers.iter().enumerate().map(|(at, object)| {
        if at % STEP == 0 {
            for (region, weight) in weights.iter_mut().enumerate() {
                let curve = &days[region % days.len()];
                let day = at as f64 / count * DAYS + HOURS[region] / 24.0;
                *weight = curve[(day.rem_euclid(1.0) * curve.len() as f64) as usize % curve.len()];
            }
        }
        let object = *object as usize;
        let (common, special) = (&pool[shared[clusters[object] as usize]], &pool[own[object]]);
        let share =
            |region: usize| (0.7 * common[region] + 0.3 * special[region]) * weights[region];
        let mut left = draws.share() * (0..REGIONS).map(share).sum::<f64>();
        let drawn = (0..REGIONS).find(|region| {
            left -= share(*region);
            left < 0.0
        });
        (object, drawn.unwrap_or(REGIONS - 1))
    });
    Requests {
        objects,
        events: events.collect(),
        clusters,
    }
}

/// Shares of regions of objects of the histories, as many of each history.
fn pool(world: &World, draws: &mut Draws) -> Vec<[f64; REGIONS]> {
    let mut counts = vec![[0.0; REGIONS]; world.groups.len()];
    let mut tenants = vec![0; world.groups.len()];
    for edit in &world.edits {
        counts[edit.object][edit.region] += 1.0;
        tenants[edit.object] = edit.tenant;
    }
    let mut pool = Vec::new();
    for tenant in 0..HISTORIES.len() {
        let often = counts.iter().zip(&tenants).filter_map(|(counts, of)| {
            let sum: f64 = counts.iter().sum();
            (*of == tenant && sum >= EDITS_MIN).then(|| counts.map(|count| count / sum))
        });
        let mut often: Vec<[f64; REGIONS]> = often.collect();
        for at in (1..often.len()).rev() {
            often.swap(at, draws.below(at + 1));
        }
        pool.extend(often.into_iter().take(POOL_MAX));
    }
    if pool.is_empty() {
        pool.push([1.0 / REGIONS as f64; REGIONS]);
    }
    pool
}

fn epoch(at: usize, requests: &Requests) -> usize {
    at * EPOCHS / requests.events.len()
}

/// The three regions that ask most while it warms up.
fn top(requests: &Requests) -> Copies {
    let mut counts = [0.0; REGIONS];
    for (at, (_, region)) in requests.events.iter().enumerate() {
        counts[*region] += f64::from(u8::from(epoch(at, requests) < WARM));
    }
    set(largest(&counts, 3))
}

/// Copies that never move, and caches of LRU.
fn fixed(
    requests: &Requests,
    cache: f64,
    place: impl Fn(usize, usize) -> Copies,
) -> Result<Played, BenchError> {
    let room = (requests.objects as f64 * cache / REGIONS as f64) as usize;
    let mut caches = Vec::new();
    for _ in 0..REGIONS {
        caches.push(Lru::new(CacheOptions::for_objects(room.max(1)))?);
    }
    let mut copies: Vec<Copies> = vec![0; requests.objects];
    let mut played = Played::default();
    let mut dropped = Vec::new();
    for (at, (object, region)) in requests.events.iter().enumerate() {
        let own = &mut copies[*object];
        if *own == 0 {
            *own = place(*object, *region);
        }
        let local = *own >> region & 1 == 1
            || (room > 0
                && caches[*region].request(*object as u64, 1, &mut dropped) == Answer::Hit);
        dropped.clear();
        if epoch(at, requests) >= WARM {
            played.reads += 1.0;
            played.remote += f64::from(u8::from(!local));
        }
    }
    let all: u32 = copies.iter().map(|copies| copies.count_ones()).sum();
    played.copies = f64::from(all) / requests.objects as f64 + cache;
    Ok(played)
}

/// Knows who asks in each epoch, from first touch and two hashed ones on; pays for what it moves, and moves only what that
/// saves. It has no caches, so it is no bound for who has.
fn clairvoyant(requests: &Requests, seed: u64) -> Played {
    let mut counts = vec![[0.0_f64; REGIONS]; requests.objects];
    let mut copies: Vec<Copies> = vec![0; requests.objects];
    for (object, region) in &requests.events {
        if copies[*object] == 0 {
            copies[*object] = filled(1 << region, by_hash(*object, seed), 3);
        }
    }
    let mut played = Played {
        copies: 3.0,
        ..Played::default()
    };
    let mut from = 0;
    for epoch_now in 0..EPOCHS {
        let until = (from..requests.events.len())
            .find(|at| epoch(*at, requests) > epoch_now)
            .unwrap_or(requests.events.len());
        counts.fill([0.0; REGIONS]);
        for (object, region) in &requests.events[from..until] {
            counts[*object][*region] += 1.0;
        }
        for (own, counts) in copies.iter_mut().zip(&counts) {
            let sum = |copies: Copies| -> f64 {
                (0..REGIONS)
                    .filter(|region| copies >> region & 1 == 1)
                    .map(|region| counts[region])
                    .sum()
            };
            let new = filled(0, largest(counts, 3), 3);
            let moved = f64::from((new & !*own).count_ones());
            let pays = sum(new) - sum(*own) > moved;
            if pays {
                *own = new;
            }
            if epoch_now >= WARM {
                let all: f64 = counts.iter().sum();
                played.reads += all;
                played.remote += all - sum(*own);
                played.moved += if pays { moved } else { 0.0 };
            }
        }
        from = until;
    }
    played
}

/// One object under ours.
#[derive(Clone, Debug, Default)]
struct Object {
    copies: Copies,
    /// Copies that served a read in this epoch, and regions that asked.
    served: Copies,
    asked: Copies,
    /// Regions that asked in an epoch, the older epochs less.
    often: f64,
}

/// Two copies or more as decided at the end of each epoch, and adaptive caches.
fn ours(requests: &Requests, world: &World, seed: u64, cache: f64) -> Result<Played, BenchError> {
    let mut sharding = sharding_of_nine(world, Rules::default())?;
    let room = (requests.objects as f64 * cache / REGIONS as f64) as usize;
    let mut caches = Vec::new();
    for _ in 0..REGIONS {
        caches.push(Adaptive::new(CacheOptions {
            seed,
            ..CacheOptions::for_objects(room.max(1))
        })?);
    }
    let mut objects = vec![Object::default(); requests.objects];
    let mut played = Played::default();
    let mut dropped = Vec::new();
    let (mut epochs, mut copies_sum) = (0.0, 0.0);
    let seconds = DAYS * 86_400.0 / requests.events.len() as f64;
    let decide = |sharding: &hypermesh_placement::place::IntelligentBlockSharding,
                  object: usize,
                  own: &Object,
                  reads: f64,
                  now: u64| {
        let groups = [1 << 40, 1 << 40 | 1 << 39 | requests.clusters[object]];
        let held = (0..REGIONS).filter(|region| own.copies >> region & 1 == 1);
        let holders: Vec<Holder> = held
            .map(|region| Holder {
                node: member(region, region).0,
                served: own.served >> region & 1 == 1,
            })
            .collect();
        let block = Block {
            key: scattered(seed << 40 | object as u64),
            bytes: 1,
            lineage: Lineage {
                object: object as u64,
                groups: &groups,
            },
            holders: &holders,
            pins: &[],
            residency: None,
            relatives: &[],
            reads,
        };
        let strategy = sharding.determine_optimal_placement(&block, now)?;
        let regions = strategy.geographic_distribution.iter();
        Ok::<Copies, BenchError>(set(regions.map(|(region, _)| usize::from(region.0))))
    };
    for (at, (object, region)) in requests.events.iter().enumerate() {
        let now = (at as f64 * seconds) as u64;
        let current = epoch(at, requests);
        if at > 0 && current != epoch(at - 1, requests) {
            for (number, own) in objects
                .iter_mut()
                .enumerate()
                .filter(|(_, own)| own.copies != 0)
            {
                own.often = own.often * 0.7 + f64::from(own.asked.count_ones());
                if own.asked != 0 || own.copies.count_ones() > 2 {
                    let new = decide(&sharding, number, own, own.often * 0.3, now)?;
                    if current > WARM {
                        played.moved += f64::from((new & !own.copies).count_ones());
                        let idle = new & own.copies & !own.served;
                        let above = new.count_ones().saturating_sub(2);
                        played.idle_kept += f64::from(above.min(idle.count_ones()));
                    }
                    own.copies = new;
                }
                (own.served, own.asked) = (0, 0);
            }
            if current >= WARM {
                let there = objects.iter().filter(|own| own.copies != 0);
                let counts: Vec<f64> = there
                    .map(|own| f64::from(own.copies.count_ones()))
                    .collect();
                copies_sum += counts.iter().sum::<f64>() / counts.len().max(1) as f64;
                epochs += 1.0;
            }
        }
        let groups = [1 << 40, 1 << 40 | 1 << 39 | requests.clusters[*object]];
        let lineage = Lineage {
            object: *object as u64,
            groups: &groups,
        };
        sharding
            .affinity
            .observe(lineage, Region(*region as u8), now);
        let own = &mut objects[*object];
        if own.copies == 0 {
            // Written where it is asked for first.
            own.copies = 1 << region;
            own.served = own.copies;
            own.copies = decide(&sharding, *object, own, 1.0, now)?;
        }
        own.asked |= 1 << region;
        let here = own.copies >> region & 1 == 1;
        let local = here || caches[*region].request(*object as u64, 1, &mut dropped) == Answer::Hit;
        dropped.clear();
        if here {
            own.served |= 1 << region;
        } else if !local {
            let holders = (0..REGIONS).filter(|other| own.copies >> other & 1 == 1);
            let nearest = holders.min_by(|a, b| {
                world
                    .between(*region, *a)
                    .total_cmp(&world.between(*region, *b))
            });
            own.served |= nearest.map_or(0, |nearest| 1 << nearest);
        }
        if current >= WARM {
            played.reads += 1.0;
            played.remote += f64::from(u8::from(!local));
        }
    }
    played.copies = copies_sum / f64::max(epochs, 1.0) + cache;
    Ok(played)
}
