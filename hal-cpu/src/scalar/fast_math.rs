//! The logarithm of `micromath`, for the readout. Chooses nothing, and has none of that crate's other functions:
//! `functions` says why.

use micromath::F32;

/// ln x for x ≥ 1, as a sum of exponentials with the largest of them 1 is; within 6.3e-5. NaN for ∞ and NaN.
pub(crate) fn ln(x: f64) -> f64 {
    f64::from(F32(x as f32).ln().0)
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn stays_within_its_bound() {
        // Sums of up to 2¹⁸ exponentials: more tokens than a vocabulary has.
        for i in 0..=18 * 10_000 {
            let x = libm::exp2(f64::from(i) / 10_000.0);
            let off = (ln(x) - libm::log(x)).abs();
            assert!(off <= 6.3e-5, "ln({x}) is {off} off");
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(ln(1.0), 0.0);
        assert!(ln(f64::INFINITY).is_nan() && ln(f64::NAN).is_nan());
    }
}
