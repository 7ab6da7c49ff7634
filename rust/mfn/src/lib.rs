//! The four layers as one memory ([`Mfn`]), and the host of DSR and CPE: any program reaches them over the local wire, and
//! what they acknowledged survives `kill -9`.
//!
//! - [`Mfn`]: observe, recall, resemble, relate, foresee, ask; layers in the process or behind sockets.
//! - [`Memory`]: a layer in a directory; a [`mfn_local::Handler`] that a socket serves.
//! - [`Dsr`], [`Cpe`]: the layers, as values that change by the bodies of their requests.
//!
//! **One thread owns a layer** with its journal; calls wait in a bounded queue. The thread takes what waits, applies the
//! changes in order, writes all that were accepted as one record, and answers when that is on disk: one fsync serves as
//! many writers as wait. Questions are answered after it, so none sees what could still be lost.
//!
//! **The log holds requests**: method, time and body, as they came. Opening applies them again by the same code, so
//! there is one way in which a layer changes.
#![forbid(unsafe_code)]

mod body;
mod cpe;
mod dsr;
pub mod facade;
mod host;
mod interner;
mod layer;
mod record;
mod share;

pub use cpe::Cpe;
pub use dsr::Dsr;
pub use facade::Mfn;
pub use host::{Memory, MemoryError, MemoryStatus};
pub use layer::{JournalFacts, Layer};
pub use share::{BYTES_MAX_LEAST, KEY_BYTES_MAX, POOLS_MAX};
