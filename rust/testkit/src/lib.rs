//! What tests on built processes share: temporary meshes, broken paths between them, seeded trees, waits.
//!
//! - [`Mesh`] makes nodes in a temporary directory, [`Node`] is one running process.
//! - [`Forwarder`] is a UDP path that can be stopped, cut after a number of bytes, or made to garble.
//! - [`Links`] are such paths before each of several nodes: who reaches whom, each way.
//! - [`tree`] writes seeded trees and compares copies; [`Random`] is the seed's stream.
//! - [`until`] waits for a real condition, with a deadline.
//!
//! ```no_run
//! # fn main() -> Result<(), String> {
//! let mut mesh = hypermesh_testkit::Mesh::new()?;
//! let a = mesh.node("a")?;
//! println!("{}", a.ok(&["id"])?);
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod forward;
mod links;
mod node;
mod random;
pub mod tree;
mod wait;

pub use forward::{Forwarder, Path as PathState};
pub use links::Links;
pub use node::{Answer, Job, Mesh, Node, Programs, split};
pub use random::Random;
pub use wait::until;

/// What went wrong, for a person.
pub type Result<T> = std::result::Result<T, String>;

/// Names what was being done when an error of any kind came.
pub fn at<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}
