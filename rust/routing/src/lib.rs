//! Predicts latencies between nodes that never met, and chooses direct paths, relays and providers.
//!
//! [`NeuralRoutingMatrix`] takes in round trips that this node measured and those that others report of their own
//! links, and estimates any pair of admitted nodes. Nothing here reads a clock, opens a socket or draws a random
//! number: time comes with each call, the seed is an option, and the same calls give the same matrix. What is predicted
//! is advice: a caller that ignores it is right, only slower. Models, sources and attacks are in `docs/ROUTING.md`.
//!
//! ```
//! use hypermesh_id::NodeId;
//! use hypermesh_routing::{NeuralRoutingMatrix, Options, Report, Source};
//!
//! let [me, near, far] = [1, 2, 3].map(|number| NodeId([number; 32]));
//! let mut matrix = NeuralRoutingMatrix::new(me, Options::default())?;
//! matrix.admit(near, None)?;
//! matrix.admit(far, Some([48.1, 11.6]))?;
//! for at in 0..50 {
//!     matrix.measured(near, 10.0, at)?;
//!     matrix.reported(&Report { reporter: near, to: far, rtt_ms: 80.0, at })?;
//! }
//! assert_eq!(matrix.estimate(me, near)?.source, Source::Measured);
//! let guess = matrix.estimate(me, far)?;
//! assert!(guess.source == Source::Predicted && guess.rtt_ms > 20.0 && guess.rtt_ms < 300.0, "{guess:?}");
//! # Ok::<(), hypermesh_routing::RoutingError>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod matrix;
mod random;
mod route;

pub use error::RoutingError;
pub use matrix::{
    Candidate, Estimate, Forecasts, NeuralRoutingMatrix, Options, RTT_MS, Report, Source, Square,
    choose,
};
pub use mfn_cpe::{Forecast, HORIZONS, QUANTILES};
pub use route::{Probe, Route, RouterOptions, SEARCHES_MAX, StoqRouter, Why};
