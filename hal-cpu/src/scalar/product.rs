//! One row of weights times a tile of activations: the product under linear layers and the output head.
//!
//! W8A16: quantised formats are multiplied as integers, exactly within each block of 32, of 16 in Q6_K (at most
//! 32 · 128 · 32767 < 2³¹); the block sums, times the blocks' scales, less their minima times the sum of activations, are added in
//! f32 in ascending order, then multiplied by the row's scale. Float formats are multiplied in f32: slower, and more exact than
//! W8A16 asks for.

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::op::Activation;
use mobiedit_backends::quant::{quantize_row_i16, quantize_row_i16_static};
use mobiedit_backends::weights::{Format, Matrix};

use super::integer::{BLOCK, has_minima, products_of_blocks, products_with_minima, unpack_groups_of_16, unpack_minima};
#[cfg(not(all(feature = "hvx", target_arch = "hexagon")))]
use super::integer::{integer_products, unpack_row};
use super::sums::dot;
#[cfg(all(feature = "hvx", target_arch = "hexagon"))]
use crate::hvx::{integer_products, unpack_row};
use mobiedit_backends::rows::{by_rows, by_rows_mut};

/// A tile of activation rows, as the product wants them.
pub(crate) enum Inputs<'x> {
    /// `(rows, width)`.
    Float(&'x [f32]),
    /// Levels, `(rows, width)`, and their scales, `(rows)`.
    Integer(&'x [i16], &'x [f32]),
}

/// Room for a tile of int16 rows with their scales, and for one row of weights: integer levels, and dequantised numbers or
/// blocks' scales.
pub(crate) struct Room<'w> {
    pub(crate) activations: &'w mut [i16],
    pub(crate) scales: &'w mut [f32],
    pub(crate) weights: WeightRow<'w>,
}

/// Room for one row of weights.
pub(crate) struct WeightRow<'w> {
    pub(crate) levels: &'w mut [i8],
    pub(crate) numbers: &'w mut [f32],
}

/// Rounds one row to int16, with its own scale or the static one, and returns the scale.
#[inline(always)]
pub(crate) fn quantize_row(x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
    match activation {
        Activation::A16Static { scale, .. } => quantize_row_i16_static(x, scale, out),
        Activation::A16 | Activation::F32 => quantize_row_i16(x, out),
    }
}

/// Whether the product is done in integers.
pub(crate) fn is_integer(format: Format, activation: Activation) -> bool {
    activation != Activation::F32 && !matches!(format, Format::F32 | Format::F16 | Format::Bf16)
}

/// Prepares a tile of rows, and hands back the room for weights.
pub(crate) fn prepare<'s>(
    x: &'s [f32],
    weight: Matrix<'_>,
    activation: Activation,
    room: Room<'s>,
) -> (Inputs<'s>, WeightRow<'s>) {
    let Room { activations, scales, weights: WeightRow { levels, numbers } } = room;
    let width = weight.cols();
    let weights = WeightRow {
        levels: levels.get_mut(..width).unwrap_or_default(),
        numbers: numbers.get_mut(..width).unwrap_or_default(),
    };
    if !is_integer(weight.format(), activation) {
        return (Inputs::Float(x), weights);
    }
    let activations = activations.get_mut(..x.len()).unwrap_or_default();
    for ((x, levels), scale) in by_rows(x, width).zip(by_rows_mut(activations, width)).zip(scales.iter_mut()) {
        *scale = quantize_row(x, activation, levels);
    }
    (Inputs::Integer(activations, scales), weights)
}

/// Writes the product of weight row `channel` with every row of the tile.
pub(crate) fn multiply<'o>(
    weight: Matrix<'_>,
    channel: usize,
    inputs: &Inputs<'_>,
    row: &mut WeightRow<'_>,
    out: impl Iterator<Item = &'o mut f32>,
) {
    let (width, bytes) = (weight.cols(), weight.row(channel));
    match *inputs {
        Inputs::Float(x) => {
            dequantize_row(weight.format(), bytes, row.numbers);
            for (out, x) in out.zip(by_rows(x, width)) {
                *out = dot(row.numbers, x);
            }
        }
        Inputs::Integer(levels, scales) if has_minima(weight.format()) => {
            let (of_blocks, minima) = row.numbers.split_at_mut_checked(width / BLOCK).unwrap_or_default();
            unpack_minima(weight.format(), bytes, row.levels, of_blocks, minima);
            products_with_minima(row.levels, of_blocks, minima, levels, scales, out);
        }
        Inputs::Integer(levels, scales) if weight.format() == Format::Q6K => {
            unpack_groups_of_16(bytes, row.levels, row.numbers);
            products_of_blocks::<16>(row.levels, row.numbers, levels, scales, out);
        }
        Inputs::Integer(levels, scales) => {
            unpack_row(weight.format(), bytes, row.levels, row.numbers);
            let blocks = row.numbers.get(..width / BLOCK).unwrap_or_default();
            integer_products(row.levels, blocks, levels, scales, out);
        }
    }
}
