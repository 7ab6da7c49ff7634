//! Operations, budgets, and decoders against damaged and random bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot make its engine fails"
)]

use mfn_cpe::{CpeError, Engine, ITEMS_MAX, Op, PoolOptions, STREAM_BYTES_MIN, Series, Stream};
use proptest::prelude::*;

const SEED: u64 = 0x5EED_0F0F_1234_5678;

struct Lots(u64);

impl Lots {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, many: u64) -> u64 {
        self.next() % many
    }
}

fn small_pool() -> PoolOptions {
    PoolOptions {
        bytes_max: 2 << 20,
        stream_bytes_max: STREAM_BYTES_MIN as u64,
        ttl: 1000,
        ..PoolOptions::default()
    }
}

fn op() -> impl Strategy<Value = Op> {
    let pool = 0_u32..3;
    let id = 0_u64..6;
    prop_oneof![
        1 => pool.clone().prop_map(|pool| Op::Pool { pool, options: small_pool() }),
        1 => pool.clone().prop_map(|pool| Op::DropPool { pool }),
        40 => (pool.clone(), id.clone(), 0_u32..4, 0_u64..50, 0_u64..5000)
            .prop_map(|(pool, stream, lane, symbol, time)| Op::Observe { pool, stream, lane, symbol, time }),
        20 => (pool.clone(), 6_u64..9, 0_u32..4, 0_u64..5000, -1e3..1e3)
            .prop_map(|(pool, series, lane, time, value)| Op::Sample { pool, series, lane, time, value }),
        1 => (pool, id).prop_map(|(pool, id)| Op::Forget { pool, id }),
        1 => (0_u64..6000).prop_map(|now| Op::Expire { now }),
    ]
}

/// An engine with streams and series of some length.
fn filled(operations: usize) -> Engine {
    let mut engine = Engine::new();
    let mut lots = Lots(SEED);
    engine
        .apply(&Op::Pool {
            pool: 1,
            options: small_pool(),
        })
        .unwrap();
    for time in 0..operations as u64 {
        let lane = lots.below(3) as u32;
        let symbol = if lots.below(3) == 0 {
            lots.below(1 << 40)
        } else {
            time % 23
        };
        engine
            .apply(&Op::Observe {
                pool: 1,
                stream: lots.below(2),
                lane,
                symbol,
                time,
            })
            .unwrap();
        let value =
            20.0 + lots.below(100) as f64 / 50.0 + if time % 500 > 300 { 15.0 } else { 0.0 };
        engine
            .apply(&Op::Sample {
                pool: 1,
                series: 7,
                lane,
                time,
                value,
            })
            .unwrap();
    }
    engine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_restored_engine_goes_on_as_the_first_would(
        before in prop::collection::vec(op(), 0..400),
        after in prop::collection::vec(op(), 0..200),
    ) {
        let mut engine = Engine::new();
        for op in &before {
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            prop_assert!(bytes.len() <= Op::BYTES_MAX);
            prop_assert_eq!(&Op::decode(&bytes).unwrap(), op);
            drop(engine.apply(op));
        }
        let snapshot = engine.snapshot();
        let mut restored = Engine::restore(&snapshot).unwrap();
        prop_assert!(restored.snapshot() == snapshot);
        for op in &after {
            prop_assert_eq!(engine.apply(op), restored.apply(op));
        }
        prop_assert!(restored.snapshot() == engine.snapshot());
    }
}

#[test]
fn a_refused_operation_changes_nothing() {
    let mut engine = filled(100);
    let before = engine.snapshot();
    let refused = [
        Op::Sample {
            pool: 1,
            series: 7,
            lane: 0,
            time: 200,
            value: f64::NAN,
        },
        Op::Sample {
            pool: 1,
            series: 7,
            lane: 0,
            time: 200,
            value: f64::INFINITY,
        },
        Op::Sample {
            pool: 1,
            series: 7,
            lane: 0,
            time: 0,
            value: 1.0,
        },
        Op::Sample {
            pool: 1,
            series: 0,
            lane: 0,
            time: 200,
            value: 1.0,
        },
        Op::Sample {
            pool: 9,
            series: 0,
            lane: 0,
            time: 200,
            value: f64::NAN,
        },
        Op::Observe {
            pool: 1,
            stream: 7,
            lane: 0,
            symbol: 0,
            time: 0,
        },
        Op::Forget { pool: 1, id: 99 },
        Op::DropPool { pool: 5 },
        Op::Pool {
            pool: 1,
            options: PoolOptions {
                bytes_max: 1,
                ..small_pool()
            },
        },
        Op::Pool {
            pool: 2,
            options: PoolOptions {
                claim_min: 7.0,
                ..small_pool()
            },
        },
        Op::Pool {
            pool: 2,
            options: PoolOptions {
                stream_bytes_max: u64::MAX,
                ..small_pool()
            },
        },
    ];
    for op in refused {
        assert!(engine.apply(&op).is_err(), "{op:?}");
    }
    assert!(engine.snapshot() == before);
}

#[test]
fn a_pool_keeps_its_budget_by_forgetting_what_was_used_longest_ago() {
    let mut engine = Engine::new();
    engine
        .apply(&Op::Pool {
            pool: 0,
            options: small_pool(),
        })
        .unwrap();
    let mut forgotten = 0;
    for time in 0..40_u64 {
        for step in 0..50 {
            let op = Op::Observe {
                pool: 0,
                stream: time,
                lane: 0,
                symbol: step,
                time,
            };
            forgotten += engine.apply(&op).unwrap().forgotten;
            // The first stream is written to all along.
            engine
                .apply(&Op::Observe {
                    pool: 0,
                    stream: 0,
                    lane: 0,
                    symbol: step,
                    time,
                })
                .unwrap();
        }
        assert!(engine.pool(0).unwrap().bytes <= small_pool().bytes_max);
    }
    let stats = engine.pool(0).unwrap();
    assert!(forgotten > 0 && stats.evicted >= forgotten && stats.streams > 1);
    assert!(engine.stream(0, 0).is_ok() && engine.stream(0, 39).is_ok());
    assert_eq!(
        engine.stream(0, 5).unwrap_err(),
        CpeError::Absent {
            what: "stream",
            id: 5
        }
    );
    assert!(engine.apply(&Op::Expire { now: 2000 }).unwrap().forgotten > 1);
    assert_eq!(engine.pool(0).unwrap().bytes, 0);
}

#[test]
fn asking_leaves_no_trace() {
    let mut engine = filled(300);
    let before = engine.snapshot();
    engine.stream(1, 0).unwrap().predict(7, ITEMS_MAX, 0);
    engine.stream(1, 0).unwrap().explain(0, 3);
    engine.series(1, 7).unwrap().forecast(0).unwrap();
    assert!(engine.snapshot() == before);
}

/// Damaged snapshots and operations: an error or an engine that works, never a panic. What is accepted is used hard.
#[test]
fn damaged_bytes_are_refused_or_harmless() {
    let snapshot = filled(400).snapshot();
    let mut lots = Lots(SEED);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..1500 {
        let mut bytes = snapshot.clone();
        for _ in 0..=lots.below(3) {
            let at = lots.below(bytes.len() as u64) as usize;
            match lots.below(4) {
                0 => bytes[at] = lots.next() as u8,
                1 => bytes[at] ^= 1 << lots.below(8),
                2 => bytes.truncate(at + 1),
                _ => {
                    let end = (at + 4).min(bytes.len());
                    bytes[at..end].fill(if lots.below(2) == 0 { 0xFF } else { 0 });
                }
            }
        }
        let Ok(mut engine) = Engine::restore(&bytes) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for time in 0..40 {
            let symbol = lots.below(30);
            drop(engine.apply(&Op::Observe {
                pool: 1,
                stream: lots.below(2),
                lane: 0,
                symbol,
                time,
            }));
            drop(engine.apply(&Op::Sample {
                pool: 1,
                series: 7,
                lane: 1,
                time: u64::MAX,
                value: 1e150,
            }));
        }
        if let Ok(stream) = engine.stream(1, 0) {
            let given = stream.predict(0, 5, 0);
            assert!(
                given.items.iter().all(|item| item.probability.is_finite()),
                "seed {SEED}"
            );
        }
    }
    println!("seed {SEED:#x}: {refused} refused, {accepted} accepted");
    assert!(refused > 100 && accepted > 100);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..lots.below(70)).map(|_| lots.next() as u8).collect();
        assert!(Engine::restore(&bytes).is_err());
        assert!(Stream::restore(&bytes).is_err());
        assert!(Series::restore(&bytes).is_err());
        let mut op: Vec<u8> = vec![1, lots.below(8) as u8];
        op.extend(&bytes);
        if let Ok(known) = Op::decode(&op) {
            let mut again = Vec::new();
            known.encode(&mut again);
            assert_eq!(again, op);
        }
    }
}

#[test]
fn every_cut_of_an_operation_is_refused() {
    let mut bytes = Vec::new();
    Op::Pool {
        pool: 3,
        options: small_pool(),
    }
    .encode(&mut bytes);
    for end in 0..bytes.len() {
        assert!(
            matches!(Op::decode(&bytes[..end]), Err(CpeError::Truncated(_))),
            "{end}"
        );
    }
    bytes.push(0);
    assert!(matches!(Op::decode(&bytes), Err(CpeError::Invalid(_))));
    bytes[0] = 9;
    assert!(matches!(
        Op::decode(&bytes),
        Err(CpeError::Version { version: 9, .. })
    ));
}
