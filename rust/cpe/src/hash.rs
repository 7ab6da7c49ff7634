//! One mixing step for keys of bounded tables.
//!
//! Not keyed: whoever chooses symbols can make contexts collide, which costs accuracy in that stream and nothing else.
//! Every table probes a bounded number of places.

/// Folds `b` into `a`: both halves of a 128-bit product, as in wyhash.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9E37_79B9_7F4A_7C15)
        * u128::from(b.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0xA076_1D64_78BD_642F);
    (product as u64) ^ ((product >> 64) as u64)
}
