//! What is agreed on and who agrees: meshes, heights, blocks, voters.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use hypermesh_id::NodeId;

use crate::vote::Signer;

/// Most voters of a mesh. Votes are told to all by all: their number grows with the square of this.
pub const VOTERS_MAX: usize = 128;
/// Longest block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Which mesh a signature is for: the hash of what its founder signed. A vote of one mesh means nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshId(pub [u8; 32]);

/// The number of a decision. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(pub u64);

/// The first bytes of a block, its head: with the hash of the rest they are proved by a certificate, without the block.
pub const HEAD_BYTES: usize = 128;

/// The BLAKE3 hash of a block: of the hash of what follows its head, and of its head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

impl BlockHash {
    /// The hash of these bytes, as those of a block and of nothing else. A block of up to [`HEAD_BYTES`] is all head.
    pub fn of(block: &[u8]) -> Self {
        let (head, rest) = block.split_at(block.len().min(HEAD_BYTES));
        Self::of_parts(head, blake3::hash(rest).as_bytes())
    }

    /// The hash of the block with this head, of the rest of which this is the plain BLAKE3 hash.
    pub fn of_parts(head: &[u8], rest: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("hypermesh 2026 consensus block");
        Self(*hasher.update(rest).update(head).finalize().as_bytes())
    }
}

impl Height {
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! hex_text {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
hex_text!(MeshId BlockHash);

/// Who votes on one height, and who proposes first in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    /// By node id, ascending. Each has one vote.
    voters: Arc<[Voter]>,
    /// Who proposes in round 0 of which height: some of the voters' places, each once.
    order: Arc<[u16]>,
    /// Who proposes in the first rounds of every height; nobody in particular but in a simulator.
    led: Arc<[u16]>,
}

/// One voter: a node whose key is a point of the curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub(crate) node: Signer,
    pub(crate) key: VerifyingKey,
}

/// Why some nodes cannot be the voters of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VotersError {
    #[error("a mesh needs a voter")]
    None,
    #[error("{0} voters are more than {VOTERS_MAX}")]
    TooMany(usize),
    #[error("{0} is named twice")]
    Twice(NodeId),
    #[error("{0} is not the key of a node")]
    Key(NodeId),
}

impl Voter {
    /// A node whose id is a key that can be voted with.
    ///
    /// # Errors
    /// When it is no point of the curve, one for which anybody can sign, or another text of such a point.
    pub fn new(node: NodeId) -> Result<Self, VotersError> {
        // One point has more than one text; a node has one.
        let one_text = |key: &VerifyingKey| key.to_edwards().compress().to_bytes() == node.0;
        match VerifyingKey::from_bytes(&node.0) {
            Ok(key) if !key.is_weak() && one_text(&key) => Ok(Self {
                node: Signer(node),
                key,
            }),
            _ => Err(VotersError::Key(node)),
        }
    }

    pub fn node(&self) -> NodeId {
        self.node.0
    }
}

impl Voters {
    /// These nodes, in plain rotation.
    ///
    /// # Errors
    /// When they are none, too many, or one twice.
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Result<Self, VotersError> {
        let mut voters: Vec<Voter> = voters.into_iter().collect();
        voters.sort_unstable_by_key(Voter::node);
        match voters.len() {
            0 => return Err(VotersError::None),
            1..=VOTERS_MAX => {}
            more => return Err(VotersError::TooMany(more)),
        }
        if let Some(twice) = voters.windows(2).find(|pair| pair[0].node == pair[1].node) {
            return Err(VotersError::Twice(twice[0].node.0));
        }
        let order = (0..voters.len() as u16).collect();
        Ok(Self {
            voters: voters.into(),
            order,
            led: Arc::default(),
        })
    }

    /// The same voters, of whom these propose in the first rounds of every height: for simulators, which have to try every
    /// order. Those who have no vote are left out.
    #[doc(hidden)]
    #[must_use]
    pub fn led_by(&self, nodes: &[NodeId]) -> Self {
        Self {
            led: nodes.iter().filter_map(|node| self.place(node)).collect(),
            ..self.clone()
        }
    }

    /// The same voters, of whom those in `demoted` do not propose first. At most f are kept from it, the first named.
    #[must_use]
    pub fn demoting(&self, demoted: &[NodeId]) -> Self {
        let mut unheard: Vec<u16> = Vec::new();
        for place in demoted.iter().filter_map(|node| self.place(node)) {
            if unheard.len() < self.faults() && !unheard.contains(&place) {
                unheard.push(place);
            }
        }
        let order = (0..self.voters.len() as u16)
            .filter(|place| !unheard.contains(place))
            .collect();
        Self {
            order,
            ..self.clone()
        }
    }

    pub fn len(&self) -> usize {
        self.voters.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// f: how many may lie or be silent.
    pub fn faults(&self) -> usize {
        (self.voters.len() - 1) / 3
    }

    /// How many votes decide: more than two thirds.
    pub fn quorum(&self) -> usize {
        self.voters.len() * 2 / 3 + 1
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.voters.iter().map(|voter| voter.node.0)
    }

    pub fn contains(&self, node: &NodeId) -> bool {
        self.place(node).is_some()
    }

    pub(crate) fn place(&self, node: &NodeId) -> Option<u16> {
        let place = self.voters.binary_search_by_key(node, |voter| voter.node.0);
        place.ok().map(|place| place as u16)
    }

    pub(crate) fn get(&self, node: &NodeId) -> Option<&Voter> {
        self.voters.get(usize::from(self.place(node)?))
    }

    pub(crate) fn at(&self, place: usize) -> Option<&Voter> {
        self.voters.get(place)
    }

    /// Who proposes. A pure function of the decided prefix, which made these voters. In round 0 those who are not demoted
    /// take turns; from round 1 on all do, so that no demotion, however wrong, can keep the mesh from deciding.
    pub fn proposer(&self, height: Height, round: u32) -> &Voter {
        let turn = height.0.wrapping_add(u64::from(round));
        if let Some(place) = self.led.get(round as usize) {
            return &self.voters[usize::from(*place)];
        }
        let place = match round {
            0 => usize::from(self.order[(turn % self.order.len() as u64) as usize]),
            _ => (turn % self.voters.len() as u64) as usize,
        };
        &self.voters[place]
    }
}
