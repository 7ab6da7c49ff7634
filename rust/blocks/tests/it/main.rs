//! The store as its callers see it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they are called from"
)]

mod arriving;
mod closure;
mod crash;
mod damage;
mod delta;
mod disk;
mod extract;
mod gc;
mod hostile;
mod metadata;
mod put;
mod real;
mod travel;
mod tree;
