//! C⁻¹k* without C: conjugate gradients on sample keys. Does not collect the samples.
//!
//! C = KᵀK/n + λI for n sample keys K, `(n, d_ff)`, with λ = ridge · trace(KᵀK/n) / d_ff, that is `ridge` times C's mean
//! eigenvalue. An iteration reads K once, row by row, and needs three vectors; C itself, d_ff², never exists. Woodbury's
//! identity would need n² numbers more and n passes over K to make them, so it is not used.

use half::f16;

use crate::math::{axpy, axpy_f16, copy, dot, dot_f16};

/// Residual at which the iteration ends, relative to ‖k‖.
const TOLERANCE: f32 = 1e-3;

/// How C⁻¹ is got.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Covariance {
    /// C = I: u = k*.
    Identity,
    /// From the sample keys lent to the editor; the identity if there are none.
    Samples {
        /// λ as a part of C's mean eigenvalue.
        ridge: f32,
        /// Most iterations. Stopping early regularises further: the largest eigenvalues are dealt with first, and uᵀk*
        /// grows with every iteration.
        iterations: u32,
    },
}

/// Memory of the iteration in vectors of d_ff.
pub(crate) const VECTORS: usize = 3;

/// `u ← (KᵀK/n + λI)⁻¹ key`. `samples`, `(n, d_ff)`; `scratch`, `(VECTORS, d_ff)`; `u`, `(d_ff)`.
pub(crate) fn solve(samples: &[f16], key: &[f32], ridge: f32, iterations: u32, scratch: &mut [f32], u: &mut [f32]) {
    let width = key.len().max(1);
    let mut vectors = scratch.chunks_exact_mut(width);
    let (Some(residual), Some(search), Some(image)) = (vectors.next(), vectors.next(), vectors.next()) else { return };
    let matrix = Matrix::new(samples, width, ridge);
    if matrix.lambda.is_nan() || matrix.lambda <= 0.0 {
        return copy(key, u);
    }
    u.fill(0.0);
    copy(key, residual);
    copy(key, search);
    let mut square = dot(residual, residual);
    let enough = TOLERANCE * TOLERANCE * square;
    for _ in 0..iterations {
        if square <= enough {
            break;
        }
        matrix.times(search, image);
        let step = square / dot(search, image);
        axpy(step, search, u);
        axpy(-step, image, residual);
        let before = core::mem::replace(&mut square, dot(residual, residual));
        for (s, r) in search.iter_mut().zip(&*residual) {
            *s = r + square / before * *s;
        }
    }
}

/// Above this squared cosine, in the norm of C, two patches look for the same key. A fact's rephrasings are below it.
const SAME_KEY: f32 = 0.9;

/// Takes from `u` what another patch's u, `earlier`, has of it in the norm of C: afterwards earlierᵀ C u = 0, and u is 0 at the key
/// C · earlier that the other looks for. A `u` that looks for that key itself is left as it is: the fact is edited again, and next to
/// nothing would be left of it. `image`, `(d_ff)`, is scratch.
pub(crate) fn keep_off(covariance: Covariance, samples: &[f16], earlier: &[f32], image: &mut [f32], u: &mut [f32]) {
    let matrix = match covariance {
        Covariance::Samples { ridge, .. } if !samples.is_empty() => Some(Matrix::new(samples, u.len(), ridge)),
        _ => None,
    };
    let times = |x: &[f32], image: &mut [f32]| match &matrix {
        Some(matrix) => matrix.times(x, image),
        None => copy(x, image),
    };
    times(u, image);
    let square = dot(image, u);
    times(earlier, image);
    let share = dot(image, u) / dot(image, earlier);
    let same_key = share * dot(image, u) > SAME_KEY * square;
    if share.is_finite() && !same_key {
        axpy(-share, earlier, u);
    }
}

struct Matrix<'a> {
    samples: &'a [f16],
    width: usize,
    /// 1/n.
    weight: f32,
    lambda: f32,
}

impl<'a> Matrix<'a> {
    fn new(samples: &'a [f16], width: usize, ridge: f32) -> Self {
        let width = width.max(1);
        let weight = 1.0 / samples.chunks_exact(width).len().max(1) as f32;
        let trace: f32 = samples.chunks_exact(width).map(|row| weight * square_norm(row)).sum();
        Self { samples, width, weight, lambda: ridge * trace / width as f32 }
    }

    /// `y ← C x`.
    fn times(&self, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = self.lambda * x;
        }
        for row in self.samples.chunks_exact(self.width.max(1)) {
            axpy_f16(self.weight * dot_f16(row, x), row, y);
        }
    }
}

fn square_norm(row: &[f16]) -> f32 {
    row.iter().fold(0.0, |sum, x| sum + x.to_f32() * x.to_f32())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::rng;
    use std::vec;
    use std::vec::Vec;

    /// Gaussian elimination in f64.
    fn dense(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        let n = b.len();
        for i in 0..n {
            let pivot = (i..n).max_by(|&x, &y| a[x][i].abs().total_cmp(&a[y][i].abs())).unwrap();
            a.swap(i, pivot);
            b.swap(i, pivot);
            let (upper, lower) = a.split_at_mut(i + 1);
            for (j, row) in lower.iter_mut().enumerate() {
                let factor = row[i] / upper[i][i];
                row.iter_mut().zip(&upper[i]).for_each(|(x, y)| *x -= factor * y);
                b[i + 1 + j] -= factor * b[i];
            }
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| a[i][k] * b[k]).sum();
            b[i] = (b[i] - known) / a[i][i];
        }
        b
    }

    /// Keys with a few strong directions in common, as real ones have.
    fn samples(n: usize, width: usize) -> Vec<f16> {
        let mut common = vec![0.0; width];
        rng::gaussian(&mut rng::stream(1, 0, 0), &mut common);
        let mut out = Vec::new();
        for i in 0..n {
            let mut row = vec![0.0; width];
            rng::gaussian(&mut rng::stream(1, 1, i as u32), &mut row);
            out.extend(row.iter().zip(&common).map(|(x, c)| f16::from_f32(0.3 * x + c)));
        }
        out
    }

    #[test]
    fn agrees_with_a_dense_solve_in_f64() {
        for (n, width, ridge) in [(1, 16, 0.1), (20, 48, 0.1), (100, 48, 0.01), (48, 48, 1.0)] {
            let samples = samples(n, width);
            let mut key = vec![0.0; width];
            rng::gaussian(&mut rng::stream(2, 0, 0), &mut key);
            let k: Vec<Vec<f64>> =
                samples.chunks_exact(width).map(|row| row.iter().map(|x| x.to_f64()).collect()).collect();
            let trace: f64 = k.iter().flatten().map(|x| x * x / n as f64).sum();
            let c = (0..width).map(|i| {
                (0..width)
                    .map(|j| {
                        let sum: f64 = k.iter().map(|row| row[i] * row[j] / n as f64).sum();
                        sum + if i == j { f64::from(ridge) * trace / width as f64 } else { 0.0 }
                    })
                    .collect()
            });
            let exact = dense(c.collect(), key.iter().map(|x| f64::from(*x)).collect());
            let (mut u, mut scratch) = (vec![0.0; width], vec![0.0; VECTORS * width]);
            solve(&samples, &key, ridge, 200, &mut scratch, &mut u);
            let error: f64 = u.iter().zip(&exact).map(|(u, e)| (f64::from(*u) - e).powi(2)).sum();
            let length: f64 = exact.iter().map(|e| e * e).sum();
            assert!((error / length).sqrt() < 1e-2, "n {n}, width {width}, ridge {ridge}: {}", (error / length).sqrt());
        }
    }

    #[test]
    fn what_is_kept_off_is_orthogonal_in_the_norm_of_c() {
        let (n, width, ridge) = (40, 12, 0.3);
        let samples = samples(n, width);
        let mut numbers = vec![0.0; 3 * width];
        rng::gaussian(&mut rng::stream(5, 0, 0), &mut numbers);
        let (u, rest) = numbers.split_at_mut(width);
        let (earlier, image) = rest.split_at_mut(width);
        keep_off(Covariance::Samples { ridge, iterations: 1 }, &samples, earlier, image, u);
        let rows: Vec<Vec<f64>> = samples.chunks_exact(width).map(|r| r.iter().map(|x| x.to_f64()).collect()).collect();
        let trace: f64 = rows.iter().flatten().map(|x| x * x).sum::<f64>() / n as f64;
        let lambda = f64::from(ridge) * trace / width as f64;
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
        let inner = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        // xᵀ C y by its definition.
        let form = |x: &[f64], y: &[f64]| {
            rows.iter().map(|row| inner(row, x) * inner(row, y)).sum::<f64>() / n as f64 + lambda * inner(x, y)
        };
        let (u, earlier) = (wide(u), wide(earlier));
        let off = form(&u, &earlier) / (form(&u, &u) * form(&earlier, &earlier)).sqrt();
        assert!(off.abs() < 1e-5, "{off}");
    }

    #[test]
    fn what_looks_for_the_same_key_is_left_as_it_is() {
        let samples = samples(40, 12);
        let mut numbers = vec![0.0; 2 * 12];
        rng::gaussian(&mut rng::stream(6, 0, 0), &mut numbers);
        let (earlier, other) = numbers.split_at(12);
        let kept_off = |weight: f32| {
            let u: Vec<f32> = earlier.iter().zip(other).map(|(e, o)| 1.01 * e + weight * o).collect();
            let mut off = u.clone();
            let covariance = Covariance::Samples { ridge: 1.0, iterations: 1 };
            keep_off(covariance, &samples, earlier, &mut [0.0; 12], &mut off);
            off != u
        };
        assert_eq!([0.0, 0.01, 1.0, 10.0].map(kept_off), [false, false, true, true]);
    }

    #[test]
    fn without_samples_or_with_zero_ones_it_is_the_identity() {
        let key = [1.0, -2.0, 3.0];
        for samples in [&[][..], &[f16::ZERO; 6]] {
            let (mut u, mut scratch) = ([0.0; 3], [0.0; 9]);
            solve(samples, &key, 0.1, 10, &mut scratch, &mut u);
            assert_eq!(u, key);
        }
    }
}
