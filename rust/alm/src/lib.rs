//! Asks layer 3, the Associative Link Mesh, for advice, and keeps its daemon running.
//!
//! - [`Alm`]: what can be asked; everything in it is advice and may be absent.
//! - [`SocketAlm`]: asks `almd` over its Unix socket; reconnects by itself.
//! - [`Supervisor`]: starts `almd`, watches it, starts it again with back-off.
//! - `EmbeddedAlm`, behind the feature `embedded-alm`: the layer in this process, with the Go runtime that it brings.
//! - [`strength_of`]: how a measured link becomes an edge.
//!
//! ```
//! use std::time::Duration;
//! // Strengths multiply along a path, so their costs add up: as seconds of round trip.
//! let strength = mfn_alm::strength_of(Duration::from_millis(20));
//! assert!((-strength.ln() - 0.020).abs() < 1e-9);
//! ```
#![cfg_attr(not(feature = "embedded-alm"), forbid(unsafe_code))]
#![cfg_attr(feature = "embedded-alm", deny(unsafe_code))]

mod convert;
#[cfg(feature = "embedded-alm")]
mod embedded;
mod methods;
mod socket;
mod supervisor;

use std::time::Duration;

use mfn_local::BoxFuture;
use mfn_wire::Status;

#[cfg(feature = "embedded-alm")]
pub use embedded::{EmbeddedAlm, EmbeddedOptions, signals_on_alternate_stack};
pub use mfn_wire::pb::AlmStats as Stats;
pub use socket::SocketAlm;
pub use supervisor::{Output, State, Supervisor, SupervisorOptions};

/// A memory of its own with its own budget. Pool 0 is always there.
pub type PoolId = u64;

/// A typed, weighted, directed edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edge {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    /// In (0, 1]; fades with time.
    pub strength: f64,
    /// Of the callers' choice; two nodes may have one edge of each kind.
    pub kind: u8,
    /// In a unit of the callers' choice; 0 says that it is not known.
    pub bandwidth: f64,
    /// When it is forgotten whatever its strength, in Unix nanoseconds; 0 is never.
    pub expires_unix_ns: u64,
    /// In answers: how often it was set or strengthened.
    pub evidence: u32,
}

impl Edge {
    /// An edge of kind 0 that is nothing but its strength.
    pub fn new(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>, strength: f64) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            strength,
            ..Self::default()
        }
    }
}

/// Which edges a question may use. The default allows all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// None is all kinds.
    pub kinds: Vec<u8>,
    /// Edges whose bandwidth is not known have 0.
    pub bandwidth_min: f64,
}

/// What paths are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PathQuery {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    /// Most edges of a path; 0 is any number. Not for [`Alm::best_paths`].
    pub hops_max: u32,
    pub filter: Filter,
    pub pool: PoolId,
}

/// A path between two nodes, and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// From the first to the last, both included.
    pub nodes: Vec<Vec<u8>>,
    /// The edges between them, one fewer.
    pub links: Vec<Edge>,
    /// Product of the edges' strengths.
    pub strength: f64,
    /// `-ln(strength)`.
    pub cost: f64,
}

/// What is to be associated, and how exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssociatesQuery {
    pub node: Vec<u8>,
    /// 0 is 10.
    pub limit: u32,
    pub filter: Filter,
    /// Two hops of activation instead of random walks: quicker, and blind beyond.
    pub spread: bool,
    /// The chance that a walk starts over at each step; 0 is .15.
    pub restart: f64,
    /// Residual per edge that is not pushed on; 0 is 2e-4.
    pub error: f64,
    /// Most edges to look at; 0 is 300,000.
    pub work: u32,
    pub pool: PoolId,
}

/// Nodes by the share of walks that end there, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Associates {
    pub list: Vec<(Vec<u8>, f64)>,
    /// How much any score can be wrong.
    pub bound: f64,
    /// How many edges were looked at.
    pub looked: u64,
    /// Whether `work` ended it early; `bound` holds nonetheless.
    pub cut: bool,
}

/// A key that is likely used together with another.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    pub key: Vec<u8>,
    /// Its part of the belief that is spread over all candidates.
    pub share: f64,
    /// How many groups had both.
    pub together: u32,
}

/// A pool's budgets. What is 0 is as in pool 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    pub links_bytes_max: u64,
    pub predict_bytes_max: u64,
    /// Cannot change once the pool is there.
    pub half_life: Duration,
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
    /// [`Alm::add`] in a pool.
    fn add_to(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()>;
    /// [`Alm::reinforce`] in a pool.
    fn reinforce_in(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()>;
    /// [`Alm::remove`] in a pool. An edge of kind 0 stands for those of all kinds.
    fn remove_from(&self, pool: PoolId, edges: Vec<Edge>) -> Answer<()>;
    /// The best path that the query allows; none when there is none.
    fn path(&self, query: PathQuery) -> Answer<Option<Path>>;
    /// The best loopless paths, best first, at most `count` (1 to 64); empty when there is none.
    fn best_paths(&self, query: PathQuery, count: u32) -> Answer<Vec<Path>>;
    /// What is associated with a node.
    fn associates(&self, query: AssociatesQuery) -> Answer<Associates>;
    /// Says that these keys were used together; the predictor learns from it.
    fn observe(&self, pool: PoolId, keys: Vec<Vec<u8>>) -> Answer<()>;
    /// What is likely used together with a key, best first, at most that many (0: 10).
    fn predict(&self, pool: PoolId, key: Vec<u8>, limit: u32) -> Answer<Vec<Prediction>>;
    /// Makes a pool, or changes its budgets.
    fn pool_set(&self, pool: Pool) -> Answer<()>;
    /// Forgets a pool with all that is in it.
    fn pool_drop(&self, pool: PoolId) -> Answer<()>;
    /// All pools.
    fn pools(&self) -> Answer<Vec<Pool>>;
    /// Chooses landmarks, which shorten searches until an edge is made or becomes stronger.
    fn prepare(&self, pool: PoolId) -> Answer<()>;
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
