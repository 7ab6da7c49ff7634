//! Pools of records over the socket: budgets, time to live, decisions, kills, hostile bodies.

use std::time::SystemTime;

use hypermesh_testkit::Random;

use super::{Client, ERROR, Frame, GET, Ifrd, REPLY, SNAPSHOT, key, put_body};
use crate::Outcome;

const PUT: u16 = 3;
const POOL_ADD: u16 = 10;
const POOL_DROP: u16 = 11;
const POOL_STATS: u16 = 12;
const FLOW_PUT: u16 = 13;
const FLOW_GET: u16 = 14;
const FLOW_REMOVE: u16 = 15;
const FLOW_EXPIRE: u16 = 16;
const FLOW_ROUTE: u16 = 17;
const FLOW_LEARN: u16 = 18;
const POOLS: u16 = 19;

const INVALID_ARGUMENT: i32 = -1;
const NOT_FOUND: i32 = -2;
const ALREADY_EXISTS: i32 = -3;
const LIMIT: i32 = -5;
const UNSUPPORTED: i32 = -7;
const BAD_BODY: i32 = -113;

const NOTHING: [u8; 0] = [];

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_nanos() as u64
}

fn pool(pool_id: u32, refuses: bool, bytes_max: u64) -> Vec<u8> {
    let mut body = pool_id.to_le_bytes().to_vec();
    body.extend(u32::from(refuses).to_le_bytes());
    body.extend(bytes_max.to_le_bytes());
    body
}

fn record(number: u64, size: u64, priority: u8) -> [u8; 80] {
    let mut record = [0; 80];
    record[..32].copy_from_slice(&key(number));
    record[32..40].copy_from_slice(&size.to_le_bytes());
    record[72] = 3;
    record[74] = 5;
    record[76] = priority;
    record
}

fn flow_put(pool_id: u32, ttl_ns: u64, record: &[u8; 80]) -> Vec<u8> {
    let mut body = pool_id.to_le_bytes().to_vec();
    body.extend([0; 4]);
    body.extend(ttl_ns.to_le_bytes());
    body.extend(record);
    body
}

fn key_of(pool_id: u32, number: u64) -> Vec<u8> {
    let mut body = pool_id.to_le_bytes().to_vec();
    body.extend([1, 0, 0, 0]);
    body.extend(key(number));
    body
}

fn route(pool_id: u32, number: u64) -> Vec<u8> {
    let mut body = pool_id.to_le_bytes().to_vec();
    body.extend([5, 0, 0, 0]);
    body.extend(key(number));
    body
}

fn word(body: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(body[at..at + 8].try_into().unwrap())
}

fn outcome(decision: &[u8]) -> (u32, u32, f32) {
    let number = |at: usize| u32::from_le_bytes(decision[at..at + 4].try_into().unwrap());
    (number(0), number(4), f32::from_bits(number(8)))
}

fn refused(answer: &Frame, with: i32) {
    assert_eq!((answer.kind, answer.status), (ERROR, with), "{answer:?}");
}

#[test]
fn records_live_expire_and_lead_on() -> Outcome {
    let ifrd = Ifrd::start(&[])?;
    let mut client = ifrd.client()?;
    refused(&client.call(FLOW_GET, &key_of(1, 0))?, NOT_FOUND);
    assert_eq!(client.ok(POOL_ADD, &pool(1, false, 1 << 20))?, NOTHING);
    assert_eq!(client.ok(POOL_ADD, &pool(2, true, 1 << 20))?, NOTHING);
    let exists = ALREADY_EXISTS;
    refused(&client.call(POOL_ADD, &pool(1, false, 1 << 20))?, exists);
    refused(&client.call(POOL_ADD, &pool(0, false, 1 << 20))?, exists);

    let before = now_ns();
    assert_eq!(
        client.ok(FLOW_PUT, &flow_put(1, 0, &record(1, 10, 7)))?,
        NOTHING
    );
    let found = client.ok(FLOW_GET, &key_of(1, 1))?;
    assert_eq!(
        (found.len(), word(&found, 32), word(&found, 56)),
        (80, 10, 0)
    );
    assert!((before..=now_ns()).contains(&word(&found, 40)), "created");
    assert_eq!(word(&found, 40), word(&found, 48));
    // The record that is replaced comes back; its creation stays.
    let old = client.ok(FLOW_PUT, &flow_put(1, 0, &record(1, 11, 7)))?;
    assert_eq!(old, found);
    let newer = client.ok(FLOW_GET, &key_of(1, 1))?;
    assert_eq!((word(&newer, 32), word(&newer, 40)), (11, word(&found, 40)));
    assert_eq!(client.ok(FLOW_GET, &key_of(2, 1))?, NOTHING);

    // A life in the past is over; one of a day is not.
    let mut past = record(2, 20, 0);
    past[48..56].copy_from_slice(&(before - 300_000_000_000).to_le_bytes());
    past[56..64].copy_from_slice(&(before - 100_000_000_000).to_le_bytes());
    client.ok(FLOW_PUT, &flow_put(1, 0, &past))?;
    client.ok(
        FLOW_PUT,
        &flow_put(1, 86_400_000_000_000, &record(3, 30, 0)),
    )?;
    assert_eq!(client.ok(FLOW_GET, &key_of(1, 2))?, NOTHING);
    let alive = client.ok(FLOW_GET, &key_of(1, 3))?;
    assert!(word(&alive, 56) > before + 86_000_000_000_000);

    let (exact, layer, sure) = outcome(&client.ok(FLOW_ROUTE, &route(1, 1))?);
    assert_eq!((exact, layer, sure), (0, 0, 1.0));
    let (elsewhere, layer, sure) = outcome(&client.ok(FLOW_ROUTE, &route(2, 1))?);
    assert_eq!((elsewhere, layer, sure), (1, 2, 1.0));
    let (expired, _, sure) = outcome(&client.ok(FLOW_ROUTE, &route(1, 2))?);
    assert!(expired == 1 && sure > 0.1 && sure < 0.7, "{sure}");
    // Whoever had answers for this kind is asked first.
    for _ in 0..8 {
        client.ok(FLOW_LEARN, &[5, 0, 4, 1, 0, 0, 0, 0])?;
        client.ok(FLOW_LEARN, &[5, 0, 2, 0, 0, 0, 0, 0])?;
    }
    let (absent, layer, sure) = outcome(&client.ok(FLOW_ROUTE, &route(1, 99))?);
    assert_eq!((absent, layer), (2, 4));
    assert!((sure - 0.9).abs() < 1e-6, "{sure}");

    let done = client.ok(FLOW_EXPIRE, &[1, 0, 0, 0, 0, 16, 0, 0])?;
    assert_eq!(word(&done, 0) >> 32, 1);
    let stats = client.ok(POOL_STATS, &pool(1, false, 0))?;
    assert_eq!((word(&stats, 0), word(&stats, 32)), (2, 1));
    assert_eq!(client.ok(FLOW_REMOVE, &key_of(1, 3))?, alive);
    assert_eq!(client.ok(FLOW_REMOVE, &key_of(1, 3))?, NOTHING);
    assert_eq!(client.ok(POOL_DROP, &pool(1, false, 0))?, NOTHING);
    refused(&client.call(FLOW_GET, &key_of(1, 1))?, NOT_FOUND);
    // The table goes its own way.
    assert_eq!(client.ok(PUT, &put_body(&key(1), &[4; 16]))?, NOTHING);
    refused(&client.call(GET, &key_of(2, 1))?, NOT_FOUND);
    Ok(())
}

#[test]
fn what_has_expired_goes_by_itself_and_stays_away() -> Outcome {
    let mut ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut client = ifrd.client()?;
    client.ok(POOL_ADD, &pool(1, true, 8 << 20))?;
    client.ok(POOL_ADD, &pool(2, false, 8 << 20))?;
    let soon = 30_000_000;
    for number in 0..5_000 {
        client.ok(FLOW_PUT, &flow_put(1, soon, &record(number, 1, 0)))?;
        client.ok(FLOW_PUT, &flow_put(2, soon, &record(number, 1, 0)))?;
    }
    client.ok(FLOW_PUT, &flow_put(1, 0, &record(10_000, 1, 0)))?;
    // What expired a minute after it was written, a minute ago and less, is a hint still.
    let mut hint = record(10_000, 1, 0);
    hint[48..56].copy_from_slice(&(now_ns() - 3_600_000_000_000).to_le_bytes());
    hint[56..64].copy_from_slice(&(now_ns() - 60_000_000_000).to_le_bytes());
    client.ok(FLOW_PUT, &flow_put(2, 0, &hint))?;
    let swept = |client: &mut Client| -> hypermesh_testkit::Result<Option<()>> {
        for pool_id in [1, 2] {
            let stats = client.ok(POOL_STATS, &pool(pool_id, false, 0))?;
            if (word(&stats, 0), word(&stats, 32)) != (1, 5_000) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    hypermesh_testkit::until("the sweep", super::WAIT, || swept(&mut client))?;
    assert_eq!(outcome(&client.ok(FLOW_ROUTE, &route(2, 10_000))?).0, 1);
    let stats = client.ok(super::STATS, &[])?;
    let all: Vec<u64> = (17..23).map(|at| word(&stats, 8 * at)).collect();
    let [pools, records, bytes, bytes_max, evictions, expirations] = all[..] else {
        return Err(format!("{all:?}"));
    };
    assert_eq!((pools, records, bytes_max), (2, 2, 16 << 20));
    assert_eq!((evictions, expirations), (0, 10_000));
    let each = client.ok(POOLS, &[])?;
    assert_eq!((each.len(), word(&each, 0)), (8 + 2 * 56, (56 << 32) | 2));
    assert_eq!(each[8..24], pool(1, true, 8 << 20));
    assert_eq!(each[64..80], pool(2, false, 8 << 20));
    assert_eq!(word(&each, 24), 1);
    assert_eq!(word(&each, 32) + word(&each, 88), bytes);
    // The log says what went.
    ifrd.kill();
    ifrd.begin()?;
    let mut client = ifrd.client()?;
    for pool_id in [1, 2] {
        let stats = client.ok(POOL_STATS, &pool(pool_id, false, 0))?;
        assert_eq!((word(&stats, 0), word(&stats, 32)), (1, 0));
    }
    Ok(())
}

#[test]
fn budgets_hold() -> Outcome {
    let ifrd = Ifrd::start(&["--durability", "none", "--pools-bytes-max", "2M"])?;
    let mut client = ifrd.client()?;
    refused(&client.call(POOL_ADD, &pool(1, false, 4_096))?, LIMIT);
    refused(&client.call(POOL_ADD, &pool(1, false, u64::MAX))?, LIMIT);
    client.ok(POOL_ADD, &pool(1, false, 1 << 20))?;
    client.ok(POOL_ADD, &pool(2, true, 1 << 20))?;
    refused(&client.call(POOL_ADD, &pool(3, true, 1 << 20))?, LIMIT);
    let mut kept = 0;
    for number in 0..20_000 {
        client.ok(FLOW_PUT, &flow_put(1, 0, &record(number, 1, 0)))?;
        let answer = client.call(FLOW_PUT, &flow_put(2, 0, &record(number, 1, 0)))?;
        if answer.kind == REPLY {
            kept += 1;
        } else {
            refused(&answer, LIMIT);
        }
    }
    let stats = client.ok(POOL_STATS, &pool(1, false, 0))?;
    assert!(word(&stats, 8) <= 1 << 20 && word(&stats, 24) > 10_000);
    let stats = client.ok(POOL_STATS, &pool(2, false, 0))?;
    assert_eq!((word(&stats, 0), word(&stats, 24)), (kept, 0));
    // What it has it may still replace, and a removal makes room.
    client.ok(FLOW_PUT, &flow_put(2, 0, &record(0, 2, 0)))?;
    client.ok(FLOW_REMOVE, &key_of(2, 0))?;
    client.ok(FLOW_PUT, &flow_put(2, 0, &record(30_000, 2, 0)))?;
    Ok(())
}

/// What one key of a pool was told since the last start, and the newest of it that was acknowledged.
struct Told {
    sizes: Vec<u64>,
    acknowledged: usize,
}

#[test]
fn records_survive_kills_and_what_was_evicted_stays_away() -> Outcome {
    const POOL: u32 = 7;
    const KEYS: u64 = 9_000;
    let seed = 63;
    let mut random = Random::new(seed);
    let mut ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut client = ifrd.client()?;
    client.ok(POOL_ADD, &pool(POOL, false, 1 << 20))?;
    client.ok(POOL_ADD, &pool(8, true, 2 << 20))?;
    for _ in 0..20 {
        client.ok(FLOW_LEARN, &[5, 0, 3, 1, 0, 0, 0, 0])?;
    }
    let mut told: Vec<Told> = (0..KEYS)
        .map(|_| Told {
            sizes: vec![0],
            acknowledged: 0,
        })
        .collect();
    let mut next = 0;
    for round in 0..10 {
        if round % 3 == 1 {
            client.request(SNAPSHOT, 1 << 40, &[])?;
        }
        let mut sent = Vec::new();
        for _ in 0..1_000 + random.below(2_000) {
            let number = random.below(KEYS);
            next += 1;
            told[number as usize].sizes.push(next);
            let place = told[number as usize].sizes.len() - 1;
            sent.push((number, place));
            let body = flow_put(POOL, 0, &record(number, next, (number % 8) as u8));
            client.request(FLOW_PUT, sent.len() as u64, &body)?;
            if random.below(4) == 0 {
                let body = flow_put(8, 0, &record(number, 1, 0));
                client.request(FLOW_PUT, (1 << 41) + next, &body)?;
            }
            // No more in flight than the wire allows.
            while sent.len().is_multiple_of(256) {
                match client.read()? {
                    Some(Frame {
                        kind: REPLY, id, ..
                    }) if id == sent.len() as u64 => {
                        acknowledge(&mut told, &sent, id);
                        break;
                    }
                    Some(Frame {
                        kind: REPLY, id, ..
                    }) => acknowledge(&mut told, &sent, id),
                    other => return Err(format!("seed {seed}, round {round}: {other:?}")),
                }
            }
        }
        // A read tells of changes that the log does not have yet: only without any of those are the counts the same.
        let is_settled = round % 2 == 0;
        while is_settled && !sent.len().is_multiple_of(256) {
            match client.read()? {
                Some(Frame {
                    kind: REPLY, id, ..
                }) => {
                    acknowledge(&mut told, &sent, id);
                    if id == sent.len() as u64 {
                        break;
                    }
                }
                other => return Err(format!("seed {seed}, round {round}: {other:?}")),
            }
        }
        let held = word(&client.ok(POOL_STATS, &pool(POOL, false, 0))?, 0);
        ifrd.kill();
        ifrd.begin()
            .map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        client = ifrd.client()?;
        let stats = client.ok(POOL_STATS, &pool(POOL, false, 0))?;
        let here = word(&stats, 0);
        // Without syncs the kernel has all that was answered.
        let is_right = here == held || (!is_settled && (held - 256..held).contains(&here));
        assert!(is_right, "seed {seed}, round {round}: {here} of {held}");
        check(&mut client, POOL, &mut told)
            .map_err(|e| format!("seed {seed}, round {round}: {e}"))?;
        let (_, layer, _) = outcome(&client.ok(FLOW_ROUTE, &route(POOL, KEYS + 1))?);
        assert_eq!(layer, 3);
    }
    let stats = client.ok(POOL_STATS, &pool(8, false, 0))?;
    assert!(word(&stats, 0) > 1_000);
    Ok(())
}

fn acknowledge(told: &mut [Told], sent: &[(u64, usize)], id: u64) {
    if let Some((number, place)) = sent.get(id.wrapping_sub(1) as usize) {
        let key = &mut told[*number as usize];
        key.acknowledged = key.acknowledged.max(*place);
    }
}

/// Each key holds something that it was told and nothing older than what was acknowledged, or was evicted.
fn check(client: &mut Client, pool_id: u32, told: &mut [Told]) -> Outcome {
    let mut here = 0;
    for (number, key) in told.iter_mut().enumerate() {
        let found = client.ok(FLOW_GET, &key_of(pool_id, number as u64))?;
        let size = if found.is_empty() {
            0
        } else {
            word(&found, 32)
        };
        here += usize::from(size != 0);
        if size != 0 && !key.sizes[key.acknowledged..].contains(&size) {
            return Err(format!("key {number}: {size}"));
        }
        *key = Told {
            sizes: vec![size],
            acknowledged: 0,
        };
    }
    if here < 500 {
        return Err(format!("only {here} records"));
    }
    Ok(())
}

#[test]
fn bodies_that_lie_are_refused() -> Outcome {
    let ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut client = ifrd.client()?;
    client.ok(POOL_ADD, &pool(1, false, 1 << 20))?;
    let bad = BAD_BODY;
    let good: [(u16, Vec<u8>); 8] = [
        (POOL_STATS, pool(1, false, 0)),
        (FLOW_PUT, flow_put(1, 0, &record(1, 1, 0))),
        (FLOW_GET, key_of(1, 1)),
        (FLOW_REMOVE, key_of(1, 1)),
        (FLOW_ROUTE, route(1, 1)),
        (FLOW_EXPIRE, vec![1, 0, 0, 0, 9, 0, 0, 0]),
        (FLOW_LEARN, vec![5, 0, 2, 1, 0, 0, 0, 0]),
        (POOL_DROP, pool(9, false, 0)),
    ];
    for (method, body) in &good {
        for length in 0..body.len() {
            refused(&client.call(*method, &body[..length])?, bad);
        }
        refused(
            &client.call(*method, &[body.as_slice(), &[0]].concat())?,
            bad,
        );
    }
    let mut wrong = flow_put(1, 0, &record(1, 1, 8));
    refused(&client.call(FLOW_PUT, &wrong)?, INVALID_ARGUMENT);
    wrong = flow_put(1, 0, &record(1, 1, 7));
    wrong[16 + 77] = 1;
    refused(&client.call(FLOW_PUT, &wrong)?, bad);
    refused(&client.call(FLOW_LEARN, &[5, 0, 1, 1, 0, 0, 0, 0])?, bad);
    refused(&client.call(FLOW_EXPIRE, &[1, 0, 0, 0, 0, 0, 0, 0])?, LIMIT);
    refused(
        &client.call(FLOW_EXPIRE, &[1, 0, 0, 0, 255, 255, 255, 255])?,
        LIMIT,
    );
    refused(&client.call(0xffff, &[0; 1_536])?, UNSUPPORTED);
    let seed = 64;
    let mut random = Random::new(seed);
    for _ in 0..20_000 {
        let (method, body) = &good[random.below(8) as usize];
        let mut body = body.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(body.len() as u64) as usize;
            body[at] = random.below(256) as u8;
        }
        client.call(*method, &body)?;
    }
    drop(client);
    // All that it took it can take again.
    let mut ifrd = ifrd;
    ifrd.kill();
    ifrd.begin()
        .map_err(|error| format!("seed {seed}: {error}"))
}
