//! AVX2: eight channels a register, `vpmaddwd`.

use core::arch::x86_64::*;
use core::hint::black_box;
use core::ops::Range;
use std::is_x86_feature_detected;

use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use crate::kernels::attention::attend;
use crate::kernels::panel::{Lanes, Panel, Words};
use crate::kernels::portable::float;
use crate::kernels::tiles::{Tile, arrange};
use crate::scalar::product::quantize_row;
use crate::scalar::readout::Statistics;
use crate::scalar::rms_norm::rms_norm;
use crate::scalar::swiglu::swiglu;
use mobiedit_backends::checked::AttentionInputs;

/// Proof that the CPU has AVX2.
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, where it is true.
    pub(crate) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

super::kernels!(Avx2, "avx2", ROWS, integer, spin);

/// As many chains as hide the latencies.
const CHAINS: usize = 12;

#[target_feature(enable = "avx2")]
fn spin(rounds: usize) -> u64 {
    let factor = _mm256_set1_epi16(black_box(3));
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum as a factor too: a product that never changes would be taken out of the loop.
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(factor, *sum));
        }
    }
    black_box(sums);
    (rounds * CHAINS * 16) as u64
}

/// Six rows of two registers each, so that 12 sums, a pair of 16 channels, an activation and a product fill the 16 registers.
/// The totals stay in memory.
const ROWS: usize = 6;

#[target_feature(enable = "avx2")]
fn integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
    crate::kernels::for_rows!(tile, [1 2 3 4 5 6], panel, x, totals);
}

/// The product for `R` rows: first of the lower 16 channels, then of the upper. Each weight is loaded once for all rows.
#[target_feature(enable = "avx2")]
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    for half in 0..2 {
        let mut x_words = x.words.as_chunks::<R>().0;
        let mut x_sums = x.sums.as_chunks::<R>().0.iter();
        // Loops, not closures: those would not be compiled with the level's features.
        for block in panel.blocks() {
            let (words, behind) = x_words.split_at(block.words.len());
            x_words = behind;
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            for (weights, x) in block.words.iter().zip(words) {
                let weights = load_words(weights, half);
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = _mm256_set1_epi32(*x);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, x));
                    }
                }
            }
            let (scales, x_sums) = (load(block.scales, half), x_sums.next());
            for (row, (total, sums)) in totals.iter_mut().zip(sums).enumerate() {
                let mut terms = [
                    _mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), scales[0]),
                    _mm256_mul_ps(_mm256_cvtepi32_ps(sums[1]), scales[1]),
                ];
                if let (Some(minima), Some(x_sums)) = (block.minima, x_sums) {
                    let (minima, x_sum) = (load(minima, half), _mm256_set1_ps(x_sums[row]));
                    for (term, minimum) in terms.iter_mut().zip(minima) {
                        *term = _mm256_sub_ps(*term, _mm256_mul_ps(x_sum, minimum));
                    }
                }
                let so_far = load(total, half);
                store([_mm256_add_ps(so_far[0], terms[0]), _mm256_add_ps(so_far[1], terms[1])], total, half);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn load_words(words: &Words, half: usize) -> [__m256i; 2] {
    let start: *const __m256i = words.0.as_chunks::<16>().0[half].as_ptr().cast();
    // SAFETY: 16 words are 64 readable bytes; unaligned loads of their two halves stay inside.
    unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
}

#[target_feature(enable = "avx2")]
fn load(lanes: &Lanes, half: usize) -> [__m256; 2] {
    let start = lanes.0.as_chunks::<16>().0[half].as_ptr();
    // SAFETY: 16 readable f32; unaligned loads of their two halves stay inside.
    unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))] }
}

#[target_feature(enable = "avx2")]
fn store([low, high]: [__m256; 2], lanes: &mut Lanes, half: usize) {
    let start = lanes.0.as_chunks_mut::<16>().0[half].as_mut_ptr();
    // SAFETY: 16 writable f32, borrowed exclusively; unaligned stores to their two halves stay inside.
    unsafe {
        _mm256_storeu_ps(start, low);
        _mm256_storeu_ps(start.add(8), high);
    }
}
