//! Gets what will be read next before it is asked for.
//!
//! - [`Reads`]: learns the order in which paths are read (layer 4, CPE) and says what comes next. No I/O, no clock.
//! - [`Foresight`]: asks it at every read, asks layer 3 where it is silent, and fetches ahead under a budget.
//!
//! Paths and not blocks are learned: a new version of a tree has new blocks and the same habits. Advice only: switched
//! off or wrong, the same bytes are read, later.

mod ahead;
mod reads;

pub(crate) use ahead::Foresight;
pub(crate) use reads::Reader;
