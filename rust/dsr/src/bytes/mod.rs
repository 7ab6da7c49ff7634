//! The bytes form: sketches of blocks, and a reservoir that finds a block's relatives.
//!
//! - [`Encoder`]: a block becomes a [`Sketch`] of 96 bytes, at memory speed.
//! - [`Sketch`]: estimates resemblance and what a delta would save, and explains itself.
//! - [`Reservoir`]: keeps sketches under a budget of bytes; asks for relatives cost no scan.
//!
//! # What is the neuron, and what is mathematics that has another name
//!
//! | here | elsewhere |
//! |---|---|
//! | membrane potential: each byte adds its weight, all earlier input leaks two bits a byte | gear rolling hash (as in FastCDC) with a window of 32 bytes |
//! | firing threshold, set from the block's length so that each neuron sees about ten spikes | content-defined sampling (as in Odess) |
//! | the column that a spike excites | the bin of a one-permutation hash |
//! | winner takes all: the strongest spike silences the others of its column | the maximum of the bin: MinHash |
//! | what the winner was, in 8 or 16 bits | b-bit MinHash |
//!
//! So the code is *one-permutation MinHash* (Li, Owen, Zhang, NIPS 2012) of 32-byte shingles in b-bit
//! form (Li, König, WWW 2010), and its estimates have that method's errors. Two things come from the
//! neurons' side. Spikes compete with the very quantity that is held against the threshold: a higher
//! threshold removes losers only, so blocks of any two lengths, sampled at different rates, have
//! comparable codes. And a column that stays silent lowers the threshold, as neurons at rest do: a
//! block that repeats itself is looked at again, more closely.
//!
//! There is nothing learned in here. The weights are drawn from a seed.
//!
//! ```
//! use mfn_dsr::bytes::{Encoder, Options, Reservoir, resemblance};
//! let encoder = Encoder::new(7);
//! let old: Vec<u8> = (0..20_000u32).flat_map(|n| (n.wrapping_mul(n) >> 3).to_le_bytes()).collect();
//! let mut new = old.clone();
//! new.splice(1_000..1_000, *b"a few bytes in the middle");
//! let (a, b) = (encoder.sketch(&old), encoder.sketch(&new));
//! assert!(resemblance(&a, &b) > 0.9);
//!
//! let mut reservoir = Reservoir::new(Options { seed: 7, ..Options::default() });
//! reservoir.insert([1; 32], a);
//! assert_eq!(reservoir.similar(&b, 0.85)[0].id, [1; 32]);
//! ```

mod encoder;
mod reservoir;
mod sketch;
mod snapshot;
mod table;

pub use encoder::Encoder;
pub use reservoir::{Hit, Options, Reservoir, Stats};
pub use sketch::{Explanation, SKETCH_BYTES, Sketch, expected_gain, explain, resemblance};
pub use snapshot::SnapshotError;

/// Neurons of a sketch, each with a column of its own.
pub const NEURONS: usize = LONG + SHORT;
/// Neurons whose winners are kept in 16 bits; the reservoir finds relatives by these.
pub(crate) const LONG: usize = 12;
/// Neurons whose winners are kept in 8 bits; they only sharpen the estimates.
pub(crate) const SHORT: usize = 68;

/// SplitMix64 (Steele, Lea, Flood 2014): the weights of a seed, the same on every machine.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// Its finisher: every bit of the input moves every bit of the output.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
