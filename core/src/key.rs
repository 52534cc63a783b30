//! The key k* of equation (2). Does not read it off a model.

use crate::math::{axpy, scale};

/// `mean ← 1/N Σ_j key_j`, over the rows of `keys`, `(N, d_ff)`, in their order.
pub(crate) fn mean(keys: &[f32], mean: &mut [f32]) {
    let width = mean.len().max(1);
    mean.fill(0.0);
    for key in keys.chunks_exact(width) {
        axpy(1.0, key, mean);
    }
    scale(1.0 / keys.chunks_exact(width).len().max(1) as f32, mean);
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
}
