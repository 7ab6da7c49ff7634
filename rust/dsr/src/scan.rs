//! Lists of short codes, and their scan in registers.
//!
//! A block holds 32 codes, transposed: 32 bytes with the first two parts of each code, then 32 with the next two. A
//! byte shuffle looks up 16 to 64 four-bit codes at once in a query's tables; sums are 16-bit integers, the same at
//! every level.

use crate::codes::{BLOCK, CENTROIDS, Tables};
use crate::simd::Level;

/// The codes of one neuron's members, and which row each belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct List {
    blocks: Vec<u8>,
    rows: Vec<u32>,
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows of its members, in the order of their codes.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Bytes that it takes: whole blocks, and as many rows as they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() + self.rows.len().next_multiple_of(BLOCK) * size_of::<u32>()
    }

    pub(crate) fn push(&mut self, row: u32, code: &[u8]) {
        let at = self.rows.len();
        if at.is_multiple_of(BLOCK) {
            // One block more, not twice the room: codes are most of what an entry costs.
            self.blocks.reserve_exact(BLOCK * code.len());
            self.blocks
                .resize(self.blocks.len() + BLOCK * code.len(), 0);
            self.rows.reserve_exact(BLOCK);
        }
        self.rows.push(row);
        self.write(at, code);
    }

    fn write(&mut self, at: usize, code: &[u8]) {
        let block = at / BLOCK * BLOCK * code.len();
        for (pair, byte) in code.iter().enumerate() {
            self.blocks[block + pair * BLOCK + at % BLOCK] = *byte;
        }
    }

    /// The code at a place, of `out.len()` bytes.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) {
        let block = at / BLOCK * BLOCK * out.len();
        for (pair, byte) in out.iter_mut().enumerate() {
            *byte = self.blocks[block + pair * BLOCK + at % BLOCK];
        }
    }

    /// Gives every member the row number that stands at its old one.
    pub(crate) fn rename(&mut self, moved: &[u32]) {
        for row in &mut self.rows {
            *row = moved[*row as usize];
        }
    }

    /// Takes a row out; the last member moves to its place. Whether it was there.
    pub(crate) fn remove(&mut self, row: u32, code_bytes: usize) -> bool {
        let Some(at) = self.rows.iter().position(|other| *other == row) else {
            return false;
        };
        let last = self.rows.len() - 1;
        let mut code = vec![0; code_bytes];
        if at < last {
            self.read(last, &mut code);
            self.write(at, &code);
            code.fill(0);
        }
        // What is unused is zero: equal lists have equal bytes.
        self.write(last, &code);
        self.rows.swap_remove(at);
        if last.is_multiple_of(BLOCK) {
            self.blocks.truncate(self.blocks.len() - BLOCK * code_bytes);
            self.blocks.shrink_to_fit();
            self.rows.shrink_to_fit();
        }
        true
    }

    /// Offers every member to `best`.
    #[cfg_attr(
        target_arch = "x86_64",
        expect(
            unsafe_code,
            reason = "calls what was compiled for instructions that this processor has"
        )
    )]
    pub(crate) fn scan(&self, level: Level, tables: &Tables, best: &mut Best) {
        let block_bytes = BLOCK * tables.entries().len() / CENTROIDS / 2;
        match level {
            Level::Portable => {
                for (block, rows) in self
                    .blocks
                    .chunks_exact(block_bytes)
                    .zip(self.rows.chunks(BLOCK))
                {
                    let sums = portable(block, tables.entries());
                    for (sum, row) in sums.into_iter().zip(rows) {
                        if sum > best.bar {
                            best.found.push(Best::pack(sum, *row));
                        }
                    }
                }
            }
            // SAFETY: `Level::detect` saw that this processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe {
                x86::scan_avx2(&self.blocks, &self.rows, tables.entries(), best)
            },
            // SAFETY: `Level::detect` saw that this processor has AVX-512 F, BW and VL.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe {
                x86::scan_avx512(&self.blocks, &self.rows, tables.wide(), best)
            },
        }
        best.settle(false);
    }
}

/// The sums of one block, written as the definition has it.
fn portable(block: &[u8], entries: &[u8]) -> [i16; BLOCK] {
    let mut sums = [0i16; BLOCK];
    for (bytes, tables) in block
        .chunks_exact(BLOCK)
        .zip(entries.chunks_exact(2 * CENTROIDS))
    {
        for (sum, byte) in sums.iter_mut().zip(bytes) {
            let even = tables[usize::from(byte & 15)];
            let odd = tables[CENTROIDS + usize::from(byte >> 4)];
            *sum += i16::from(even) + i16::from(odd);
        }
    }
    sums
}

/// The best rows seen so far: a buffer that is cut back to `keep` whenever it is four times as full, which raises the
/// bar for what comes later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Best {
    keep: usize,
    bar: i16,
    found: Vec<u64>,
}

impl Best {
    /// Starts anew, to keep that many.
    pub(crate) fn start(&mut self, keep: usize) {
        self.keep = keep.max(1);
        self.bar = -1;
        self.found.clear();
    }

    fn pack(sum: i16, row: u32) -> u64 {
        // The lower row wins among equals.
        (u64::from(sum as u16) << 32) | u64::from(!row)
    }

    fn settle(&mut self, last: bool) {
        if self.found.len() > self.keep && (last || self.found.len() >= 4 * self.keep) {
            self.found
                .select_nth_unstable_by(self.keep - 1, |a, b| b.cmp(a));
            self.found.truncate(self.keep);
            self.bar = (self.found[self.keep - 1] >> 32) as i16;
        }
    }

    /// The rows that were kept, at most `keep`, in no order.
    pub(crate) fn rows(&mut self) -> impl Iterator<Item = u32> {
        self.settle(true);
        self.found.iter().map(|packed| !(*packed as u32))
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads registers from slices of checked length")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Best};
    use crate::codes::CENTROIDS;

    /// Rows whose sums are above the bar, in order.
    #[inline(always)]
    fn offer(sums: [__m256i; 2], mut above: u32, rows: &[u32], best: &mut Best) {
        // SAFETY: 64 bytes of registers are 32 numbers of 16 bits.
        let sums: [i16; BLOCK] = unsafe { std::mem::transmute(sums) };
        while above != 0 {
            let at = above.trailing_zeros() as usize;
            above &= above - 1;
            if let Some(row) = rows.get(at) {
                best.found.push(Best::pack(sums[at], *row));
            }
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn scan_avx2(blocks: &[u8], rows: &[u32], entries: &[u8], best: &mut Best) {
        let low = _mm256_set1_epi8(15);
        let bar = _mm256_set1_epi16(best.bar);
        let pairs = entries.len() / CENTROIDS / 2;
        for (block, rows) in blocks.chunks_exact(pairs * BLOCK).zip(rows.chunks(BLOCK)) {
            let (mut all, mut upper) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (bytes, tables) in block
                .chunks_exact(BLOCK)
                .zip(entries.chunks_exact(2 * CENTROIDS))
            {
                // SAFETY: `bytes` is 32 bytes long, `tables` 2 x 16; unaligned loads.
                let (codes, even, odd) = unsafe {
                    (
                        _mm256_loadu_si256(bytes.as_ptr().cast()),
                        _mm_loadu_si128(tables.as_ptr().cast()),
                        _mm_loadu_si128(tables.as_ptr().add(CENTROIDS).cast()),
                    )
                };
                let evens = _mm256_shuffle_epi8(
                    _mm256_broadcastsi128_si256(even),
                    _mm256_and_si256(codes, low),
                );
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low);
                let odds = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(odd), high);
                // Entries are at most 127, so two add up within a byte.
                let both = _mm256_add_epi8(evens, odds);
                // As 16-bit numbers these sum byte 2i and 256 x byte 2i+1; the latter is summed apart and taken off.
                all = _mm256_add_epi16(all, both);
                upper = _mm256_add_epi16(upper, _mm256_srli_epi16::<8>(both));
            }
            let lower = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(upper));
            let first = _mm256_unpacklo_epi16(lower, upper);
            let second = _mm256_unpackhi_epi16(lower, upper);
            let sums = [
                _mm256_permute2x128_si256::<0x20>(first, second),
                _mm256_permute2x128_si256::<0x31>(first, second),
            ];
            let above = _mm256_packs_epi16(
                _mm256_cmpgt_epi16(sums[0], bar),
                _mm256_cmpgt_epi16(sums[1], bar),
            );
            let above = _mm256_permute4x64_epi64::<0b11_01_10_00>(above);
            offer(sums, _mm256_movemask_epi8(above) as u32, rows, best);
        }
    }

    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    pub(super) fn scan_avx512(blocks: &[u8], rows: &[u32], wide: &[u8], best: &mut Best) {
        let low = _mm512_set1_epi8(15);
        let bar = _mm256_set1_epi16(best.bar);
        let fours = wide.len() / 128;
        for (block, rows) in blocks
            .chunks_exact(fours * 2 * BLOCK)
            .zip(rows.chunks(BLOCK))
        {
            let (mut all, mut upper) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for (bytes, tables) in block.chunks_exact(2 * BLOCK).zip(wide.chunks_exact(128)) {
                // SAFETY: `bytes` is 64 bytes long, `tables` 2 x 64; unaligned loads.
                let (codes, even, odd) = unsafe {
                    (
                        _mm512_loadu_si512(bytes.as_ptr().cast()),
                        _mm512_loadu_si512(tables.as_ptr().cast()),
                        _mm512_loadu_si512(tables.as_ptr().add(64).cast()),
                    )
                };
                let evens = _mm512_shuffle_epi8(even, _mm512_and_si512(codes, low));
                let odds =
                    _mm512_shuffle_epi8(odd, _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low));
                // As for 32-byte registers; here the halves of a register hold different parts of the same codes.
                let both = _mm512_add_epi8(evens, odds);
                all = _mm512_add_epi16(all, both);
                upper = _mm512_add_epi16(upper, _mm512_srli_epi16::<8>(both));
            }
            let all = _mm256_add_epi16(
                _mm512_castsi512_si256(all),
                _mm512_extracti64x4_epi64::<1>(all),
            );
            let upper = _mm256_add_epi16(
                _mm512_castsi512_si256(upper),
                _mm512_extracti64x4_epi64::<1>(upper),
            );
            let lower = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(upper));
            let first = _mm256_unpacklo_epi16(lower, upper);
            let second = _mm256_unpackhi_epi16(lower, upper);
            let sums = [
                _mm256_permute2x128_si256::<0x20>(first, second),
                _mm256_permute2x128_si256::<0x31>(first, second),
            ];
            let above = u32::from(_mm256_cmpgt_epi16_mask(sums[0], bar))
                | u32::from(_mm256_cmpgt_epi16_mask(sums[1], bar)) << 16;
            offer(sums, above, rows, best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Codebook;
    use crate::random::Random;

    /// A query's tables and a list of seeded codes.
    fn example(dims: usize, count: usize, seed: u64) -> (Tables, List) {
        let mut random = Random::new(seed);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count)
                .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
                .collect()
        };
        let book = Codebook::train(Level::Portable, dims, &numbers(64 * dims), seed);
        let mut tables = Tables::default();
        book.tables(Level::Portable, &numbers(dims), &mut tables);
        let mut list = List::default();
        let mut code = vec![0; book.code_bytes()];
        for row in 0..count {
            book.encode(Level::Portable, &numbers(dims), &mut code);
            list.push(row as u32, &code);
        }
        (tables, list)
    }

    #[test]
    fn every_level_keeps_the_same_rows() {
        for (dims, count, keep) in [(2, 5, 3), (9, 33, 8), (100, 1000, 40), (600, 100, 10)] {
            let (tables, list) = example(dims, count, 7);
            let kept = |level| {
                let mut best = Best::default();
                best.start(keep);
                list.scan(level, &tables, &mut best);
                list.scan(level, &tables, &mut best);
                let mut rows: Vec<u32> = best.rows().collect();
                rows.sort_unstable();
                rows
            };
            let expected = kept(Level::Portable);
            assert_eq!(expected.len(), keep);
            for level in Level::all() {
                assert_eq!(kept(level), expected, "{level:?} {dims}");
            }
        }
    }

    #[test]
    fn removal_keeps_the_others() {
        let (_, mut list) = example(10, 200, 9);
        let mut random = Random::new(4);
        let mut codes: Vec<(u32, Vec<u8>)> = (0..200)
            .map(|at| {
                let mut code = vec![0; 6 / 2 + 1];
                list.read(at, &mut code);
                (at as u32, code)
            })
            .collect();
        while !codes.is_empty() {
            let (row, _) = codes.swap_remove(random.below(codes.len()));
            assert!(list.remove(row, 4));
            assert!(!list.remove(row, 4));
            let mut code = vec![0; 4];
            for (at, (row, expected)) in codes.iter().enumerate() {
                list.read(at, &mut code);
                assert_eq!((list.rows()[at], &code), (*row, expected));
            }
        }
        assert_eq!(list.blocks.len(), 0);
    }
}
