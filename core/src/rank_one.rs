//! The rank-one patch and its solve (equation 6).

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
