//! Tests of the whole crate through its public door.

mod bytes;
