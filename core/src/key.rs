//! The key of the edit: k* of equation (2), and what u = C⁻¹(…) is made of. Does not read keys off a model.

use crate::math::{axpy, dot, scale};
use crate::problem::MAX_PROMPTS;

/// Which combination of the prompts' keys k_j the patch looks for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Keys {
    /// Their mean: u = C⁻¹k*, as published. A prompt whose key differs much from the others' (a subject at the start of a
    /// text) is then hardly edited, whatever the search found for it.
    Mean,
    /// Σ a_j k_j such that uᵀk_j is 1 for every prompt j, as nearly as the ridge allows: the written patch then adds to each
    /// prompt what the search added. The essence prompts are among them: one has the subject at the start of a text, where
    /// its key is another. At an [`echo`](crate::Problem::echo) uᵀk is to be 0: what is written there would disturb the target.
    /// a = (G + λI)⁻¹b with G_ij = k_iᵀC⁻¹k_j, and b_j = 1, or 0 for the echo.
    Balanced {
        /// λ as a part of G's mean eigenvalue.
        ridge: f32,
    },
}

/// A prompt each, and the echo.
const MAX_KEYS: usize = MAX_PROMPTS + 1;
type Gram = [[f64; MAX_KEYS]; MAX_KEYS];

/// `mean ← 1/N Σ_j key_j`, over the rows of `keys`, `(N, d_ff)`, in their order.
pub(crate) fn mean(keys: &[f32], mean: &mut [f32]) {
    let width = mean.len().max(1);
    mean.fill(0.0);
    for key in keys.chunks_exact(width) {
        axpy(1.0, key, mean);
    }
    scale(1.0 / keys.chunks_exact(width).len().max(1) as f32, mean);
}

/// Leaves Σ a_j k_j of [`Keys::Balanced`] in the first row of `keys`, `(N, width)`, where uᵀk_j is to be 1 for the first
/// `ones` and 0 for the others. `inverse(x, out)` is `out ← C⁻¹x`; `image`, `(width)`, is scratch.
pub(crate) fn balance(
    keys: &mut [f32],
    ones: usize,
    ridge: f32,
    image: &mut [f32],
    mut inverse: impl FnMut(&[f32], &mut [f32]),
) {
    let width = image.len().max(1);
    let mut gram: Gram = [[0.0; MAX_KEYS]; MAX_KEYS];
    for (row, key) in gram.iter_mut().zip(keys.chunks_exact(width)) {
        inverse(key, image);
        for (entry, other) in row.iter_mut().zip(keys.chunks_exact(width)) {
            *entry = f64::from(dot(image, other));
        }
    }
    let weights = weights(&gram, keys.chunks_exact(width).len(), ones, f64::from(ridge));
    let (first, others) = keys.split_at_mut_checked(width).unwrap_or_default();
    let mut weights = weights.iter().map(|&a| a as f32);
    scale(weights.next().unwrap_or(1.0), first);
    for (weight, key) in weights.zip(others.chunks_exact(width)) {
        axpy(weight, key, first);
    }
}

/// `(G + λI)⁻¹b` for the first `count` rows and columns, 0 behind them, b being 1 in the first `ones` places: conjugate
/// gradients in f64, which end after `count` iterations but for rounding.
fn weights(gram: &Gram, count: usize, ones: usize, ridge: f64) -> [f64; MAX_KEYS] {
    let inner = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let trace: f64 = gram.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
    let lambda = ridge * trace / count.max(1) as f64;
    let mut weights = [0.0; MAX_KEYS];
    let mut residual = [0.0; MAX_KEYS];
    residual.iter_mut().take(ones.min(count)).for_each(|r| *r = 1.0);
    let mut search = residual;
    let mut square = inner(&residual, &residual);
    let enough = 1e-16 * square;
    for _ in 0..4 * count {
        if square <= enough {
            break;
        }
        let mut image = search.map(|x| lambda * x);
        for (row, x) in gram.iter().zip(&search) {
            image.iter_mut().zip(row).for_each(|(out, g)| *out += g * x);
        }
        let step = square / inner(&search, &image);
        weights.iter_mut().zip(&search).for_each(|(a, s)| *a += step * s);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
        let before = core::mem::replace(&mut square, inner(&residual, &residual));
        search.iter_mut().zip(&residual).for_each(|(s, r)| *s = r + square / before * *s);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_mean_over_prompts() {
        let mut out = [9.0; 3];
        mean(&[1.0, 2.0, 3.0, 3.0, 2.0, -5.0], &mut out);
        assert_eq!(out, [2.0, 2.0, -1.0]);
    }

    #[test]
    fn a_balanced_key_sees_every_prompt_alike_where_the_mean_does_not() {
        // Three keys of a kind, and one across them; C = diag(1, 2, 4, 8).
        let keys = [3.0, 0.1, 0.0, 0.2, 2.9, -0.1, 0.1, 0.0, 3.2, 0.0, -0.1, 0.1, 0.2, 1.0, 0.1, 0.0];
        let inverse = |x: &[f32], out: &mut [f32]| {
            out.iter_mut().zip(x).zip([1.0, 2.0, 4.0, 8.0]).for_each(|((out, x), c)| *out = x / c);
        };
        let spread = |u: &[f32]| {
            let along: [f32; 4] = core::array::from_fn(|j| dot(u, &keys[4 * j..4 * j + 4]));
            along.iter().fold(0.0f32, |most, a| most.max((a / along[0] - 1.0).abs()))
        };
        let (mut image, mut middle, mut u) = ([0.0; 4], [0.0; 4], [0.0; 4]);
        mean(&keys, &mut middle);
        inverse(&middle, &mut u);
        assert!(spread(&u) > 0.5);
        for (ridge, bound) in [(1e-6, 1e-2), (1e-2, 0.3)] {
            let mut rows = keys;
            balance(&mut rows, 4, ridge, &mut image, inverse);
            inverse(&rows[..4], &mut u);
            assert!(spread(&u) < bound, "ridge {ridge}: {}", spread(&u));
        }
    }

    /// Two keys of the subject, and the same token's elsewhere, which is much like them.
    #[test]
    fn a_balanced_key_does_not_see_the_echo() {
        let keys = [3.0, 0.1, 0.0, 0.2, 2.9, -0.1, 0.1, 0.0, 2.5, 1.5, 0.1, 0.3];
        let mut rows = keys;
        balance(&mut rows, 2, 1e-6, &mut [0.0; 4], |x, out| out.copy_from_slice(x));
        let along: [f32; 3] = core::array::from_fn(|j| dot(&rows[..4], &keys[4 * j..4 * j + 4]));
        for (along, expected) in along.into_iter().zip([1.0, 1.0, 0.0]) {
            assert!((along - expected).abs() < 1e-2, "{along} instead of {expected}");
        }
    }
}
