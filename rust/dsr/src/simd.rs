//! Which vector instructions a well computes with, and the arithmetic kernels.
//!
//! Every kernel is one body that is compiled several times: plain, for AVX2, for AVX-512. Floating-point kernels
//! fix the order of their sums (one sum per lane, multiply and add rounded apart, lanes folded in a fixed tree) and
//! integer kernels are exact, so **all levels give identical results**, bit for bit.

/// Neurons of one group: their weights lie side by side, so that one load serves as many sums.
pub(crate) const GROUP: usize = 64;

/// Numbers that a row of bytes is read in at a time; a row may be read so far past its end.
pub(crate) const STRIDE: usize = 32;

/// The instructions that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every target has.
    Portable,
    /// 32-byte registers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64-byte registers with byte shuffles.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this processor has; the plain one when asked for.
    pub(crate) fn detect(portable: bool) -> Self {
        if portable {
            return Self::Portable;
        }
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2");
            if avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this processor has: for tests that compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        match Self::detect(false) {
            Self::Avx512 => levels.extend([Self::Avx2, Self::Avx512]),
            Self::Avx2 => levels.push(Self::Avx2),
            Self::Portable => {}
        }
        levels
    }
}

/// Compiles one body for every level and picks at run time.
macro_rules! kernel {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        #[inline]
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls what was compiled for instructions that this processor has")
        )]
        $vis fn $name(level: $crate::simd::Level, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match level {
                    $crate::simd::Level::Portable => {}
                    // SAFETY: `Level::detect` saw that this processor has AVX2.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: `Level::detect` saw that this processor has AVX2 and AVX-512 F, BW and VL.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                }
            }
            let _ = level;
            $body($($arg),*)
        }
    };
}
pub(crate) use kernel;

kernel! {
    /// `out[j]` = inner product of `input` with the weights of neuron `j`.
    ///
    /// `weights` holds groups of [`GROUP`] neurons; in a group, the weights for one input number lie side by side.
    pub(crate) fn excite(weights: &[f32], input: &[f32], out: &mut [f32]) = excite_body
}

#[inline(always)]
fn excite_body(weights: &[f32], input: &[f32], out: &mut [f32]) {
    let groups = weights.chunks_exact(input.len() * GROUP);
    for (group, out) in groups.zip(out.chunks_exact_mut(GROUP)) {
        let mut sums = [0.0f32; GROUP];
        for (x, row) in input.iter().zip(group.chunks_exact(GROUP)) {
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum += x * weight;
            }
        }
        out.copy_from_slice(&sums);
    }
}

kernel! {
    /// Inner product of two vectors of one length.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (mut left, mut right) = (a.chunks_exact(16), b.chunks_exact(16));
    for (a, b) in (&mut left).zip(&mut right) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in left.remainder().iter().zip(right.remainder()).enumerate() {
        sums[lane & 15] += a * b;
    }
    let mut width = 8;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

kernel! {
    /// Inner product of a query of 16-bit numbers, filled up with zeros to a multiple of [`STRIDE`], with a row of
    /// 8-bit numbers. What follows the row in memory is read and multiplied by those zeros.
    ///
    /// Exact: |query| ≤ 2047 and at most 4,096 numbers keep the sum within 31 bits.
    pub(crate) fn dot_i8(query: &[i16], row: &[i8]) -> i32 = dot_i8_body
}

#[inline(always)]
fn dot_i8_body(query: &[i16], row: &[i8]) -> i32 {
    let mut sums = [0i32; STRIDE];
    for (q, x) in query.chunks_exact(STRIDE).zip(row.chunks_exact(STRIDE)) {
        for lane in 0..STRIDE {
            sums[lane] += i32::from(q[lane]) * i32::from(x[lane]);
        }
    }
    sums.iter().sum()
}

kernel! {
    /// [`dot_i8`] of a query with rows that stand `dims` apart.
    pub(crate) fn dots_i8(query: &[i16], rows: &[i8], dims: usize, out: &mut [i32]) = dots_i8_body
}

#[inline(always)]
fn dots_i8_body(query: &[i16], rows: &[i8], dims: usize, out: &mut [i32]) {
    for (at, sum) in out.iter_mut().enumerate() {
        *sum = dot_i8_body(query, &rows[at * dims..][..query.len()]);
    }
}

kernel! {
    /// [`dot`] of a query with rows that stand side by side.
    pub(crate) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) = dots_body
}

#[inline(always)]
fn dots_body(query: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, sum) in rows.chunks_exact(query.len()).zip(out) {
        *sum = dot_body(query, row);
    }
}

/// Asks the processor to bring the first `length` of some numbers closer; changes nothing else.
#[inline]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the hint takes a pointer")
)]
pub(crate) fn prefetch<T>(numbers: &[T], length: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..length.min(numbers.len())).step_by(64 / size_of::<T>()) {
        // SAFETY: prefetching is a hint that reads nothing, and the address is inside the slice.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                numbers.as_ptr().add(at).cast(),
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn numbers(random: &mut Random, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| (random.number() >> 40) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        let mut random = Random::new(5);
        for dims in [1, 2, 15, 16, 17, 31, 100, 128, 333] {
            let (a, b) = (numbers(&mut random, dims), numbers(&mut random, dims));
            let weights = numbers(&mut random, dims * GROUP * 3);
            let query: Vec<i16> = (0..dims.next_multiple_of(STRIDE))
                .map(|at| {
                    if at < dims {
                        (random.below(4095) as i16) - 2047
                    } else {
                        0
                    }
                })
                .collect();
            let row: Vec<i8> = (0..query.len()).map(|_| random.number() as i8).collect();
            let mut expected = vec![0.0; 3 * GROUP];
            excite(Level::Portable, &weights, &a, &mut expected);
            for level in Level::all() {
                assert_eq!(
                    dot(level, &a, &b).to_bits(),
                    dot(Level::Portable, &a, &b).to_bits()
                );
                let plain: i32 = (0..dims)
                    .map(|i| i32::from(query[i]) * i32::from(row[i]))
                    .sum();
                assert_eq!(dot_i8(level, &query, &row), plain);
                let mut out = vec![0.0; 3 * GROUP];
                excite(level, &weights, &a, &mut out);
                assert_eq!(out, expected, "{level:?}, {dims} numbers");
            }
            // One neuron by hand.
            let by_hand = (0..dims).fold(0.0f32, |sum, i| sum + a[i] * weights[i * GROUP + 3]);
            assert_eq!(expected[3], by_hand);
        }
    }
}
