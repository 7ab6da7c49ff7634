//! Puts a key into a running `ifrd` and gets it back.
//!
//!   ifrd SOCKET

use std::path::Path;
use std::process::ExitCode;

use mfn_ifr_client::{IfrClient, IfrError, Key, Options};

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

    let removed = ifr.remove_many([route])?;
    let stats = ifr.stats()?;
    println!("{removed:?}, {} requests so far", stats.requests);
    Ok(())
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
