//! AVX-512 with VNNI: sixteen channels a register, `vpdpwssd`.

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

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI.
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, where it is true.
    pub(crate) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has_all.then_some(Self(()))
    }
}

super::kernels!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", ROWS, integer, spin);

/// As many chains as hide the latency.
const CHAINS: usize = 16;

#[target_feature(enable = "avx512f,avx512vnni")]
fn spin(rounds: usize) -> u64 {
    let factor = _mm512_set1_epi16(black_box(3));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum as a factor too: a product that never changes would be taken out of the loop.
            *sum = _mm512_dpwssd_epi32(*sum, factor, *sum);
        }
    }
    black_box(sums);
    (rounds * CHAINS * 32) as u64
}

/// Twelve rows of two registers each, so that 24 sums, a pair of every channel and an activation fill the 32 registers. The
/// totals stay in memory.
const ROWS: usize = 12;
/// Pairs of activations that are fetched in advance: 1 KiB.
const AHEAD: usize = 256;

#[target_feature(enable = "avx512f,avx512vnni")]
fn integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
    crate::kernels::for_rows!(tile, [1 2 3 4 5 6 7 8 9 10 11 12], panel, x, totals);
}

/// The product for `R` rows; each weight is loaded once for all of them.
#[target_feature(enable = "avx512f,avx512vnni")]
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    let mut x_words = x.words.as_chunks::<R>().0;
    let mut x_sums = x.sums.as_chunks::<R>().0.iter();
    // Loops, not closures: those would not be compiled with the level's features.
    for block in panel.blocks() {
        let (words, behind) = x_words.split_at(block.words.len());
        x_words = behind;
        let mut sums = [[_mm512_setzero_si512(); 2]; R];
        for (weights, x) in block.words.iter().zip(words) {
            // It may point behind the batch, where nothing is read.
            _mm_prefetch::<_MM_HINT_T0>(x.as_ptr().cast::<i32>().wrapping_add(AHEAD).cast());
            let weights = load_words(weights);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm512_set1_epi32(*x);
                *sums = [_mm512_dpwssd_epi32(sums[0], weights[0], x), _mm512_dpwssd_epi32(sums[1], weights[1], x)];
            }
        }
        let (scales, x_sums) = (load(block.scales), x_sums.next());
        for (row, (total, sums)) in totals.iter_mut().zip(sums).enumerate() {
            let mut terms = [
                _mm512_mul_ps(_mm512_cvtepi32_ps(sums[0]), scales[0]),
                _mm512_mul_ps(_mm512_cvtepi32_ps(sums[1]), scales[1]),
            ];
            if let (Some(minima), Some(x_sums)) = (block.minima, x_sums) {
                let (minima, x_sum) = (load(minima), _mm512_set1_ps(x_sums[row]));
                for (term, minimum) in terms.iter_mut().zip(minima) {
                    *term = _mm512_sub_ps(*term, _mm512_mul_ps(x_sum, minimum));
                }
            }
            let so_far = load(total);
            store([_mm512_add_ps(so_far[0], terms[0]), _mm512_add_ps(so_far[1], terms[1])], total);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn load_words(words: &Words) -> [__m512i; 2] {
    let start: *const __m512i = words.0.as_ptr().cast();
    // SAFETY: `words` is 128 readable bytes; unaligned loads of its two halves stay inside.
    unsafe { [_mm512_loadu_si512(start), _mm512_loadu_si512(start.add(1))] }
}

#[target_feature(enable = "avx512f")]
fn load(lanes: &Lanes) -> [__m512; 2] {
    let start = lanes.0.as_ptr();
    // SAFETY: `lanes` is 32 readable f32; unaligned loads of its two halves stay inside.
    unsafe { [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))] }
}

#[target_feature(enable = "avx512f")]
fn store([low, high]: [__m512; 2], lanes: &mut Lanes) {
    let start = lanes.0.as_mut_ptr();
    // SAFETY: `lanes` is 32 writable f32, borrowed exclusively; unaligned stores to its two halves stay inside.
    unsafe {
        _mm512_storeu_ps(start, low);
        _mm512_storeu_ps(start.add(16), high);
    }
}
