//! The linear layer: product, bias, rank-one side terms.

use mobiedit_core::rank_one::RankOne;

use super::product::{multiply, prepare};
use super::sums::dot;
use crate::scratch::Scratch;
use mobiedit_backends::checked::Linear;
use mobiedit_backends::rows::{by_rows, by_rows_mut};

/// Runs a linear layer, as many rows at a time as the scratch holds.
pub(crate) fn linear(op: Linear<'_>, scratch: &mut Scratch<'_>) {
    let (inputs, outputs) = (op.weight.cols(), op.weight.rows());
    let tile = scratch.tile_rows(inputs);
    for (x, out) in op.x.chunks((tile * inputs).max(1)).zip(op.out.chunks_mut((tile * outputs).max(1))) {
        let (tile, mut row) = prepare(x, op.weight, op.activation, scratch.split().0);
        for channel in 0..outputs {
            let column = out.iter_mut().skip(channel).step_by(outputs.max(1));
            multiply(op.weight, channel, &tile, &mut row, column);
        }
    }
    for (x, out) in by_rows(op.x, inputs).zip(by_rows_mut(op.out, outputs)) {
        let bias = op.bias.map_or(&[][..], |b| b.bytes());
        add_terms(bias, op.side, x, out);
    }
}

/// `out += bias + Σ Λ (uᵀx)` for one row; `bias` is F32 in little-endian bytes, or empty.
pub(crate) fn add_terms(bias: &[u8], side: &[RankOne<'_>], x: &[f32], out: &mut [f32]) {
    for (out, bias) in out.iter_mut().zip(bias.as_chunks().0) {
        *out += f32::from_le_bytes(*bias);
    }
    for patch in side {
        let strength = dot(patch.u, x);
        for (out, lambda) in out.iter_mut().zip(patch.lambda) {
            *out += lambda * strength;
        }
    }
}
