//! Which nodes hold copies: [`IntelligentBlockSharding`].
//!
//! Rules come first and no forecast bends them: the floor of copies, failure domains, room, pins, where data may be. Among
//! the placements that the rules leave, the one that costs least is taken, by stated prices ([`Prices`]) and by what is
//! expected: who will ask ([`Affinity`]), how often (the caller's forecast), and what a node already has that resembles the
//! block. Every copy of a decision says why it is there.

mod affinity;
mod cost;
mod movement;
mod nodes;
mod sharding;

pub use affinity::{Affinity, Lineage, REGIONS_MAX};
pub use cost::{Distances, Prices};
pub use movement::{Step, next_step};
pub use nodes::{NODES_MAX, Node, Nodes, TRUSTED_BYTES};
pub use sharding::{
    Block, Choice, Holder, IntelligentBlockSharding, PlacementStrategy, Relative, Rules, Why,
};

/// A region, by its number in [`Distances`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(pub u8);

/// Why no placement was decided, or something was not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// No node that lives may hold the block.
    #[error(
        "no node may hold the block: {alive} of {known} nodes live, the rules and their room leave none"
    )]
    NoNode {
        /// Nodes that are known.
        known: usize,
        /// Nodes that live.
        alive: usize,
    },
    /// A price is no price.
    #[error("the price '{name}' is {value}, and must be finite and at least 0")]
    Price {
        /// The field.
        name: &'static str,
        /// What it was.
        value: f64,
    },
    /// A forecast is no number of requests.
    #[error("the forecast '{name}' is {value}, and must be finite and at least 0")]
    Forecast {
        /// The field.
        name: &'static str,
        /// What it was.
        value: f64,
    },
    /// A round trip is none.
    #[error(
        "the round trip from region {from} to {to} is {value} ms, and must be finite and at least 0"
    )]
    Distance {
        /// From.
        from: usize,
        /// To.
        to: usize,
        /// What it was.
        value: f64,
    },
    /// Not a square of a possible number of regions.
    #[error("{values} round trips are none of {regions} regions, of which there may be 1 to 64")]
    Regions {
        /// Regions.
        regions: usize,
        /// Values.
        values: usize,
    },
    /// The floor or the most copies cannot be.
    #[error(
        "a floor of {floor} copies and {most} at most: both must be at least 1, and the floor no more than the most"
    )]
    Rules {
        /// The floor.
        floor: usize,
        /// The most.
        most: usize,
    },
    /// There is no room for another node.
    #[error("more than 2^20 nodes: remove those that left")]
    TooManyNodes,
}
