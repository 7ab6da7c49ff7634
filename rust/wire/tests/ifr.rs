//! The golden vectors of the fixed bodies of ifr, which all languages read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use mfn_wire::ifr::{
    BodyError, Done, Found, Key, Keys, Stats, decode_key, decode_keys, decode_put, encode_entries,
    encode_key, encode_keys, encode_put,
};
use proptest::prelude::*;
use serde_json::Value;

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "~".into();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.trim_matches('~').len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn joined(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        "~".into()
    } else {
        words.join(",")
    }
}

fn kind(key: Key<'_>) -> u8 {
    match key {
        Key::Digest(_) => 1,
        Key::Bytes(_) => 2,
    }
}

fn batch(keys: &Keys<'_>) -> String {
    let each = keys.items.iter().map(|(key, value)| {
        let key = hex(key.bytes());
        value.map_or(key.clone(), |value| format!("{key}={}", hex(value)))
    });
    let kind = kind(keys.items[0].0);
    format!(
        "{} {kind} {} {}",
        keys.pool_id,
        keys.items.len(),
        joined(each)
    )
}

/// What a body says, in words, and the body again where this side writes it.
fn read(body: &str, bytes: &[u8]) -> Result<(String, Option<Vec<u8>>), BodyError> {
    let mut again = Vec::new();
    Ok(match body {
        "key" => {
            let (pool, key) = decode_key(bytes)?;
            encode_key(pool, key, &mut again);
            (
                format!("{pool} {} {}", kind(key), hex(key.bytes())),
                Some(again),
            )
        }
        "put" => {
            let (pool, key, value) = decode_put(bytes)?;
            encode_put(pool, key, value, &mut again);
            let words = format!("{pool} {} {} {}", kind(key), hex(key.bytes()), hex(value));
            (words, Some(again))
        }
        "keys" => {
            let keys = decode_keys(bytes, false)?;
            encode_keys(
                keys.pool_id,
                keys.items.iter().map(|(key, _)| *key),
                &mut again,
            )?;
            (batch(&keys), Some(again))
        }
        "entries" => {
            let keys = decode_keys(bytes, true)?;
            let entries = keys.items.iter().map(|(key, value)| (*key, value.unwrap()));
            encode_entries(keys.pool_id, entries, &mut again)?;
            (batch(&keys), Some(again))
        }
        "found" | "values" => {
            let found = Found::decode(bytes, body == "values")?;
            let each = (0..found.len())
                .filter(|index| found.is_found(*index))
                .map(|index| {
                    found
                        .value(index)
                        .map_or(index.to_string(), |value| format!("{index}={}", hex(value)))
                });
            (
                format!("{} {} {}", found.len(), found.found(), joined(each)),
                None,
            )
        }
        "done" => {
            let done = Done::decode(bytes)?;
            (
                format!("{} {} {}", done.done, done.replaced, done.status.0),
                None,
            )
        }
        "stats" => {
            let Stats {
                digest_entries,
                syncs,
                looked,
                found,
                pools,
                expirations,
                ..
            } = Stats::decode(bytes)?;
            assert_eq!((looked, found), (16, 17 << 4));
            assert_eq!((pools, expirations), (18 << 8, 23 << 28));
            // As a daemon of before these two says it.
            let before = Stats::decode(&bytes[..15 * 8])?;
            assert_eq!((before.syncs, before.looked, before.found), (syncs, 0, 0));
            let numbers = bytes
                .chunks(8)
                .map(|number| u64::from_le_bytes(number.try_into().unwrap()).to_string());
            assert_eq!((digest_entries, syncs), (1 << 4, 15 << 60));
            (joined(numbers), None)
        }
        // No case of a body that this test does not know.
        _ => return Ok((format!("no body '{body}'"), None)),
    })
}

#[test]
fn all_vectors_agree() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/vectors/ifr/bodies.json");
    let vectors: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(vectors.len() >= 45);
    for vector in &vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let named = format!("{} {}", text("body"), text("name"));
        let bytes = unhex(text("hex"));
        let status = vector["status"].as_i64().unwrap();
        match read(text("body"), &bytes) {
            Ok((words, again)) => {
                assert_eq!(status, 0, "{named}");
                assert_eq!(words, text("fields"), "{named}");
                assert!(again.is_none_or(|again| again == bytes), "{named}");
            }
            Err(error) => assert_eq!(i64::from(error.status().0), status, "{named}"),
        }
    }
}

/// A flow body in words, and encoded again if it is a request.
fn read_flow(body: &str, bytes: &[u8]) -> Result<(String, Option<Vec<u8>>), BodyError> {
    use mfn_wire::ifr::{
        FlowRecord, Layer, Pool, PoolStats, RoutingDecision, decode_expired, decode_flow_put,
        encode_expire, encode_flow_put, encode_learn, encode_route,
    };
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let words = |record: &FlowRecord| {
        let FlowRecord {
            key,
            size,
            created_ns,
            updated_ns,
            expires_ns,
            reference,
            component,
            kind,
            priority,
        } = record;
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{key} {size} {created_ns} {updated_ns} {expires_ns} {reference} {component} {kind} {priority}"
        )
    };
    let mut again = Vec::new();
    Ok(match body {
        "pool" => {
            let pool = Pool::decode(bytes)?;
            pool.encode(&mut again);
            let flags = u32::from(pool.refuses) + 2 * u32::from(pool.values);
            let text = format!("{} {flags} {}", pool.pool_id, pool.bytes_max);
            (text, Some(again))
        }
        "flow_put" => {
            let (pool_id, ttl_ns, record) = decode_flow_put(bytes)?;
            encode_flow_put(pool_id, ttl_ns, &record, &mut again);
            let text = format!("{pool_id} {ttl_ns} {}", words(&record));
            (text, Some(again))
        }
        "flow_key" => {
            let (pool_id, key) = mfn_wire::ifr::decode_key(bytes)?;
            encode_key(pool_id, key, &mut again);
            (format!("{pool_id} {}", hex(key.bytes())), Some(again))
        }
        "expire" => {
            let numbers = [number(bytes, 0), number(bytes, 4)];
            encode_expire(numbers[0], numbers[1], &mut again);
            (format!("{} {}", numbers[0], numbers[1]), Some(again))
        }
        "flow_route" => {
            let (pool_id, kind) = (number(bytes, 0), number(bytes, 4) as u16);
            let key: [u8; 32] = bytes[8..].try_into().unwrap();
            encode_route(pool_id, kind, &key, &mut again);
            (format!("{pool_id} {kind} {}", hex(&key)), Some(again))
        }
        "learn" => {
            let kind = number(bytes, 0) as u16;
            let layer = if bytes[2] == 4 {
                Layer::Prediction
            } else {
                Layer::Similarity
            };
            encode_learn(kind, layer, bytes[3] == 1, &mut again);
            (format!("{kind} {} {}", bytes[2], bytes[3]), Some(again))
        }
        "record" => {
            let record = FlowRecord::decode_answer(bytes)?.ok_or(BodyError::Layout)?;
            record.encode(&mut again);
            (words(&record), Some(again))
        }
        "pool_stats" => {
            let stats = PoolStats::decode(bytes)?;
            let numbers = [
                stats.records,
                stats.bytes,
                stats.bytes_max,
                stats.evictions,
                stats.expirations,
            ];
            (numbers.map(|number| number.to_string()).join(" "), None)
        }
        "pools" => {
            let pools = mfn_wire::ifr::decode_pools(bytes)?;
            let each = pools.iter().map(|(pool, stats)| {
                let flags = u32::from(pool.refuses) + 2 * u32::from(pool.values);
                let head = format!("{} {flags} {}", pool.pool_id, pool.bytes_max);
                let (held, lost) = (stats.bytes_max, (stats.evictions, stats.expirations));
                format!(
                    "{head} {} {} {held} {} {}",
                    stats.records, stats.bytes, lost.0, lost.1
                )
            });
            (each.collect::<Vec<_>>().join(" "), None)
        }
        "expired" => {
            let (looked, expired) = decode_expired(bytes)?;
            (format!("{looked} {expired}"), None)
        }
        _ => {
            let (head, record) = match RoutingDecision::decode(bytes)? {
                RoutingDecision::FoundExact(record) => ((0, 0, 1.0_f32), record),
                RoutingDecision::FoundPartial {
                    record,
                    confidence,
                    next,
                } => ((1, next as u8, confidence), record),
                RoutingDecision::RouteToLayers { next, confidence } => {
                    ((2, next as u8, confidence), FlowRecord::default())
                }
            };
            let (outcome, layer, confidence) = head;
            let confidence = confidence.to_bits();
            let text = format!("{outcome} {layer} {confidence} {}", words(&record));
            (text, None)
        }
    })
}

#[test]
fn all_flow_vectors_agree() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/vectors/ifr/flows.json");
    let vectors: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(vectors.len() >= 44);
    for vector in &vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let named = format!("{} {}", text("body"), text("name"));
        let bytes = unhex(text("hex"));
        match read_flow(text("body"), &bytes) {
            Ok((words, again)) => {
                assert_eq!(vector["status"].as_i64(), Some(0), "{named}");
                assert_eq!(words, text("fields"), "{named}");
                assert!(again.is_none_or(|again| again == bytes), "{named}");
            }
            Err(error) => assert_eq!(
                vector["status"].as_i64(),
                Some(i64::from(error.status().0)),
                "{named}"
            ),
        }
    }
}

#[test]
fn pools_are_read_as_they_are_laid_out() {
    use mfn_wire::ifr::{Pool, PoolStats, decode_pools};
    let pool = Pool {
        pool_id: 7,
        refuses: true,
        values: false,
        bytes_max: 1 << 20,
    };
    let stats = PoolStats {
        records: 1,
        bytes: 2,
        bytes_max: 1 << 20,
        evictions: 4,
        expirations: 5,
    };
    // 56 bytes of today, and 64 of a later version.
    for entry_bytes in [56_u32, 64] {
        let mut body = [2_u32.to_le_bytes(), entry_bytes.to_le_bytes()].concat();
        for _ in 0..2 {
            let end = body.len() + entry_bytes as usize;
            pool.encode(&mut body);
            for number in [1_u64, 2, 1 << 20, 4, 5] {
                body.extend(number.to_le_bytes());
            }
            body.resize(end, 9);
        }
        assert_eq!(decode_pools(&body), Ok(vec![(pool, stats); 2]));
        for length in 0..body.len() {
            assert_eq!(decode_pools(&body[..length]), Err(BodyError::Layout));
        }
    }
    assert_eq!(decode_pools(&[0, 0, 0, 0, 56, 0, 0, 0]), Ok(Vec::new()));
    assert_eq!(decode_pools(&[255; 8]), Err(BodyError::Layout));
    assert_eq!(decode_pools(&[0; 8]), Err(BodyError::Layout));
}

#[test]
fn an_encoder_refuses_what_a_decoder_would() {
    let (mut out, digest, long) = (vec![1, 2], [0; 32], vec![0; 65_537]);
    let many = std::iter::repeat_n(Key::Digest(&digest), 4_097);
    assert_eq!(encode_keys(0, many, &mut out), Err(BodyError::BatchSize));
    assert_eq!(encode_keys(0, [], &mut out), Err(BodyError::BatchSize));
    let mixed = [Key::Digest(&digest), Key::Bytes(b"a")];
    assert_eq!(encode_keys(0, mixed, &mut out), Err(BodyError::BatchSize));
    assert_eq!(
        encode_keys(0, [Key::Bytes(&long)], &mut out),
        Err(BodyError::KeyTooLong)
    );
    assert_eq!(out, [1, 2]);
}

proptest! {
    #[test]
    fn noise_is_an_error_or_a_whole_body(mut bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0u8..9, kind in 0u8..4) {
        if bytes.len() > 20 {
            bytes[..16].fill(0);
            bytes[4] = kind;
            bytes[8] = count;
            bytes[17..20].fill(0);
        }
        for body in ["key", "put", "keys", "entries", "found", "values", "done"] {
            if let Ok((_, Some(again))) = read(body, &bytes) {
                prop_assert_eq!(again, bytes.clone());
            }
        }
    }
}
