//! NEON: four channels a register, `smlal`. Every AArch64 has it.
//!
//! Only the integer product is written in intrinsics; the rest is the scalar arithmetic, which compilers turn into NEON there.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::hint::black_box;
use core::ops::Range;

use mobiedit_backends::checked::AttentionInputs;
use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use super::Kernels;
use super::panel::{Lanes, Pairs, Panel};
use super::portable::Portable;
use super::tiles::Tile;
use crate::scalar::readout::Statistics;

/// A CPU of this architecture: there is nothing to be found out.
pub(crate) struct Neon;

/// Three rows of 16 channels, whose sums are in 24 of the 32 registers. The totals stay in memory.
const ROWS: usize = 3;

impl Kernels for Neon {
    fn tile_rows(&self) -> usize {
        ROWS
    }

    fn quantize(&self, x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
        Portable.quantize(x, activation, out)
    }

    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, pairs: &mut [i32], sums: &mut [f32]) {
        Portable.arrange(levels, width, columns, pairs, sums);
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        Portable.pack(weight, first, blocks, panel);
    }

    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
        super::for_rows!(tile, [1 2 3], panel, x, totals);
    }

    fn float(&self, weights: &[f32], x: &[f32], width: usize, first: usize, out: &mut [Lanes]) {
        Portable.float(weights, x, width, first, out);
    }

    fn rms_norm(&self, x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) {
        Portable.rms_norm(x, weight, eps, out);
    }

    fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        Portable.swiglu(gate, up);
    }

    fn attend(&self, inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) {
        Portable.attend(inputs, row, scores, out);
    }

    fn spin(&self, rounds: usize) -> u64 {
        const CHAINS: usize = 16;
        // SAFETY: NEON is there on every AArch64.
        unsafe {
            let factor = vdup_n_s16(black_box(3));
            let mut sums = [vdupq_n_s32(1); CHAINS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    // The sum as a factor too: a product that never changes would be taken out of the loop.
                    *sum = vmlal_s16(*sum, factor, vget_low_s16(vreinterpretq_s16_s32(*sum)));
                }
            }
            black_box(sums);
        }
        (rounds * CHAINS * 4) as u64
    }

    fn update(&self, row: &mut Statistics, read: Read, first: usize, logits: &[f32], clean: &[f32]) {
        Portable.update(row, read, first, logits, clean);
    }
}

/// The product for `R` rows: first of the lower 16 channels, then of the upper. Each weight is loaded once for all rows.
fn tile<const R: usize>(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes; R]) {
    for half in 0..2 {
        let mut x_pairs = x.pairs.as_chunks::<R>().0;
        let mut x_sums = x.sums.as_chunks::<R>().0.iter();
        for block in panel.blocks() {
            let (pairs, behind) = x_pairs.split_at(block.pairs.len());
            x_pairs = behind;
            let of_block = (block.scales, block.minima.zip(x_sums.next()));
            // SAFETY: NEON is there on every AArch64.
            unsafe {
                let sums = block_sums(block.pairs, pairs, half);
                add_block(&sums, of_block, half, totals);
            }
        }
    }
}

/// Both products of a pair lie side by side: two channels a register.
type Sums<const R: usize> = [[int32x4_t; 8]; R];

/// # Safety
/// None is needed but NEON, which is there.
unsafe fn block_sums<const R: usize>(weights: &[Pairs], x: &[[i32; R]], half: usize) -> Sums<R> {
    // SAFETY: NEON is there.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 8]; R];
        for (weights, x) in weights.iter().zip(x) {
            let weights = load_pairs(weights, half);
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = vreinterpretq_s16_s32(vdupq_n_s32(*x));
                for (sums, weights) in sums.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
                    sums[0] = vmlal_s16(sums[0], vget_low_s16(weights), vget_low_s16(x));
                    sums[1] = vmlal_high_s16(sums[1], weights, x);
                }
            }
        }
        sums
    }
}

/// Adds a block's sums, times its scales and less its minima, to the totals.
///
/// # Safety
/// None is needed but NEON, which is there.
unsafe fn add_block<const R: usize>(
    sums: &Sums<R>,
    (scales, minima): (&Lanes, Option<(&Lanes, &[f32; R])>),
    half: usize,
    totals: &mut [Lanes; R],
) {
    // SAFETY: NEON is there; loads and stores are of four numbers of a whole lane's 16.
    unsafe {
        let (scales, minima) = (load(scales, half), minima.map(|(minima, x_sums)| (load(minima, half), x_sums)));
        for (row, (total, sums)) in totals.iter_mut().zip(sums).enumerate() {
            let so_far = load(total, half);
            let places = total.0.as_chunks_mut::<16>().0[half].as_chunks_mut::<4>().0;
            for (part, (place, sums)) in places.iter_mut().zip(sums.as_chunks::<2>().0).enumerate() {
                // Not fused: the scalar order rounds the product.
                let mut term = vmulq_f32(vcvtq_f32_s32(vpaddq_s32(sums[0], sums[1])), scales[part]);
                if let Some((minima, x_sums)) = minima {
                    term = vsubq_f32(term, vmulq_f32(vdupq_n_f32(x_sums[row]), minima[part]));
                }
                vst1q_f32(place.as_mut_ptr(), vaddq_f32(so_far[part], term));
            }
        }
    }
}

/// # Safety
/// None is needed but NEON, which is there.
unsafe fn load_pairs(pairs: &Pairs, half: usize) -> [int16x8_t; 4] {
    let start = pairs.0.as_chunks::<16>().0[half].as_flattened().as_ptr();
    // SAFETY: 32 numbers, loaded by eight.
    unsafe { [vld1q_s16(start), vld1q_s16(start.add(8)), vld1q_s16(start.add(16)), vld1q_s16(start.add(24))] }
}

/// # Safety
/// None is needed but NEON, which is there.
unsafe fn load(lanes: &Lanes, half: usize) -> [float32x4_t; 4] {
    let start = lanes.0.as_chunks::<16>().0[half].as_ptr();
    // SAFETY: 16 numbers, loaded by four.
    unsafe { [vld1q_f32(start), vld1q_f32(start.add(4)), vld1q_f32(start.add(8)), vld1q_f32(start.add(12))] }
}
