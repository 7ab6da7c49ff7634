//! The rules of what is ordered, each under an attack that it is there for.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attacks;
mod mesh;
mod model;
mod proofs;
mod random;
mod saved;
mod vectors;

pub(crate) use mesh::*;
