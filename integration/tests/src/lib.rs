//! Tests on built processes: faults, restarts, hostile peers.
#![forbid(unsafe_code)]
