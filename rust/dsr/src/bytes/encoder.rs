//! From a block to its sketch: leaky integration, an adapting threshold, competition.

use super::sketch::{SKETCH_BYTES, Sketch};
use super::{LONG, NEURONS, mix, split_mix};

/// Bits that the potential leaks with each byte.
const LEAK_BITS: u32 = 2;
/// Bytes that a potential depends on: what is older has leaked away entirely.
const WINDOW: usize = (u64::BITS / LEAK_BITS) as usize;
/// Spikes that a neuron sees of a block, on average. A neuron stays silent with probability e^-10.
const SPIKES_PER_NEURON: u64 = 10;
/// More silent neurons than one in this many: the threshold was too high for this block.
const SILENT_ONE_IN: usize = 8;
/// How many times more spikes a lowered threshold lets through.
const LOWER_BY: u128 = 16;
/// Bytes that are integrated before their spikes compete: the buffer stays in the first cache.
const STRETCH: usize = 1_024;

/// The weights of a seed. About 2 KiB; shared by threads, costs nothing to use.
#[derive(Clone, Debug)]
pub struct Encoder {
    seed: u64,
    /// What a byte adds to the potential.
    weights: [u64; 256],
    /// Decides which column a spike excites.
    wiring: u64,
}

impl Encoder {
    /// Sketches are comparable if they were made with the same seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut weights = [0; 256];
        weights.fill_with(|| split_mix(&mut state));
        Self {
            seed,
            weights,
            wiring: split_mix(&mut state) | 1,
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The sketch of a block of any length. One pass, two or three for a block that repeats itself.
    pub fn sketch(&self, block: &[u8]) -> Sketch {
        let mut winners = [0; NEURONS];
        // The share of potentials that shall fire, as a fraction of 2^64.
        let spikes = u128::from(SPIKES_PER_NEURON) * NEURONS as u128;
        let mut share = (spikes << 64) / block.len().max(1) as u128;
        loop {
            let threshold = u64::try_from((1_u128 << 64).saturating_sub(share)).unwrap_or(u64::MAX);
            self.compete(block, threshold, &mut winners);
            let silent = winners.iter().filter(|winner| **winner == 0).count();
            if threshold == 0 || silent * SILENT_ONE_IN <= NEURONS {
                break;
            }
            share *= LOWER_BY;
        }
        encode(block.len(), &winners)
    }

    /// The strongest spike of each column, at or above a threshold; 0 where none fired.
    fn compete(&self, block: &[u8], threshold: u64, winners: &mut [u64; NEURONS]) {
        // Two halves at once: each potential waits for the one before it, the halves do not.
        let first = WINDOW.min(block.len());
        let (start, rest) = block.split_at(first.saturating_sub(1));
        let middle = rest.len() / 2;
        let (left, right) = rest.split_at(middle);
        let mut low = self.integrate(start);
        let mut high = self.integrate(&block[..start.len() + middle]);
        let mut spikes = [0; 2 * STRETCH];
        let mut parts = left.chunks(STRETCH).zip(right.chunks(STRETCH));
        for (left, right) in &mut parts {
            let mut count = 0;
            for (a, b) in left.iter().zip(right) {
                low = self.step(low, *a);
                high = self.step(high, *b);
                // Written in any case and kept if it fired: no branch to predict.
                spikes[count] = low;
                count += usize::from(low >= threshold);
                spikes[count] = high;
                count += usize::from(high >= threshold);
            }
            self.inhibit(&spikes[..count], winners);
        }
        // The right half may be a byte longer: it stands at the end of its last stretch.
        if right.len() > left.len()
            && let Some(byte) = right.last()
        {
            high = self.step(high, *byte);
            if high >= threshold {
                self.inhibit(&[high], winners);
            }
        }
    }

    /// The potential after these bytes; only the last 32 of them matter.
    fn integrate(&self, bytes: &[u8]) -> u64 {
        let recent = &bytes[bytes.len().saturating_sub(WINDOW)..];
        recent.iter().fold(0, |level, byte| self.step(level, *byte))
    }

    fn step(&self, level: u64, byte: u8) -> u64 {
        (level << LEAK_BITS).wrapping_add(self.weights[usize::from(byte)])
    }

    fn inhibit(&self, spikes: &[u64], winners: &mut [u64; NEURONS]) {
        for spike in spikes {
            let wire = spike.wrapping_mul(self.wiring);
            let wire = (wire ^ (wire >> 29)) & 0xffff_ffff;
            let column = ((wire * NEURONS as u64) >> 32) as usize;
            winners[column] = winners[column].max(*spike);
        }
    }
}

/// What won, in few bits; 0 says that nothing did.
fn encode(length: usize, winners: &[u64; NEURONS]) -> Sketch {
    let mut bytes = [0; SKETCH_BYTES];
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let (long, short) = winners.split_at(LONG);
    let (long_codes, short_codes) = bytes[4..].split_at_mut(2 * LONG);
    for (into, winner) in long_codes.chunks_exact_mut(2).zip(long) {
        let code = (mix(*winner) >> 48) as u16;
        into.copy_from_slice(&if *winner == 0 { 0 } else { code.max(1) }.to_le_bytes());
    }
    for (into, winner) in short_codes.iter_mut().zip(short) {
        let code = (mix(*winner) >> 56) as u8;
        *into = if *winner == 0 { 0 } else { code.max(1) };
    }
    Sketch::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, said plainly: every potential of every whole window, no threshold, no halves.
    fn plain(encoder: &Encoder, block: &[u8]) -> Sketch {
        let mut winners = [0; NEURONS];
        let size = WINDOW.min(block.len()).max(1);
        for window in block.windows(size) {
            encoder.inhibit(&[encoder.integrate(window)], &mut winners);
        }
        encode(block.len(), &winners)
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        (0..length).map(|_| split_mix(&mut state) as u8).collect()
    }

    #[test]
    fn the_threshold_changes_no_winner() {
        let encoder = Encoder::new(3);
        for length in [
            0, 1, 2, 31, 32, 33, 64, 100, 1_023, 1_024, 1_025, 4_097, 70_001,
        ] {
            let block = noise(length as u64, length);
            let fast = encoder.sketch(&block).to_bytes();
            let slow = plain(&encoder, &block).to_bytes();
            let differ = fast.iter().zip(slow).filter(|(a, b)| **a != *b);
            // A neuron that no spike reached is silent; at ten spikes each that is one in 22,000.
            assert!(differ.count() <= 1, "length {length}");
        }
    }

    #[test]
    fn a_block_that_repeats_itself_is_looked_at_again() {
        let encoder = Encoder::new(3);
        let word = noise(1, 600);
        let block: Vec<u8> = word.iter().copied().cycle().take(100_000).collect();
        let sketch = encoder.sketch(&block);
        assert_eq!(sketch.to_bytes(), plain(&encoder, &block).to_bytes());
        assert!(sketch.silent() < NEURONS / 8, "{}", sketch.silent());
        // One byte over and over has one feature: one neuron fires, and nothing loops for ever.
        assert_eq!(encoder.sketch(&[9; 50_000]).silent(), NEURONS - 1);
    }

    #[test]
    fn the_code_of_a_seed_is_set_in_stone() {
        // Sketches are kept on disk: a changed value means that every kept one is worth nothing.
        let sketch = Encoder::new(1).sketch(&noise(1, 5_000));
        assert_eq!(crc32fast::hash(&sketch.to_bytes()), 752_128_814);
    }
}
