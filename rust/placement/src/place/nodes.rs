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
    places: BTreeMap<NodeId, (Region, usize)>,
    regions: BTreeMap<Region, Vec<(NodeId, Node)>>,
}

impl Nodes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node, or what is known of it now.
    pub fn set(&mut self, id: NodeId, node: Node) -> Result<(), PlacementError> {
        if self.places.len() >= NODES_MAX && !self.places.contains_key(&id) {
            return Err(PlacementError::TooManyNodes);
        }
        self.remove(&id);
        let there = self.regions.entry(node.region).or_default();
        self.places.insert(id, (node.region, there.len()));
        there.push((id, node));
        Ok(())
    }

    /// A node that left; answers whether it was known.
    pub fn remove(&mut self, id: &NodeId) -> bool {
        let Some((region, at)) = self.places.remove(id) else {
            return false;
        };
        let there = self.regions.entry(region).or_default();
        there.swap_remove(at);
        if let Some((moved, _)) = there.get(at) {
            self.places.insert(*moved, (region, at));
        }
        true
    }

    /// A node, if it is known.
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        let (region, at) = self.places.get(id)?;
        let (_, node) = self.regions.get(region)?.get(*at)?;
        Some(node)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The regions, and the nodes of each.
    pub(super) fn regions(&self) -> impl Iterator<Item = (Region, &[(NodeId, Node)])> {
        let regions = self.regions.iter();
        regions.map(|(region, nodes)| (*region, nodes.as_slice()))
    }
}

/// How much a node is the one for a key: the highest of all is (rendezvous hashing, Thaler and Ravishankar 1998), so that
/// a node that comes or goes moves only what is its own.
pub(super) fn rank(id: &NodeId, key: u64) -> u64 {
    // Half of the id tells nodes apart; two that share it are told apart by their order.
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = id.0;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    mixed(mixed(key ^ first) ^ second)
}
