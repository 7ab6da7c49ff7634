//! Short codes: product quantisation with 16 centroids per part, four bits each (Jégou, Douze, Schmid 2011; the
//! four-bit form and its scan in registers are André, Kermarrec, Le Scouarnec 2015).
//!
//! A vector is cut into parts of a few numbers; a part's code is the nearest of 16 learned centroids. Codes describe
//! the vector itself, not its distance from a prototype: prototypes may move without making a code wrong.

use crate::random::Random;
use crate::simd::{Level, kernel};

/// Centroids of one part: what four bits can name.
pub(crate) const CENTROIDS: usize = 16;
/// Codes of one block: one register's worth.
pub(crate) const BLOCK: usize = 32;
/// Most parts: the sum of their table entries fits 15 bits.
const PARTS_MAX: usize = 256;
/// The greatest table entry: two add up within a byte.
const ENTRY_MAX: f32 = 127.0;
/// Rounds of k-means for the centroids; the error has settled long before.
const ROUNDS: usize = 12;

/// The centroids of every part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Codebook {
    /// Numbers of a vector.
    dims: usize,
    /// Numbers of a part.
    width: usize,
    /// Parts, a multiple of four; what lies beyond `dims` is zero.
    parts: usize,
    /// `[part][number][centroid]`.
    centroids: Vec<f32>,
}

/// Parts and numbers per part: two numbers each, more where there would be too many parts.
pub(crate) fn shape(dims: usize) -> (usize, usize) {
    let width = dims.div_ceil(PARTS_MAX).max(2);
    (dims.div_ceil(width).next_multiple_of(4), width)
}

impl Codebook {
    /// Learns centroids from `sample`, row after row of `dims` numbers.
    pub(crate) fn train(level: Level, dims: usize, sample: &[f32], seed: u64) -> Self {
        let (parts, width) = shape(dims);
        let rows = sample.len() / dims.max(1);
        let mut book = Self {
            dims,
            width,
            parts,
            centroids: vec![0.0; parts * width * CENTROIDS],
        };
        let mut random = Random::new(seed);
        let mut points = vec![0.0f32; rows * width];
        let mut nearest = vec![0u8; rows];
        for part in 0..dims.div_ceil(width) {
            for row in 0..rows {
                for number in 0..width {
                    let at = part * width + number;
                    points[row * width + number] = if at < dims {
                        sample[row * dims + at]
                    } else {
                        0.0
                    };
                }
            }
            let table = &mut book.centroids[part * width * CENTROIDS..][..width * CENTROIDS];
            learn_part(level, table, &points, &mut nearest, width, &mut random);
        }
        book
    }

    /// From a snapshot's numbers; `None` when they do not fit the shape.
    pub(crate) fn from_parts(dims: usize, centroids: Vec<f32>) -> Option<Self> {
        let (parts, width) = shape(dims);
        (centroids.len() == parts * width * CENTROIDS).then_some(Self {
            dims,
            width,
            parts,
            centroids,
        })
    }

    pub(crate) fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// Bytes of one code.
    pub(crate) fn code_bytes(&self) -> usize {
        self.parts / 2
    }

    /// Bytes that the book takes.
    pub(crate) fn bytes(&self) -> usize {
        self.centroids.len() * size_of::<f32>()
    }

    /// Writes the code of a vector, two parts to a byte, and gives the squared distance of what it stands for.
    pub(crate) fn encode(&self, level: Level, vector: &[f32], code: &mut [u8]) -> f32 {
        encode(level, vector, &self.centroids, self.width, code)
    }

    /// The tables of a query: for every part and centroid how much it adds to the inner product.
    pub(crate) fn tables(&self, level: Level, query: &[f32], tables: &mut Tables) {
        tables.exact.clear();
        tables.exact.resize(self.parts * CENTROIDS, 0.0);
        contributions(level, query, &self.centroids, self.width, &mut tables.exact);
        tables.quantise();
    }
}

/// One part's k-means: the centroids of `table`, `[number][centroid]`, from points of `width` numbers.
fn learn_part(
    level: Level,
    table: &mut [f32],
    points: &[f32],
    nearest: &mut [u8],
    width: usize,
    random: &mut Random,
) {
    let rows = nearest.len();
    for centroid in 0..CENTROIDS {
        let row = random.below(rows);
        for number in 0..width {
            table[number * CENTROIDS + centroid] = points[row * width + number];
        }
    }
    for _ in 0..ROUNDS {
        assign(level, points, table, width, nearest);
        let mut sums = vec![0.0f32; width * CENTROIDS];
        let mut counts = [0u32; CENTROIDS];
        for (point, code) in points.chunks_exact(width).zip(nearest.iter()) {
            let centroid = usize::from(*code);
            counts[centroid] += 1;
            for (number, x) in point.iter().enumerate() {
                sums[number * CENTROIDS + centroid] += x;
            }
        }
        for (centroid, count) in counts.iter().enumerate() {
            // A centroid that nobody chose starts again at some point.
            let row = random.below(rows);
            for number in 0..width {
                let at = number * CENTROIDS + centroid;
                table[at] = match count {
                    0 => points[row * width + number],
                    count => sums[at] / *count as f32,
                };
            }
        }
    }
}

kernel! {
    fn assign(points: &[f32], table: &[f32], width: usize, nearest: &mut [u8]) = assign_body
}

#[inline(always)]
fn assign_body(points: &[f32], table: &[f32], width: usize, nearest: &mut [u8]) {
    for (point, code) in points.chunks_exact(width).zip(nearest) {
        *code = closest(point, table).0;
    }
}

/// The nearest centroid, the first of equals, and its squared distance.
#[inline(always)]
fn closest(point: &[f32], table: &[f32]) -> (u8, f32) {
    let mut distances = [0.0f32; CENTROIDS];
    for (x, row) in point.iter().zip(table.chunks_exact(CENTROIDS)) {
        for (distance, centroid) in distances.iter_mut().zip(row) {
            let difference = x - centroid;
            *distance += difference * difference;
        }
    }
    let mut best = distances[0];
    for distance in &distances[1..] {
        best = if *distance < best { *distance } else { best };
    }
    let mut code = 0;
    for (at, distance) in distances.iter().enumerate().rev() {
        if *distance == best {
            code = at as u8;
        }
    }
    (code, best)
}

kernel! {
    fn encode(vector: &[f32], centroids: &[f32], width: usize, code: &mut [u8]) -> f32 = encode_body
}

#[inline(always)]
fn encode_body(vector: &[f32], centroids: &[f32], width: usize, code: &mut [u8]) -> f32 {
    let table = width * CENTROIDS;
    let mut error = 0.0;
    code.fill(0);
    for (part, point) in vector.chunks(width).enumerate() {
        let (nearest, distance) = closest(point, &centroids[part * table..][..table]);
        code[part / 2] |= nearest << (4 * (part % 2));
        error += distance;
    }
    error
}

kernel! {
    fn contributions(query: &[f32], centroids: &[f32], width: usize, out: &mut [f32]) = contributions_body
}

#[inline(always)]
fn contributions_body(query: &[f32], centroids: &[f32], width: usize, out: &mut [f32]) {
    let tables = centroids.chunks_exact(width * CENTROIDS);
    for ((part, table), out) in query
        .chunks(width)
        .zip(tables)
        .zip(out.chunks_exact_mut(CENTROIDS))
    {
        for (x, row) in part.iter().zip(table.chunks_exact(CENTROIDS)) {
            for (sum, centroid) in out.iter_mut().zip(row) {
                *sum += x * centroid;
            }
        }
    }
}

/// A query's tables, as bytes that registers can look up in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    exact: Vec<f32>,
    /// `[part][centroid]`.
    entries: Vec<u8>,
    /// The same for 64-byte registers: per four parts the even ones twice, then the odd ones twice.
    wide: Vec<u8>,
}

impl Tables {
    /// One scale for all parts, so that sums compare; each part starts at its own least entry.
    fn quantise(&mut self) {
        let mut range = 0.0f32;
        for part in self.exact.chunks_exact(CENTROIDS) {
            let least = part.iter().copied().fold(f32::INFINITY, f32::min);
            let most = part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            range = range.max(most - least);
        }
        let scale = if range > 0.0 { ENTRY_MAX / range } else { 0.0 };
        self.entries.resize(self.exact.len(), 0);
        for (part, entries) in self
            .exact
            .chunks_exact(CENTROIDS)
            .zip(self.entries.chunks_exact_mut(CENTROIDS))
        {
            let least = part.iter().copied().fold(f32::INFINITY, f32::min);
            for (value, entry) in part.iter().zip(entries) {
                *entry = ((value - least) * scale + 0.5) as u8;
            }
        }
        self.wide.clear();
        for four in self.entries.chunks_exact(4 * CENTROIDS) {
            for first in [0, 1] {
                for pair in [0, 2] {
                    let table = &four[(first + pair) * CENTROIDS..][..CENTROIDS];
                    self.wide.extend_from_slice(table);
                    self.wide.extend_from_slice(table);
                }
            }
        }
    }

    pub(crate) fn entries(&self) -> &[u8] {
        &self.entries
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn wide(&self) -> &[u8] {
        &self.wide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cover_every_vector() {
        for dims in 1..=4096 {
            let (parts, width) = shape(dims);
            assert!(
                parts * width >= dims && parts % 4 == 0 && parts <= PARTS_MAX,
                "{dims}"
            );
        }
        assert_eq!(shape(100), (52, 2));
    }

    #[test]
    fn codes_stand_for_what_is_near() {
        let mut random = Random::new(3);
        let dims = 7;
        let sample: Vec<f32> = (0..500 * dims)
            .map(|_| random.below(1000) as f32 / 500.0 - 1.0)
            .collect();
        let book = Codebook::train(Level::Portable, dims, &sample, 1);
        let mut code = vec![0; book.code_bytes()];
        let mut other = code.clone();
        let (mut error, mut norm) = (0.0, 0.0);
        for row in sample.chunks_exact(dims) {
            error += book.encode(Level::Portable, row, &mut code);
            norm += row.iter().map(|x| x * x).sum::<f32>();
            for level in Level::all() {
                book.encode(level, row, &mut other);
                assert_eq!(code, other);
            }
            // The dumb version: what the code stands for is the nearest centroid of every part.
            for (part, point) in row.chunks(2).enumerate() {
                let table = &book.centroids[part * 32..][..32];
                let distance = |c: usize| -> f32 {
                    point
                        .iter()
                        .enumerate()
                        .map(|(n, x)| (x - table[n * 16 + c]).powi(2))
                        .sum()
                };
                let chosen = usize::from(code[part / 2] >> (4 * (part % 2)) & 15);
                assert!((0..16).all(|c| distance(chosen) <= distance(c)));
            }
        }
        assert!(error < 0.1 * norm, "{error} of {norm}");
    }
}
