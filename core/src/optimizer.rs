//! From a gradient to a step of δ: the published plain step, or normalised momentum. Does not estimate gradients.

use crate::math::{axpy, dot};
use crate::plateau::{Plateau, Stall};

/// How δ follows the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Rule {
    /// δ ← δ − η g, with η falling from `rate` to 0 over the steps as half a cosine: the published step.
    Plain {
        /// η at the first step.
        rate: f32,
    },
    /// Steps of nearly constant length along a running mean of the gradients.
    Momentum(Momentum),
}

/// Normalised momentum: m ← βm + (1 − β)g, s ← γs + (1 − γ)‖g‖², δ ← δ − length · ‖v0‖ · m̂ / √ŝ, where m̂ and ŝ are
/// m and s divided by 1 − βᵗ and 1 − γᵗ. The length shrinks whenever the loss stalls.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Momentum {
    /// Length of a step along steady gradients, as a part of ‖v0‖.
    pub length: f32,
    /// β.
    pub gradient_memory: f32,
    /// γ.
    pub square_memory: f32,
    /// When the loss counts as stalled.
    pub stall: Stall,
    /// What the length is multiplied by at a stall.
    pub shrink: f32,
    /// The length never gets below this part of itself.
    pub shortest: f32,
}

/// What an optimiser remembers besides its momentum vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// s.
    pub(crate) square: f32,
    /// What is left of the length after the stalls so far.
    pub(crate) shrunk: f32,
    pub(crate) plateau: Plateau,
}

impl Memory {
    /// Before the first step.
    pub(crate) const NEW: Self = Self { square: 0.0, shrunk: 1.0, plateau: Plateau::NEW };
}

/// What a step is told beside the gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Steps done before this one.
    pub(crate) step: u32,
    pub(crate) max_steps: u32,
    /// ‖v0‖.
    pub(crate) value_norm: f32,
    /// The step's loss.
    pub(crate) loss: f32,
}

impl Rule {
    /// Moves `delta` against `gradient`; `momentum` is m. All are `(d_model)`.
    pub(crate) fn step(self, now: Now, memory: &mut Memory, gradient: &[f32], momentum: &mut [f32], delta: &mut [f32]) {
        match self {
            Self::Plain { rate } => {
                let turn = core::f32::consts::PI * now.step as f32 / now.max_steps as f32;
                axpy(-rate * 0.5 * (1.0 + libm::cosf(turn)), gradient, delta);
            }
            Self::Momentum(rule) => rule.step(now, memory, gradient, momentum, delta),
        }
    }
}

impl Momentum {
    fn step(self, now: Now, memory: &mut Memory, gradient: &[f32], momentum: &mut [f32], delta: &mut [f32]) {
        let (beta, gamma) = (self.gradient_memory, self.square_memory);
        for (m, g) in momentum.iter_mut().zip(gradient) {
            *m = beta * *m + (1.0 - beta) * g;
        }
        memory.square = gamma * memory.square + (1.0 - gamma) * dot(gradient, gradient);
        if memory.plateau.observe(now.loss, self.stall) {
            memory.shrunk = (memory.shrunk * self.shrink).max(self.shortest);
        }
        let steps = (now.step + 1) as f32;
        let root = libm::sqrtf(memory.square / (1.0 - libm::powf(gamma, steps)));
        if root > 0.0 {
            let length = self.length * memory.shrunk * now.value_norm;
            axpy(-length / (root * (1.0 - libm::powf(beta, steps))), momentum, delta);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::config::Config;
    use crate::math::norm;

    fn now(step: u32, loss: f32) -> Now {
        Now { step, max_steps: 10, value_norm: 8.0, loss }
    }

    #[test]
    fn the_plain_step_falls_as_half_a_cosine() {
        let rule = Rule::Plain { rate: 0.05 };
        for (step, expected) in [(0, 0.05), (5, 0.025), (10, 0.0)] {
            let (mut memory, mut delta) = (Memory::NEW, [1.0]);
            rule.step(now(step, 0.0), &mut memory, &[2.0], &mut [0.0], &mut delta);
            assert!((1.0 - delta[0] - 2.0 * expected).abs() < 1e-7, "step {step}: {delta:?}");
        }
    }

    #[test]
    fn steady_gradients_of_any_size_give_steps_of_the_stated_length() {
        let Rule::Momentum(rule) = Config::DEFAULT.rule else { panic!("the default's rule is momentum") };
        for size in [1e-4, 1.0, 1e4] {
            let (mut memory, mut momentum, mut delta) = (Memory::NEW, [0.0; 2], [0.0; 2]);
            for step in 0..4 {
                let before = delta;
                let gradient = [0.6 * size, -0.8 * size];
                rule.step(now(step, -(step as f32)), &mut memory, &gradient, &mut momentum, &mut delta);
                let moved = norm(&[delta[0] - before[0], delta[1] - before[1]]);
                assert!((moved - rule.length * 8.0).abs() < 1e-3, "step {step}, size {size}: {moved}");
                assert!(delta[0] < before[0] && delta[1] > before[1]);
            }
        }
    }

    #[test]
    fn a_stalled_loss_shortens_the_steps_down_to_the_floor_and_a_zero_gradient_is_harmless() {
        let Rule::Momentum(rule) = Config::DEFAULT.rule else { panic!("the default's rule is momentum") };
        let (mut memory, mut momentum, mut delta) = (Memory::NEW, [0.0; 2], [0.0; 2]);
        rule.step(now(0, 1.0), &mut memory, &[0.0; 2], &mut momentum, &mut delta);
        assert_eq!(delta, [0.0; 2]);
        for step in 1..=rule.stall.steps {
            rule.step(now(step, 1.0), &mut memory, &[1.0; 2], &mut momentum, &mut delta);
        }
        assert_eq!(memory.shrunk, rule.shrink);
        for step in 0..1000 {
            rule.step(now(step, 1.0), &mut memory, &[1.0; 2], &mut momentum, &mut delta);
        }
        assert_eq!(memory.shrunk, rule.shortest);
    }
}
