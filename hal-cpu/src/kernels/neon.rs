//! NEON: four channels a register, `smlal`. Every AArch64 has it.
//!
//! Only the integer product is written in intrinsics; the rest is the scalar arithmetic, which compilers turn into NEON there.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::hint::black_box;

use mobiedit_backends::checked::AttentionInputs;
use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use super::Kernels;
use super::panel::{Lanes, Pairs, Panel, PanelBlock};
use super::portable::Portable;
use crate::scalar::readout::Statistics;

/// A CPU of this architecture: there is nothing to be found out.
pub(crate) struct Neon;

impl Kernels for Neon {
    fn quantize(&self, x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
        Portable.quantize(x, activation, out)
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock], minima: &mut [Lanes]) {
        Portable.pack(weight, first, panel, minima);
    }

    /// All rows: two at a time, then one.
    fn integer(&self, panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]) {
        let blocks = panel.blocks.len();
        let (tiles, rest) = out.as_chunks_mut();
        let (tiled, single) = x.split_at(tiles.len() * 2 * blocks);
        for (x, out) in tiled.parts(2 * blocks).zip(tiles) {
            tile::<2>(panel, x, out);
        }
        for (x, out) in single.parts(blocks).zip(rest) {
            tile::<1>(panel, x, core::array::from_mut(out));
        }
    }

    fn float(&self, weights: &[f32], x: &[f32], out: &mut [Lanes]) {
        Portable.float(weights, x, out);
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

/// The product for `ROWS` rows; each weight is loaded once for all of them.
fn tile<const ROWS: usize>(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes; ROWS]) {
    let blocks = panel.blocks.len();
    // SAFETY: NEON is there on every AArch64; every load and store is of a whole array of the type's size.
    unsafe {
        let mut totals = [[vdupq_n_f32(0.0); 4]; ROWS];
        for (index, block) in panel.blocks.iter().enumerate() {
            let mut inputs = [&[0; 16]; ROWS];
            for (input, x) in inputs.iter_mut().zip(x.pairs.iter().skip(index).step_by(blocks)) {
                *input = x;
            }
            // Both products of a pair lie side by side until the block's end: two channels a register.
            let mut sums = [[vdupq_n_s32(0); 8]; ROWS];
            for (pair, weights) in block.pairs.iter().enumerate() {
                let weights = load_pairs(weights);
                for (sums, x) in sums.iter_mut().zip(inputs) {
                    let x = vreinterpretq_s16_s32(vdupq_n_s32(x[pair]));
                    for (sums, weights) in sums.as_chunks_mut::<2>().0.iter_mut().zip(weights) {
                        sums[0] = vmlal_s16(sums[0], vget_low_s16(weights), vget_low_s16(x));
                        sums[1] = vmlal_high_s16(sums[1], weights, x);
                    }
                }
            }
            let (scales, minima) = (load(&block.scales), panel.minima.get(index).map(|minima| load(minima)));
            for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                let parts = totals.iter_mut().zip(sums.as_chunks::<2>().0).zip(scales).enumerate();
                for (part, ((total, sums), scales)) in parts {
                    // Not fused: the scalar order rounds the product.
                    let mut term = vmulq_f32(vcvtq_f32_s32(vpaddq_s32(sums[0], sums[1])), scales);
                    if let (Some(minima), Some(x_sum)) = (minima, x.sums.get(row * blocks + index)) {
                        term = vsubq_f32(term, vmulq_f32(vdupq_n_f32(*x_sum), minima[part]));
                    }
                    *total = vaddq_f32(*total, term);
                }
            }
        }
        for (out, totals) in out.iter_mut().zip(totals) {
            for (out, total) in out.as_chunks_mut::<4>().0.iter_mut().zip(totals) {
                vst1q_f32(out.as_mut_ptr(), total);
            }
        }
    }
}

/// # Safety
/// None is needed but NEON, which is there.
unsafe fn load_pairs(pairs: &[[i16; 2]; 16]) -> [int16x8_t; 4] {
    let start = pairs.as_flattened().as_ptr();
    // SAFETY: 32 numbers, loaded by eight.
    unsafe { [vld1q_s16(start), vld1q_s16(start.add(8)), vld1q_s16(start.add(16)), vld1q_s16(start.add(24))] }
}

/// # Safety
/// None is needed but NEON, which is there.
unsafe fn load(lanes: &Lanes) -> [float32x4_t; 4] {
    let start = lanes.as_ptr();
    // SAFETY: 16 numbers, loaded by four.
    unsafe { [vld1q_f32(start), vld1q_f32(start.add(4)), vld1q_f32(start.add(8)), vld1q_f32(start.add(12))] }
}
