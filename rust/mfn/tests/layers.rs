//! What the layers answer, refuse and forget.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use mfn_local::{Failure, Reply};
use mfn_memory::{Cpe, Dsr, JournalFacts, KEY_BYTES_MAX, Layer, POOLS_MAX};
use mfn_wire::{Status, method, pb};
use proptest::prelude::*;
use prost::Message;

fn change<L: Layer>(layer: &mut L, method: u16, message: &impl Message) -> Result<Reply, Failure> {
    layer.change(method, 1, &message.encode_to_vec())
}

fn ask<L: Layer, M: Message + Default>(
    layer: &mut L,
    method: u16,
    message: &impl Message,
) -> Result<M, Failure> {
    let reply = layer.ask(method, 1, &message.encode_to_vec(), JournalFacts::default())?;
    Ok(M::decode(reply.body).unwrap())
}

fn insert(pool_id: u64, key: impl Into<Vec<u8>>, vector: Vec<f32>) -> pb::DsrInsertRequest {
    let key = key.into();
    pb::DsrInsertRequest {
        pool_id,
        key,
        vector,
    }
}

fn observe(pool_id: u64, stream: &str, key: impl Into<Vec<u8>>) -> pb::CpeObserveRequest {
    pb::CpeObserveRequest {
        pool_id,
        stream: stream.into(),
        keys: vec![key.into()],
        ..Default::default()
    }
}

fn sample(series: &str, value: f64, time: u64) -> pb::CpeSampleRequest {
    pb::CpeSampleRequest {
        series: series.into(),
        value,
        time,
        ..Default::default()
    }
}

/// Bytes of a change that mean nothing, and a refused one, leave no trace.
fn hostile<L: Layer>(layer: &mut L, method: u16, body: &[u8]) {
    let before = layer.snapshot();
    if L::CHANGES.contains(&method) {
        if layer.change(method, 1, body).is_err() {
            assert!(layer.snapshot() == before);
        }
    } else {
        // Any answer will do.
        let _ = layer.ask(method, 1, body, JournalFacts::default());
        assert!(layer.snapshot() == before);
    }
    // And what it is now reads back.
    assert!(L::restore(&layer.snapshot()).unwrap().snapshot() == layer.snapshot());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_body_breaks_a_layer(
        calls in prop::collection::vec((0..9_u16, prop::collection::vec(any::<u8>(), 0..60)), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut dsr, mut cpe) = (Dsr::empty(), Cpe::empty());
        let vector = insert(1, "a", vec![1.0, 2.0]).encode_to_vec();
        let event = observe(1, "s", "a").encode_to_vec();
        dsr.change(method::dsr::INSERT, 1, &vector).unwrap();
        cpe.change(method::cpe::OBSERVE, 1, &event).unwrap();
        for (method, body) in &calls {
            hostile(&mut dsr, *method, body);
            hostile(&mut cpe, *method, body);
            for good in [&vector, &event] {
                let mut bad = good.clone();
                for (at, byte) in &flips {
                    let at = at.index(bad.len());
                    bad[at] = *byte;
                }
                hostile(&mut dsr, *method, &bad);
                hostile(&mut cpe, *method, &bad);
            }
        }
        // Snapshots that are cut or changed are refused or read; nothing else happens.
        for (mut bytes, read) in [
            (dsr.snapshot(), (|bytes| Dsr::restore(bytes).is_ok()) as fn(&[u8]) -> bool),
            (cpe.snapshot(), |bytes| Cpe::restore(bytes).is_ok()),
        ] {
            let at = flips[0].0.index(bytes.len());
            assert!(!read(&bytes[..at]));
            bytes[at] = flips[0].1;
            read(&bytes);
        }
    }
}

#[test]
fn similar_vectors_have_the_keys_that_they_came_with() {
    let mut dsr = Dsr::empty();
    for (key, vector) in [("x", [1.0, 0.0]), ("near x", [0.9, 0.1]), ("y", [0.0, 1.0])] {
        change(
            &mut dsr,
            method::dsr::INSERT,
            &insert(7, key, vector.to_vec()),
        )
        .unwrap();
    }
    let request = pb::DsrSimilarRequest {
        pool_id: 7,
        key: "x".into(),
        least: 0.5,
        ..Default::default()
    };
    let found: pb::DsrMatches = ask(&mut dsr, method::dsr::SIMILAR, &request).unwrap();
    let keys: Vec<_> = found.matches.iter().map(|found| &found.key[..]).collect();
    assert_eq!(keys, [b"near x"]);
    let request = pb::DsrExplainRequest {
        pool_id: 7,
        vector: vec![1.0, 0.0],
        key: "y".into(),
    };
    let why: pb::DsrExplanation = ask(&mut dsr, method::dsr::EXPLAIN, &request).unwrap();
    assert!(why.similarity.abs() < 0.01 && why.compared);
    let request = pb::DsrNoveltyRequest {
        pool_id: 7,
        vector: vec![-1.0, 0.0],
        neighbours: 1,
    };
    let novelty: pb::DsrNovelty = ask(&mut dsr, method::dsr::NOVELTY, &request).unwrap();
    assert!(novelty.score > 0.9, "{novelty:?}");
}

#[test]
fn what_is_wrong_has_a_status_of_its_own() {
    let mut dsr = Dsr::empty();
    change(
        &mut dsr,
        method::dsr::INSERT,
        &insert(0, "a", vec![1.0, 0.0]),
    )
    .unwrap();
    let before = dsr.snapshot();
    for (request, status) in [
        (insert(0, "b", vec![1.0]), Status::INVALID_ARGUMENT),
        (
            insert(0, "b", vec![1.0, f32::NAN]),
            Status::INVALID_ARGUMENT,
        ),
        (insert(1, "b", vec![f32::NAN]), Status::INVALID_ARGUMENT),
        (insert(1, "b", vec![]), Status::INVALID_ARGUMENT),
        (insert(1, "b", vec![1.0; 5_000]), Status::INVALID_ARGUMENT),
        (insert(1 << 32, "b", vec![1.0]), Status::INVALID_ARGUMENT),
        (insert(0, "", vec![1.0, 0.0]), Status::INVALID_ARGUMENT),
        (
            insert(0, vec![0; KEY_BYTES_MAX + 1], vec![1.0, 0.0]),
            Status::INVALID_ARGUMENT,
        ),
    ] {
        let failure = change(&mut dsr, method::dsr::INSERT, &request).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert!(dsr.snapshot() == before, "{failure}");
    }
    let request = pb::DsrSimilarRequest {
        vector: vec![1.0, 0.0],
        k: 1_025,
        ..Default::default()
    };
    let failure = ask::<_, pb::DsrMatches>(&mut dsr, method::dsr::SIMILAR, &request).unwrap_err();
    assert_eq!(failure.status, Status::INVALID_ARGUMENT);

    let mut cpe = Cpe::empty();
    change(&mut cpe, method::cpe::OBSERVE, &observe(0, "s", "a")).unwrap();
    change(&mut cpe, method::cpe::SAMPLE, &sample("n", 1.0, 100)).unwrap();
    let before = cpe.snapshot();
    for (method, body, status) in [
        (
            method::cpe::SAMPLE,
            sample("s", 1.0, 200).encode_to_vec(),
            Status::CONFLICT,
        ),
        (
            method::cpe::OBSERVE,
            observe(0, "n", "a").encode_to_vec(),
            Status::CONFLICT,
        ),
        (
            method::cpe::SAMPLE,
            sample("n", f64::NAN, 200).encode_to_vec(),
            Status::INVALID_ARGUMENT,
        ),
        (
            method::cpe::SAMPLE,
            sample("n", 2.0, 50).encode_to_vec(),
            Status::INVALID_ARGUMENT,
        ),
        (
            method::cpe::OBSERVE,
            observe(0, "", "a").encode_to_vec(),
            Status::INVALID_ARGUMENT,
        ),
        (
            method::cpe::FORGET,
            pb::CpeForgetRequest {
                pool_id: 5,
                key: vec![],
            }
            .encode_to_vec(),
            Status::NOT_FOUND,
        ),
        (method::cpe::OBSERVE, vec![0xff; 9], Status::BAD_BODY),
    ] {
        let failure = cpe.change(method, 1, &body).unwrap_err();
        assert_eq!(failure.status, status, "{failure}");
        assert!(cpe.snapshot() == before, "{failure}");
    }
}

#[test]
fn a_probability_is_explained() {
    let mut cpe = Cpe::empty();
    for at in 0..60 {
        let key = ["edit", "build", "test"][at % 3];
        change(&mut cpe, method::cpe::OBSERVE, &observe(0, "shell", key)).unwrap();
    }
    change(&mut cpe, method::cpe::SAMPLE, &sample("rtt", 1.0, 1)).unwrap();
    let before = cpe.snapshot();
    let request = |stream: &str, key: &str| pb::CpeExplainRequest {
        stream: stream.into(),
        key: key.into(),
        ..Default::default()
    };
    let mut explain = |stream, key| {
        let request = request(stream, key);
        ask::<_, pb::CpeExplanation>(&mut cpe, method::cpe::EXPLAIN, &request)
    };
    let why = explain("shell", "edit").unwrap();
    assert!(why.proposed && why.probability > 0.9, "{why:?}");
    let weights: f64 = why.votes.iter().map(|vote| vote.weight).sum();
    let mean: f64 = why
        .votes
        .iter()
        .map(|vote| vote.weight * f64::from(vote.probability))
        .sum();
    assert!((weights - 1.0).abs() < 1e-9, "{why:?}");
    assert!((mean - f64::from(why.probability)).abs() < 1e-3, "{why:?}");
    let nats: Vec<f32> = why.evidence.iter().map(|part| part.nats.abs()).collect();
    assert!(!nats.is_empty() && nats.is_sorted_by(|a, b| a >= b));
    assert!(explain("shell", "build").unwrap().probability < 0.1);
    for (stream, key, status) in [
        ("shell", "deploy", Status::NOT_FOUND),
        ("none", "edit", Status::NOT_FOUND),
        ("rtt", "edit", Status::CONFLICT),
        ("shell", "", Status::INVALID_ARGUMENT),
    ] {
        assert_eq!(explain(stream, key).unwrap_err().status, status, "{key}");
    }
    assert!(cpe.snapshot() == before);
}

#[test]
fn a_series_is_forecast() {
    let mut cpe = Cpe::empty();
    for at in 0..200 {
        let value = 20.0 + f64::from(at % 5);
        change(
            &mut cpe,
            method::cpe::SAMPLE,
            &sample("rtt", value, 1 + at as u64),
        )
        .unwrap();
    }
    let request = pb::CpeForecastRequest {
        series: "rtt".into(),
        ..Default::default()
    };
    let forecast: pb::CpeForecast = ask(&mut cpe, method::cpe::FORECAST, &request).unwrap();
    assert_eq!(forecast.horizons.len(), 4);
    for horizon in forecast.horizons {
        assert!((20.0..=24.0).contains(&horizon.median), "{horizon:?}");
        assert!(horizon.median <= horizon.p90 && horizon.p90 <= horizon.p99);
    }
}

#[test]
fn pools_share_a_budget_and_are_few() {
    let mut dsr = Dsr::empty();
    let mut cpe = Cpe::empty();
    for pool in 0..POOLS_MAX as u64 {
        change(
            &mut dsr,
            method::dsr::INSERT,
            &insert(pool, "a", vec![1.0, 0.0]),
        )
        .unwrap();
        change(&mut cpe, method::cpe::OBSERVE, &observe(pool, "s", "a")).unwrap();
    }
    let (one, other) = (dsr.snapshot(), cpe.snapshot());
    let more = insert(99, "a", vec![1.0, 0.0]);
    let failure = change(&mut dsr, method::dsr::INSERT, &more).unwrap_err();
    assert_eq!(failure.status, Status::LIMIT);
    let failure = change(&mut cpe, method::cpe::OBSERVE, &observe(99, "s", "a")).unwrap_err();
    assert_eq!(failure.status, Status::LIMIT);
    assert!(dsr.snapshot() == one && cpe.snapshot() == other);
    let drop = pb::DsrRemoveRequest {
        pool_id: 3,
        key: vec![],
    };
    change(&mut dsr, method::dsr::REMOVE, &drop).unwrap();
    change(&mut dsr, method::dsr::INSERT, &more).unwrap();
    let stats: pb::DsrStats = ask(&mut dsr, method::dsr::STATS, &drop).unwrap();
    let sum: u64 = stats.pools.iter().map(|pool| pool.bytes_max).sum();
    assert!(sum <= stats.bytes_max && dsr.entries() == POOLS_MAX as u64);
}

/// Names of series count as well; the one that is written to stays.
#[test]
fn names_stay_within_their_share() {
    let mut cpe = Cpe::empty();
    for pool in 0..POOLS_MAX as u64 {
        change(&mut cpe, method::cpe::OBSERVE, &observe(pool, "s", "a")).unwrap();
    }
    let name = |at: u32| [&at.to_le_bytes()[..], &[7; KEY_BYTES_MAX - 4]].concat();
    for at in 0..400 {
        let request = pb::CpeSampleRequest {
            series: name(at),
            value: 1.0,
            time: 1,
            ..Default::default()
        };
        change(&mut cpe, method::cpe::SAMPLE, &request).unwrap();
    }
    let none = pb::CpeStatsRequest::default();
    let stats: pb::CpeStats = ask(&mut cpe, method::cpe::STATS, &none).unwrap();
    let pool = &stats.pools[0];
    assert!(pool.key_bytes <= pool.bytes_max / 4, "{pool:?}");
    assert!((50..400).contains(&pool.series), "{pool:?}");
    let request = pb::CpeForecastRequest {
        series: name(399),
        ..Default::default()
    };
    ask::<_, pb::CpeForecast>(&mut cpe, method::cpe::FORECAST, &request).unwrap();
}

/// Long keys reach their bound before anything else does.
#[test]
fn keys_stay_within_their_share() {
    let mut dsr = Dsr::empty();
    let mut cpe = Cpe::empty();
    let key = |at: u32| [&at.to_le_bytes()[..], &[7; KEY_BYTES_MAX - 4]].concat();
    for at in 0..6_000_u32 {
        let request = insert(0, key(at), vec![1.0, at as f32]);
        change(&mut dsr, method::dsr::INSERT, &request).unwrap();
        change(&mut cpe, method::cpe::OBSERVE, &observe(0, "s", key(at))).unwrap();
    }
    let none = pb::CpeStatsRequest::default();
    let stats: pb::DsrStats = ask(&mut dsr, method::dsr::STATS, &none).unwrap();
    let pool = &stats.pools[0];
    assert!(pool.key_bytes <= stats.bytes_max / 4, "{pool:?}");
    assert!(
        pool.entries > 2_000 && pool.entries == dsr.entries(),
        "{pool:?}"
    );
    let stats: pb::CpeStats = ask(&mut cpe, method::cpe::STATS, &none).unwrap();
    assert!(stats.pools[0].key_bytes <= stats.bytes_max / 4, "{stats:?}");
    // The newest are still named.
    let request = pb::DsrSimilarRequest {
        key: key(5_999),
        k: 1,
        ..Default::default()
    };
    let found: pb::DsrMatches = ask(&mut dsr, method::dsr::SIMILAR, &request).unwrap();
    assert_eq!(found.matches.len(), 1);
}
