//! From a gradient to a step of δ: the published plain step, or one of a stated length. Does not estimate gradients.

use crate::math::{axpy, norm};
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
    /// Steps of one length, whatever the gradient's.
    Normalised(Normalised),
}

/// δ ← δ − length · ‖v0‖ · g / ‖g‖. The length shrinks whenever the loss stalls.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Normalised {
    /// Length of a step, as a part of ‖v0‖.
    pub length: f32,
    /// When the loss counts as stalled.
    pub stall: Stall,
    /// What the length is multiplied by at a stall.
    pub shrink: f32,
    /// The length never gets below this part of itself.
    pub shortest: f32,
}

/// What an optimiser remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// What is left of the length after the stalls so far.
    pub(crate) shrunk: f32,
    pub(crate) plateau: Plateau,
}

impl Memory {
    /// Before the first step.
    pub(crate) const NEW: Self = Self { shrunk: 1.0, plateau: Plateau::NEW };
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
    /// Moves `delta` against `gradient`; both are `(d_model)`.
    pub(crate) fn step(self, now: Now, memory: &mut Memory, gradient: &[f32], delta: &mut [f32]) {
        match self {
            Self::Plain { rate } => {
                let turn = core::f32::consts::PI * now.step as f32 / now.max_steps as f32;
                axpy(-rate * 0.5 * (1.0 + libm::cosf(turn)), gradient, delta);
            }
            Self::Normalised(rule) => rule.step(now, memory, gradient, delta),
        }
    }
}

impl Normalised {
    fn step(self, now: Now, memory: &mut Memory, gradient: &[f32], delta: &mut [f32]) {
        if memory.plateau.observe(now.loss, self.stall) {
            memory.shrunk = (memory.shrunk * self.shrink).max(self.shortest);
        }
        let norm = norm(gradient);
        if norm > 0.0 {
            axpy(-self.length * memory.shrunk * now.value_norm / norm, gradient, delta);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::config::Config;

    fn now(step: u32, loss: f32) -> Now {
        Now { step, max_steps: 10, value_norm: 8.0, loss }
    }

    #[test]
    fn the_plain_step_falls_as_half_a_cosine() {
        let rule = Rule::Plain { rate: 0.05 };
        for (step, expected) in [(0, 0.05), (5, 0.025), (10, 0.0)] {
            let (mut memory, mut delta) = (Memory::NEW, [1.0]);
            rule.step(now(step, 0.0), &mut memory, &[2.0], &mut delta);
            assert!((1.0 - delta[0] - 2.0 * expected).abs() < 1e-7, "step {step}: {delta:?}");
        }
    }

    #[test]
    fn steady_gradients_of_any_size_give_steps_of_the_stated_length() {
        let Rule::Normalised(rule) = Config::DEFAULT.rule else { panic!("the default's steps are normalised") };
        for size in [1e-4, 1.0, 1e4] {
            let (mut memory, mut delta) = (Memory::NEW, [0.0; 2]);
            for step in 0..4 {
                let before = delta;
                let gradient = [0.6 * size, -0.8 * size];
                rule.step(now(step, -(step as f32)), &mut memory, &gradient, &mut delta);
                let moved = norm(&[delta[0] - before[0], delta[1] - before[1]]);
                assert!((moved - rule.length * 8.0).abs() < 1e-3, "step {step}, size {size}: {moved}");
                assert!(delta[0] < before[0] && delta[1] > before[1]);
            }
        }
    }

    #[test]
    fn a_stalled_loss_shortens_the_steps_down_to_the_floor_and_a_zero_gradient_is_harmless() {
        let Rule::Normalised(rule) = Config::DEFAULT.rule else { panic!("the default's steps are normalised") };
        let (mut memory, mut delta) = (Memory::NEW, [0.0; 2]);
        rule.step(now(0, 1.0), &mut memory, &[0.0; 2], &mut delta);
        assert_eq!(delta, [0.0; 2]);
        for step in 1..=rule.stall.steps {
            rule.step(now(step, 1.0), &mut memory, &[1.0; 2], &mut delta);
        }
        assert_eq!(memory.shrunk, rule.shrink);
        for step in 0..1000 {
            rule.step(now(step, 1.0), &mut memory, &[1.0; 2], &mut delta);
        }
        assert_eq!(memory.shrunk, rule.shortest);
    }
}
