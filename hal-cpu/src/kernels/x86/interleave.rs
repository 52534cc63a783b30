//! A panel's pairs side by side, in AVX2.

use core::arch::x86_64::*;

use crate::kernels::panel::{CHANNELS, Words};
use crate::scalar::integer::BLOCK;

/// Channels at a time.
const HALF: usize = CHANNELS / 2;

/// [`interleave`](crate::kernels::panel::interleave).
#[target_feature(enable = "avx2")]
pub(super) fn interleave(levels: &[[i8; BLOCK]; CHANNELS], words: &mut [Words; BLOCK / 2]) {
    for (half, levels) in levels.as_chunks::<HALF>().0.iter().enumerate() {
        let mut rows = [_mm256_setzero_si256(); HALF];
        for (row, levels) in rows.iter_mut().zip(levels) {
            // SAFETY: 32 readable bytes.
            *row = unsafe { _mm256_loadu_si256(levels.as_ptr().cast()) };
        }
        // Each half of a register has 8 pairs. Row, 4 bits, and pair, 3 bits, make one number: a step turns it by one bit, so
        // that after four the pairs are outside, and rows of one pair side by side.
        for _ in 0..4 {
            let before = rows;
            for (i, out) in rows.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let (first, second) = (before[i], before[i + 8]);
                *out = [_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)];
            }
        }
        let (low, high) = words.split_at_mut(BLOCK / 4);
        for ((row, low), high) in rows.as_chunks::<2>().0.iter().zip(low).zip(high) {
            for (quarter, row) in row.iter().enumerate() {
                let at = half * 2 + quarter;
                store(_mm256_castsi256_si128(*row), &mut low.0.as_chunks_mut::<8>().0[at]);
                store(_mm256_extracti128_si256::<1>(*row), &mut high.0.as_chunks_mut::<8>().0[at]);
            }
        }
    }
}

/// Sign-extends 8 pairs of bytes.
#[target_feature(enable = "avx2")]
fn store(bytes: __m128i, pairs: &mut [[i16; 2]; 8]) {
    // SAFETY: 32 writable bytes.
    unsafe { _mm256_storeu_si256(pairs.as_mut_ptr().cast(), _mm256_cvtepi8_epi16(bytes)) }
}
