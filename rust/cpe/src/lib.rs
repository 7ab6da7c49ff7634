//! Predicts what comes next in streams of symbols, how sure that is, and when.
#![forbid(unsafe_code)]

mod contexts;
mod error;
mod evidence;
mod features;
mod gaps;
mod hash;
mod history;
mod lane;
mod mixer;
mod panel;
mod score;
mod sources;
mod stream;
mod symbols;
mod trust;

pub use error::CpeError;
pub use gaps::Wait;
pub use panel::{EXPERTS, Expert, SHARE_EVENTS};
pub use score::{BINS, Bin, Scores};
pub use sources::Source;
pub use stream::{
    Explanation, ITEMS_MAX, Item, LANES_MAX, Outcome, Prediction, STREAM_BYTES_MAX,
    STREAM_BYTES_MIN, Stream, StreamOptions, Vote,
};
