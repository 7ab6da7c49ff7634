//! Similarity as others measure it: exact shingles, MinHash, Odess.

use std::collections::HashSet;

/// Longest shingle that resemblance is stated in.
const SHINGLE: usize = 16;
/// Files beyond this length have one shingle in eight compared.
const SAMPLED_FROM: usize = 300_000;
const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(PRIME);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

/// Calls `each` with a hash of every 16-byte window.
fn windows(data: &[u8], mut each: impl FnMut(u64)) {
    let leaving = (0..SHINGLE).fold(1_u64, |power, _| power.wrapping_mul(PRIME));
    let mut hash = 0_u64;
    for (at, byte) in data.iter().enumerate() {
        hash = hash.wrapping_mul(PRIME).wrapping_add(u64::from(*byte) + 1);
        if let Some(old) = at.checked_sub(SHINGLE) {
            hash = hash.wrapping_sub(leaving.wrapping_mul(u64::from(data[old]) + 1));
        }
        if at + 1 >= SHINGLE {
            each(mix(hash));
        }
    }
}

/// Exact Jaccard index of the 16-byte shingles.
pub(crate) fn jaccard(a: &[u8], b: &[u8]) -> f64 {
    let every = if a.len().max(b.len()) > SAMPLED_FROM {
        8
    } else {
        1
    };
    let set = |data: &[u8]| {
        let mut set = HashSet::with_capacity(data.len() / every as usize);
        windows(data, |hash| {
            if hash % every == 0 {
                set.insert(hash);
            }
        });
        set
    };
    let (a, b) = (set(a), set(b));
    let common = a.intersection(&b).count();
    common as f64 / (a.len() + b.len() - common).max(1) as f64
}

/// MinHash of 128 permutations over the shingles: 512 bytes.
pub(crate) struct MinHash([(u32, u32); 128]);

impl MinHash {
    pub(crate) fn new() -> Self {
        let mut state = 7;
        Self(std::array::from_fn(|_| {
            (
                split_mix(&mut state) as u32 | 1,
                split_mix(&mut state) as u32,
            )
        }))
    }

    pub(crate) fn sketch(&self, data: &[u8]) -> [u32; 128] {
        let mut least = [u32::MAX; 128];
        windows(data, |hash| {
            let folded = (hash >> 32) as u32 ^ hash as u32;
            for (least, (a, b)) in least.iter_mut().zip(&self.0) {
                let value = folded.wrapping_mul(*a).wrapping_add(*b);
                *least = (*least).min((value ^ (value >> 15)).wrapping_mul(0x846c_a68b));
            }
        });
        least
    }
}

/// Odess (Zou et al., ICDE 2021): 12 features of gear hashes sampled one in 128, 96 bytes.
pub(crate) struct Odess {
    gear: [u64; 256],
    lines: [(u64, u64); 12],
}

impl Odess {
    pub(crate) fn new() -> Self {
        let mut state = 42;
        let mut gear = [0; 256];
        gear.fill_with(|| split_mix(&mut state));
        let mut state = 99;
        let lines = std::array::from_fn(|_| (split_mix(&mut state) | 1, split_mix(&mut state)));
        Self { gear, lines }
    }

    pub(crate) fn sketch(&self, data: &[u8]) -> [u64; 12] {
        let (mut hash, mut most) = (0_u64, [0; 12]);
        for byte in data {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(*byte)]);
            if hash & (0x7f << 40) == 0 {
                for (most, (a, b)) in most.iter_mut().zip(&self.lines) {
                    *most = (*most).max(hash.wrapping_mul(*a).wrapping_add(*b) >> 16);
                }
            }
        }
        most
    }
}

/// The share of equal values of two sketches.
pub(crate) fn equal<T: PartialEq>(a: &[T], b: &[T]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len() as f64
}
