//! Text and other bytes as vectors, so that DSR can compare them: hashed n-grams, without anything learned.
//!
//! Every run of 3 to 5 bytes that does not leave a word (letters and digits; ASCII in lower case; `<` and `>` at its ends, as
//! in subword models) is a feature; so is every pair of neighbouring words. A feature adds `1 + ln(count)` to one of
//! [`DIMENSIONS`] numbers, with a sign, both by its hash (Weinberger et al. 2009: the cosine of such vectors estimates the
//! cosine over all features). The vector has length 1. Typing mistakes, endings and word order change it little; synonyms
//! are strangers. The same bytes give the same vector anywhere: it is kept in journals.

use std::collections::HashMap;

/// Numbers of a vector.
pub const DIMENSIONS: usize = 256;
/// Content is looked at up to here.
const BYTES_MAX: usize = 1 << 20;
const GRAM: std::ops::RangeInclusive<usize> = 3..=5;
/// A longer word is cut: text without blanks, or no text at all.
const WORD_BYTES: usize = 32;

/// The vector of some content; `None` where there is no word in it.
pub fn gist(content: &[u8]) -> Option<Vec<f32>> {
    let content = &content[..content.len().min(BYTES_MAX)];
    let mut counts: HashMap<u64, u32> = HashMap::new();
    let mut before: Option<u64> = None;
    let mut framed = Vec::with_capacity(WORD_BYTES + 2);
    for word in words(content) {
        framed.clear();
        framed.push(b'<');
        framed.extend(word.iter().map(u8::to_ascii_lowercase));
        framed.push(b'>');
        for length in GRAM {
            for gram in framed.windows(length) {
                *counts.entry(hash(gram)).or_default() += 1;
            }
        }
        let whole = hash(&framed);
        if let Some(before) = before {
            let pair = mix(before.rotate_left(17) ^ whole);
            *counts.entry(pair).or_default() += 1;
        }
        before = Some(whole);
    }
    let mut sums = [0.0_f64; DIMENSIONS];
    // Sums of floats depend on their order, and a map has none.
    let mut counts: Vec<(u64, u32)> = counts.into_iter().collect();
    counts.sort_unstable();
    for (feature, count) in counts {
        let weight = 1.0 + f64::from(count).ln();
        let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
        sums[feature as usize % DIMENSIONS] += sign * weight;
    }
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    (length > 0.0).then(|| sums.iter().map(|sum| (sum / length) as f32).collect())
}

/// Runs of letters and digits; bytes above ASCII are letters.
fn words(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content
        .split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
        .flat_map(|run| run.chunks(WORD_BYTES))
        .filter(|word| !word.is_empty())
}

/// FNV-1a, and a finish that spreads it over all bits.
fn hash(bytes: &[u8]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325_u64;
    mix(bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// The finish of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(one: &str, other: &str) -> f32 {
        let (one, other) = (
            gist(one.as_bytes()).unwrap(),
            gist(other.as_bytes()).unwrap(),
        );
        one.iter().zip(&other).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn what_is_nearly_the_same_is_near() {
        let text = "the quick brown fox jumps over the lazy dog";
        assert!((cosine(text, "The quick, brown fox jumps over the lazy dog!") - 1.0).abs() < 1e-5);
        assert!(cosine(text, "the quick brown foxes jumped over a lazy dog") > 0.7);
        assert!(cosine(text, "teh quick brown fox jumps over the lazy dog") > 0.8);
        let other = "a route is direct or through one relay, with its latency";
        assert!(cosine(text, other).abs() < 0.3);
    }

    #[test]
    fn content_without_words_has_none() {
        assert_eq!(gist(b""), None);
        assert_eq!(gist(b" \n--- "), None);
        assert!(gist(b"a").is_some());
        assert!(gist(&[0xff; 3]).is_some());
    }

    #[test]
    fn a_vector_stays_what_it_is() {
        // Kept in journals: a change here needs another pool.
        let vector = gist(b"the quick brown fox").unwrap();
        let sum: f64 = vector
            .iter()
            .zip(1..)
            .map(|(x, at)| f64::from(*x) * f64::from(at))
            .sum();
        assert!((sum - GOLDEN).abs() < 1e-4, "{sum}");
    }

    const GOLDEN: f64 = 208.160_552;
}
