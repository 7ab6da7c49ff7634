//! Layer 2, the Dynamic Similarity Reservoir: finds what is like something else.
//!
//! - [`bytes`]: blocks of bytes: sketches of 96 bytes, and an index of them.
//!
//! No I/O, no clock, no randomness: seeds are arguments, and the same calls give the same bytes.
#![forbid(unsafe_code)]

pub mod bytes;
