//! What the mesh decides, on this node: the agreement's clock, disk and voice.
//!
//! - [`driver`]: runs a replica on a thread of its own.
//! - [`log`]: what must be on the disk before a vote is told.
//! - [`store`]: what was decided.

#![cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "nothing is ordered yet: the parts wait for what is"
    )
)]

mod driver;
#[cfg(test)]
mod driver_tests;
mod log;
mod store;
