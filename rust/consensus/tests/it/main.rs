//! Tests of the public face of agreement.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blame;
mod blocks;
mod codec;
mod demotion;
mod log;
mod small;
mod vectors;

use ed25519_dalek::SigningKey;
use hypermesh_consensus::{Key, MeshId, Sign, Voter, Voters};

/// The mesh of these tests.
const MESH: MeshId = MeshId([0x4d; 32]);

fn key(number: u8) -> Key {
    Key(SigningKey::from_bytes(&[number + 1; 32]))
}

fn voters(count: u8) -> Voters {
    Voters::new((0..count).map(|number| Voter::new(key(number).node()).unwrap())).unwrap()
}
