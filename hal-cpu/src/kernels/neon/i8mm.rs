//! `smmla`: two rows times two channels a register, eight int8 inputs of each. High bytes of activations are signed; low bytes are
//! not, as `usmmla` wants them.

use core::arch::aarch64::*;
use core::arch::asm;
use core::hint::black_box;
use core::ops::Range;
use std::arch::is_aarch64_feature_detected;

use mobiedit_backends::weights::Matrix;

use super::add_block;
use super::bytes::{self, HIGH, LOW};
use crate::kernels::Kernels;
use crate::kernels::panel::{Lanes, Panel, Words, pack};
use crate::kernels::tiles::Tile;

/// Proof that the CPU has `smmla` and `usmmla`.
pub(crate) struct NeonI8mm(());

impl NeonI8mm {
    /// The proof, where it is true.
    pub(crate) fn new() -> Option<Self> {
        is_aarch64_feature_detected!("i8mm").then_some(Self(()))
    }
}

/// Six rows, in pairs, of 16 channels, whose sums are in 24 of the 32 registers; those of high bytes become those of both. The totals
/// stay in memory.
const ROWS: usize = 6;

impl Kernels for NeonI8mm {
    fn tile_rows(&self) -> usize {
        ROWS
    }

    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) {
        bytes::arrange::<2>(levels, width, columns, 0, words, sums);
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        pack(weight, first, blocks, panel, bytes::interleave::<2>);
    }

    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
        // SAFETY: `self` exists, so `new` has found the instructions on this CPU.
        unsafe { integer(panel, x, totals) }
    }

    fn spin(&self, rounds: usize) -> u64 {
        // SAFETY: `self` exists, so `new` has found the instructions on this CPU.
        unsafe { spin(rounds) }
    }
}

/// As many chains as hide the latency.
const CHAINS: usize = 16;

#[target_feature(enable = "neon,i8mm")]
fn spin(rounds: usize) -> u64 {
    let factor = vdupq_n_s8(black_box(3));
    let mut sums = [vdupq_n_s32(1); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum as a factor too: a product that never changes would be taken out of the loop.
            *sum = smmla(*sum, *sum, factor);
        }
    }
    black_box(sums);
    // 32 products of int8, of which two make one of int16.
    (rounds * CHAINS * 16) as u64
}

#[target_feature(enable = "neon,i8mm")]
fn integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
    crate::kernels::for_rows!(tile, [1 2 3 4 5 6], panel, x, totals);
}

/// Activations of 16 inputs: high bytes, then low ones; of each, those of the first eight inputs and of the last.
type Inputs<const R: usize> = [[[[i32; 2]; R]; 2]; 2];

/// Of each pair of rows, the sums of two channels a register: the first row's in the low half.
type Sums = [[int32x4_t; 8]; ROWS / 2];

/// The product for `R` rows: first of the lower 16 channels, then of the upper. Each weight is loaded once for all rows' high bytes,
/// and once for their low ones.
#[target_feature(enable = "neon,i8mm")]
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    const { assert!(R <= ROWS) };
    for half in 0..2 {
        let mut x_words: &[Inputs<R>] = x.words.as_chunks().0.as_chunks().0.as_chunks().0.as_chunks().0;
        let mut x_sums = x.sums.as_chunks::<R>().0.iter();
        for block in panel.blocks() {
            let weights = block.words.as_chunks::<4>().0;
            let (words, behind) = x_words.split_at(weights.len());
            x_words = behind;
            let mut sums = [[vdupq_n_s32(0); 8]; ROWS / 2];
            add_products::<R, HIGH>(weights, words, half, &mut sums);
            for sum in sums.as_flattened_mut() {
                *sum = vshlq_n_s32::<8>(*sum);
            }
            add_products::<R, LOW>(weights, words, half, &mut sums);
            add_block(&by_rows::<R>(&sums), block, x_sums.next(), half, totals);
        }
    }
}

/// Adds a block's products with the high bytes or the low ones: one function for each, so that both are compiled into [`tile`].
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_products<const R: usize, const PART: usize>(
    weights: &[[Words; 4]],
    x: &[Inputs<R>],
    half: usize,
    sums: &mut Sums,
) {
    for (weights, x) in weights.iter().zip(x) {
        for (weights, x) in weights.as_chunks::<2>().0.iter().zip(&x[PART]) {
            let x = load_inputs(x);
            for (index, weights) in weights[half].0.as_chunks::<4>().0.iter().enumerate() {
                let weights = load(weights);
                for (sums, x) in sums.iter_mut().zip(x).take(R.div_ceil(2)) {
                    let sum = &mut sums[index];
                    *sum = if PART == HIGH { smmla(*sum, x, weights) } else { usmmla(*sum, x, weights) };
                }
            }
        }
    }
}

/// Four channels a register.
#[inline]
#[target_feature(enable = "neon")]
fn by_rows<const R: usize>(sums: &Sums) -> [[int32x4_t; 4]; R] {
    let mut rows = [[vdupq_n_s32(0); 4]; R];
    for (row, places) in rows.iter_mut().enumerate() {
        for (place, sums) in places.iter_mut().zip(sums[row / 2].as_chunks::<2>().0) {
            let (first, second) = (vreinterpretq_s64_s32(sums[0]), vreinterpretq_s64_s32(sums[1]));
            *place =
                vreinterpretq_s32_s64(if row % 2 == 0 { vtrn1q_s64(first, second) } else { vtrn2q_s64(first, second) });
        }
    }
    rows
}

/// Adds to the four sums the products of two times eight int8 with two times eight: `(rows, channels)`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sum: int32x4_t, x: int32x4_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: nothing but these registers is read or written; the caller has the feature. The intrinsic is not stable yet.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {x:v}.16b, {weights:v}.16b",
            sum = inlateout(vreg) sum,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// The same, where the bytes of `x` are from 0 to 255.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usmmla(mut sum: int32x4_t, x: int32x4_t, weights: int8x16_t) -> int32x4_t {
    // SAFETY: nothing but these registers is read or written; the caller has the feature. The intrinsic is not stable yet.
    unsafe {
        asm!(
            "usmmla {sum:v}.4s, {x:v}.16b, {weights:v}.16b",
            sum = inlateout(vreg) sum,
            x = in(vreg) x,
            weights = in(vreg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Eight inputs of each pair of rows; beside the last row, where its pair has no other, zeros.
#[inline(always)]
fn load_inputs<const R: usize>(x: &[[i32; 2]; R]) -> [int32x4_t; ROWS / 2] {
    // SAFETY: NEON is there on every AArch64; four numbers are read where there are two rows, two where there is one.
    unsafe {
        let mut registers = [vdupq_n_s32(0); ROWS / 2];
        for (register, rows) in registers.iter_mut().zip(x.chunks(2)) {
            let start = rows.as_flattened().as_ptr();
            *register = if rows.len() == 2 { vld1q_s32(start) } else { vcombine_s32(vld1_s32(start), vdup_n_s32(0)) };
        }
        registers
    }
}

/// Eight inputs of two channels.
#[inline(always)]
fn load(words: &[[i16; 2]; 4]) -> int8x16_t {
    // SAFETY: NEON is there on every AArch64; four words are 16 readable bytes.
    unsafe { vld1q_s8(words.as_ptr().cast()) }
}
