//! eˣ by integers, for a CPU without a floating-point unit, where a product of f32 takes 50 instructions and one of integers
//! takes one. Within a unit in the last place of the true value, but not the bits of `exp`; no other function lives here.

/// log₂ e · 2³¹.
const LOG2_E: u64 = 3_098_164_009;
/// Coefficients of 2ᶠ − 1 for 0 ≤ f < 1, times 2³², highest power first; interpolated at Chebyshev's nodes, 5.3e-9 off.
const POLYNOMIAL: [u32; 6] = [894_123, 5_451_244, 41_455_862, 238_353_606, 1_031_767_986, 2_977_044_430];

/// eˣ: ∞ from 88.73 on, 0 below −87.34, where results are less than the smallest normal number; NaN for NaN.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) & 0xff;
    match exponent {
        0..100 => return 1.0,
        100..134 => {}
        _ if x.is_nan() => return x,
        _ => return if x.is_sign_negative() { 0.0 } else { f32::INFINITY },
    }
    // |x| = significand · 2^(exponent − 150), so this is |x| · log₂ e · 2³².
    let significand = (bits & 0x007f_ffff) | 0x0080_0000;
    let magnitude = ((u64::from(significand) * LOG2_E) >> (149 - exponent)) as i64;
    let power = if x.is_sign_negative() { -magnitude } else { magnitude };
    let (whole, fraction) = ((power >> 32) as i32, power as u32);
    match whole {
        ..-126 => 0.0,
        128.. => f32::INFINITY,
        _ => {
            let rest = POLYNOMIAL.into_iter().fold(0, |sum, c| high_product(sum + c, fraction));
            // Rounded to 23 bits. A carry makes it the next power of two.
            f32::from_bits((((whole + 127) as u32) << 23) + (rest >> 9) + ((rest >> 8) & 1))
        }
    }
}

/// a · b / 2³².
#[inline]
fn high_product(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn stays_within_one_unit_in_the_last_place() {
        for i in -87_000..=88_700 {
            let x = i as f32 / 1000.0 + 1.0 / 7001.0;
            let truth = libm::exp(f64::from(x));
            let unit = f64::from(f32::from_bits((truth as f32).to_bits() + 1)) - f64::from(truth as f32);
            let error = (f64::from(exp(x)) - truth).abs() / unit;
            assert!(error <= 1.0, "exp({x}) is {error} units off");
        }
    }

    #[test]
    fn extremes() {
        assert_eq!((exp(0.0), exp(-0.0), exp(f32::MIN_POSITIVE), exp(-1e-9)), (1.0, 1.0, 1.0, 1.0));
        for x in [-87.4, -100.0, -127.9, -128.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0, "{x}");
        }
        for x in [88.8, 100.0, 127.9, 128.0, 1e30, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY, "{x}");
        }
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
    }
}
