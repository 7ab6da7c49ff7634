//! Layer 1, Immediate Flow Registry: exact match, safe wrapper over the Zig table.
