//! The rules of W8A16: numbers to int16 and int8 with their scales, Q8_0 blocks, and the range that calibration keeps.
//! Multiplies nothing and collects no samples.
//!
//! All rounding is to the nearest level, ties to even, except in Q8_0 (GGML: ties away from zero). Levels are symmetric:
//! −32768 and −128 are not used. A row with a NaN or an infinity has the scale NaN and the levels 0, so that whatever is
//! computed from it is NaN and is found.

use half::f16;

/// The largest level of an activation.
pub const MOST_I16: f32 = 32767.0;
/// The largest level of a weight.
pub const MOST_I8: f32 = 127.0;
/// Numbers in a block of Q8_0.
pub const Q8_0_LEN: usize = 32;
/// Bytes of a block of Q8_0.
pub const Q8_0_BYTES: usize = 34;

/// Samples whose maximum is over so many times their 99th percentile have outliers.
const OUTLIER_RATIO: f32 = 4.0;

/// The largest magnitude; NaN where a number is not finite.
#[inline(always)]
fn range(x: &[f32]) -> f32 {
    // The bits of magnitudes are ordered like the numbers, with infinity and NaNs above them.
    let most = f32::from_bits(x.iter().fold(0, |most, x| most.max(x.abs().to_bits())));
    if most.is_finite() { most } else { f32::NAN }
}

/// `x / scale`, rounded and saturated at ±`most`. 0 where the scale is 0 or NaN.
#[inline(always)]
fn level(x: f32, scale: f32, most: f32) -> i32 {
    // 1.5 · 2²³: numbers of this size are whole, so adding it rounds, ties to even, without a call; and their bits count.
    const WHOLE: f32 = 12_582_912.0;
    if scale > 0.0 { ((x / scale).clamp(-most, most) + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32 } else { 0 }
}

/// A row of activations as int16. Returns the scale, max|x| / 32767: |x − scale · level| ≤ scale / 2, up to f32's rounding.
/// A row of zeros has the scale 0.
#[inline(always)]
pub fn quantize_row_i16(x: &[f32], out: &mut [i16]) -> f32 {
    quantize_row_i16_static(x, range(x) / MOST_I16, out)
}

/// The same with a scale from calibration, over 0: what is beyond 32767 · scale saturates. Returns the scale.
#[inline(always)]
pub fn quantize_row_i16_static(x: &[f32], scale: f32, out: &mut [i16]) -> f32 {
    debug_assert_eq!(x.len(), out.len());
    let scale = if range(x).is_nan() { f32::NAN } else { scale };
    for (out, x) in out.iter_mut().zip(x) {
        *out = level(*x, scale, MOST_I16) as i16;
    }
    scale
}

/// One output channel of a weight matrix as int8. Returns the scale, max|x| / 127; 0 for zeros.
pub fn quantize_row_i8(x: &[f32], out: &mut [i8]) -> f32 {
    debug_assert_eq!(x.len(), out.len());
    let scale = range(x) / MOST_I8;
    for (out, x) in out.iter_mut().zip(x) {
        *out = level(*x, scale, MOST_I8) as i8;
    }
    scale
}

/// One block as GGML writes it: the scale max|x| / 127 in f16, 32 levels by the scale in f32. Infinite from 127 · 65520 on.
pub fn quantize_block_q8_0(x: &[f32; Q8_0_LEN]) -> [u8; Q8_0_BYTES] {
    let scale = range(x) / MOST_I8;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut block = [0; Q8_0_BYTES];
    let [d0, d1, levels @ ..] = &mut block;
    [*d0, *d1] = f16::from_f32(scale).to_le_bytes();
    if scale > 0.0 {
        for (level, x) in levels.iter_mut().zip(x) {
            *level = libm::roundf(x * inverse) as i8 as u8;
        }
    }
    block
}

/// A row of whole blocks; `out` has 34 bytes for every 32 numbers.
pub fn quantize_row_q8_0(x: &[f32], out: &mut [u8]) {
    debug_assert_eq!(x.len() * Q8_0_BYTES, out.len() * Q8_0_LEN);
    for (x, out) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *out = quantize_block_q8_0(x);
    }
}

/// The range that a static scale should cover, by the rule of the published code: the largest magnitude, or the 99th
/// percentile of magnitudes (the ⌈0.99 n⌉-th smallest) where the largest is over 4 times that. The scale is this / 32767.
///
/// Reorders the samples. `None` where there are none, or one is not finite. Where 99 % are zeros nothing is clipped, for
/// the range would be 0.
pub fn calibrated_range(samples: &mut [f32]) -> Option<f32> {
    let most = range(samples);
    // ⌈0.99 n⌉ − 1 = n − 1 − ⌊n / 100⌋.
    let rank = samples.len().checked_sub(1 + samples.len() / 100)?;
    let (_, percentile, _) = samples.select_nth_unstable_by(rank, |a, b| a.abs().total_cmp(&b.abs()));
    (!most.is_nan()).then_some(clipped_range(most, percentile.abs()))
}

/// The same rule for samples that were counted: from the largest magnitude and the 99th percentile of magnitudes.
pub fn clipped_range(most: f32, percentile: f32) -> f32 {
    if percentile > 0.0 && most > OUTLIER_RATIO * percentile { percentile } else { most }
}
