//! The limits of a layer, and how its pools share them.
//!
//! All pools of a layer have the same share of its bytes: a new pool takes room from the others, a dropped one gives it
//! back. Three quarters of a share are for what the layer learns, one quarter for keys.

/// Most pools of a layer.
pub const POOLS_MAX: usize = 16;
/// The least that a layer can be told to take.
pub const BYTES_MAX_LEAST: u64 = 64 << 20;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 4_096;

/// What one of so many pools may take for what it learns.
pub(crate) fn learnt(bytes_max: u64, pools: usize) -> u64 {
    bytes_max / pools.max(1) as u64 / 4 * 3
}

/// What one of so many pools may take for keys.
pub(crate) fn keys(bytes_max: u64, pools: usize) -> u64 {
    bytes_max / pools.max(1) as u64 / 4
}
