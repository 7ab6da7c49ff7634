//! A mesh that orders, in virtual time: any number of things go wrong, some nodes lie, and what must never be is checked at
//! every step. The same seed gives the same run.
#![forbid(unsafe_code)]

mod actors;
mod book;
mod chain;
mod delays;
mod disk;
mod happened;
mod invariants;
mod keys;
mod ordered;
mod random;
mod scenario;
mod snare;
mod twins;
mod world;

pub use actors::{Actor, Behaviour, Desk};
pub use delays::{Delays, DelaysError};
pub use happened::Happened;
pub use invariants::Violation;
pub use keys::{NODES_MAX, SimKey};
pub use random::Random;
pub use scenario::{Scenario, Trouble, WEATHER};
pub use snare::Snare;
pub use twins::{ROUNDS_MAX, Schedule, Turn};
pub use world::{Follow, Report};

use world::World;

/// Runs a scenario to its end.
///
/// # Errors
/// What must never be, and was.
pub fn run(scenario: &Scenario) -> Result<Report, Violation> {
    World::new(scenario, None).run()
}

/// The same, telling each thing that happens.
///
/// # Errors
/// As [`run`].
pub fn retell(
    scenario: &Scenario,
    mut follow: impl FnMut(u64, &Happened<'_>),
) -> Result<Report, Violation> {
    World::new(scenario, Some(&mut follow)).run()
}
