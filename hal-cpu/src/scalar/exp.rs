//! eˣ in f32 by a branch-free formula that compilers vectorise: the same bits on every level. Within 2 units in the last
//! place of the true value for normal results; no other function lives here.

/// 1.5 · 2²³: adding it rounds a small number to an integer, which then lies in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that its multiples are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of (eʳ − 1 − r) / r² on |r| ≤ ln 2 / 2 (Cephes' expf): of the highest power, and the others downwards.
const HIGHEST: f32 = 1.987_569_1e-4;
const LOWER: [f32; 5] = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// eˣ: ∞ above 88.7, 0 below −104, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-110.0, 89.0);
    let shifted = x * core::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = LOWER.into_iter().fold(HIGHEST, |sum, c| sum * r + c);
    let power = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    // In two steps, so that results below the smallest normal number come out right.
    let half = power >> 1;
    (series * r * r + r + 1.0) * power_of_two(half) * power_of_two(power.wrapping_sub(half))
}

/// 2ⁿ for −127 < n < 128.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn stays_within_two_units_in_the_last_place() {
        for i in -87_000..=88_700 {
            let x = i as f32 / 1000.0 + 1.0 / 7001.0;
            let truth = libm::exp(f64::from(x));
            let unit = f64::from(f32::from_bits((truth as f32).to_bits() + 1)) - f64::from(truth as f32);
            let error = (f64::from(exp(x)) - truth).abs() / unit;
            assert!(error <= 2.0, "exp({x}) is {error} units off");
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        let (tiny, truth) = (f64::from(exp(-100.0)), libm::exp(-100.0));
        assert!((tiny - truth).abs() <= f64::from(f32::from_bits(1)), "{tiny} for {truth}");
    }
}
