//! Tests on built processes: faults, restarts, hostile peers.
