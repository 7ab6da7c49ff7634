//! The store as its callers see it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they are called from"
)]

mod closure;
mod crash;
mod put;
mod tree;
