//! RMSNorm of rows. Subtracts no mean.

use super::sums::dot;

/// `out = x / √(mean(x²) + eps) · weight`, one row; `weight` is F32 in little-endian bytes.
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) {
    let mean_square = dot(x, x) / x.len() as f32;
    let scale = 1.0 / libm::sqrtf(mean_square + eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight.as_chunks().0) {
        *out = x * scale * f32::from_le_bytes(*weight);
    }
}
