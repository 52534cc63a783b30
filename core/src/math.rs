//! Sums over vectors in one stated order, so that every target gets the same bits. Not fast paths: those are the HALs'.
//!
//! Only IEEE additions and multiplications (Rust never contracts them) and `libm`; never the platform's math library.

use half::f16;

const LANES: usize = 8;

/// `Σ aᵢ bᵢ` in f32: lane j of 8 sums the elements j, j+8, j+16, … of the whole blocks of 8; then
/// ((0+4)+(2+6)) + ((1+5)+(3+7)); then the elements left over, one by one.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (blocks_a, rest_a) = a.as_chunks::<LANES>();
    let (blocks_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (x, y) in blocks_a.iter().zip(blocks_b) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    rest_a.iter().zip(rest_b).fold(reduce(lanes), |sum, (x, y)| sum + x * y)
}

/// [`dot`] with one side in f16, converted exactly; the same order.
pub(crate) fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    let (blocks_a, rest_a) = a.as_chunks::<LANES>();
    let (blocks_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (x, y) in blocks_a.iter().zip(blocks_b) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x.to_f32() * y;
        }
    }
    rest_a.iter().zip(rest_b).fold(reduce(lanes), |sum, (x, y)| sum + x.to_f32() * y)
}

fn reduce([a, b, c, d, e, f, g, h]: [f32; LANES]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Euclidean norm, by [`dot`].
pub(crate) fn norm(a: &[f32]) -> f32 {
    libm::sqrtf(dot(a, a))
}

/// `y ← y + alpha x`.
pub(crate) fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// [`axpy`] with `x` in f16, converted exactly.
pub(crate) fn axpy_f16(alpha: f32, x: &[f16], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x.to_f32();
    }
}

/// `x ← alpha x`.
pub(crate) fn scale(alpha: f32, x: &mut [f32]) {
    for x in x {
        *x *= alpha;
    }
}

/// `to ← from`, as far as the shorter one goes.
pub(crate) fn copy(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn ramp(len: usize, phase: f64) -> Vec<f32> {
        (0..len).map(|i| (i as f64 * 0.37 + phase).sin() as f32).collect()
    }

    #[test]
    fn dot_is_near_f64_at_every_remainder() {
        for len in 0..40 {
            let (a, b) = (ramp(len, 0.1), ramp(len, 2.0));
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-5, "length {len}");
            let halves: Vec<f16> = a.iter().map(|x| f16::from_f32(*x)).collect();
            let widened: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            assert_eq!(dot_f16(&halves, &b).to_bits(), dot(&widened, &b).to_bits(), "length {len}");
        }
    }

    #[test]
    fn the_order_of_the_sum_is_the_stated_one() {
        // Each big number meets its opposite only in the last addition of the lanes; in reading order 1.0 would be lost.
        let mut a = [0.0f32; 9];
        (a[0], a[1], a[2], a[8]) = (1e8, -1e8, 0.5, 1.0);
        assert_eq!(dot(&a, &[1.0; 9]), 1.0);
        (a[0], a[1], a[4]) = (1e8, 0.5, -1e8);
        assert_eq!(dot(&a, &[1.0; 9]), 2.0);
    }
}
