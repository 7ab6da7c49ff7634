//! A sketch and what can be read off two of them.

use super::{LONG, NEURONS, SHORT};

/// Length of a sketch.
pub const SKETCH_BYTES: usize = 4 + 2 * LONG + SHORT;

/// Two short codes of different winners are equal once in 255 times.
const CHANCE: f32 = SHORT as f32 / 255.0 / NEURONS as f32;
/// From the share of common 32-byte windows to that of 16-byte windows, in which resemblance is
/// stated. An edit destroys as many windows as it has bytes around it, so were edits spread evenly the
/// exponent would be a half; on versions of real files it is this.
const WINDOW_EXPONENT: f32 = 0.7;
/// From the share of a block's windows that a base has to the share of bytes that a delta saves over
/// plain compression.
const GAIN_EXPONENT: f32 = 0.8;
/// A delta against the block itself still costs its frame.
const GAIN_MAX: f32 = 0.97;

/// The code of a block: its length, then what won in each neuron's column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sketch([u8; SKETCH_BYTES]);

/// How two sketches relate, and which neurons say so.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Neurons that fired for the same feature of both.
    pub agreed: Vec<u8>,
    /// Neurons that fired for different features.
    pub differed: Vec<u8>,
    /// Neurons that were silent in both: they say nothing.
    pub silent: Vec<u8>,
    pub resemblance: f32,
    /// Of the second block against the first.
    pub expected_gain: f32,
}

impl Sketch {
    /// Any 96 bytes are a sketch; those of no block resemble nothing, or whatever they were made for.
    pub fn from_bytes(bytes: [u8; SKETCH_BYTES]) -> Self {
        Self(bytes)
    }

    /// Length of the block as u32, 12 winners as u16, 68 as u8; little-endian, 0 is silence.
    pub fn to_bytes(self) -> [u8; SKETCH_BYTES] {
        self.0
    }

    /// Length of the block; at most 4 GiB - 1.
    pub fn length(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Neurons that did not fire.
    pub fn silent(&self) -> usize {
        self.codes().filter(|code| *code == 0).count()
    }

    /// Codes of the neurons by which the reservoir finds relatives.
    pub(crate) fn long_codes(&self) -> [u16; LONG] {
        std::array::from_fn(|at| u16::from_le_bytes([self.0[4 + 2 * at], self.0[5 + 2 * at]]))
    }

    fn short_codes(&self) -> &[u8] {
        &self.0[4 + 2 * LONG..]
    }

    fn codes(&self) -> impl Iterator<Item = u16> {
        let short = self.short_codes().iter().map(|code| u16::from(*code));
        self.long_codes().into_iter().chain(short)
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch({} B, {} silent)", self.length(), self.silent())
    }
}

/// Estimated resemblance: the Jaccard index of the blocks' 16-byte shingles, 0 to 1.
///
/// Standard error about `sqrt(j (1 - j) / 80)`, so .04 at .85.
pub fn resemblance(a: &Sketch, b: &Sketch) -> f32 {
    let windows = jaccard(a, b);
    let share = (2.0 * windows / (1.0 + windows)).powf(WINDOW_EXPONENT);
    share / (2.0 - share)
}

/// What a delta of `block` against `base` is expected to save of what plain compression leaves, 0 to 1.
pub fn expected_gain(base: &Sketch, block: &Sketch) -> f32 {
    let windows = jaccard(base, block);
    let both = f64::from(base.length()) + f64::from(block.length());
    let ratio = (both / f64::from(block.length().max(1))) as f32;
    let contained = (windows / (1.0 + windows) * ratio).min(1.0);
    GAIN_MAX * contained.powf(GAIN_EXPONENT)
}

/// Which neurons agreed, and what follows from it.
pub fn explain(base: &Sketch, block: &Sketch) -> Explanation {
    let mut explanation = Explanation {
        agreed: Vec::new(),
        differed: Vec::new(),
        silent: Vec::new(),
        resemblance: resemblance(base, block),
        expected_gain: expected_gain(base, block),
    };
    for (neuron, pair) in base.codes().zip(block.codes()).enumerate() {
        let into = match pair {
            (0, 0) => &mut explanation.silent,
            (a, b) if a == b => &mut explanation.agreed,
            _ => &mut explanation.differed,
        };
        into.push(neuron as u8);
    }
    explanation
}

/// The share of common 32-byte windows, as the neurons that fired see it.
fn jaccard(a: &Sketch, b: &Sketch) -> f32 {
    let (mut equal, mut silent) = (0_u32, 0_u32);
    for (x, y) in a.long_codes().into_iter().zip(b.long_codes()) {
        equal += u32::from(x == y);
        silent += u32::from(x | y == 0);
    }
    for (x, y) in a.short_codes().iter().zip(b.short_codes()) {
        equal += u32::from(x == y);
        silent += u32::from(x | y == 0);
    }
    let fired = (NEURONS as u32).saturating_sub(silent);
    if fired == 0 {
        return 0.0;
    }
    let share = (equal - silent) as f32 / fired as f32;
    ((share - CHANCE) / (1.0 - CHANCE)).clamp(0.0, 1.0)
}
