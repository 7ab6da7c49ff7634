//! Pools of values over the socket: their own keys and budgets, through snapshots and kills.

use std::collections::HashMap;

use hypermesh_testkit::Random;

use super::{Client, ERROR, GET, Ifrd, PUT, PUT_MANY, REMOVE, REPLY, SNAPSHOT, key, value};
use crate::Outcome;

const POOL_ADD: u16 = 10;
const POOL_DROP: u16 = 11;
const POOL_STATS: u16 = 12;
const NOT_FOUND: i32 = -2;
const LIMIT: i32 = -5;

fn pool(pool_id: u32, bytes_max: u64) -> Vec<u8> {
    let flags = if bytes_max == 0 { 0 } else { 3_u32 };
    let mut body = [pool_id.to_le_bytes(), flags.to_le_bytes()].concat();
    body.extend(bytes_max.to_le_bytes());
    body
}

/// A digest, or for odd numbers a byte key.
fn key_of(pool_id: u32, number: u64, value: &[u8]) -> Vec<u8> {
    let is_bytes = !number.is_multiple_of(2);
    let mut body = pool_id.to_le_bytes().to_vec();
    body.extend([1 + u8::from(is_bytes), 0, 0, 0]);
    body.extend(value);
    let key = key(number);
    body.extend(if is_bytes {
        &key[..number as usize % 32]
    } else {
        &key
    });
    if is_bytes {
        body.extend(number.to_le_bytes());
    }
    body
}

fn records(client: &mut Client, pool_id: u32) -> hypermesh_testkit::Result<u64> {
    let stats = client.ok(POOL_STATS, &pool(pool_id, 0))?;
    Ok(u64::from_le_bytes(stats[..8].try_into().unwrap()))
}

fn agree(client: &mut Client, pools: &[HashMap<u64, u64>; 3], keys: u64) -> Outcome {
    for (pool_id, held) in pools.iter().enumerate() {
        for number in 0..keys {
            let found = client.ok(GET, &key_of(pool_id as u32, number, &[]))?;
            let wanted = held.get(&number).map(|given| value(*given));
            assert_eq!(
                found,
                wanted.map_or(Vec::new(), Vec::from),
                "{pool_id}/{number}"
            );
        }
    }
    Ok(())
}

#[test]
fn pools_of_values_come_back_as_they_were() -> Outcome {
    const KEYS: u64 = 400;
    let seed = 71;
    let mut random = Random::new(seed);
    let mut ifrd = Ifrd::start(&["--durability", "none"])?;
    let mut client = ifrd.client()?;
    for pool_id in [1, 2] {
        client.ok(POOL_ADD, &pool(pool_id, 1 << 20))?;
    }
    // Pool 0 is always there.
    let mut pools: [HashMap<u64, u64>; 3] = Default::default();
    for round in 0..6_u64 {
        for step in 0..600 {
            let (pool_id, number) = (random.below(3) as u32, random.below(KEYS));
            let held = &mut pools[pool_id as usize];
            match random.below(4) {
                0 => {
                    client.ok(REMOVE, &key_of(pool_id, number, &[]))?;
                    held.remove(&number);
                }
                1 => {
                    // Two digests at once.
                    let mut body = pool_id.to_le_bytes().to_vec();
                    body.extend([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
                    for number in [number & !1, (number & !1) ^ 2] {
                        body.extend(value(step));
                        body.extend(key(number));
                        held.insert(number, step);
                    }
                    client.ok(PUT_MANY, &body)?;
                }
                _ => {
                    client.ok(PUT, &key_of(pool_id, number, &value(step)))?;
                    held.insert(number, step);
                }
            }
            if round % 2 == 1 && step == 300 {
                client.ok(SNAPSHOT, &[])?;
            }
        }
        if round % 3 == 2 {
            client.ok(POOL_DROP, &pool(2, 0))?;
            client.ok(POOL_ADD, &pool(2, 2 << 20))?;
            pools[2].clear();
        }
        ifrd.kill();
        ifrd.begin()
            .map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        client = ifrd.client()?;
        agree(&mut client, &pools, KEYS + 2)
            .map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        for pool_id in [1, 2] {
            let held = pools[pool_id as usize].len() as u64;
            assert_eq!(records(&mut client, pool_id)?, held, "seed {seed}");
        }
    }
    Ok(())
}

#[test]
fn a_full_pool_of_values_is_whole_after_each_start() -> Outcome {
    let mut ifrd = Ifrd::start(&["--durability", "none", "--pools-bytes-max", "1M"])?;
    let mut client = ifrd.client()?;
    client.ok(POOL_ADD, &pool(1, 1 << 20))?;
    let full = client.call(POOL_ADD, &pool(2, 1 << 20))?;
    assert_eq!((full.kind, full.status), (ERROR, LIMIT));
    let mut held = 0;
    loop {
        let answer = client.call(PUT, &key_of(1, 2 * held, &value(held)))?;
        if answer.kind != REPLY {
            assert_eq!((answer.kind, answer.status), (ERROR, LIMIT));
            break;
        }
        held += 1;
    }
    assert!(held > 7_000, "{held}");
    // What it has it may replace, and a removal makes room for one.
    client.ok(PUT, &key_of(1, 0, &value(9)))?;
    client.ok(REMOVE, &key_of(1, 2, &[]))?;
    client.ok(PUT, &key_of(1, 2 * held, &value(9)))?;
    // The table is split otherwise after each start.
    for round in 0..6 {
        if round == 3 {
            client.ok(SNAPSHOT, &[])?;
        }
        ifrd.kill();
        ifrd.begin()?;
        client = ifrd.client()?;
        assert_eq!(records(&mut client, 1)?, held, "round {round}");
    }
    client.ok(POOL_DROP, &pool(1, 0))?;
    let gone = client.call(GET, &key_of(1, 0, &[]))?;
    assert_eq!((gone.kind, gone.status), (ERROR, NOT_FOUND));
    Ok(())
}
