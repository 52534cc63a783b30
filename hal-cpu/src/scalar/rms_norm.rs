//! RMSNorm of rows. Subtracts no mean.

use super::functions::sqrt;
use super::sums::dot;

/// `out = x / √(mean(x²) + eps) · weight`, one row; `weight` is F32 in little-endian bytes. NaN where the squares leave the
/// range of f32 (from 1.8e19 on), not the zeros that 1 / ∞ would make of it: so it is found.
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) {
    let mean_square = dot(x, x) / x.len() as f32;
    let scale = if mean_square.is_finite() { 1.0 / sqrt(mean_square + eps) } else { f32::NAN };
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight.as_chunks().0) {
        *out = x * scale * f32::from_le_bytes(*weight);
    }
}
