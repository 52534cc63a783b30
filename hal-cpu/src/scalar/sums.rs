//! The one order in which f32 products are summed, on every level. No fused multiply-add: its bits differ between CPUs.
//!
//! Element i goes to partial sum i mod 16, in ascending order; the 16 partial sums are then folded in halves. So a SIMD
//! kernel with 16 lanes (or two times 8, four times 4) has the same bits, and the error grows with n / 16, not n.

/// Number of partial sums.
pub(crate) const LANES: usize = 16;

/// Σ a[i]·b[i].
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        multiply_add(&mut lanes, a, b);
    }
    multiply_add(&mut lanes, a_rest, b_rest);
    fold(lanes)
}

/// [`dot`] of `a` with several vectors; each of its numbers is loaded once.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn dots<const N: usize>(a: &[f32], b: [&[f32]; N]) -> [f32; N] {
    let mut lanes = [[0.0; LANES]; N];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let b = b.map(|b| b.as_chunks::<LANES>());
    for (i, a) in a.iter().enumerate() {
        for (lanes, (b, _)) in lanes.iter_mut().zip(&b) {
            if let Some(b) = b.get(i) {
                multiply_add(lanes, a, b);
            }
        }
    }
    for (lanes, (_, b_rest)) in lanes.iter_mut().zip(&b) {
        multiply_add(lanes, a_rest, b_rest);
    }
    let mut sums = [0.0; N];
    for (sum, lanes) in sums.iter_mut().zip(lanes) {
        *sum = fold(lanes);
    }
    sums
}

#[inline(always)]
fn multiply_add(lanes: &mut [f32; LANES], a: &[f32], b: &[f32]) {
    for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
        *lane += a * b;
    }
}

/// The sum of 16 partial sums: lane i + lane i + 8, then + 4, + 2, + 1.
#[inline(always)]
pub(crate) fn fold(lanes: [f32; LANES]) -> f32 {
    let four: [f32; 4] = halved(halved::<16, 8>(lanes));
    let [sum] = halved(halved::<4, 2>(four));
    sum
}

/// First half plus second half.
#[inline(always)]
fn halved<const N: usize, const HALF: usize>(x: [f32; N]) -> [f32; HALF] {
    let mut sums = [0.0; HALF];
    if let [low, high] = x.as_chunks().0 {
        for ((sum, low), high) in sums.iter_mut().zip::<&[f32; HALF]>(low).zip(high) {
            *sum = low + high;
        }
    }
    sums
}

/// The largest element; −∞ for none, NaNs are passed over.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for x in x.chunks(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |most, lane| if lane > most { lane } else { most })
}

/// No element is infinite or NaN.
#[inline(always)]
pub(crate) fn all_finite(x: &[f32]) -> bool {
    // The bits of magnitudes are ordered like the numbers, with infinity and NaNs above them.
    x.iter().fold(0, |most, x| most.max(x.abs().to_bits())) < f32::INFINITY.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_sums_all_products() {
        for len in [0, 1, 15, 16, 17, 40, 64] {
            let a: [f32; 64] = core::array::from_fn(|i| i as f32);
            let expected = (0..len).map(|i| i * i).sum::<usize>() as f32;
            assert_eq!(dot(&a[..len], &a[..len]), expected, "length {len}");
        }
    }

    #[test]
    fn max_passes_over_nan() {
        assert_eq!(max(&[f32::NAN, -3.0, -2.0, f32::NAN]), -2.0);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
    }
}
