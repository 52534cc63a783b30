//! AArch64: [`Neon`], which every CPU has, and the int8 instructions of newer ones. A value of [`NeonDot`] or [`NeonI8mm`] exists
//! only on a CPU that has the instructions: the proof for every `unsafe` there.
//!
//! Only the integer product is written in intrinsics; the rest is the scalar arithmetic, which compilers turn into NEON there.
#![allow(unsafe_code)]

mod bytes;
mod dot;
mod i8mm;
mod smlal;

use core::arch::aarch64::*;

use super::panel::{Lanes, PanelBlock};

pub(crate) use dot::NeonDot;
pub(crate) use i8mm::NeonI8mm;
pub(crate) use smlal::Neon;

/// Adds a block's sums of `R` rows and the 16 channels of a half, times their scales and less their minima, to the totals.
#[inline(always)]
fn add_block<const R: usize>(
    sums: &[[int32x4_t; 4]; R],
    block: PanelBlock<'_>,
    x_sums: Option<&[f32; R]>,
    half: usize,
    totals: &mut [Lanes; R],
) {
    // Some channels after the others: the scales and minima of all would not be in registers, beside the sums.
    add_eight::<R, 0>(sums, block, x_sums, half, totals);
    add_eight::<R, 1>(sums, block, x_sums, half, totals);
}

#[inline(always)]
fn add_eight<const R: usize, const PART: usize>(
    sums: &[[int32x4_t; 4]; R],
    block: PanelBlock<'_>,
    x_sums: Option<&[f32; R]>,
    half: usize,
    totals: &mut [Lanes; R],
) {
    let at = 2 * half + PART;
    let (scales, minima) = (load(block.scales, at), block.minima.map(|minima| load(minima, at)).zip(x_sums));
    for (row, (total, sums)) in totals.iter_mut().zip(sums).enumerate() {
        let so_far = load(total, at);
        let places = total.0.as_chunks_mut::<8>().0[at].as_chunks_mut::<4>().0;
        for (index, (place, sum)) in places.iter_mut().zip(&sums.as_chunks::<2>().0[PART]).enumerate() {
            // SAFETY: NEON is there on every AArch64; the store is to four numbers, borrowed exclusively.
            unsafe {
                // Not fused: the scalar order rounds the product.
                let mut term = vmulq_f32(vcvtq_f32_s32(*sum), scales[index]);
                if let Some((minima, x_sums)) = minima {
                    term = vsubq_f32(term, vmulq_f32(vdupq_n_f32(x_sums[row]), minima[index]));
                }
                vst1q_f32(place.as_mut_ptr(), vaddq_f32(so_far[index], term));
            }
        }
    }
}

#[inline(always)]
fn load(lanes: &Lanes, at: usize) -> [float32x4_t; 2] {
    let start = lanes.0.as_chunks::<8>().0[at].as_ptr();
    // SAFETY: NEON is there on every AArch64; eight readable numbers are loaded by four.
    unsafe { [vld1q_f32(start), vld1q_f32(start.add(4))] }
}
