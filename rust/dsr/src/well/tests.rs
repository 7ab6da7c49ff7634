use super::*;
use std::collections::BTreeMap;

const DIMS: usize = 24;

fn number(random: &mut Random) -> f32 {
    // Four uniform numbers: near enough to a bell.
    let sum: f32 = (0..4)
        .map(|_| (random.number() >> 40) as f32 / (1 << 24) as f32)
        .sum();
    sum - 2.0
}

/// A stream of clusters of unequal sizes; `turn` chooses which world of clusters.
struct World {
    centres: Vec<Vec<f32>>,
    random: Random,
}

impl World {
    fn new(turn: u64) -> Self {
        let mut random = Random::new(1000 + turn);
        let centres = (0..120)
            .map(|_| (0..DIMS).map(|_| number(&mut random)).collect())
            .collect();
        Self { centres, random }
    }

    fn draw(&mut self) -> Vec<f32> {
        let at = self.random.below(120).min(self.random.below(120));
        let centre = &self.centres[at];
        centre
            .iter()
            .map(|x| x + 0.7 * number(&mut self.random))
            .collect()
    }
}

fn options() -> Options {
    Options {
        seed: 7,
        ..Options::new(DIMS)
    }
}

fn fill(well: &mut Well, world: &mut World, ids: std::ops::Range<u64>) {
    for id in ids {
        well.insert(id, &world.draw()).unwrap();
    }
}

/// Recall of the ten nearest over fresh queries.
fn recall(well: &Well, world: &mut World, queries: usize) -> f64 {
    recall_with(well, world, queries, None)
}

fn recall_with(well: &Well, world: &mut World, queries: usize, effort: Option<Effort>) -> f64 {
    let mut scratch = Scratch::default();
    let mut hits = 0;
    for _ in 0..queries {
        let query = world.draw();
        let found = match effort {
            Some(effort) => well.search_effort(&mut scratch, &query, 10, -1.0, effort),
            None => well.search(&mut scratch, &query, 10, -1.0),
        };
        let found = found.unwrap();
        let truth = well.search_exact(&mut scratch, &query, 10, -1.0).unwrap();
        hits += truth
            .iter()
            .filter(|m| found.iter().any(|f| f.id == m.id))
            .count();
    }
    hits as f64 / (10 * queries) as f64
}

#[test]
fn a_small_well_answers_as_the_definition_does() {
    for precision in [Precision::Bytes, Precision::Floats] {
        let mut well = Well::new(Options {
            precision,
            ..options()
        })
        .unwrap();
        let mut world = World::new(0);
        let vectors: Vec<Vec<f32>> = (0..300).map(|_| world.draw()).collect();
        for (id, vector) in vectors.iter().enumerate() {
            well.insert(id as u64, vector).unwrap();
        }
        let mut scratch = Scratch::default();
        for _ in 0..20 {
            let query = world.draw();
            let cosine = |v: &[f32]| {
                let product = |a: &[f32], b: &[f32]| {
                    a.iter()
                        .zip(b)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum::<f64>()
                };
                product(v, &query) / (product(v, v) * product(&query, &query)).sqrt()
            };
            let mut truth: Vec<(f64, u64)> = vectors
                .iter()
                .enumerate()
                .map(|(id, v)| (cosine(v), id as u64))
                .collect();
            truth.sort_by(|a, b| b.0.total_cmp(&a.0));
            let found = well.search(&mut scratch, &query, 12, 0.2).unwrap();
            let error = if precision == Precision::Floats {
                1e-5
            } else {
                0.01
            };
            for (at, one) in found.iter().enumerate() {
                assert!((f64::from(one.similarity) - truth[at].0).abs() < error);
                assert!(one.similarity >= 0.2);
            }
            assert_eq!(
                found.len(),
                truth.iter().take(12).filter(|(s, _)| *s >= 0.2).count()
            );
            if precision == Precision::Floats {
                assert!(found.iter().zip(&truth).all(|(m, t)| m.id == t.1));
            }
            let all = well.search(&mut scratch, &query, K_MAX, -1.0).unwrap();
            assert_eq!(all.len(), 300);
            assert!(all.is_sorted_by(|a, b| a.similarity >= b.similarity));
        }
    }
}

#[test]
fn an_indexed_well_reaches_its_recall_and_every_level_agrees() {
    let mut well = Well::new(options()).unwrap();
    fill(&mut well, &mut World::new(1), 0..9_000);
    assert!(well.stats().neurons > 32, "{:?}", well.stats());
    let reached = recall(
        &well,
        &mut World {
            random: Random::new(5),
            ..World::new(1)
        },
        200,
    );
    assert!(reached >= 0.94, "{reached} {:?}", well.stats());
    assert!(
        well.stats().winners < well.stats().neurons / 2,
        "{:?}",
        well.stats()
    );

    let mut portable = Well::new(Options {
        portable: true,
        ..options()
    })
    .unwrap();
    fill(&mut portable, &mut World::new(1), 0..9_000);
    let (mut a, mut b) = (Scratch::default(), Scratch::default());
    let mut world = World {
        random: Random::new(6),
        ..World::new(1)
    };
    for _ in 0..50 {
        let query = world.draw();
        let one = well.search(&mut a, &query, 25, -1.0).unwrap();
        assert_eq!(one, portable.search(&mut b, &query, 25, -1.0).unwrap());
        assert_eq!(
            well.fire(&mut a, &query, 9).unwrap(),
            portable.fire(&mut b, &query, 9).unwrap()
        );
    }
}

#[test]
fn recall_survives_the_exchange_of_half_the_entries() {
    let mut world = World::new(2);
    let mut well = Well::new(options()).unwrap();
    fill(&mut well, &mut world, 0..10_000);
    let before = recall(
        &well,
        &mut World {
            random: Random::new(5),
            ..World::new(2)
        },
        200,
    );
    let mut random = Random::new(3);
    let mut next = 10_000;
    for id in 0..10_000 {
        if random.below(2) == 0 {
            assert!(well.remove(id));
            well.insert(next, &world.draw()).unwrap();
            next += 1;
        }
    }
    let after = recall(
        &well,
        &mut World {
            random: Random::new(5),
            ..World::new(2)
        },
        200,
    );
    assert!(after >= before - 0.01, "before {before}, after {after}");
    // Deletion alone as well.
    for id in 0..10_000 {
        if id % 2 == 0 {
            well.remove(id);
        }
    }
    let thinned = recall(
        &well,
        &mut World {
            random: Random::new(5),
            ..World::new(2)
        },
        200,
    );
    assert!(
        thinned >= before - 0.01,
        "before {before}, thinned {thinned}"
    );
}

#[test]
fn a_well_follows_its_stream() {
    // The old world goes entry by entry while the new one comes: no moment to rebuild at.
    let (mut old, mut new) = (World::new(3), World::new(4));
    let mut well = Well::new(options()).unwrap();
    fill(&mut well, &mut old, 0..8_000);
    let mut frozen = well.clone();
    for id in 0..8_000 {
        let vector = new.draw();
        well.remove(id);
        well.insert(8_000 + id, &vector).unwrap();
        // The same entries for neurons that learn nothing: what following is worth.
        frozen.remove(id);
        frozen.insert_untaught(8_000 + id, &vector);
    }
    let queries = || World {
        random: Random::new(5),
        ..World::new(4)
    };
    let mut rebuilt = well.clone();
    rebuilt.rebuild();
    // All look at the same share of their neurons and at as many candidates.
    let measure = |other: &Well| {
        let alive = |well: &Well| well.stats().neurons;
        let effort = Effort {
            winners: well.stats().winners * alive(other) / alive(&well),
            refine: well.stats().refine,
        };
        recall_with(other, &mut queries(), 300, Some(effort))
    };
    let (followed, fresh, stood) = (measure(&well), measure(&rebuilt), measure(&frozen));
    println!("followed {followed}, rebuilt {fresh}, frozen {stood}");
    assert!(
        followed >= 0.95 * fresh,
        "followed {followed}, rebuilt {fresh}"
    );
    assert!(stood < followed, "frozen {stood}, followed {followed}");
    // And the well has noticed what it takes by itself.
    let reached = recall(&well, &mut queries(), 300);
    assert!(reached >= 0.93, "{reached}");
}

impl Well {
    /// An insert that teaches nobody and shows nothing again.
    fn insert_untaught(&mut self, id: u64, vector: &[f32]) {
        let mut unit = Vec::new();
        direction(vector, self.options.dims, &mut unit).unwrap();
        let row = self.rows.push(id, &unit, 0);
        self.ids.insert(id, row, |row| self.rows.id(row));
        self.assign_row(row);
    }

    /// Gives every neuron another one's prototype; members stay where they are.
    fn permute(&mut self, seed: u64) {
        let index = self.index.as_mut().unwrap();
        let mut random = Random::new(seed);
        let places: Vec<u16> = (0..index.neurons.places() as u16)
            .filter(|n| !index.neurons.is_silent(*n))
            .collect();
        let mut order = places.clone();
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at + 1));
        }
        let prototypes: Vec<Vec<f32>> = order.iter().map(|n| index.neurons.prototype(*n)).collect();
        for (place, prototype) in places.iter().zip(prototypes) {
            index.neurons.set(*place, &prototype);
        }
    }
}

#[test]
fn the_winner_code_carries_the_answer() {
    let mut well = Well::new(options()).unwrap();
    fill(&mut well, &mut World::new(1), 0..9_000);
    let queries = || World {
        random: Random::new(5),
        ..World::new(1)
    };
    let intact = recall(&well, &mut queries(), 150);
    let stats = well.stats();
    well.permute(1);
    let permuted = recall(&well, &mut queries(), 150);
    // By chance a neighbour's neuron is among the winners as often as winners are among neurons.
    let chance = stats.winners as f64 / stats.neurons as f64;
    assert!(
        intact > 0.93 && chance < 0.4,
        "intact {intact}, chance {chance}"
    );
    assert!(
        (permuted - chance).abs() < 0.12,
        "permuted {permuted}, chance {chance}"
    );
}

#[test]
fn an_explanation_says_who_fired() {
    let mut well = Well::new(options()).unwrap();
    let mut world = World::new(1);
    fill(&mut well, &mut world, 0..6_000);
    let mut scratch = Scratch::default();
    let (mut missed, mut found) = (0, 0);
    for _ in 0..40 {
        let query = world.draw();
        let answer = well.search(&mut scratch, &query, 10, -1.0).unwrap();
        for one in well.search_exact(&mut scratch, &query, 10, -1.0).unwrap() {
            let why = well.explain(&mut scratch, &query, one.id).unwrap();
            assert_eq!(why.similarity, one.similarity);
            assert_eq!(why.fired.len(), well.stats().winners);
            assert_eq!(
                why.owner_fired.map(|at| why.fired[at].neuron),
                why.owner.filter(|_| why.owner_fired.is_some())
            );
            // It is in the answer exactly when its owner fired and its code was good enough.
            let there = answer.iter().any(|m| m.id == one.id);
            assert_eq!(there, why.compared, "{why:?}");
            assert!(why.owner_fired.is_some() || !why.compared);
            found += usize::from(there);
            missed += usize::from(!there);
        }
        let itself = well.get(answer[0].id).unwrap();
        let why = well.explain(&mut scratch, &itself, answer[0].id).unwrap();
        assert_eq!(why.overlap, why.fired.len(), "its own code overlaps in all");
    }
    assert!(found > 9 * missed);
    assert_eq!(
        well.explain(&mut scratch, &world.draw(), 1 << 40),
        Err(DsrError::UnknownId { id: 1 << 40 })
    );
}

#[test]
fn hostile_vectors_are_refused_and_change_nothing() {
    let mut well = Well::new(options()).unwrap();
    well.insert(1, &[1.0; DIMS]).unwrap();
    let with = |at: usize, x: f32| {
        let mut vector = vec![1.0; DIMS];
        vector[at] = x;
        vector
    };
    let before = well.snapshot();
    let mut scratch = Scratch::default();
    for (vector, error) in [
        (
            vec![],
            DsrError::Dimension {
                found: 0,
                wanted: DIMS,
            },
        ),
        (
            vec![1.0; DIMS + 1],
            DsrError::Dimension {
                found: DIMS + 1,
                wanted: DIMS,
            },
        ),
        (with(3, f32::NAN), DsrError::NotFinite { at: 3 }),
        (with(0, f32::INFINITY), DsrError::NotFinite { at: 0 }),
        (with(23, f32::NEG_INFINITY), DsrError::NotFinite { at: 23 }),
        (vec![0.0; DIMS], DsrError::NoDirection),
        (vec![-0.0; DIMS], DsrError::NoDirection),
        (vec![1e-45; DIMS], DsrError::NoDirection),
    ] {
        assert_eq!(well.insert(1, &vector), Err(error.clone()));
        assert_eq!(well.insert(2, &vector), Err(error.clone()));
        assert_eq!(well.search(&mut scratch, &vector, 3, -1.0), Err(error));
    }
    assert!(well.snapshot() == before);
    // The ends of the range still have a direction.
    for extreme in [f32::MAX, 1e-30] {
        let found = well
            .search(&mut scratch, &[extreme; DIMS], 1, 0.99)
            .unwrap();
        assert_eq!(found.len(), 1);
    }
    let many = well.search(&mut scratch, &[1.0; DIMS], usize::MAX, -1.0);
    assert_eq!(
        many,
        Err(DsrError::TooMany {
            found: usize::MAX,
            max: K_MAX
        })
    );
    assert_eq!(
        well.search(&mut scratch, &[1.0; DIMS], 0, -1.0).unwrap(),
        []
    );
    let threshold = well.search(&mut scratch, &[1.0; DIMS], 3, f32::NAN);
    assert_eq!(threshold, Err(DsrError::Threshold));
    for dims in [0, DIMS_MAX + 1, usize::MAX] {
        assert!(matches!(
            Well::new(Options::new(dims)),
            Err(DsrError::Setting { .. })
        ));
    }
    for recall in [f32::NAN, 0.0, 1.0] {
        assert!(
            Well::new(Options {
                recall,
                ..options()
            })
            .is_err()
        );
    }
}

#[test]
fn entries_that_are_all_alike_are_held_and_found() {
    let mut well = Well::new(options()).unwrap();
    for id in 0..EXACT_ROWS as u64 + 2_000 {
        well.insert(id, &[1.0; DIMS]).unwrap();
    }
    let found = well
        .search(&mut Scratch::default(), &[1.0; DIMS], 10, 0.999)
        .unwrap();
    assert_eq!(found.len(), 10);
    for id in 0..EXACT_ROWS as u64 + 2_000 {
        assert!(well.remove(id));
    }
    assert_eq!((well.len(), well.stats().neurons), (0, 0));
}

#[test]
fn it_holds_what_a_map_holds() {
    let mut random = Random::new(12);
    let mut world = World::new(5);
    // Small enough to pass the border between exact and indexed in both directions.
    let mut well = Well::new(Options {
        expiring: true,
        ..options()
    })
    .unwrap();
    let mut map: BTreeMap<u64, u32> = BTreeMap::new();
    for step in 0..30_000u32 {
        let growing = (step / 8_000) % 2 == 0;
        let id = random.below(12_000) as u64;
        if (random.below(100) < 70) == growing {
            let replaced = well.insert_at(id, &world.draw(), step).unwrap();
            assert_eq!(replaced, map.insert(id, step).is_some());
        } else {
            assert_eq!(well.remove(id), map.remove(&id).is_some());
        }
        if step % 1_000 == 0 {
            assert_eq!(well.len(), map.len());
            let mut ids: Vec<u64> = well.ids().collect();
            ids.sort_unstable();
            assert!(ids.iter().eq(map.keys()));
            assert!(
                map.iter()
                    .all(|(id, moment)| well.moment(*id) == Some(*moment))
            );
            let k = map.len().min(K_MAX);
            let all = well
                .search(&mut Scratch::default(), &world.draw(), k, -1.0)
                .unwrap();
            assert_eq!(all.len(), k);
        }
    }
    let before = 25_000;
    while well.expire(before, 100) > 0 || map.len() > well.len() + well.rows.places() {}
    for _ in 0..well.rows.places() / 100 + 1 {
        well.expire(before, 100);
    }
    map.retain(|_, moment| *moment >= before);
    assert_eq!(well.len(), map.len());
}

#[test]
fn a_restored_well_goes_on_as_the_old_one() {
    let mut world = World::new(6);
    for count in [0, 10, 700, 6_000] {
        for precision in [Precision::Bytes, Precision::Floats] {
            let mut well = Well::new(Options {
                precision,
                expiring: true,
                ..options()
            })
            .unwrap();
            fill(&mut well, &mut world, 0..count);
            for id in (0..count).step_by(3) {
                well.remove(id);
            }
            let bytes = well.snapshot();
            let mut other = Well::restore(&bytes).unwrap();
            assert!(other.snapshot() == bytes);
            assert_eq!(other.bytes(), well.bytes());
            for id in count..count + 300 {
                let vector = world.draw();
                well.insert(id, &vector).unwrap();
                other.insert(id, &vector).unwrap();
                well.remove(id / 2);
                other.remove(id / 2);
            }
            assert!(other.snapshot() == well.snapshot(), "{count}");
            let query = world.draw();
            let found = |well: &Well| {
                well.search(&mut Scratch::default(), &query, 20, -1.0)
                    .unwrap()
            };
            assert_eq!(found(&well), found(&other));
        }
    }
}

#[test]
fn damaged_snapshots_are_refused_without_a_panic() {
    let mut world = World::new(6);
    let mut well = Well::new(Options {
        expiring: true,
        ..options()
    })
    .unwrap();
    fill(&mut well, &mut world, 0..EXACT_ROWS as u64 + 10);
    let bytes = well.snapshot();
    let mut random = Random::new(21);
    for cut in [0, 3, 9, 10, 40, bytes.len() - 1] {
        assert!(matches!(
            Well::restore(&bytes[..cut]),
            Err(DsrError::Malformed { .. })
        ));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Well::restore(&longer).is_err());
    let mut accepted = 0;
    for round in 0..150 {
        let mut damaged = bytes.clone();
        // The structure's numbers stand at the front and in the index; damage lands there as often as in vectors.
        for _ in 0..1 + random.below(3) {
            let at = match round % 3 {
                0 => random.below(60),
                1 => damaged.len() - 1 - random.below(60_000),
                _ => random.below(damaged.len()),
            };
            damaged[at] ^= 1 << random.below(8);
        }
        // A checksum that fits, so that the fields themselves are looked at.
        let end = damaged.len() - 4;
        let sum = crc32fast::hash(&damaged[..end]).to_le_bytes();
        damaged[end..].copy_from_slice(&sum);
        if let Ok(mut well) = Well::restore(&damaged) {
            accepted += 1;
            let dims = well.options().dims;
            let vector = vec![1.0; dims];
            well.search(&mut Scratch::default(), &vector, 10, -1.0)
                .unwrap();
            well.insert(1 << 50, &vector).unwrap();
            well.remove(1);
        }
    }
    println!("seed 21: {accepted} of 150 damaged snapshots are valid all the same");
}

#[test]
fn neurons_without_members_do_not_pile_up() {
    let mut well = Well::new(options()).unwrap();
    for turn in 0..3u64 {
        let mut world = World::new(20 + turn);
        fill(&mut well, &mut world, turn * 6_000..(turn + 1) * 6_000);
        if turn > 0 {
            for id in (turn - 1) * 6_000..turn * 6_000 {
                well.remove(id);
            }
        }
    }
    let stats = well.stats();
    assert!(stats.neurons <= 3 * neurons_for(well.len()), "{stats:?}");
}
