//! NEON's own instructions: four channels a register, `smlal`.

use core::arch::aarch64::*;
use core::hint::black_box;
use core::ops::Range;

use mobiedit_backends::weights::Matrix;

use super::add_block;
use crate::kernels::Kernels;
use crate::kernels::panel::{Lanes, Panel, interleave, pack};
use crate::kernels::tiles::{Tile, arrange};

/// A CPU of this architecture: there is nothing to be found out.
pub(crate) struct Neon;

/// Three rows of 16 channels, whose sums are in 24 of the 32 registers. The totals stay in memory.
const ROWS: usize = 3;

impl Kernels for Neon {
    fn tile_rows(&self) -> usize {
        ROWS
    }

    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) {
        arrange(levels, width, columns, words, sums);
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        pack(weight, first, blocks, panel, interleave);
    }

    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
        // SAFETY: NEON is there on every AArch64.
        unsafe { integer(panel, x, totals) }
    }

    fn spin(&self, rounds: usize) -> u64 {
        // SAFETY: NEON is there on every AArch64.
        unsafe { spin(rounds) }
    }
}

/// As many chains as hide the latency.
const CHAINS: usize = 16;

#[target_feature(enable = "neon")]
fn spin(rounds: usize) -> u64 {
    let factor = vdup_n_s16(black_box(3));
    let mut sums = [vdupq_n_s32(1); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // The sum as a factor too: a product that never changes would be taken out of the loop.
            *sum = vmlal_s16(*sum, factor, vget_low_s16(vreinterpretq_s16_s32(*sum)));
        }
    }
    black_box(sums);
    (rounds * CHAINS * 4) as u64
}

#[target_feature(enable = "neon")]
fn integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
    crate::kernels::for_rows!(tile, [1 2 3], panel, x, totals);
}

/// The product for `R` rows: first of the lower 16 channels, then of the upper. Each weight is loaded once for all rows.
#[target_feature(enable = "neon")]
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    for half in 0..2 {
        let mut x_words = x.words.as_chunks::<R>().0;
        let mut x_sums = x.sums.as_chunks::<R>().0.iter();
        for block in panel.blocks() {
            let (words, behind) = x_words.split_at(block.words.len());
            x_words = behind;
            // Both products of a pair lie side by side: two channels a register.
            let mut pairs = [[vdupq_n_s32(0); 8]; R];
            for (weights, x) in block.words.iter().zip(words) {
                for (index, weights) in weights.0.as_chunks::<16>().0[half].as_chunks::<2>().0.iter().enumerate() {
                    let weights = load_pairs(weights);
                    for (pairs, x) in pairs.iter_mut().zip(x) {
                        let x = vreinterpret_s16_s32(vdup_n_s32(*x));
                        pairs[index] = vmlal_s16(pairs[index], weights, x);
                    }
                }
            }
            let mut sums = [[vdupq_n_s32(0); 4]; R];
            for (sums, pairs) in sums.iter_mut().zip(&pairs) {
                for (sum, pairs) in sums.iter_mut().zip(pairs.as_chunks::<2>().0) {
                    *sum = vpaddq_s32(pairs[0], pairs[1]);
                }
            }
            add_block(&sums, block, x_sums.next(), half, totals);
        }
    }
}

/// Of two channels: loads of half a register, as the upper halves of whole ones are moved down before `smlal`.
#[inline(always)]
fn load_pairs(pairs: &[[i16; 2]; 2]) -> int16x4_t {
    // SAFETY: NEON is there on every AArch64; four readable numbers.
    unsafe { vld1_s16(pairs.as_flattened().as_ptr()) }
}
