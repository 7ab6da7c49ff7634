//! The rules of what is ordered, each under an attack that it is there for.

mod attacks;
mod mesh;
mod model;
mod proofs;
mod random;
mod vectors;

pub(crate) use mesh::*;
