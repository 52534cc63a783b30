//! Rows of activations as int16 (W8A16). Chooses no static scales: calibration does.

use mobiedit_backends::op::Activation;

/// The largest level; −32768 is not used, so that the range is symmetric.
const MOST: f32 = 32767.0;
/// 1.5 · 2²³: adding it rounds a small number to an integer (ties to even), which then lies in the low bits.
const SHIFT: f32 = 12_582_912.0;

/// Rounds one row to multiples of the returned scale, saturating: the row's own, max|x| / 32767, or the static one. A row
/// with a NaN has the scale NaN, one with an infinity an infinite or a saturated one.
#[inline(always)]
pub(crate) fn quantize_row(x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
    // As integers, the absolute values' bits are ordered like the numbers, and NaNs are the largest.
    let most = f32::from_bits(x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff)));
    let scale = match activation {
        Activation::A16Static { scale } if !most.is_nan() => scale,
        _ => most / MOST,
    };
    let divisor = if scale == 0.0 { 1.0 } else { scale };
    for (out, x) in out.iter_mut().zip(x) {
        let shifted = (x / divisor).clamp(-MOST, MOST) + SHIFT;
        *out = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i16;
    }
    scale
}
