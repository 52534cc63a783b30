//! AVX2: eight channels a register, `vpmaddwd`.

use core::arch::x86_64::*;
use core::hint::black_box;
use std::is_x86_feature_detected;

use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use crate::kernels::panel::{Lanes, Pairs, Panel, PanelBlock, pack};
use crate::kernels::portable::float;
use crate::scalar::attention::attend;
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

super::kernels!(Avx2, "avx2", integer, spin);

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

/// All rows: four at a time, then one at a time.
#[target_feature(enable = "avx2")]
fn integer(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]) {
    let (tiles, rest) = out.as_chunks_mut();
    let blocks = panel.blocks.len();
    let (tiled, single) = x.split_at(tiles.len() * 4 * blocks);
    for (x, out) in tiled.parts(4 * blocks).zip(tiles) {
        tile::<4>(panel, x, out);
    }
    for (x, out) in single.parts(blocks).zip(rest) {
        tile::<1>(panel, x, core::array::from_mut(out));
    }
}

/// The product for `ROWS` rows; each weight is loaded once for all of them.
#[target_feature(enable = "avx2")]
fn tile<const ROWS: usize>(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes; ROWS]) {
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
    let blocks = panel.blocks.len();
    for (index, block) in panel.blocks.iter().enumerate() {
        // Loops, not closures: those would not be compiled with the level's features.
        let mut inputs = [&[0; 16]; ROWS];
        for (input, x) in inputs.iter_mut().zip(x.pairs.iter().skip(index).step_by(blocks)) {
            *input = x;
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        for (pair, weights) in block.pairs.iter().enumerate() {
            let weights = load_pairs(weights);
            for (sums, x) in sums.iter_mut().zip(inputs) {
                let x = _mm256_set1_epi32(x[pair]);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, x));
                }
            }
        }
        let scales = load(&block.scales);
        for (row, (totals, sums)) in totals.iter_mut().zip(sums).enumerate() {
            for (half, ((total, sum), scale)) in totals.iter_mut().zip(sums).zip(scales).enumerate() {
                let mut term = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
                if let (Some(minima), Some(x_sum)) = (panel.minima.get(index), x.sums.get(row * blocks + index)) {
                    term = _mm256_sub_ps(term, _mm256_mul_ps(_mm256_set1_ps(*x_sum), load(minima)[half]));
                }
                *total = _mm256_add_ps(*total, term);
            }
        }
    }
    for (out, totals) in out.iter_mut().zip(totals) {
        store(totals, out);
    }
}

#[target_feature(enable = "avx2")]
fn load_pairs(pairs: &[[i16; 2]; 16]) -> [__m256i; 2] {
    let start: *const __m256i = pairs.as_ptr().cast();
    // SAFETY: `pairs` is 64 readable bytes; unaligned loads of its two halves stay inside.
    unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
}

#[target_feature(enable = "avx2")]
fn load(lanes: &Lanes) -> [__m256; 2] {
    let start = lanes.as_ptr();
    // SAFETY: `lanes` is 16 readable f32; unaligned loads of its two halves stay inside.
    unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))] }
}

#[target_feature(enable = "avx2")]
fn store([low, high]: [__m256; 2], lanes: &mut Lanes) {
    let start = lanes.as_mut_ptr();
    // SAFETY: `lanes` is 16 writable f32, borrowed exclusively; unaligned stores to its two halves stay inside.
    unsafe {
        _mm256_storeu_ps(start, low);
        _mm256_storeu_ps(start.add(8), high);
    }
}
