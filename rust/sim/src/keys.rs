//! Keys of simulated nodes. Signing is a keyed hash, a hundred times as quick as Ed25519: it binds a statement to a node as
//! long as nobody in the simulation makes another's, and nobody does; liars forge by changing bytes.

use std::sync::OnceLock;

use ed25519_dalek::{SigningKey, VerifyingKey};
use hypermesh_consensus::{Sig, Sign, Verify, Voter};
use hypermesh_id::NodeId;

/// Nodes that a simulation can have.
pub const NODES_MAX: usize = 16;

/// A simulated node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimKey(NodeId);

/// The voters behind the numbers: points of the curve, as voters' keys must be, made once.
fn voters() -> &'static [Voter] {
    static VOTERS: OnceLock<Vec<Voter>> = OnceLock::new();
    VOTERS.get_or_init(|| {
        let key = |number| SigningKey::from_bytes(&[number as u8 + 1; 32]).verifying_key();
        let voter = |number| Voter::new(NodeId(key(number).to_bytes())).ok();
        (0..NODES_MAX).filter_map(voter).collect()
    })
}

impl SimKey {
    /// The key of the node with this number, below [`NODES_MAX`].
    pub fn of(number: usize) -> Self {
        Self(Self::voter(number).node())
    }

    /// The same node as a voter.
    pub fn voter(number: usize) -> &'static Voter {
        &voters()[number % NODES_MAX]
    }
}

fn tag(key: &[u8; 32], bytes: &[u8]) -> Sig {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(blake3::keyed_hash(key, bytes).as_bytes());
    Sig(signature)
}

impl Verify for SimKey {
    fn verify(&self, key: &VerifyingKey, bytes: &[u8], signature: &Sig) -> bool {
        tag(key.as_bytes(), bytes) == *signature
    }
}

impl Sign for SimKey {
    fn node(&self) -> NodeId {
        self.0
    }
    fn sign(&self, bytes: &[u8]) -> Sig {
        tag(&self.0.0, bytes)
    }
}
