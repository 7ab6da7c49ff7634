//! What the mesh decides, on this node: the agreement's clock, disk and voice.
//!
//! - [`driver`]: runs a replica on a thread of its own.
//! - [`chain`]: the ledger, with who waits for what.
//! - [`accuse`]: proofs against voters.
//! - [`mesh`]: which mesh, founded or joined.
//! - [`log`]: what must be on the disk before a vote is told.
//! - [`store`]: what was decided.
//! - [`words`]: the same in the words of the local wire.

mod accuse;
#[cfg(test)]
mod accuse_tests;
pub(crate) mod chain;
#[cfg(test)]
mod chain_tests;
pub(crate) mod driver;
#[cfg(test)]
mod driver_tests;
mod log;
pub(crate) mod mesh;
mod store;
pub(crate) mod words;
