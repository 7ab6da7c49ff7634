use super::*;
use crate::random::Random;

const DIMS: usize = 8;

fn vector(random: &mut Random) -> Vec<f32> {
    (0..DIMS)
        .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
        .collect()
}

fn pool(bytes_max: u64, ttl: u32, when_full: WhenFull) -> PoolOptions {
    PoolOptions {
        bytes_max,
        ttl,
        when_full,
    }
}

fn create(registry: &mut Registry, name: (u32, u32)) -> Result<Applied, DsrError> {
    let options = Options::new(DIMS);
    registry.apply(&Op::CreateWell {
        pool: name.0,
        well: name.1,
        options,
    })
}

fn insert(
    registry: &mut Registry,
    name: (u32, u32),
    id: u64,
    vector: Vec<f32>,
    now: u32,
) -> Result<Applied, DsrError> {
    registry.apply(&Op::Insert {
        pool: name.0,
        well: name.1,
        id,
        vector,
        now,
    })
}

/// Operations of every kind, most of them sensible.
fn any_op(random: &mut Random) -> Op {
    let (pool_id, well, id) = (
        random.below(3) as u32,
        random.below(3) as u32,
        random.below(900) as u64,
    );
    let now = random.below(1_000) as u32;
    match random.below(40) {
        0 => {
            let when_full = if random.below(2) == 0 {
                WhenFull::Evict
            } else {
                WhenFull::Refuse
            };
            let bytes_max = 20_000 + random.below(60_000) as u64;
            Op::SetPool {
                pool: pool_id,
                options: pool(bytes_max, random.below(400) as u32, when_full),
            }
        }
        1 if random.below(20) == 0 => Op::DropPool { pool: pool_id },
        2 | 3 => Op::CreateWell {
            pool: pool_id,
            well,
            options: Options {
                exact: random.below(9) == 0,
                ..Options::new(DIMS)
            },
        },
        4 if random.below(5) == 0 => Op::DropWell {
            pool: pool_id,
            well,
        },
        5 => Op::Expire {
            pool: pool_id,
            now,
            most: random.below(300) as u32,
        },
        6..=9 => Op::Remove {
            pool: pool_id,
            well,
            id,
        },
        10..=12 => Op::Touch {
            pool: pool_id,
            well,
            id,
            now,
        },
        _ => Op::Insert {
            pool: pool_id,
            well,
            id,
            vector: vector(random),
            now,
        },
    }
}

#[test]
fn the_same_operations_make_the_same_registry() {
    let mut random = Random::new(31);
    let (mut one, mut other) = (Registry::new(), Registry::new());
    for step in 0..6_000 {
        let op = any_op(&mut random);
        let bytes = op.encode();
        assert_eq!(Op::decode(&bytes).unwrap(), op);
        let before = (step % 50 == 0).then(|| one.snapshot());
        let applied = one.apply(&op);
        assert_eq!(other.apply(&Op::decode(&bytes).unwrap()), applied);
        if let (Some(before), Err(_)) = (before, &applied) {
            assert!(
                one.snapshot() == before,
                "a refused operation changes nothing: {op:?}"
            );
        }
        for (id, options) in one.pools() {
            let stats = one.stats(id).unwrap();
            assert!(
                stats.bytes <= options.bytes_max || stats.entries == 0,
                "{stats:?}"
            );
        }
        if step % 1_000 == 999 {
            let snapshot = one.snapshot();
            assert!(other.snapshot() == snapshot);
            // From here on one of them has another life behind it.
            other = Registry::restore(&snapshot).unwrap();
        }
    }
    assert!(one.stats(0).is_some_and(|stats| stats.entries > 100));
}

#[test]
fn a_full_pool_evicts_what_is_longest_unused() {
    let mut registry = Registry::new();
    let mut random = Random::new(1);
    registry
        .apply(&Op::SetPool {
            pool: 1,
            options: pool(60_000, 0, WhenFull::Evict),
        })
        .unwrap();
    create(&mut registry, (1, 1)).unwrap();
    let mut evicted = 0;
    for id in 0..5_000u64 {
        evicted += insert(&mut registry, (1, 1), id, vector(&mut random), id as u32)
            .unwrap()
            .evicted;
        // The first ten stay in use.
        registry
            .apply(&Op::Touch {
                pool: 1,
                well: 1,
                id: id % 10,
                now: id as u32,
            })
            .unwrap();
    }
    let stats = registry.stats(1).unwrap();
    assert!(evicted > 1_000 && stats.bytes <= 60_000, "{stats:?}");
    assert_eq!(stats.entries + evicted, 5_000);
    let well = registry.well(1, 1).unwrap();
    assert!((0..10).all(|id| well.contains(id)));
    let ids: Vec<u64> = well.ids().filter(|id| *id >= 10).collect();
    assert!(
        ids.iter().all(|id| *id as usize >= 5_000 - stats.entries),
        "the newest are left"
    );
    // A second well of the same pool makes room for itself at the first one's cost.
    create(&mut registry, (1, 2)).unwrap();
    insert(&mut registry, (1, 2), 1, vector(&mut random), 6_000).unwrap();
    assert!(registry.stats(1).unwrap().bytes <= 60_000);
    assert_eq!(registry.well(1, 2).unwrap().len(), 1);
}

#[test]
fn a_full_pool_refuses_when_told_to() {
    let mut registry = Registry::new();
    let mut random = Random::new(1);
    registry
        .apply(&Op::SetPool {
            pool: 1,
            options: pool(30_000, 0, WhenFull::Refuse),
        })
        .unwrap();
    create(&mut registry, (1, 1)).unwrap();
    let mut id = 0;
    let error = loop {
        match insert(&mut registry, (1, 1), id, vector(&mut random), 0) {
            Ok(_) => id += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, DsrError::Budget { bytes_max: 30_000 });
    assert!(id > 200 && registry.stats(1).unwrap().bytes <= 30_000);
    // Replacing takes no room, removing gives some.
    insert(&mut registry, (1, 1), 0, vector(&mut random), 0).unwrap();
    registry
        .apply(&Op::Remove {
            pool: 1,
            well: 1,
            id: 0,
        })
        .unwrap();
    insert(&mut registry, (1, 1), id, vector(&mut random), 0).unwrap();
    // A pool that could not hold one chunk of rows gets no well.
    registry
        .apply(&Op::SetPool {
            pool: 2,
            options: pool(1_000, 0, WhenFull::Evict),
        })
        .unwrap();
    assert_eq!(
        create(&mut registry, (2, 1)),
        Err(DsrError::Budget { bytes_max: 1_000 })
    );
}

#[test]
fn entries_expire_by_the_callers_time_and_it_does_not_run_backwards() {
    let mut registry = Registry::new();
    let mut random = Random::new(1);
    registry
        .apply(&Op::SetPool {
            pool: 1,
            options: pool(1 << 20, 100, WhenFull::Evict),
        })
        .unwrap();
    create(&mut registry, (1, 1)).unwrap();
    let same = vector(&mut random);
    insert(&mut registry, (1, 1), 1, same.clone(), 1_000).unwrap();
    insert(&mut registry, (1, 1), 2, same.clone(), 1_050).unwrap();
    // Named time 0 is 1,050: who sends old times can neither hide nor prolong anything.
    insert(&mut registry, (1, 1), 3, same.clone(), 0).unwrap();
    let mut scratch = Scratch::default();
    let mut found = |registry: &Registry, now| -> Vec<u64> {
        let matches = registry
            .search(&mut scratch, (1, 1), &same, 10, 0.9, now)
            .unwrap();
        matches.iter().map(|m| m.id).collect()
    };
    assert_eq!(found(&registry, 1_060), [1, 2, 3]);
    assert_eq!(found(&registry, 1_101), [2, 3], "hidden before it is swept");
    let touched = registry
        .apply(&Op::Touch {
            pool: 1,
            well: 1,
            id: 1,
            now: 1_101,
        })
        .unwrap();
    assert!(!touched.existed, "what has expired is not called back");
    let swept = registry
        .apply(&Op::Expire {
            pool: 1,
            now: 1_101,
            most: 1_000,
        })
        .unwrap();
    assert_eq!((swept.expired, registry.stats(1).unwrap().entries), (1, 2));
    assert_eq!(found(&registry, 2_000), [0; 0]);
}

#[test]
fn what_does_not_exist_is_named() {
    let mut registry = Registry::new();
    let unknown = |pool, well| DsrError::UnknownWell { pool, well };
    assert_eq!(create(&mut registry, (4, 2)), Err(unknown(4, 2)));
    registry
        .apply(&Op::SetPool {
            pool: 4,
            options: PoolOptions::default(),
        })
        .unwrap();
    assert_eq!(
        insert(&mut registry, (4, 2), 0, vec![1.0; DIMS], 0),
        Err(unknown(4, 2))
    );
    assert_eq!(
        registry.apply(&Op::Remove {
            pool: 4,
            well: 2,
            id: 0
        }),
        Err(unknown(4, 2))
    );
    create(&mut registry, (4, 2)).unwrap();
    assert!(create(&mut registry, (4, 2)).unwrap().existed);
    let other = Op::CreateWell {
        pool: 4,
        well: 2,
        options: Options::new(DIMS + 1),
    };
    assert_eq!(
        registry.apply(&other),
        Err(DsrError::WellExists { pool: 4, well: 2 })
    );
    let search = registry.search(&mut Scratch::default(), (4, 3), &[1.0; DIMS], 1, 0.0, 0);
    assert_eq!(search, Err(unknown(4, 3)));
}

#[test]
fn decoders_survive_noise_and_damage() {
    let mut random = Random::new(77);
    println!("seed 77");
    let mut registry = Registry::new();
    for _ in 0..1_500 {
        drop(registry.apply(&any_op(&mut random)));
    }
    let snapshot = registry.snapshot();
    for round in 0..20_000 {
        let mut bytes = match round % 3 {
            0 => (0..random.below(200))
                .map(|_| random.number() as u8)
                .collect(),
            1 => any_op(&mut random).encode(),
            _ if round % 100 == 2 => snapshot.clone(),
            _ => continue,
        };
        if !bytes.is_empty() {
            let front = bytes.len().min(120);
            for _ in 0..1 + random.below(4) {
                let end = if random.below(2) == 0 {
                    front
                } else {
                    bytes.len()
                };
                let at = random.below(end);
                bytes[at] = if random.below(2) == 0 {
                    random.below(9) as u8
                } else {
                    random.number() as u8
                };
            }
            if random.below(8) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
        }
        if bytes.len() >= 10 {
            let magic = if bytes.len() > 4_000 {
                *b"DSRS"
            } else {
                *b"DSRO"
            };
            bytes[..4].copy_from_slice(&magic);
            bytes[4..6].copy_from_slice(&1u16.to_le_bytes());
            let end = bytes.len() - 4;
            let sum = crc32fast::hash(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&sum);
        }
        if let Ok(op) = Op::decode(&bytes) {
            assert_eq!(Op::decode(&op.encode()).unwrap(), op);
            let mut copy = Registry::new();
            drop(copy.apply(&Op::SetPool {
                pool: 0,
                options: PoolOptions::default(),
            }));
            drop(copy.apply(&op));
        }
        if let Ok(mut other) = Registry::restore(&bytes) {
            for _ in 0..5 {
                drop(other.apply(&any_op(&mut random)));
            }
        }
    }
}
