//! Where each feature stands in the table of weights, and what the weights start with.
//!
//! A feature is a source (one place in a candidate's row) and a bucket (what the source says). No bucket knows which
//! symbol it is about: what is learned on one symbol holds for all.

/// Features of one candidate.
pub(crate) const FEATURES: usize = 19;
/// Features of one candidate: places in the table of weights.
pub(crate) type Row = [u16; FEATURES];
/// The feature that says nothing: its weight stays 0.
pub(crate) const SILENT: u16 = 0;

/// Contexts of symbols: the last one, two, three; and the last but one alone.
pub(crate) const ORDERS: usize = 3;
pub(crate) const CONTEXTS: usize = 4;
/// How far back a symbol counts as near to the next one.
pub(crate) const NEAR: usize = 4;
/// Contexts of steps: none, the last one, the last two, the last one with the length of its run.
pub(crate) const STEPS: usize = 4;

// Places of the sources in a row; contexts stand at 0..CONTEXTS.
pub(crate) const AT_MATCH: usize = 4;
pub(crate) const AT_AGE: usize = 5;
pub(crate) const AT_RANK: usize = 6;
pub(crate) const AT_STEP: usize = 7;
pub(crate) const AT_HEAD: usize = 11;
pub(crate) const AT_PERIOD: usize = 12;
pub(crate) const AT_AGREE: usize = 13;
pub(crate) const AT_PAIR: usize = 14;
pub(crate) const AT_AGE_FIRST: usize = 15;
pub(crate) const AT_NEAR: usize = 16;
pub(crate) const AT_NEAR_PLACE: usize = 17;
pub(crate) const AT_BURST: usize = 18;

/// Buckets of one source.
const SPAN: usize = 256;
/// Sources that speak for "none of these".
const NONE_SOURCES: usize = 8;
const NONE_BASE: usize = 1 + FEATURES * SPAN;
/// Size of the table of weights: a power of two, so that a masked place needs no check.
pub(crate) const WEIGHTS: usize = (NONE_BASE + NONE_SOURCES * SPAN).next_power_of_two();

/// The bucket of a context that is unknown.
pub(crate) const UNKNOWN: usize = 200;

/// The weight of what a source says about a candidate.
#[inline]
pub(crate) fn feature(source: usize, bucket: usize) -> u16 {
    (1 + source * SPAN + bucket.min(SPAN - 1)) as u16
}

/// The weight of what a source says about "none of these".
#[inline]
pub(crate) fn none_feature(source: usize, bucket: usize) -> u16 {
    (NONE_BASE + source * SPAN + bucket.min(SPAN - 1)) as u16
}

/// Bucket of a successor in a known context: its count, the context's total, whether it came last or last but one.
#[inline]
pub(crate) fn successor(count: u16, total: u16, rank: usize) -> usize {
    (steps(count) * 8 + steps(total)) * 3 + rank.min(2)
}

/// What the weights start with: counts speak for a symbol, longer contexts louder.
pub(crate) fn prior() -> Vec<f32> {
    // The middle of each bucket of `steps`.
    const MIDDLES: [f32; 8] = [0.15, 1.0, 2.0, 3.5, 6.0, 15.0, 50.0, 200.0];
    let mut weights = vec![0.0; WEIGHTS];
    for source in 0..CONTEXTS {
        let scale = if source < ORDERS { 1.0 } else { 0.3 };
        for (count, part) in MIDDLES.iter().enumerate().skip(1) {
            for (total, whole) in MIDDLES.iter().enumerate() {
                let share = (part / (whole + 1.0)).max(0.01);
                let weight = scale * (0.5 * share.ln() + 1.2 + 0.3 * (source + 1) as f32);
                for rank in 0..3 {
                    let latest = if rank == 0 { 0.2 } else { 0.0 };
                    let bucket = (count * 8 + total) * 3 + rank;
                    weights[usize::from(feature(source, bucket))] = weight + latest;
                }
            }
        }
    }
    weights
}

/// Eight steps from 0 to many.
#[inline]
pub(crate) fn steps(count: u16) -> usize {
    // A table, since which step it is is hard for a processor to guess.
    usize::from(STEP_OF[usize::from(count).min(STEP_OF.len() - 1)])
}

const STEP_OF: [u8; 101] = step_of();

const fn step_of() -> [u8; 101] {
    let mut table = [7; 101];
    let mut count = 0;
    while count < 100 {
        table[count] = match count {
            0 => 0,
            1 => 1,
            2 => 2,
            3..=4 => 3,
            5..=8 => 4,
            9..=24 => 5,
            _ => 6,
        };
        count += 1;
    }
    table
}

/// A part of a whole in ten steps.
#[inline]
pub(crate) fn tenths(part: u16, whole: u16) -> usize {
    (usize::from(part) * 9)
        .checked_div(usize::from(whole))
        .map_or(0, |tenths| tenths.min(9))
}

/// Bits that a number takes.
#[inline]
pub(crate) fn bits(number: u32) -> usize {
    (u32::BITS - number.leading_zeros()) as usize
}
