//! What the mesh decides, on this node: the agreement's clock, disk and voice.
//!
//! - [`driver`]: runs a replica on a thread of its own.
//! - [`chain`]: the ledger, with who waits for what.
//! - [`accuse`]: proofs against voters.
//! - [`mesh`]: which mesh, founded or joined.
//! - [`log`]: what must be on the disk before a vote is told.
//! - [`beginning`]: where the time of a start goes.
//! - [`standing`]: who is not listened to.
//! - [`store`]: what was decided.
//! - [`snapshots`]: the state as files, so that not all blocks have to be applied again.
//! - [`exchange`], [`fetch`], [`snapshot_words`]: those of others, piece by piece.
//! - [`words`]: the same in the words of the local wire.

mod accuse;
#[cfg(test)]
mod accuse_tests;
mod beginning;
pub(crate) mod chain;
#[cfg(test)]
mod chain_tests;
pub(crate) mod driver;
#[cfg(test)]
mod driver_tests;
mod exchange;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod log;
pub(crate) mod mesh;
mod snapshot_words;
pub(crate) mod snapshots;
#[cfg(test)]
mod snapshots_tests;
mod standing;
pub(crate) mod store;
pub(crate) mod words;
