//! Puts a key into a running `ifrd` and gets it back.
//!
//!   ifrd SOCKET

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mfn_ifr_client::{FlowRecord, IfrClient, IfrError, Key, Layer, Options, Pool, RoutingDecision};

fn run(socket: &Path) -> Result<(), IfrError> {
    let ifr = IfrClient::connect(socket, Options::default())?;
    let route = Key::Bytes(b"route/7");
    ifr.put(route, b"by way of node 4")?;
    let found = ifr.get(route)?.unwrap_or_default();
    println!("route/7: {}", String::from_utf8_lossy(&found));

    let (here, absent) = ([0x5a; 32], [0; 32]);
    ifr.put_many([(Key::Digest(&here), b"segment 3, off 9")])?;
    let values = ifr.get_many([Key::Digest(&here), Key::Digest(&absent)])?;
    let found: Vec<_> = values.iter().flatten().collect();
    let first = found.first().map(|value| String::from_utf8_lossy(*value));
    println!(
        "{} of 2 digests: {}",
        found.len(),
        first.unwrap_or_default()
    );

    flows(&ifr, &here)?;
    let removed = ifr.remove_many([route])?;
    let stats = ifr.stats()?;
    println!("{removed:?}, {} requests so far", stats.requests);
    Ok(())
}

/// A record with a time to live, and where to ask for a key that has none.
fn flows(ifr: &IfrClient, here: &[u8; 32]) -> Result<(), IfrError> {
    const POOL: u32 = 1;
    let pool = Pool {
        pool_id: POOL,
        refuses: false,
        values: false,
        bytes_max: 8 << 20,
    };
    ifr.pool_add(&pool)?;
    let record = FlowRecord {
        key: *here,
        size: 4_096,
        kind: 3,
        priority: 5,
        ..FlowRecord::default()
    };
    ifr.flow_put(POOL, &record, Some(Duration::from_secs(60)))?;
    ifr.flow_learn(3, Layer::Association, true)?;
    for key in [here, &[1; 32]] {
        match ifr.flow_route(POOL, key, 3)? {
            RoutingDecision::FoundExact(record) => println!("record: {} bytes", record.size),
            RoutingDecision::FoundPartial { confidence, .. } => {
                println!("an old record: {confidence:.2}");
            }
            RoutingDecision::RouteToLayers { next, confidence } => {
                println!("no record: ask {next:?}, {confidence:.2}");
            }
        }
    }
    let stats = ifr.pool_stats(POOL)?;
    println!(
        "{} record in {} bytes at most",
        stats.records, stats.bytes_max
    );
    ifr.pool_drop(POOL)
}

fn main() -> ExitCode {
    let Some(socket) = std::env::args_os().nth(1) else {
        eprintln!("usage: ifrd SOCKET\n  SOCKET is what ifrd was given with --socket");
        return ExitCode::from(2);
    };
    match run(socket.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ifrd: {error}");
            ExitCode::FAILURE
        }
    }
}
