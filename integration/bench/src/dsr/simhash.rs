//! SimHash (Charikar 2002): signs of random projections, compared by Hamming distance, linear in the entries.

use hypermesh_testkit::Random;

/// 64 bytes.
const WORDS: usize = 8;

/// Codes of all entries, and the projections.
#[derive(Debug)]
pub(crate) struct SimHash {
    planes: Vec<f32>,
    codes: Vec<[u64; WORDS]>,
}

impl SimHash {
    pub(crate) fn build(base: &[f32], dims: usize) -> Self {
        let mut random = Random::new(4);
        // The sum of four uniform numbers: near enough to a bell for a direction.
        let mut bell =
            || (0..4).map(|_| random.below(1 << 20) as f32).sum::<f32>() / (1 << 20) as f32 - 2.0;
        let mut hash = Self {
            planes: (0..WORDS * 64 * dims).map(|_| bell()).collect(),
            codes: Vec::new(),
        };
        hash.codes = base
            .chunks_exact(dims)
            .map(|vector| hash.code(vector))
            .collect();
        hash
    }

    fn code(&self, vector: &[f32]) -> [u64; WORDS] {
        let mut code = [0; WORDS];
        for (bit, plane) in self.planes.chunks_exact(vector.len()).enumerate() {
            let side = plane.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>() > 0.0;
            code[bit / 64] |= u64::from(side) << (bit % 64);
        }
        code
    }

    /// The `count` entries with the nearest codes, nearest first.
    pub(crate) fn nearest(&self, query: &[f32], count: usize) -> Vec<u64> {
        let code = self.code(query);
        let mut all: Vec<(u32, u64)> = (0..)
            .zip(&self.codes)
            .map(|(id, other)| {
                (
                    code.iter()
                        .zip(other)
                        .map(|(a, b)| (a ^ b).count_ones())
                        .sum(),
                    id,
                )
            })
            .collect();
        if count < all.len() {
            all.select_nth_unstable(count);
            all.truncate(count);
        }
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }
}
