//! Predicts what comes next: symbols of a stream and numbers of a series, how sure that is, and when.
//!
//! [`Stream`] learns symbols and gives calibrated probabilities of the next one; [`Series`] learns numbers and gives
//! quantiles of the next ones and changes of level; [`Engine`] holds many of both in pools with budgets, changed by
//! [`Op`]s that a host can log. Nothing here reads a clock, a file or a random number: time comes with each call, and
//! the same calls give the same state. What that costs and when not to use it is in `docs/memory/CPE.md`.
//!
//! ```
//! use mfn_cpe::{Stream, StreamOptions};
//!
//! let mut stream = Stream::new(StreamOptions::default())?;
//! for number in 0..300_u64 {
//!     // Lane 0; one event every 30 seconds.
//!     stream.observe(0, [10, 20, 30, 40][(number % 4) as usize], number * 30);
//! }
//! let next = stream.predict(0, 3, 299 * 30);
//! assert_eq!(next.items[0].symbol, 10);
//! assert!(next.items[0].probability > 0.95 && !next.silent);
//! assert_eq!(next.wait.map(|wait| wait.median.round()), Some(30.0));
//! # Ok::<(), mfn_cpe::CpeError>(())
//! ```
#![forbid(unsafe_code)]

mod codec;
mod contexts;
mod engine;
mod error;
mod evidence;
mod features;
mod gaps;
mod grow;
mod hash;
mod history;
mod lane;
mod mixer;
mod op;
mod panel;
mod score;
mod series;
mod snapshot;
mod sources;
mod stream;
mod symbols;
mod trust;

pub use engine::{Applied, Engine, POOLS_MAX, PoolStats};
pub use error::CpeError;
pub use gaps::Wait;
pub use op::{Op, PoolOptions};
pub use panel::{EXPERTS, Expert, SHARE_EVENTS};
pub use score::{BINS, Bin, Scores};
pub use series::{
    Change, Forecast, HORIZONS, PinballScore, QUANTILES, SAMPLE_MAX, SERIES_LANES_MAX, Sampled,
    Series, SeriesOptions, SeriesScores, pinball,
};
pub use sources::Source;
pub use stream::{
    Explanation, ITEMS_MAX, Item, LANES_MAX, Outcome, Prediction, STREAM_BYTES_MAX,
    STREAM_BYTES_MIN, Stream, StreamOptions, Vote,
};
