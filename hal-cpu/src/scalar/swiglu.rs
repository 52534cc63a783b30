//! SwiGLU, the MLP's gate.

use super::functions::exp;

/// `gate ← silu(gate) · up`, with silu(x) = x / (1 + e⁻ˣ).
#[inline(always)]
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}
