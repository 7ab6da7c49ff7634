//! What can go wrong, each with its cause and its repair.

use thiserror::Error;

/// An error of options, operations, samples or encodings. Nothing was changed by a call that returned one.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CpeError {
    /// An option is outside its range.
    #[error("option {name} is {value}; it must be {range}")]
    Option {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A sample of a series is NaN, infinite, or beyond [`SAMPLE_MAX`](crate::SAMPLE_MAX).
    #[error("the sample is not a finite number between -1e150 and 1e150; leave a gap instead")]
    NotFinite,
    /// A sample of a series is older than the last one.
    #[error("time runs backwards: {time} after {last}; sort the samples, or start a new series")]
    Backwards {
        /// The sample's time.
        time: u64,
        /// The time of the last one.
        last: u64,
    },
    /// There is no such pool, stream or series.
    #[error("{what} {id} does not exist; write to it first")]
    Absent {
        /// `pool`, `stream`, `series` or `member`.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// The name belongs to a stream where a series is wanted, or the other way round.
    #[error("{id} is a {is}, not a {wanted}; use another number")]
    Kind {
        /// Its number.
        id: u64,
        /// What it is.
        is: &'static str,
        /// What the operation wants.
        wanted: &'static str,
    },
    /// A pool is too small for one stream.
    #[error(
        "pool {pool} has {budget} bytes and one stream may take {needed}; raise the one or lower the other"
    )]
    Budget {
        /// The pool.
        pool: u32,
        /// Its budget in bytes.
        budget: u64,
        /// Byte budget of one stream.
        needed: u64,
    },
    /// There are as many pools as there may be.
    #[error("there are {0} pools already; drop one first")]
    Pools(usize),
    /// An encoding ends too early.
    #[error("the encoding ends inside {0}; it is cut off or not ours")]
    Truncated(&'static str),
    /// An encoding has a version that this program does not know.
    #[error("{what} has version {version}; this program reads {known}")]
    Version {
        /// What was read.
        what: &'static str,
        /// Its version.
        version: u32,
        /// The one that is known.
        known: u32,
    },
    /// An encoding contradicts itself.
    #[error("{0} is impossible; the encoding is damaged or forged")]
    Invalid(&'static str),
}
