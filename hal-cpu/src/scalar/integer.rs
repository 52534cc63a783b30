//! The integer product in plain Rust: a row of int8 weights, unpacked, times rows of int16 activations. What a kernel for
//! some instruction set has to reproduce bit by bit.
//!
//! Rounds no activations: `product` does, and chooses between this and a kernel.

use half::f16;
use mobiedit_backends::weights::Format;

use mobiedit_backends::rows::by_rows;

/// Integer weights that share a scale.
pub const BLOCK: usize = 32;

/// Splits a row of Q8_0 or Q4_0 into integers, `(width)`, and scales, `(width / 32)`.
#[inline(always)]
pub fn unpack_row(format: Format, bytes: &[u8], levels: &mut [i8], scales: &mut [f32]) {
    let blocks = by_rows(bytes, format.block_bytes()).zip(levels.chunks_exact_mut(BLOCK)).zip(scales);
    for ((block, levels), scale) in blocks {
        let [low, high, packed @ ..] = block else { continue };
        *scale = f16::from_le_bytes([*low, *high]).to_f32();
        if format == Format::Q8_0 {
            for (level, byte) in levels.iter_mut().zip(packed) {
                *level = *byte as i8;
            }
        } else {
            let (first, second) = levels.split_at_mut(BLOCK / 2);
            for ((first, second), byte) in first.iter_mut().zip(second).zip(packed) {
                (*first, *second) = ((byte & 15) as i8 - 8, (byte >> 4) as i8 - 8);
            }
        }
    }
}

/// Products of one row of weights, `levels` with the scales of its blocks, with rows of activations: `x`,
/// `(x_scales, levels)`.
pub fn integer_products<'o>(
    levels: &[i8],
    scales: &[f32],
    x: &[i16],
    x_scales: &[f32],
    out: impl Iterator<Item = &'o mut f32>,
) {
    for ((out, x), x_scale) in out.zip(by_rows(x, levels.len())).zip(x_scales) {
        *out = integer_dot(levels, scales, x) * x_scale;
    }
}

/// Σ over blocks of scale · Σ w·x, the inner sums exact.
fn integer_dot(levels: &[i8], scales: &[f32], x: &[i16]) -> f32 {
    let mut sum = 0.0;
    for ((levels, x), scale) in levels.chunks_exact(BLOCK).zip(x.chunks_exact(BLOCK)).zip(scales) {
        let block: i32 = levels.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
        sum += block as f32 * scale;
    }
    sum
}
