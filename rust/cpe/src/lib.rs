//! Predicts what comes next in streams of symbols, how sure that is, and when.
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
