//! Endpoints on loopback, honest and not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod deltas;
mod join;
mod mesh;
mod provider;
mod raw;
mod rogue;
mod tell;
mod transfer;
