//! What was acknowledged is there after the process ends, whenever it does; what was not is gone whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mfn_cpe::{Stream, StreamOptions};
use mfn_local::{Failure, Reply};
use mfn_memory::{Cpe, Dsr, Layer, Memory, MemoryError};
use mfn_wire::{Status, method, pb};
use proptest::prelude::*;
use prost::Message;
use tempfile::tempdir;

const BYTES_MAX: u64 = 64 << 20;

fn open<L: Layer>(directory: &Path) -> Memory {
    Memory::open::<L>(directory, BYTES_MAX).unwrap()
}

fn call(memory: &Memory, method: u16, time: u64, message: &impl Message) -> Result<Reply, Failure> {
    memory.call(method, time, message.encode_to_vec())
}

fn answer<M: Message + Default>(reply: Result<Reply, Failure>) -> M {
    M::decode(reply.unwrap().body).unwrap()
}

fn insert(pool_id: u64, key: &str, vector: [f32; 3]) -> pb::DsrInsertRequest {
    pb::DsrInsertRequest {
        pool_id,
        key: key.into(),
        vector: vector.to_vec(),
    }
}

fn observe(stream: &str, lane: u32, keys: &[u8], time: u64) -> pb::CpeObserveRequest {
    pb::CpeObserveRequest {
        pool_id: 1,
        stream: stream.into(),
        lane,
        keys: keys.iter().map(|key| vec![*key]).collect(),
        time,
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(u64, u8, [i8; 3]),
    Remove(u64, u8),
    Drop(u64),
    Snapshot,
    Reopen,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        12 => (0..3_u64, 0..9_u8, any::<[i8; 3]>()).prop_map(|(p, k, v)| Change::Insert(p, k, v)),
        3 => (0..3_u64, 0..9_u8).prop_map(|(p, k)| Change::Remove(p, k)),
        1 => (0..3_u64).prop_map(Change::Drop),
        1 => Just(Change::Snapshot),
        2 => Just(Change::Reopen),
    ];
    prop::collection::vec(change, 1..50)
}

fn cosine(left: &[f32; 3], right: &[f32; 3]) -> f32 {
    let dot = |a: &[f32; 3], b: &[f32; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// DSR beside a map of keys and vectors.
    #[test]
    fn vectors_are_those_of_a_map(changes in changes()) {
        let place = tempdir().unwrap();
        let mut memory = open::<Dsr>(place.path());
        let mut model: BTreeMap<u64, BTreeMap<Vec<u8>, [f32; 3]>> = BTreeMap::new();
        let query = [0.3_f32, -0.7, 0.2];
        let check = |memory: &Memory, model: &BTreeMap<u64, BTreeMap<Vec<u8>, [f32; 3]>>| {
            for pool_id in 0..3 {
                let request = pb::DsrSimilarRequest {
                    pool_id, vector: query.to_vec(), k: 100, ..Default::default()
                };
                let reply = call(memory, method::dsr::SIMILAR, 5, &request);
                let Some(pool) = model.get(&pool_id) else {
                    assert_eq!(reply.unwrap_err().status, Status::NOT_FOUND);
                    continue;
                };
                let found: BTreeMap<_, _> = answer::<pb::DsrMatches>(reply)
                    .matches.into_iter().map(|found| (found.key, found.similarity)).collect();
                assert!(found.keys().eq(pool.keys()));
                for (key, vector) in pool {
                    // Rows have 8 bits a number.
                    assert!((found[key] - cosine(&query, vector)).abs() < 0.02);
                }
            }
        };
        for (at, change) in changes.iter().enumerate() {
            let time = at as u64 * 1_000_000_000;
            match change {
                Change::Insert(pool, key, numbers) => {
                    let vector = numbers.map(f32::from);
                    let key = vec![b'k', *key];
                    let request = pb::DsrInsertRequest {
                        pool_id: *pool, key: key.clone(), vector: vector.to_vec(),
                    };
                    let done = call(&memory, method::dsr::INSERT, time, &request);
                    if vector == [0.0; 3] {
                        assert_eq!(done.unwrap_err().status, Status::INVALID_ARGUMENT);
                    } else {
                        let old = model.entry(*pool).or_default().insert(key, vector);
                        assert_eq!(answer::<pb::DsrInsertReply>(done).replaced, old.is_some());
                    }
                }
                Change::Remove(pool, key) => {
                    let key = vec![b'k', *key];
                    let request = pb::DsrRemoveRequest { pool_id: *pool, key: key.clone() };
                    let done = call(&memory, method::dsr::REMOVE, time, &request);
                    let was = model.get_mut(pool).is_some_and(|pool| pool.remove(&key).is_some());
                    assert_eq!(done.is_ok(), was);
                }
                Change::Drop(pool) => {
                    let request = pb::DsrRemoveRequest { pool_id: *pool, key: Vec::new() };
                    let done = call(&memory, method::dsr::REMOVE, time, &request);
                    assert_eq!(done.is_ok(), model.remove(pool).is_some());
                }
                Change::Snapshot => {
                    memory.call(method::dsr::SNAPSHOT, time, Vec::new()).unwrap();
                }
                Change::Reopen => {
                    drop(memory);
                    memory = open::<Dsr>(place.path());
                }
            }
            check(&memory, &model);
        }
        drop(memory);
        let memory = open::<Dsr>(place.path());
        check(&memory, &model);
        let entries: usize = model.values().map(BTreeMap::len).sum();
        assert_eq!(memory.status().entries, entries as u64);
    }

    /// CPE beside a stream that is told the same and never stops.
    #[test]
    fn predictions_are_those_of_a_stream_that_never_stopped(
        parts in prop::collection::vec((0..3_u32, prop::collection::vec(0..6_u8, 1..12), 0..8_u8), 1..25),
    ) {
        let place = tempdir().unwrap();
        let mut memory = open::<Cpe>(place.path());
        let options = StreamOptions { bytes_max: 1_572_864, ..StreamOptions::default() };
        let mut model = Stream::new(options).unwrap();
        let mut numbers: Vec<u8> = Vec::new();
        for (at, (lane, keys, then)) in parts.iter().enumerate() {
            let time = 1_000 + at as u64 * 7;
            let done = call(&memory, method::cpe::OBSERVE, 1, &observe("s", *lane, keys, time));
            let outcomes = answer::<pb::CpeObserved>(done).outcomes;
            for (key, outcome) in keys.iter().zip(&outcomes) {
                let number = numbers.iter().position(|known| known == key).unwrap_or_else(|| {
                    numbers.push(*key);
                    numbers.len() - 1
                });
                let wanted = model.observe(*lane, number as u64, time);
                assert_eq!(outcome.probability, wanted.probability);
                assert_eq!(outcome.place as usize, wanted.rank.map_or(0, |rank| rank + 1));
            }
            assert_eq!(outcomes.len(), keys.len());
            match then {
                0 => drop(memory.call(method::cpe::SNAPSHOT, 1, Vec::new()).unwrap()),
                1 | 2 => {
                    drop(memory);
                    memory = open::<Cpe>(place.path());
                }
                _ => {}
            }
            let request = pb::CpePredictRequest {
                pool_id: 1, stream: "s".into(), lane: *lane, k: 3, time: time + 2,
            };
            let next: pb::CpePrediction =
                answer(call(&memory, method::cpe::PREDICT, 1, &request));
            let wanted = model.predict(*lane, 3, time + 2);
            let mut unseen = wanted.unseen;
            let mut items = Vec::new();
            for item in &wanted.items {
                match usize::try_from(item.symbol).ok().and_then(|at| numbers.get(at)) {
                    Some(key) => items.push(pb::CpeItem {
                        key: vec![*key], probability: item.probability,
                    }),
                    None => unseen += item.probability,
                }
            }
            assert_eq!(next.items, items);
            assert_eq!((next.other, next.unseen), (wanted.other, unseen));
            assert_eq!(next.wait.map(|wait| wait.median_ns), wanted.wait.map(|wait| wait.median));
        }
    }
}

#[test]
fn a_log_cut_in_its_last_record_loses_that_one_only() {
    let place = tempdir().unwrap();
    let memory = open::<Dsr>(place.path());
    call(
        &memory,
        method::dsr::INSERT,
        1,
        &insert(0, "one", [1.0, 0.0, 0.0]),
    )
    .unwrap();
    let log = place.path().join("log");
    let before = fs::read(&log).unwrap().len();
    call(
        &memory,
        method::dsr::INSERT,
        2,
        &insert(0, "two", [0.0, 1.0, 0.0]),
    )
    .unwrap();
    drop(memory);
    let whole = fs::read(&log).unwrap();
    for cut in before..=whole.len() {
        let place = tempdir().unwrap();
        fs::write(place.path().join("log"), &whole[..cut]).unwrap();
        let memory = open::<Dsr>(place.path());
        let left = if cut == whole.len() { 2 } else { 1 };
        assert_eq!(memory.status().entries, left, "cut at {cut}");
        call(
            &memory,
            method::dsr::INSERT,
            3,
            &insert(0, "three", [0.0, 0.0, 1.0]),
        )
        .unwrap();
        drop(memory);
        assert_eq!(open::<Dsr>(place.path()).status().entries, left + 1);
    }
}

#[test]
fn damage_is_named_and_nothing_is_touched() {
    let place = tempdir().unwrap();
    let memory = open::<Cpe>(place.path());
    for at in 0..3 {
        call(
            &memory,
            method::cpe::OBSERVE,
            1,
            &observe("s", 0, &[1, 2, 3], at + 1),
        )
        .unwrap();
    }
    drop(memory);
    let log = place.path().join("log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[60] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let error = Memory::open::<Cpe>(place.path(), BYTES_MAX).unwrap_err();
    assert!(matches!(error, MemoryError::Journal(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("log") && text.contains("move it away"),
        "{text}"
    );
    assert_eq!(fs::read(&log).unwrap(), bytes);
    // Nor is the journal of one layer taken for that of the other.
    assert!(Memory::open::<Dsr>(place.path(), BYTES_MAX).is_err());
}

#[test]
fn many_writers_at_once_are_all_kept() {
    let place = tempdir().unwrap();
    let memory = open::<Dsr>(place.path());
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let memory = &memory;
            scope.spawn(move || {
                for at in 0..25 {
                    let request = insert(0, &format!("{writer}/{at}"), [1.0, at as f32, 2.0]);
                    call(memory, method::dsr::INSERT, 1, &request).unwrap();
                }
            });
        }
    });
    drop(memory);
    assert_eq!(open::<Dsr>(place.path()).status().entries, 200);
}

#[test]
fn a_smaller_budget_is_kept_too() {
    let place = tempdir().unwrap();
    let memory = Memory::open::<Cpe>(place.path(), 1 << 30).unwrap();
    call(
        &memory,
        method::cpe::OBSERVE,
        1,
        &observe("s", 0, &[1, 2, 3], 1),
    )
    .unwrap();
    drop(memory);
    let memory = open::<Cpe>(place.path());
    let stats: pb::CpeStats = answer(memory.call(method::cpe::STATS, 1, Vec::new()));
    assert_eq!((stats.bytes_max, stats.pools[0].streams), (BYTES_MAX, 1));
}
