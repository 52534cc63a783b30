//! AVX-512 with VNNI: sixteen channels a register, `vpdpwssd`.

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

super::kernels!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", integer, spin);

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

/// All rows: twelve at a time, then four, then one.
#[target_feature(enable = "avx512f,avx512vnni")]
fn integer(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]) {
    let (x, out) = tiles::<12>(panel, x, out);
    let (x, out) = tiles::<4>(panel, x, out);
    tiles::<1>(panel, x, out);
}

/// As many tiles of `ROWS` rows as there are; returns the rest.
#[target_feature(enable = "avx512f,avx512vnni")]
fn tiles<'r, const ROWS: usize>(panel: Panel<'_>, x: Pairs<'r>, out: &'r mut [Lanes]) -> (Pairs<'r>, &'r mut [Lanes]) {
    let (tiles, rest) = out.as_chunks_mut::<ROWS>();
    let (tiled, x_rest) = x.split_at(tiles.len() * ROWS * panel.blocks.len());
    for (x, out) in tiled.parts(ROWS * panel.blocks.len()).zip(tiles) {
        tile::<ROWS>(panel, x, out);
    }
    (x_rest, rest)
}

/// The product for `ROWS` rows; each weight is loaded once for all of them.
#[target_feature(enable = "avx512f,avx512vnni")]
fn tile<const ROWS: usize>(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes; ROWS]) {
    let mut totals = [_mm512_setzero_ps(); ROWS];
    let blocks = panel.blocks.len();
    for (index, block) in panel.blocks.iter().enumerate() {
        // Loops, not closures: those would not be compiled with the level's features.
        let mut inputs = [&[0; 16]; ROWS];
        for (input, x) in inputs.iter_mut().zip(x.pairs.iter().skip(index).step_by(blocks)) {
            *input = x;
        }
        let mut sums = [_mm512_setzero_si512(); ROWS];
        for (pair, weights) in block.pairs.iter().enumerate() {
            let weights = load_pairs(weights);
            for (sum, x) in sums.iter_mut().zip(inputs) {
                *sum = _mm512_dpwssd_epi32(*sum, weights, _mm512_set1_epi32(x[pair]));
            }
        }
        let scales = load(&block.scales);
        for (row, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
            let mut term = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
            if let (Some(minima), Some(x_sum)) = (panel.minima.get(index), x.sums.get(row * blocks + index)) {
                term = _mm512_sub_ps(term, _mm512_mul_ps(_mm512_set1_ps(*x_sum), load(minima)));
            }
            *total = _mm512_add_ps(*total, term);
        }
    }
    for (out, total) in out.iter_mut().zip(totals) {
        store(total, out);
    }
}

#[target_feature(enable = "avx512f")]
fn load_pairs(pairs: &[[i16; 2]; 16]) -> __m512i {
    // SAFETY: `pairs` is 64 readable bytes, all of an unaligned load.
    unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn load(lanes: &Lanes) -> __m512 {
    // SAFETY: `lanes` is 16 readable f32, all of an unaligned load.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn store(total: __m512, lanes: &mut Lanes) {
    // SAFETY: `lanes` is 16 writable f32, borrowed exclusively: all of an unaligned store.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), total) }
}
