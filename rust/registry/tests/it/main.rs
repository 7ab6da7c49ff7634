//! The rules of what is ordered, each under an attack that it is there for.

mod attacks;
mod mesh;
mod proofs;

pub(crate) use mesh::*;
