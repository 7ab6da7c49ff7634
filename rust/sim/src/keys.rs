//! Keys of simulated nodes. Where a chain is ordered signing is a keyed hash, a hundred times as quick as Ed25519: it binds a
//! statement to a node as long as nobody in the simulation makes another's, and nobody does; liars forge by changing bytes. Where
//! the registry is ordered, whose rules verify, signatures are real.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::OnceLock;

use ed25519_dalek::{SigningKey, VerifyingKey};
use hypermesh_consensus::{Ed25519, Key, Sig, Sign, Verify, Voter};
use hypermesh_id::NodeId;

/// Nodes that a simulation can have.
pub const NODES_MAX: usize = 16;

/// A simulated node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimKey {
    number: usize,
    node: NodeId,
    real: bool,
}

fn keys() -> &'static [(Voter, Key)] {
    static KEYS: OnceLock<Vec<(Voter, Key)>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = |number| Key(SigningKey::from_bytes(&[number as u8 + 1; 32]));
        // Points of the curve, as voters' keys must be, made once.
        let pair = |number| Some((Voter::new(key(number).node()).ok()?, key(number)));
        (0..NODES_MAX).filter_map(pair).collect()
    })
}

thread_local! {
    /// What was signed in this run, which is one thread: each of it verifies, and need not be tried. A hash of key, signature and
    /// bytes.
    static SIGNED: RefCell<HashSet<[u8; 32]>> = RefCell::default();
}

/// Forgets what was signed.
pub(crate) fn forget() {
    SIGNED.with_borrow_mut(HashSet::clear);
}

fn mark(key: &[u8; 32], bytes: &[u8], signature: &Sig) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key).update(&signature.0).update(bytes);
    *hasher.finalize().as_bytes()
}

impl SimKey {
    /// The key of the node with this number, below [`NODES_MAX`], that signs by a hash.
    pub fn of(number: usize) -> Self {
        Self {
            number: number % NODES_MAX,
            node: Self::voter(number).node(),
            real: false,
        }
    }

    /// The same, that signs as nodes do.
    pub fn real(number: usize) -> Self {
        Self {
            real: true,
            ..Self::of(number)
        }
    }

    /// All nodes that a simulation can have, by number.
    pub(crate) fn all() -> &'static [NodeId] {
        static ALL: OnceLock<Vec<NodeId>> = OnceLock::new();
        ALL.get_or_init(|| keys().iter().map(|(voter, _)| voter.node()).collect())
    }

    /// The same node as a voter.
    pub fn voter(number: usize) -> &'static Voter {
        &keys()[number % NODES_MAX].0
    }
}

fn tag(key: &[u8; 32], bytes: &[u8]) -> Sig {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(blake3::keyed_hash(key, bytes).as_bytes());
    Sig(signature)
}

impl Verify for SimKey {
    fn verify(&self, key: &VerifyingKey, bytes: &[u8], signature: &Sig) -> bool {
        if !self.real {
            return tag(key.as_bytes(), bytes) == *signature;
        }
        let mark = mark(key.as_bytes(), bytes, signature);
        SIGNED.with_borrow(|signed| signed.contains(&mark)) || Ed25519.verify(key, bytes, signature)
    }
}

impl Sign for SimKey {
    fn node(&self) -> NodeId {
        self.node
    }
    fn sign(&self, bytes: &[u8]) -> Sig {
        if !self.real {
            return tag(&self.node.0, bytes);
        }
        let signature = keys()[self.number].1.sign(bytes);
        let mark = mark(&self.node.0, bytes, &signature);
        SIGNED.with_borrow_mut(|signed| signed.insert(mark));
        signature
    }
}
