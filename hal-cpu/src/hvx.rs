//! The integer product on Hexagon's vector unit, in vectors of 128 bytes: the scalar bits, and no floating-point vectors.
//!
//! Sums of blocks are exact in any order, so they are computed in vectors; what is rounded, the sum over blocks, stays in
//! scalar code in its ascending order. The instructions are those of HVX v60: feature `hvx` is the promise that the DSP has
//! them, and that vectors of 128 bytes are switched on. No prefetching, no tightly coupled memory.
#![allow(unsafe_code)]

use core::arch::hexagon::v128::*;

use half::f16;
use mobiedit_backends::quant::Q8_0_BYTES;
use mobiedit_backends::weights::Format;

use crate::scalar::integer::{self, BLOCK};
use mobiedit_backends::rows::by_rows;

/// Weights that are multiplied at once: a vector of them.
const CHUNK: usize = 128;
/// Blocks of a chunk.
const BLOCKS: usize = CHUNK / BLOCK;
/// Rows of activations whose blocks' sums fill one vector.
const TILE: usize = 8;

/// Sums of a chunk's blocks: `(block % 2, block / 2, row)`.
type Sums = [[[i32; TILE]; 2]; 2];

/// [`integer::integer_products`] with the same bits. Rows are taken eight, then four, then one at a time; a row of less than
/// 128 weights is multiplied there.
pub fn integer_products<'o>(
    levels: &[i8],
    scales: &[f32],
    x: &[i16],
    x_scales: &[f32],
    mut out: impl Iterator<Item = &'o mut f32>,
) {
    let scales = scales.get(..levels.len() / BLOCK).unwrap_or(scales);
    if scales.len() < BLOCKS {
        return integer::integer_products(levels, scales, x, x_scales, out);
    }
    let mut x_scales = x_scales.iter();
    let x = tiles::<TILE>(levels, scales, x, &mut x_scales, &mut out);
    let x = tiles::<4>(levels, scales, x, &mut x_scales, &mut out);
    tiles::<1>(levels, scales, x, &mut x_scales, &mut out);
}

/// As many times `ROWS` rows as there are; returns the rows that are left.
fn tiles<'x, 'o, const ROWS: usize>(
    levels: &[i8],
    scales: &[f32],
    mut x: &'x [i16],
    x_scales: &mut core::slice::Iter<'_, f32>,
    out: &mut impl Iterator<Item = &'o mut f32>,
) -> &'x [i16] {
    while let Some((rows, rest)) = x.split_at_checked(ROWS.saturating_mul(levels.len())) {
        x = rest;
        // SAFETY: `rows` are `ROWS`; the caller has cut `scales` to the blocks, a chunk's at least.
        let products: [f32; ROWS] = unsafe { dots(levels, scales, rows) };
        for ((product, x_scale), out) in products.into_iter().zip(&mut *x_scales).zip(&mut *out) {
            *out = product * x_scale;
        }
    }
    x
}

/// Dot products of `ROWS` rows, before their scales. Where the blocks do not come in fours, the last chunk overlaps the one
/// before, and the blocks that both have are left out of the sum. Not inlined: all numbers of rows in one function spill more.
///
/// # Safety
///
/// `scales` has a chunk's blocks at least, `levels` a block for each scale, and `x` the length of `ROWS` times `levels`.
#[inline(never)]
unsafe fn dots<const ROWS: usize>(levels: &[i8], scales: &[f32], x: &[i16]) -> [f32; ROWS] {
    debug_assert!(scales.len() >= BLOCKS && scales.len() * BLOCK <= levels.len() && x.len() == ROWS * levels.len());
    let mut totals = [0.0; ROWS];
    let (whole, rest) = scales.as_chunks::<BLOCKS>();
    for (chunk, scales) in whole.iter().enumerate() {
        // SAFETY: a chunk whose blocks have scales lies in the row.
        let sums = unsafe { chunk_sums::<ROWS>(levels, x, chunk * CHUNK) };
        for (block, scale) in scales.iter().enumerate() {
            add_block(&mut totals, &sums, block, *scale);
        }
    }
    if !rest.is_empty() {
        // SAFETY: the last chunk whose blocks have scales lies in the row.
        let sums = unsafe { chunk_sums::<ROWS>(levels, x, scales.len() * BLOCK - CHUNK) };
        for (block, scale) in (BLOCKS - rest.len()..).zip(rest) {
            add_block(&mut totals, &sums, block, *scale);
        }
    }
    totals
}

/// Adds one block's sums, times its scale, to the rows' totals.
#[inline(always)]
fn add_block<const ROWS: usize>(totals: &mut [f32; ROWS], sums: &Sums, block: usize, scale: f32) {
    for (total, sum) in totals.iter_mut().zip(&sums[block % 2][block / 2]) {
        *total += *sum as f32 * scale;
    }
}

/// Sums of the four blocks of weights from `start` on, for `ROWS` rows; the sums' other rows repeat them.
///
/// # Safety
///
/// A chunk fits behind `start` in `levels`, and `x` has `ROWS` rows of the length of `levels`.
#[inline(always)]
unsafe fn chunk_sums<const ROWS: usize>(levels: &[i8], x: &[i16], start: usize) -> Sums {
    // SAFETY: the loads are of a chunk's elements, in their slices, says the caller; `Sums` is a vector of words.
    unsafe {
        let weights = q6_wh_vunpack_vb(load(levels.as_ptr().add(start)));
        let (low, high) = (q6_v_lo_w(weights), q6_v_hi_w(weights));
        let mut rows = [low; TILE];
        for (row, sums) in rows.iter_mut().enumerate() {
            let x = x.as_ptr().add(row % ROWS * levels.len() + start);
            // Two products a word, at most 2 · 128 · 32768: nothing saturates, nor do the sums of 16 words.
            let first = q6_vw_vdmpy_vhvh_sat(low, load(x));
            let second = q6_vw_vdmpy_vhvh_sat(high, load(x.add(CHUNK / 2)));
            *sums = halved::<32>(first, second);
        }
        let [a, b, c, d, e, f, g, h] = rows;
        let even = halved::<8>(halved::<16>(a, e), halved::<16>(c, g));
        let odd = halved::<8>(halved::<16>(b, f), halved::<16>(d, h));
        core::mem::transmute(halved::<4>(even, odd))
    }
}

/// One step of a transposing reduction: sums of words `DISTANCE` bytes apart, of `first` where that bit of a lane's position
/// is 0, of `second` where it is 1.
#[inline(always)]
fn halved<const DISTANCE: i32>(first: HvxVector, second: HvxVector) -> HvxVector {
    // SAFETY: arithmetic on registers, of a DSP that has it.
    unsafe {
        let swapped = q6_w_vshuff_vvr(second, first, DISTANCE);
        q6_vw_vadd_vwvw(q6_v_lo_w(swapped), q6_v_hi_w(swapped))
    }
}

/// [`integer::unpack_row`] with the same result. Q4_0, and a row of less than 128 weights, is unpacked there.
pub fn unpack_row(format: Format, bytes: &[u8], levels: &mut [i8], scales: &mut [f32]) {
    let blocks = (bytes.len() / Q8_0_BYTES).min(levels.len() / BLOCK).min(scales.len());
    let Some(last) = blocks.checked_sub(BLOCKS).filter(|_| format == Format::Q8_0) else {
        return integer::unpack_row(format, bytes, levels, scales);
    };
    for first in (0..last).step_by(BLOCKS).chain([last]) {
        // SAFETY: four blocks follow `first` in both slices.
        unsafe { unpack_chunk(bytes.as_ptr().add(first * Q8_0_BYTES), levels.as_mut_ptr().add(first * BLOCK)) }
    }
    for (scale, block) in scales.iter_mut().zip(by_rows(bytes, Q8_0_BYTES)).take(blocks) {
        if let [low, high, ..] = block {
            *scale = f16::from_le_bytes([*low, *high]).to_f32();
        }
    }
}

/// Copies the integers of four blocks of Q8_0.
///
/// # Safety
///
/// Four blocks are readable behind `from`, and their integers writable behind `to`.
#[inline(always)]
unsafe fn unpack_chunk(from: *const u8, to: *mut i8) {
    // SAFETY: the loads start at bytes 2, 4, 6 and 8 of 136, the store is of 128 bytes.
    unsafe {
        let mut chunk = q6_v_vror_vr(load(from.add(2)), BLOCK as i32);
        for block in 1..BLOCKS {
            // Behind `2 + 2 * block` each block lies where it belongs: turned to the front, then moved in from the top.
            let turned = q6_v_vror_vr(load(from.add(2 + 2 * block)), (BLOCK * block) as i32);
            chunk = q6_v_valign_vvr(turned, chunk, BLOCK as i32);
        }
        to.cast::<HvxVector>().write_unaligned(chunk);
    }
}

/// Loads a vector from any address.
///
/// # Safety
///
/// 128 bytes are readable there.
#[inline(always)]
unsafe fn load<T>(from: *const T) -> HvxVector {
    // SAFETY: readable, says the caller.
    unsafe { from.cast::<HvxVector>().read_unaligned() }
}
