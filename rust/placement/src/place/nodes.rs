//! The nodes that may hold copies, and how much of what they claim is believed.

use std::collections::BTreeMap;

use hypermesh_id::NodeId;

use super::{PlacementError, Region};
use crate::cache::mixed;

/// Most nodes.
pub const NODES_MAX: usize = 1 << 20;
/// What a node is trusted with before it has proven anything.
pub const TRUSTED_BYTES: u64 = 64 << 20;

/// One node, as it was decided to be a member of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is.
    pub region: Region,
    /// What fails together: a site, a rack, an owner.
    pub domain: u64,
    /// Bytes that it says it can hold: a claim.
    pub capacity: u64,
    /// Bytes that it has been given and has proven to hold.
    pub proven: u64,
    /// Whether it is there.
    pub alive: bool,
    /// Whether it refused or lost what it was given last, and how often in a row.
    pub refused: u32,
}

impl Node {
    /// Bytes that it is believed to have room for: no more than it says, at most as much again as it has proven to hold,
    /// and half of that for each refusal in a row.
    pub fn room(&self) -> u64 {
        let trusted = self.proven.saturating_mul(2).max(TRUSTED_BYTES);
        let believed = self.capacity.min(trusted).saturating_sub(self.proven);
        believed.checked_shr(self.refused).unwrap_or(0)
    }
}

/// The nodes by id and by region.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    regions: BTreeMap<Region, Vec<NodeId>>,
}

impl Nodes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node, or what is known of it now.
    pub fn set(&mut self, id: NodeId, node: Node) -> Result<(), PlacementError> {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&id) {
            return Err(PlacementError::TooManyNodes);
        }
        self.remove(&id);
        self.regions.entry(node.region).or_default().push(id);
        self.nodes.insert(id, node);
        Ok(())
    }

    /// A node that left; answers whether it was known.
    pub fn remove(&mut self, id: &NodeId) -> bool {
        let Some(node) = self.nodes.remove(id) else {
            return false;
        };
        if let Some(there) = self.regions.get_mut(&node.region) {
            there.retain(|other| other != id);
        }
        true
    }

    /// A node, if it is known.
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The regions, and the nodes of each.
    pub(super) fn regions(&self) -> impl Iterator<Item = (Region, &[NodeId])> {
        self.regions
            .iter()
            .map(|(region, nodes)| (*region, nodes.as_slice()))
    }
}

/// How much a node is the one for a key: the highest of all is (rendezvous hashing, Thaler and Ravishankar 1998), so that
/// a node that comes or goes moves only what is its own.
pub(super) fn rank(id: &NodeId, key: u64) -> u64 {
    let words = id.0.chunks_exact(8).map(|chunk| {
        // Chunks are of eight bytes, so no conversion fails.
        u64::from_le_bytes(chunk.try_into().unwrap_or_default())
    });
    words.fold(mixed(key), |hash, word| mixed(hash ^ word))
}
