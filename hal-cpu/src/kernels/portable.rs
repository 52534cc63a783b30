//! The kernels in plain Rust: for CPUs without a level of their own, and what the others are compared with.

use core::hint::black_box;
use core::ops::Range;

use mobiedit_backends::weights::Matrix;

use super::Kernels;
use super::panel::{CHANNELS, Lanes, Panel, PanelBlock, interleave, pack};
use super::tiles::{Tile, arrange};
use crate::scalar::sums::dots;

/// No instruction beyond the target's baseline.
pub(crate) struct Portable;

impl Kernels for Portable {
    fn tile_rows(&self) -> usize {
        8
    }

    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) {
        arrange(levels, width, columns, words, sums);
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        pack(weight, first, blocks, panel, interleave);
    }

    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) {
        let (mut rest, mut sums) = (x.words, x.sums.chunks_exact(x.rows));
        for block in panel.blocks() {
            let (words, behind) = rest.split_at(block.words.len() * x.rows);
            rest = behind;
            let x_sums = sums.next().unwrap_or(&[]);
            for (row, total) in totals.iter_mut().enumerate() {
                add_block(words.iter().skip(row).step_by(x.rows), x_sums.get(row).copied(), block, total);
            }
        }
    }

    fn spin(&self, rounds: usize) -> u64 {
        let mut sums = [[0_i32; CHANNELS]; 4];
        let factor = black_box([3_i16; CHANNELS]);
        for _ in 0..rounds {
            for sums in &mut sums {
                for (sum, factor) in sums.iter_mut().zip(factor) {
                    *sum = sum.wrapping_add(i32::from(factor) * i32::from(factor));
                }
            }
        }
        black_box(sums);
        rounds as u64 * 4 * CHANNELS as u64
    }
}

/// Adds one block's products with one row, each times its channel's scale.
fn add_block<'x>(x: impl Iterator<Item = &'x i32>, x_sum: Option<f32>, block: PanelBlock<'_>, total: &mut Lanes) {
    let mut sums = [0; CHANNELS];
    for (x, weights) in x.zip(block.words) {
        let (first, second) = (i32::from(*x as i16), x >> 16);
        for (sum, weights) in sums.iter_mut().zip(&weights.0) {
            *sum += i32::from(weights[0]) * first + i32::from(weights[1]) * second;
        }
    }
    let minima = block.minima.unwrap_or(&Lanes::ZERO);
    for (((total, sum), scale), minimum) in total.0.iter_mut().zip(sums).zip(&block.scales.0).zip(&minima.0) {
        *total += sum as f32 * scale - x_sum.unwrap_or_default() * minimum;
    }
}

/// [`Kernels::float`], for any level's compiler settings: four rows at a time.
#[inline(always)]
pub(crate) fn float(weights: &[f32], x: &[f32], width: usize, first: usize, out: &mut [Lanes]) {
    let (tiles, rest) = out.as_chunks_mut();
    let (tiled, single) = x.split_at(tiles.len() * 4 * width);
    for (x, out) in tiled.chunks_exact(4 * width).zip(tiles) {
        float_tile::<4>(weights, x, width, first, out);
    }
    for (x, out) in single.chunks_exact(width).zip(rest) {
        float_tile::<1>(weights, x, width, first, core::array::from_mut(out));
    }
}

#[inline(always)]
fn float_tile<const ROWS: usize>(weights: &[f32], x: &[f32], width: usize, first: usize, out: &mut [Lanes; ROWS]) {
    let mut inputs: [&[f32]; ROWS] = [&[]; ROWS];
    for (input, x) in inputs.iter_mut().zip(x.chunks_exact(width)) {
        *input = x;
    }
    for (channel, weights) in weights.chunks_exact(width).enumerate() {
        for (out, product) in out.iter_mut().zip(dots(weights, inputs)) {
            out.0[first + channel] = product;
        }
    }
}
