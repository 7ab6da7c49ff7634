//! Where blocks are: what a cache keeps, what is fetched ahead, and which nodes hold copies.
//!
//! Nothing here touches a socket, a file, a clock or a random source: time and seeds are arguments, and the same calls
//! give the same decisions. All of it is advice over blocks that are verified elsewhere. `docs/PLACEMENT.md` has the
//! models, the guarantees and the costs.
#![forbid(unsafe_code)]

pub mod ahead;
pub mod cache;
pub mod place;
