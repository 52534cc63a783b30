//! `sdot`: four channels a register, four int8 inputs of each.
//!
//! Low bytes of activations are less by 128, so that they are signed: 128 · Σw of a block, from when it is packed, makes up for it.

use core::arch::aarch64::*;
use core::arch::asm;
use core::hint::black_box;
use core::ops::Range;
use std::arch::is_aarch64_feature_detected;

use mobiedit_backends::weights::Matrix;

use super::add_block;
use super::bytes::{self, HIGH, LOW};
use crate::kernels::Kernels;
use crate::kernels::panel::{CHANNELS, Lanes, Panel, Words, pack};
use crate::kernels::tiles::Tile;

/// Proof that the CPU has `sdot`.
pub(crate) struct NeonDot(());

impl NeonDot {
    /// The proof, where it is true.
    pub(crate) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

/// Six rows of 16 channels, whose sums are in 24 of the 32 registers; those of high bytes become those of both. The totals stay in
/// memory.
const ROWS: usize = 6;

impl Kernels for NeonDot {
    fn tile_rows(&self) -> usize {
        ROWS
    }

    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) {
        bytes::arrange::<1>(levels, width, columns, 128, words, sums);
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        pack(weight, first, blocks, panel, bytes::interleave::<1>);
        // SAFETY: `self` exists, so `new` has found `sdot` on this CPU.
        unsafe { sum_weights(panel) }
    }

    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
        // SAFETY: `self` exists, so `new` has found `sdot` on this CPU.
        unsafe { integer(panel, x, totals) }
    }

    fn spin(&self, rounds: usize) -> u64 {
        // SAFETY: `self` exists, so `new` has found `sdot` on this CPU.
        unsafe { spin(rounds) }
    }
}

/// As many chains as hide the latency.
const CHAINS: usize = 16;

#[target_feature(enable = "dotprod")]
fn spin(rounds: usize) -> u64 {
    let factor = vdupq_n_s8(black_box(3));
    let mut sums = [vdupq_n_s32(1); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum as a factor too: a product that never changes would be taken out of the loop.
            *sum = sdot::<0>(*sum, factor, *sum);
        }
    }
    black_box(sums);
    // Sixteen products of int8, of which two make one of int16.
    (rounds * CHAINS * 8) as u64
}

/// Writes 128 · Σw of each block and channel.
#[target_feature(enable = "dotprod")]
fn sum_weights(panel: &mut Panel) {
    let ones = vdupq_n_s32(0x0101_0101);
    let mut offsets = core::mem::take(&mut panel.offsets);
    offsets.resize(panel.scales.len(), [0; CHANNELS]);
    for (block, offsets) in panel.blocks().zip(&mut offsets) {
        for (half, offsets) in offsets.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let mut sums = [vdupq_n_s32(0); 4];
            for weights in block.words {
                for (sum, weights) in sums.iter_mut().zip(load(weights, half)) {
                    *sum = sdot::<0>(*sum, weights, ones);
                }
            }
            for (offsets, sum) in offsets.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
                // SAFETY: four writable numbers, borrowed exclusively.
                unsafe { vst1q_s32(offsets.as_mut_ptr(), vshlq_n_s32::<7>(sum)) }
            }
        }
    }
    panel.offsets = offsets;
}

#[target_feature(enable = "dotprod")]
fn integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
    crate::kernels::for_rows!(tile, [1 2 3 4 5 6], panel, x, totals);
}

/// Activations of 16 inputs: high bytes, then low ones.
type Inputs<const R: usize> = [[[i32; R]; 4]; 2];

/// The product for `R` rows: first of the lower 16 channels, then of the upper. Each weight is loaded once for all rows' high bytes,
/// and once for their low ones.
#[target_feature(enable = "dotprod")]
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    const { assert!(R <= ROWS) };
    for half in 0..2 {
        let mut x_words: &[Inputs<R>] = x.words.as_chunks::<R>().0.as_chunks().0.as_chunks().0;
        let mut x_sums = x.sums.as_chunks::<R>().0.iter();
        for (block, offsets) in panel.blocks().zip(&panel.offsets) {
            let weights = block.words.as_chunks::<4>().0;
            let (words, behind) = x_words.split_at(weights.len());
            x_words = behind;
            let mut sums = [[vdupq_n_s32(0); 4]; R];
            add_products::<R, HIGH>(weights, words, half, &mut sums);
            let offsets = load_offsets(offsets, half);
            for sums in &mut sums {
                for (sum, offset) in sums.iter_mut().zip(offsets) {
                    *sum = vaddq_s32(vshlq_n_s32::<8>(*sum), offset);
                }
            }
            add_products::<R, LOW>(weights, words, half, &mut sums);
            add_block(&sums, block, x_sums.next(), half, totals);
        }
    }
}

/// Adds a block's products with the high bytes or the low ones: one function for each, so that both are compiled into [`tile`].
#[inline]
#[target_feature(enable = "dotprod")]
fn add_products<const R: usize, const PART: usize>(
    weights: &[[Words; 4]],
    x: &[Inputs<R>],
    half: usize,
    sums: &mut [[int32x4_t; 4]; R],
) {
    for (weights, x) in weights.iter().zip(x) {
        for (weights, x) in weights.iter().zip(&x[PART]) {
            let (weights, x) = (load(weights, half), load_inputs(x));
            let mut rows = sums.iter_mut();
            // Written out: a lane is part of the instruction.
            add_row::<0>(weights, x[0], rows.next());
            add_row::<1>(weights, x[0], rows.next());
            add_row::<2>(weights, x[0], rows.next());
            add_row::<3>(weights, x[0], rows.next());
            add_row::<0>(weights, x[1], rows.next());
            add_row::<1>(weights, x[1], rows.next());
        }
    }
}

#[inline]
#[target_feature(enable = "dotprod")]
fn add_row<const LANE: usize>(weights: [int8x16_t; 4], x: int32x4_t, sums: Option<&mut [int32x4_t; 4]>) {
    for (sum, weights) in sums.into_iter().flatten().zip(weights) {
        *sum = sdot::<LANE>(*sum, weights, x);
    }
}

/// Adds to each of the four sums the products of four int8 with those in one lane of `x`.
#[inline]
#[target_feature(enable = "dotprod")]
fn sdot<const LANE: usize>(mut sum: int32x4_t, weights: int8x16_t, x: int32x4_t) -> int32x4_t {
    // SAFETY: nothing but these registers is read or written; the caller has the feature. The intrinsic is not stable yet.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sum = inlateout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// One word of each row.
#[inline(always)]
fn load_inputs<const R: usize>(x: &[i32; R]) -> [int32x4_t; 2] {
    let start = x.as_ptr();
    // SAFETY: NEON is there on every AArch64; as many numbers are read as there are.
    unsafe {
        let none = vdup_n_s32(0);
        match R {
            1 => [vld1q_dup_s32(start), vdupq_n_s32(0)],
            2 => [vcombine_s32(vld1_s32(start), none), vdupq_n_s32(0)],
            3 => [vld1q_lane_s32::<2>(start.add(2), vcombine_s32(vld1_s32(start), none)), vdupq_n_s32(0)],
            4 => [vld1q_s32(start), vdupq_n_s32(0)],
            5 => [vld1q_s32(start), vld1q_dup_s32(start.add(4))],
            6 => [vld1q_s32(start), vcombine_s32(vld1_s32(start.add(4)), none)],
            _ => [vdupq_n_s32(0); 2],
        }
    }
}

#[inline(always)]
fn load(words: &Words, half: usize) -> [int8x16_t; 4] {
    let start: *const i8 = words.0.as_chunks::<16>().0[half].as_ptr().cast();
    // SAFETY: NEON is there on every AArch64; 16 words are 64 readable bytes, loaded by 16.
    unsafe { [vld1q_s8(start), vld1q_s8(start.add(16)), vld1q_s8(start.add(32)), vld1q_s8(start.add(48))] }
}

#[inline(always)]
fn load_offsets(offsets: &[i32; CHANNELS], half: usize) -> [int32x4_t; 4] {
    let start = offsets.as_chunks::<16>().0[half].as_ptr();
    // SAFETY: NEON is there on every AArch64; 16 readable numbers are loaded by four.
    unsafe { [vld1q_s32(start), vld1q_s32(start.add(4)), vld1q_s32(start.add(8)), vld1q_s32(start.add(12))] }
}
