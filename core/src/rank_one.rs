//! The rank-one patch and its solve (equation 6). Does not compute u, which is `covariance`'s work.

use crate::math::{dot, scale};

/// A patch of one layer's `down_proj`: `W' = W + Λ uᵀ`, so `y += Λ (uᵀx)` at run time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankOne<'a> {
    /// The layer whose `down_proj` is patched.
    pub layer: usize,
    /// `u = C⁻¹k*`, `(d_ff)`: what the patch looks for.
    pub u: &'a [f32],
    /// `Λ = (v* − W k*) / (uᵀk*)`, `(d_model)`: what the patch adds.
    pub lambda: &'a [f32],
}

/// `Λ = (v* − W k*) / (uᵀk*)`. `residual`, `(d_model)`, holds v* − W k* and becomes Λ.
///
/// `None` where uᵀk* is no positive number (the key is zero or not finite, or balanced keys cancel each other), and where Λ
/// would not be finite.
pub(crate) fn solve(u: &[f32], key: &[f32], residual: &mut [f32]) -> Option<()> {
    let along = dot(u, key);
    if along.is_nan() || along <= 0.0 || along.is_infinite() {
        return None;
    }
    scale(1.0 / along, residual);
    residual.iter().all(|x| x.is_finite()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patched_matrix_maps_the_key_to_the_value() {
        let w = [[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]];
        let (key, u, value) = ([0.5, 1.5, -1.0], [0.75, 1.0, 0.25], [4.0, -7.0]);
        let row = |row: [f32; 3], x: [f32; 3]| dot(&row, &x);
        let mut lambda = [value[0] - row(w[0], key), value[1] - row(w[1], key)];
        solve(&u, &key, &mut lambda).unwrap();
        for i in 0..2 {
            let mapped = row(w[i], key) + lambda[i] * dot(&u, &key);
            assert!((mapped - value[i]).abs() < 1e-5, "{mapped} instead of {}", value[i]);
        }
    }

    #[test]
    fn a_key_that_u_does_not_see_is_refused() {
        for u in [[0.0, 0.0], [-1.0, 0.0], [f32::NAN, 0.0], [1e-45, 0.0]] {
            assert_eq!(solve(&u, &[1.0, 0.0], &mut [1.0]), None);
        }
    }
}
