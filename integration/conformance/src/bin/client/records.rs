//! The commands about pools of records: the words of ../../../README.md.

use std::time::Duration;

use mfn_ifr_client::{
    BodyError, FlowRecord, IfrClient, IfrError, Key, Layer, Pool, PoolStats, RoutingDecision, Value,
};
use mfn_wire::{Status, ifr};

use super::{Result, hex, unhex};

/// Obeys one command; what fails is an answer as well.
pub(super) fn obey(client: &IfrClient, verb: &str, words: &[&str]) -> Result<String> {
    match call(client, verb, words)? {
        Ok(answer) => Ok(answer),
        Err(error) => Ok(format!("failed {} {error}", status_of(&error).0)),
    }
}

fn status_of(error: &IfrError) -> Status {
    match error {
        IfrError::Call(error) => error.status(),
        IfrError::Body(error) => error.status(),
        _ => Status::UNREACHABLE,
    }
}

fn call(
    client: &IfrClient,
    verb: &str,
    words: &[&str],
) -> Result<std::result::Result<String, IfrError>> {
    let done = |result: std::result::Result<(), IfrError>| result.map(|()| "done".to_owned());
    if verb == "pools" {
        let pools = client.pools();
        return Ok(pools.map(|pools| format!("pools {} {}", pools.len(), pools_words(pools))));
    }
    let pool: u32 = words.first().ok_or("no pool")?.parse()?;
    Ok(match (verb, words) {
        ("pool_add", [_, flags, bytes_max]) => {
            done(client.pool_add(&pool_of(pool, flags, bytes_max)?))
        }
        ("value_put", [_, kind, key, value]) => {
            let (key, value) = (unhex(key)?, unhex(value)?);
            let value = value.try_into().map_err(|_| "no value")?;
            client
                .value_put(pool, key_of(kind, &key)?, &value)
                .map(valued)
        }
        ("value_get", [_, kind, key]) => client
            .value_get(pool, key_of(kind, &unhex(key)?)?)
            .map(valued),
        ("value_remove", [_, kind, key]) => client
            .value_remove(pool, key_of(kind, &unhex(key)?)?)
            .map(valued),
        ("pool_drop", [_]) => done(client.pool_drop(pool)),
        ("pool_stats", [_]) => {
            let stats = client.pool_stats(pool);
            stats.map(|stats| format!("stats {}", stats_words(&stats)))
        }
        ("put", [_, ttl_ns, record @ ..]) => {
            let ttl_ns: u64 = ttl_ns.parse()?;
            let ttl = (ttl_ns > 0).then(|| Duration::from_nanos(ttl_ns));
            client.flow_put(pool, &record_of(record)?, ttl).map(found)
        }
        ("get", [_, key]) => client.flow_get(pool, &digest(key)?).map(found),
        ("remove", [_, key]) => client.flow_remove(pool, &digest(key)?).map(found),
        ("expire", [_, looks]) => {
            let expired = client.flow_expire(pool, looks.parse()?);
            expired.map(|count| format!("expired {count}"))
        }
        ("route", [_, key, kind]) => {
            let decision = client.flow_route(pool, &digest(key)?, kind.parse()?);
            decision.map(|decision| decided(&decision))
        }
        ("learn", [kind, number, found]) => {
            done(client.flow_learn(kind.parse()?, layer(number)?, *found == "1"))
        }
        ("fill", [_, count]) => Ok(fill(client, pool, count.parse()?)),
        ("raw", [method, body]) => {
            let reply = client.call(method.parse()?, unhex(body)?);
            reply.map(|body| format!("body {}", hex(&body)))
        }
        _ => return Err(format!("no command {verb}").into()),
    })
}

/// Puts records of keys that count up, until one is refused.
fn fill(client: &IfrClient, pool: u32, count: u64) -> String {
    for number in 0..count {
        let mut record = FlowRecord::default();
        if let Some(place) = record.key.first_chunk_mut() {
            *place = number.to_le_bytes();
        }
        if let Err(error) = client.flow_put(pool, &record, None) {
            return format!("filled {number} {}", status_of(&error).0);
        }
    }
    format!("filled {count} 0")
}

fn digest(word: &str) -> Result<[u8; 32]> {
    Ok(unhex(word)?.try_into().map_err(|_| "no digest")?)
}

fn layer(word: &str) -> Result<Layer> {
    match word {
        "2" => Ok(Layer::Similarity),
        "3" => Ok(Layer::Association),
        "4" => Ok(Layer::Prediction),
        _ => Err("no such layer".into()),
    }
}

fn record_of(words: &[&str]) -> Result<FlowRecord> {
    let [
        key,
        size,
        created,
        updated,
        expires,
        reference,
        component,
        kind,
        priority,
    ] = *words
    else {
        return Err("a record has nine words".into());
    };
    Ok(FlowRecord {
        key: digest(key)?,
        size: size.parse()?,
        created_ns: created.parse()?,
        updated_ns: updated.parse()?,
        expires_ns: expires.parse()?,
        reference: reference.parse()?,
        component: component.parse()?,
        kind: kind.parse()?,
        priority: priority.parse()?,
    })
}

fn record_words(record: &FlowRecord) -> String {
    let key = hex(&record.key);
    format!(
        "{key} {} {} {} {} {} {} {} {}",
        record.size,
        record.created_ns,
        record.updated_ns,
        record.expires_ns,
        record.reference,
        record.component,
        record.kind,
        record.priority
    )
}

fn stats_words(stats: &PoolStats) -> String {
    let PoolStats {
        records,
        bytes,
        bytes_max,
        evictions,
        expirations,
    } = stats;
    format!("{records} {bytes} {bytes_max} {evictions} {expirations}")
}

/// In the order of their numbers.
fn pools_words(mut pools: Vec<(Pool, PoolStats)>) -> String {
    pools.sort_by_key(|(pool, _)| pool.pool_id);
    let words = pools.iter().map(|(pool, stats)| {
        let flags = u32::from(pool.refuses) + 2 * u32::from(pool.values);
        let (id, stats) = (pool.pool_id, stats_words(stats));
        format!("{id} {flags} {} {stats}", pool.bytes_max)
    });
    words.collect::<Vec<_>>().join(" ")
}

fn pool_of(pool_id: u32, flags: &str, bytes_max: &str) -> Result<Pool> {
    let flags: u8 = flags.parse()?;
    Ok(Pool {
        pool_id,
        refuses: flags & 1 != 0,
        values: flags & 2 != 0,
        bytes_max: bytes_max.parse()?,
    })
}

fn key_of<'a>(kind: &str, bytes: &'a [u8]) -> Result<Key<'a>> {
    match kind {
        "1" => Ok(Key::Digest(bytes.try_into()?)),
        _ => Ok(Key::Bytes(bytes)),
    }
}

fn valued(value: Option<Value>) -> String {
    value.map_or_else(
        || "none".to_owned(),
        |value| format!("value {}", hex(&value)),
    )
}

fn found(record: Option<FlowRecord>) -> String {
    record.map_or_else(
        || "none".to_owned(),
        |record| format!("record {}", record_words(&record)),
    )
}

fn decided(decision: &RoutingDecision) -> String {
    match decision {
        RoutingDecision::FoundExact(record) => format!("exact {}", record_words(record)),
        RoutingDecision::FoundPartial {
            record,
            confidence,
            next,
        } => {
            let confidence = confidence.to_bits();
            format!(
                "partial {} {confidence} {}",
                *next as u8,
                record_words(record)
            )
        }
        RoutingDecision::RouteToLayers { next, confidence } => {
            format!("route {} {}", *next as u8, confidence.to_bits())
        }
    }
}

/// Writes the requests of the golden vectors and reads the answers.
pub(super) fn vectors(path: &str) -> Result<String> {
    let (mut good, mut bad) = (0, 0);
    for line in std::fs::read_to_string(path)?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, name, status, bytes, ref fields @ ..] = *words else {
            continue;
        };
        if kind == "#" {
            continue;
        }
        let (is_good, bytes) = (status == "0", unhex(bytes)?);
        let is_right = match read(kind, &bytes) {
            Some(Ok(text)) => is_good && text == fields.join(" "),
            Some(Err(_)) => !is_good,
            // A bad request is the daemon's to refuse.
            None => !is_good || written(kind, fields)? == bytes,
        };
        if !is_right {
            return Err(format!("{kind} {name}: not as it should be").into());
        }
        *(if is_good { &mut good } else { &mut bad }) += 1;
    }
    Ok(format!("vectors {good} {bad}"))
}

/// An answer in words; `None`: the body is a request.
fn read(kind: &str, bytes: &[u8]) -> Option<std::result::Result<String, BodyError>> {
    let text = match kind {
        "decision" => RoutingDecision::decode(bytes).map(|decision| match &decision {
            RoutingDecision::FoundExact(record) => {
                format!("0 0 {} {}", 1f32.to_bits(), record_words(record))
            }
            RoutingDecision::FoundPartial { .. } => decided(&decision).replacen("partial", "1", 1),
            RoutingDecision::RouteToLayers { .. } => {
                let words = decided(&decision).replacen("route", "2", 1);
                format!("{words} {}", record_words(&FlowRecord::default()))
            }
        }),
        "record" => FlowRecord::decode_answer(bytes)
            .and_then(|record| record.ok_or(BodyError::Layout))
            .map(|record| record_words(&record)),
        "pool_stats" => PoolStats::decode(bytes).map(|stats| stats_words(&stats)),
        "pools" => ifr::decode_pools(bytes).map(pools_words),
        "expired" => {
            ifr::decode_expired(bytes).map(|(looked, expired)| format!("{looked} {expired}"))
        }
        _ => return None,
    };
    Some(text)
}

fn written(kind: &str, fields: &[&str]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match (kind, fields) {
        ("pool", [pool, flags, bytes_max]) => {
            pool_of(pool.parse()?, flags, bytes_max)?.encode(&mut out);
        }
        ("flow_put", [pool, ttl, record @ ..]) => {
            ifr::encode_flow_put(pool.parse()?, ttl.parse()?, &record_of(record)?, &mut out);
        }
        ("flow_key", [pool, key]) => {
            ifr::encode_key(pool.parse()?, Key::Digest(&digest(key)?), &mut out);
        }
        ("expire", [pool, looks]) => ifr::encode_expire(pool.parse()?, looks.parse()?, &mut out),
        ("flow_route", [pool, kind, key]) => {
            ifr::encode_route(pool.parse()?, kind.parse()?, &digest(key)?, &mut out);
        }
        ("learn", [kind, number, found]) => {
            ifr::encode_learn(kind.parse()?, layer(number)?, *found == "1", &mut out);
        }
        _ => return Err(format!("no request {kind}").into()),
    }
    Ok(out)
}
