//! Asks layer 3, the Associative Link Mesh, for advice, and keeps its daemon running.
//!
//! - [`Alm`]: what can be asked; everything in it is advice and may be absent.
//! - [`SocketAlm`]: asks `almd` over its Unix socket; reconnects by itself.
//! - [`Supervisor`]: starts `almd`, watches it, starts it again with back-off.
//! - [`strength_of`]: how a measured link becomes an edge.
//!
//! ```
//! use std::time::Duration;
//! // Strengths multiply along a path, so their costs add up: as seconds of round trip.
//! let strength = mfn_alm::strength_of(Duration::from_millis(20));
//! assert!((-strength.ln() - 0.020).abs() < 1e-9);
//! ```
#![forbid(unsafe_code)]

mod socket;
mod supervisor;

use std::time::Duration;

use mfn_local::BoxFuture;
use mfn_wire::Status;

pub use mfn_wire::pb::AlmStats as Stats;
pub use socket::SocketAlm;
pub use supervisor::{State, Supervisor, SupervisorOptions};

/// A weighted directed edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    /// In (0, 1]; fades with time.
    pub strength: f64,
}

/// The strongest path between two nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// From the first to the last, both included.
    pub nodes: Vec<Vec<u8>>,
    /// Product of the edges' strengths.
    pub strength: f64,
    /// `-ln(strength)`.
    pub cost: f64,
}

/// One candidate of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub node: Vec<u8>,
    /// Whether any path leads there.
    pub known: bool,
    /// Cost of the best path, if there is one.
    pub cost: f64,
}

/// Why there is no advice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlmError {
    /// Nothing serves, or it did not answer in time. Go on without.
    #[error("the adviser is away: {0}")]
    Away(String),
    /// It answered with an error.
    #[error("the adviser refused: {text}")]
    Refused { status: Status, text: String },
}

/// An answer that is on its way.
pub type Answer<T> = BoxFuture<Result<T, AlmError>>;

/// The layer, however it is reached. Safe to use from many tasks at once.
pub trait Alm: Send + Sync + 'static {
    /// Sets the strength of edges.
    fn add(&self, edges: Vec<Edge>) -> Answer<()>;
    /// Adds to the strength of edges; 1 is the most.
    fn reinforce(&self, edges: Vec<Edge>) -> Answer<()>;
    /// Forgets edges; an empty target forgets the node. Strengths are not looked at.
    fn remove(&self, edges: Vec<Edge>) -> Answer<()>;
    /// Edges from the node, strongest first, at most that many.
    fn neighbours(&self, node: Vec<u8>, limit: u32) -> Answer<Vec<Edge>>;
    /// The strongest path of at most that many edges (0: any number); none when there is none.
    fn best_path(&self, from: Vec<u8>, to: Vec<u8>, hops_max: u32) -> Answer<Option<Path>>;
    /// The candidates by the cost of reaching them, best first; unknown ones last, in the given order.
    fn rank(&self, from: Vec<u8>, candidates: Vec<Vec<u8>>) -> Answer<Vec<Ranked>>;
    /// Counters.
    fn stats(&self) -> Answer<Stats>;
    /// Writes the graph to disk now.
    fn snapshot(&self) -> Answer<()>;
}

/// The strength of a link with that round trip: `exp(-rtt / 1 s)`, so that the cost `-ln` of a path is its length in
/// seconds. Never 0: a link that was measured exists.
pub fn strength_of(round_trip: Duration) -> f64 {
    (-round_trip.as_secs_f64()).exp().max(f64::MIN_POSITIVE)
}
