//! The value's objective (equation 3) and the ball that δ stays in. Does not evaluate a model.

use crate::backend::Loss;
use crate::math::{norm, scale};

/// Weighs the parts of equation (3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objective {
    pub(crate) kl_factor: f32,
    pub(crate) weight_decay: f32,
    /// ‖v0‖.
    pub(crate) value_norm: f32,
}

impl Objective {
    /// nll + kl_factor · kl + weight_decay · ‖δ‖ / ‖v0‖².
    pub(crate) fn of(&self, loss: &Loss, delta: &[f32]) -> f32 {
        loss.nll + self.kl_factor * loss.kl + self.weight_decay * norm(delta) / (self.value_norm * self.value_norm)
    }
}

/// Projects `delta` back onto the ball of radius `longest`.
pub(crate) fn clamp(delta: &mut [f32], longest: f32) {
    let length = norm(delta);
    if length > longest {
        scale(longest / length, delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objective_is_equation_3() {
        let objective = Objective { kl_factor: 0.0625, weight_decay: 1e-3, value_norm: 2.0 };
        let loss = Loss { nll: 1.5, kl: 0.8, ..Loss::default() };
        assert!((objective.of(&loss, &[3.0, 4.0]) - (1.5 + 0.05 + 0.00125)).abs() < 1e-6);
    }

    #[test]
    fn clamping_keeps_the_direction_and_leaves_short_vectors_alone() {
        let mut delta = [6.0, 8.0];
        clamp(&mut delta, 5.0);
        assert!((delta[0] - 3.0).abs() < 1e-6 && (delta[1] - 4.0).abs() < 1e-6);
        clamp(&mut delta, 5.5);
        assert!((delta[0] - 3.0).abs() < 1e-6);
    }
}
