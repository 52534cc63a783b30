//! The integer product in plain Rust: a row of int8 weights, unpacked, times rows of int16 activations. What a kernel for
//! some instruction set has to reproduce bit by bit. Q4_K and Q5_K have a minimum beside a group's scale: it is multiplied by the
//! group's sum of activations, so that their product is exact within a group too.
//!
//! Rounds no activations: `product` does, and chooses between this and a kernel.

use half::f16;
use mobiedit_backends::dequant::{Scale, group_of_32, groups_of_16};
use mobiedit_backends::weights::Format;

use mobiedit_backends::rows::by_rows;

/// Integer weights that share a scale.
pub const BLOCK: usize = 32;

/// Splits a row of Q8_0 or Q4_0 into integers, `(width)`, and scales, `(width / 32)`.
#[inline(always)]
pub fn unpack_row(format: Format, bytes: &[u8], levels: &mut [i8], scales: &mut [f32]) {
    let blocks = by_rows(bytes, format.block_bytes()).zip(levels.as_chunks_mut().0).zip(scales);
    for ((block, levels), scale) in blocks {
        *scale = unpack_block(format, block, levels).to_f32();
    }
}

/// One block of Q8_0 or Q4_0: its integers, and its scale.
#[inline(always)]
pub(crate) fn unpack_block(format: Format, block: &[u8], levels: &mut [i8; BLOCK]) -> f16 {
    let [low, high, packed @ ..] = block else { return f16::ZERO };
    // An array of its own: compilers do not see that `levels` and `block` are apart.
    let mut unpacked = [0; BLOCK];
    if format == Format::Q8_0 {
        for (level, byte) in unpacked.iter_mut().zip(packed) {
            *level = *byte as i8;
        }
    } else {
        let (first, second) = unpacked.split_at_mut(BLOCK / 2);
        for ((first, second), byte) in first.iter_mut().zip(second).zip(packed) {
            (*first, *second) = ((byte & 15) as i8 - 8, (byte >> 4) as i8 - 8);
        }
    }
    *levels = unpacked;
    f16::from_le_bytes([*low, *high])
}

/// Splits a row of Q6_K into integers, `(width)`, and scales of its groups, `(width / 16)`.
pub(crate) fn unpack_groups_of_16(bytes: &[u8], levels: &mut [i8], scales: &mut [f32]) {
    let pairs = by_rows(bytes, Format::Q6K.block_bytes()).flat_map(|block| (0..8).map(move |pair| (block, pair)));
    let places = levels.as_chunks_mut().0.iter_mut().zip(scales.as_chunks_mut().0);
    for ((block, pair), (levels, scales)) in pairs.zip(places) {
        *scales = groups_of_16(block, pair, levels).map(Scale::to_f32);
    }
}

/// Whether a format's groups have a minimum beside their scale.
pub(crate) const fn has_minima(format: Format) -> bool {
    matches!(format, Format::Q4K | Format::Q5K)
}

/// Splits a row of Q4_K or Q5_K into integers, `(width)`, and scales and minima of its groups, `(width / 32)` each.
pub(crate) fn unpack_minima(format: Format, bytes: &[u8], levels: &mut [i8], scales: &mut [f32], minima: &mut [f32]) {
    let groups = by_rows(bytes, format.block_bytes()).flat_map(|block| (0..8).map(move |group| (block, group)));
    let places = levels.as_chunks_mut().0.iter_mut().zip(scales).zip(minima);
    for ((block, group), ((levels, scale), minimum)) in groups.zip(places) {
        [*scale, *minimum] = group_of_32(format, block, group, levels).map(Scale::to_f32);
    }
}

/// [`integer_products`] of a row whose groups have minima.
pub(crate) fn products_with_minima<'o>(
    levels: &[i8],
    scales: &[f32],
    minima: &[f32],
    x: &[i16],
    x_scales: &[f32],
    out: impl Iterator<Item = &'o mut f32>,
) {
    for ((out, x), x_scale) in out.zip(by_rows(x, levels.len())).zip(x_scales) {
        let blocks = levels.as_chunks::<BLOCK>().0.iter().zip(x.as_chunks::<BLOCK>().0).zip(scales.iter().zip(minima));
        let mut sum = 0.0;
        for ((levels, x), (scale, minimum)) in blocks {
            let block: i32 = levels.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
            sum += block as f32 * scale - sum_of(x) * minimum;
        }
        *out = sum * x_scale;
    }
}

/// The sum of a block's activations: exact, as 32 of them are below 2²⁰.
#[inline(always)]
pub(crate) fn sum_of(x: &[i16]) -> f32 {
    x.iter().map(|x| i32::from(*x)).sum::<i32>() as f32
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
    products_of_blocks::<BLOCK>(levels, scales, x, x_scales, out);
}

/// The same with so many weights to a scale.
pub(crate) fn products_of_blocks<'o, const LEN: usize>(
    levels: &[i8],
    scales: &[f32],
    x: &[i16],
    x_scales: &[f32],
    out: impl Iterator<Item = &'o mut f32>,
) {
    for ((out, x), x_scale) in out.zip(by_rows(x, levels.len())).zip(x_scales) {
        *out = integer_dot::<LEN>(levels, scales, x) * x_scale;
    }
}

/// Σ over blocks of scale · Σ w·x, the inner sums exact.
fn integer_dot<const LEN: usize>(levels: &[i8], scales: &[f32], x: &[i16]) -> f32 {
    let mut sum = 0.0;
    for ((levels, x), scale) in levels.as_chunks::<LEN>().0.iter().zip(x.as_chunks::<LEN>().0).zip(scales) {
        let block: i32 = levels.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
        sum += block as f32 * scale;
    }
    sum
}
