//! The kernels in plain Rust: for CPUs without a level of their own, and what the others are compared with.

use core::hint::black_box;

use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use super::Kernels;
use super::panel::{CHANNELS, Lanes, Pairs, Panel, PanelBlock, pack};
use crate::scalar::product::quantize_row;
use crate::scalar::readout::Statistics;
use crate::scalar::sums::dots;
use crate::scalar::{attention, rms_norm, swiglu};
use mobiedit_backends::checked::AttentionInputs;

/// No instruction beyond the target's baseline.
pub(crate) struct Portable;

impl Kernels for Portable {
    fn quantize(&self, x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
        quantize_row(x, activation, out)
    }

    fn pack(&self, weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock], minima: &mut [Lanes]) {
        pack(weight, first, panel, minima);
    }

    fn integer(&self, panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]) {
        for (x, out) in x.parts(panel.blocks.len()).zip(out) {
            *out = [0.0; CHANNELS];
            let mut minima = x.sums.iter().zip(panel.minima);
            for (x, block) in x.pairs.iter().zip(panel.blocks) {
                add_block(x, block, minima.next(), out);
            }
        }
    }

    fn float(&self, weights: &[f32], x: &[f32], out: &mut [Lanes]) {
        float(weights, x, out);
    }

    fn rms_norm(&self, x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) {
        rms_norm::rms_norm(x, weight, eps, out);
    }

    fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        swiglu::swiglu(gate, up);
    }

    fn attend(&self, inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) {
        attention::attend(inputs, row, scores, out);
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

    fn update(&self, row: &mut Statistics, read: Read, first: usize, logits: &[f32], clean: &[f32]) {
        row.update(read, first, logits, clean);
    }
}

/// Adds one block's products to `out`, each times its channel's scale.
fn add_block(x: &[i32; 16], block: &PanelBlock, minima: Option<(&f32, &Lanes)>, out: &mut Lanes) {
    let mut sums = [0; CHANNELS];
    for (x, weights) in x.iter().zip(&block.pairs) {
        let (first, second) = (i32::from(*x as i16), x >> 16);
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum += i32::from(weights[0]) * first + i32::from(weights[1]) * second;
        }
    }
    let (x_sum, minima) = minima.unwrap_or((&0.0, &NO_MINIMA));
    for (((out, sum), scale), minimum) in out.iter_mut().zip(sums).zip(&block.scales).zip(minima) {
        *out += sum as f32 * scale - x_sum * minimum;
    }
}

const NO_MINIMA: Lanes = [0.0; CHANNELS];

/// [`Kernels::float`], for any level's compiler settings: four rows at a time.
#[inline(always)]
pub(crate) fn float(weights: &[f32], x: &[f32], out: &mut [Lanes]) {
    let width = weights.len() / CHANNELS;
    let (tiles, rest) = out.as_chunks_mut();
    let (tiled, single) = x.split_at(tiles.len() * 4 * width);
    for (x, out) in tiled.chunks_exact(4 * width).zip(tiles) {
        float_tile::<4>(weights, x, out);
    }
    for (x, out) in single.chunks_exact(width).zip(rest) {
        float_tile::<1>(weights, x, core::array::from_mut(out));
    }
}

#[inline(always)]
fn float_tile<const ROWS: usize>(weights: &[f32], x: &[f32], out: &mut [Lanes; ROWS]) {
    let width = weights.len() / CHANNELS;
    let mut inputs: [&[f32]; ROWS] = [&[]; ROWS];
    for (input, x) in inputs.iter_mut().zip(x.chunks_exact(width)) {
        *input = x;
    }
    for (channel, weights) in weights.chunks_exact(width).enumerate() {
        for (out, product) in out.iter_mut().zip(dots(weights, inputs)) {
            out[channel] = product;
        }
    }
}
