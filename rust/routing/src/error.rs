//! What can go wrong, each with its cause and its repair.

use hypermesh_id::NodeId;
use thiserror::Error;

/// An error of a call. Nothing was changed by a call that returned one.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// An option is outside its range.
    #[error("option {name} is {value}; it must be {range}")]
    Option {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: u64,
        /// What is allowed.
        range: &'static str,
    },
    /// The node was never admitted.
    #[error("{0} is not admitted; only members have latencies")]
    Stranger(NodeId),
    /// As many nodes are known as may be.
    #[error("{0} nodes are known already; remove one first, or raise nodes_max")]
    Full(usize),
    /// A latency that cannot be.
    #[error("{0} ms is no round trip; it must be from 0.01 to 60000 ms")]
    Latency(f64),
    /// Both ends are the same node.
    #[error("{0} is both ends of the path; a node has no latency to itself")]
    Itself(NodeId),
    /// A sample is older than what is known.
    #[error("time runs backwards: {at} ms after {last} ms; drop the sample")]
    Backwards {
        /// Its time.
        at: u64,
        /// The last one of this pair from this reporter.
        last: u64,
    },
    /// A reporter speaks of more pairs than it may.
    #[error("{reporter} reports on more than {limit} pairs; the rest is ignored")]
    Quota {
        /// Who.
        reporter: NodeId,
        /// Pairs that one reporter may report on.
        limit: usize,
    },
    /// A place that is not on the globe.
    #[error("{0} degrees is no latitude or longitude")]
    Place(f64),
    /// A probe's answer that was not asked for, or came too late.
    #[error("no probe with the number {0} is under way")]
    Probe(u64),
    /// A forecast refused a sample.
    #[error(transparent)]
    Forecast(#[from] mfn_cpe::CpeError),
}
