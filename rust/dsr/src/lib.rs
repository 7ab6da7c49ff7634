//! Layer 2, the Dynamic Similarity Reservoir: finds what is like something else.
//!
//! A [`Well`] holds vectors under ids and answers which are most like a query, by cosine. Small wells compare with
//! every entry. From [`EXACT_ROWS`] on, three stages share the work, each cheaper per entry than the next:
//!
//! 1. **Competition.** Leaky integrate-and-fire neurons with learned prototypes compete for the query; the first `w`
//!    to fire are its *sparse winner code*, and only their members are looked at.
//! 2. **Short codes.** The members' 4-bit product codes are scanned in registers.
//! 3. **Exact re-rank** of the best codes against the kept vectors.
//!
//! Everything is learned online and follows the stream: an insert teaches the winner, shows some old entries to
//! the neurons again, and splits a neuron that owns too much. `w` and the number of candidates are measured on held-out
//! entries so that the asked recall is reached.
//!
//! - [`bytes`]: the form for blocks of bytes: sketches of 96 bytes, and an index of them.
//! - [`Registry`]: many wells in pools with budgets and times to live, changed by [`Op`]s.
//! - [`Detector`]: what is like nothing in a well, with a stated rate of false alarms.
//! - [`Encoder`]: what this form and the one for bytes have in common.
//! - [`DsrError`]: what is refused, and why.
//!
//! No I/O, no clock, no ambient randomness: the same calls with the same seed give the same bytes, with vector
//! instructions or without.
//!
//! ```
//! use mfn_dsr::{Options, Scratch, Well};
//!
//! let mut well = Well::new(Options::new(3))?;
//! well.insert(1, &[1.0, 0.0, 0.0])?;
//! well.insert(2, &[0.9, 0.1, 0.0])?;
//! well.insert(3, &[0.0, 0.0, 1.0])?;
//! let found = well.search(&mut Scratch::default(), &[1.0, 0.05, 0.0], 2, 0.85)?;
//! assert_eq!(found.iter().map(|m| m.id).collect::<Vec<_>>(), [1, 2]);
//! # Ok::<(), mfn_dsr::DsrError>(())
//! ```
#![deny(unsafe_code)]

mod anomaly;
pub mod bytes;
mod codec;
mod codes;
mod encoder;
mod error;
mod ids;
mod neurons;
mod random;
mod registry;
mod rows;
mod scan;
mod simd;
mod well;

pub use anomaly::{Detector, Verdict};
pub use encoder::{Encoder, WinnerCode};
pub use error::DsrError;
pub use neurons::Spike;
pub use registry::{Applied, Op, POOLS_MAX, PoolOptions, PoolStats, Registry, WhenFull};
pub use rows::Precision;
pub use well::{
    DIMS_MAX, EXACT_ROWS, Effort, Explanation, K_MAX, Match, Options, ROWS_MAX, Scratch, Stats,
    Well,
};
