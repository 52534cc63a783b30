//! The settings of an edit: every number with its source, and two presets. Checks them; acts on none.
//!
//! Sources: "published" is the MobiEdit authors' code, "paper" their text (arXiv 2506.13772), "prototype" this project's
//! throw-away prototype (six edits a row on a 10-layer model of d_model 256: the trend is meant, not the digit).

use core::fmt;

use crate::backend::ModelSpec;
pub use crate::covariance::Covariance;
pub use crate::directions::Directions;
pub use crate::early_stop::{EarlyStop, Watch};
pub use crate::estimator::Combine;
use crate::estimator::Stencil;
pub use crate::key::Keys;
pub use crate::optimizer::{Normalised, Rule};
pub use crate::plateau::Stall;

/// How far the two sides of a central difference are from v: μ of equation (4).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Spacing {
    /// μ itself.
    Absolute(f32),
    /// μ such that ‖μu‖ is this part of ‖v0‖, for ‖u‖ = √d_model.
    Relative(f32),
}

/// The value that δ is added to when the patch is made: v* = anchor + δ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Anchor {
    /// v0, the value at the first rewrite prompt.
    FirstPrompt,
    /// W k*: what the matrix gives for the mean key. Then Λ = δ / (uᵀk*), the written change is δ as it was searched, and
    /// a first prompt whose value differs from the others' does not leak into them.
    MeanKey,
}

/// The prompts that a step's candidates are evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Minibatch {
    /// All, at every step.
    All,
    /// So many of the rewrite prompts and one essence prompt, taken in turn from step to step: the noise of few prompts is
    /// small beside that of few directions. The bank is tried at the first so many.
    Rewrites(usize),
}

/// All settings of an edit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// Most optimiser steps.
    pub max_steps: u32,
    /// N, directions per step.
    pub directions: usize,
    /// How they are drawn.
    pub kind: Directions,
    /// Part of a direction, by square norm, that is drawn from what the layers above read (`Statistics::readers`), in
    /// 0..1. Estimates then are those of M g, with M = (1 − part) I + part · d_model · RᵀR / tr(RᵀR): a preconditioned
    /// gradient, not an unbiased one.
    pub readers: f32,
    /// Which prompts a step looks at.
    pub minibatch: Minibatch,
    /// Essence prompts that are looked at, of those that the problem has: the first so many.
    pub essences: usize,
    /// μ.
    pub spacing: Spacing,
    /// Mean or sum over the directions.
    pub combine: Combine,
    /// Whether L(v) is evaluated again for every direction: three passes a direction instead of two.
    pub centre: bool,
    /// How δ follows the gradient.
    pub rule: Rule,
    /// Longest δ as a multiple of ‖v0‖.
    pub clamp: f32,
    /// Factor of KL(P_edited ‖ P_clean) in equation (3).
    pub kl_factor: f32,
    /// Factor of ‖δ‖ / ‖v0‖² in equation (3).
    pub weight_decay: f32,
    /// The success rule.
    pub early_stop: EarlyStop,
    /// Which keys u is made of in equation (6).
    pub keys: Keys,
    /// What C is in equation (6).
    pub covariance: Covariance,
    /// Whether u keeps off the patches that are applied already: it is made C-orthogonal to each of theirs, so that uᵀk = 0 at
    /// the keys which those look for. One that looks for the very same key, as when a fact is edited again, is not kept off.
    pub apart: bool,
    /// What v* is in equation (6).
    pub anchor: Anchor,
    /// Whether the bank of values is tried for a start.
    pub bank: bool,
    /// When the prefix cache is filled again; `None`: never, as it is exact.
    pub refresh: Option<Stall>,
    /// Most candidates per call of [`losses`](crate::backend::ForwardBackend::losses): memory against speed. Never changes
    /// a result.
    pub batch: usize,
}

impl Config {
    /// The published settings, at their published cost.
    pub const PAPER: Self = Self {
        // Published.
        max_steps: 600,
        directions: 5,
        kind: Directions::Gaussian,
        readers: 0.0,
        minibatch: Minibatch::All,
        essences: 1,
        spacing: Spacing::Absolute(1e-3),
        combine: Combine::Sum,
        centre: true,
        rule: Rule::Plain { rate: 0.05 },
        clamp: 4.0,
        kl_factor: 0.0625,
        weight_decay: 1e-3,
        // Every 20 steps: paper §2.3, which leaves m open. m as in `DEFAULT`, so that success means the same.
        early_stop: EarlyStop { min_probability: 0.9, aim: 0.9, patience: u32::MAX, watch: Watch::Every(20) },
        // Paper, equation (2).
        keys: Keys::Mean,
        // Published (`mom2_adjustment: false`).
        covariance: Covariance::Identity,
        apart: false,
        // ROME's and the published code's.
        anchor: Anchor::FirstPrompt,
        bank: false,
        // Paper §2.3.
        refresh: Some(Stall { fall: 1e-3, steps: 3 }),
        // The published code evaluates one perturbation at a time; all of a step at once give the same numbers.
        batch: 15,
    };

    /// This project's settings: fewer passes, and other facts about the subject are kept.
    pub const DEFAULT: Self = Self {
        // The median edit takes 35 to 65; the tail is long, and a step at two of seven prompts is cheap.
        max_steps: 1000,
        // Prototype: N = 3 lost success.
        directions: 5,
        // Prototype.
        kind: Directions::Orthogonal,
        // Own: the gradient's share within a few directions is twice to three times chance there. The rest keeps every
        // direction possible.
        readers: 0.8,
        // Own: the gradient at two prompts has a cosine of 0.94 with that at all, an estimate from five directions of 0.14.
        minibatch: Minibatch::Rewrites(2),
        // Own: with the published factor of one "{subject} is a", an edit took other facts about its subject with it.
        essences: 2,
        // Prototype: 0.1.
        spacing: Spacing::Relative(0.1),
        // Own: along the paths of 45 searches by exact gradients, its cosine with them was 0.49; that of a running mean of the
        // estimates (0.9) 0.40, of an exact Gaussian process over the last 16 steps, for 16 times the memory, 0.51.
        combine: Combine::Tracked { memory: 0.87 },
        centre: false,
        rule: Rule::Normalised(Normalised {
            // Own: 0.1 takes a fifth more passes, 0.2 costs 2 points of rephrasings.
            length: 0.15,
            // Own: a step is too long when ten of them gain nothing; down to a tenth.
            stall: Stall { fall: 1e-2, steps: 10 },
            shrink: 0.7,
            shortest: 0.1,
        }),
        // Own: twice the published one, as what is random in δ makes it longer: with 4, some searches ran against it.
        clamp: 8.0,
        // Own: see `essences`.
        kl_factor: 0.125,
        // Published.
        weight_decay: 1e-3,
        // Prototype: an NLL of 0.1. Own: 7 points of rephrasings more at 0.98 than at 0.9, for a third more passes; patience
        // ends the few searches that would come that far only after many steps.
        early_stop: EarlyStop { min_probability: 0.9, aim: 0.98, patience: 30, watch: Watch::Free },
        // Own: with the mean, a subject at the start of a text was searched for but not written.
        keys: Keys::Balanced { ridge: 0.01 },
        // Own: the mean eigenvalue. Single edits score the same with a tenth of it; of 50 stacked ones, locality is 11 points lower.
        covariance: Covariance::Samples { ridge: 1.0, iterations: 16 },
        // Own: 8 points of success and 12 of rephrasings after 50 stacked edits.
        apart: true,
        anchor: Anchor::MeanKey,
        // Prototype: a bank of 64 values saved a third of the passes.
        bank: true,
        refresh: None,
        // All of a step.
        batch: 10,
    };

    /// Checks the numbers against each other and against the model.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(self, spec: &ModelSpec) -> Result<CheckedConfig, ConfigError> {
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let factor = |x: f32| x >= 0.0 && x.is_finite();
        let part = |x: f32| (0.0..1.0).contains(&x);
        let stall = |s: Stall| factor(s.fall) && s.steps > 0;
        let (Spacing::Absolute(spacing) | Spacing::Relative(spacing)) = self.spacing;
        let rule = match self.rule {
            Rule::Plain { rate } => positive(rate),
            Rule::Normalised(n) => {
                let shrinks = positive(n.shrink) && n.shrink <= 1.0 && positive(n.shortest) && n.shortest <= 1.0;
                positive(n.length) && shrinks && stall(n.stall)
            }
        };
        let memory = match self.combine {
            Combine::Tracked { memory } => part(memory),
            Combine::Mean | Combine::Sum => true,
        };
        let covariance = match self.covariance {
            Covariance::Identity => true,
            Covariance::Samples { ridge, iterations } => positive(ridge) && iterations > 0,
        };
        let keys = match self.keys {
            Keys::Mean => true,
            Keys::Balanced { ridge } => positive(ridge),
        };
        let EarlyStop { min_probability, aim, .. } = self.early_stop;
        let probabilities = part(min_probability) && part(aim) && min_probability <= aim;
        let orthogonal_fit = self.kind != Directions::Orthogonal || self.directions <= spec.d_model;
        let sizes = [spec.d_model, spec.d_ff, spec.layers, spec.kv_dim, spec.vocab, spec.max_tokens];
        let checks = [
            (sizes.iter().all(|&n| n > 0), ConfigError::Model),
            (self.max_steps > 0, ConfigError::Steps),
            (self.directions > 0 && orthogonal_fit, ConfigError::Directions),
            (part(self.readers), ConfigError::Readers),
            (self.minibatch != Minibatch::Rewrites(0), ConfigError::Minibatch),
            (positive(spacing), ConfigError::Spacing),
            (rule && memory, ConfigError::Rule),
            (positive(self.clamp), ConfigError::Clamp),
            (factor(self.kl_factor) && factor(self.weight_decay), ConfigError::Factor),
            (probabilities, ConfigError::Probability),
            (self.early_stop.watch != Watch::Every(0), ConfigError::Watch),
            (keys, ConfigError::Keys),
            (covariance, ConfigError::Covariance),
            (self.refresh.is_none_or(stall), ConfigError::Refresh),
            (self.batch > 0, ConfigError::Batch),
        ];
        match checks.iter().find(|(good, _)| !good) {
            Some((_, error)) => Err(*error),
            None => Ok(CheckedConfig { config: self, spec: *spec }),
        }
    }

    pub(crate) const fn stencil(&self) -> Stencil {
        Stencil { directions: self.directions, centre: self.centre }
    }
}

/// Settings that fit each other and a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedConfig {
    config: Config,
    spec: ModelSpec,
}

impl CheckedConfig {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's sizes they were checked against.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }
}

/// The first setting that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// One of the model's sizes is 0.
    Model,
    /// `max_steps` is 0.
    Steps,
    /// `directions` is 0, or more orthogonal ones are asked for than there are dimensions.
    Directions,
    /// `readers` is not in 0..1.
    Readers,
    /// A step would look at no rewrite prompt.
    Minibatch,
    /// `spacing` is not a positive number.
    Spacing,
    /// A number of `rule` or `combine` is outside its range.
    Rule,
    /// `clamp` is not a positive number.
    Clamp,
    /// `kl_factor` or `weight_decay` is negative or not a number.
    Factor,
    /// `min_probability` or `aim` is not in 0..1, or the aim is the lower one.
    Probability,
    /// The success rule would be tested every 0 steps.
    Watch,
    /// `keys`' ridge is not a positive number.
    Keys,
    /// `covariance`'s ridge is not a positive number, or no iteration is allowed.
    Covariance,
    /// A number of `refresh` is outside its range.
    Refresh,
    /// `batch` is 0.
    Batch,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "one of the model's sizes is 0",
            Self::Steps => "at least one step is needed",
            Self::Directions => "at least one direction is needed, and at most d_model orthogonal ones",
            Self::Readers => "the part of the directions that is drawn from the readers must be in 0..1",
            Self::Minibatch => "a step needs at least one rewrite prompt",
            Self::Spacing => "the spacing of the differences must be positive",
            Self::Rule => "a number of the optimiser is outside its range",
            Self::Clamp => "the clamp must be positive",
            Self::Factor => "the loss's factors must not be negative",
            Self::Probability => "the success rule's probabilities must be in 0..1, and the aim not the lower one",
            Self::Watch => "the success rule cannot be tested every 0 steps",
            Self::Keys => "the balance of the keys needs a positive ridge",
            Self::Covariance => "the covariance needs a positive ridge and at least one iteration",
            Self::Refresh => "a number of the refresh rule is outside its range",
            Self::Batch => "at least one candidate per batch is needed",
        })
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ModelSpec = ModelSpec { d_model: 8, d_ff: 16, layers: 3, kv_dim: 4, vocab: 30, max_tokens: 6 };

    #[test]
    fn the_presets_fit_any_model() {
        assert!(Config::PAPER.check(&SPEC).is_ok());
        assert!(Config::DEFAULT.check(&SPEC).is_ok());
    }

    #[test]
    fn the_published_settings_are_the_published_ones() {
        let paper = Config::PAPER;
        assert_eq!((paper.max_steps, paper.directions, paper.stencil().candidates()), (600, 5, 15));
        assert_eq!((paper.spacing, paper.combine), (Spacing::Absolute(1e-3), Combine::Sum));
        assert_eq!((paper.rule, paper.clamp), (Rule::Plain { rate: 0.05 }, 4.0));
        assert_eq!((paper.kl_factor, paper.weight_decay), (0.0625, 1e-3));
        assert_eq!((paper.covariance, paper.early_stop.watch), (Covariance::Identity, Watch::Every(20)));
    }

    #[test]
    fn each_bad_number_is_named() {
        let good = Config::DEFAULT;
        let bad_rule = Rule::Plain { rate: f32::INFINITY };
        let bad_watch = EarlyStop { watch: Watch::Every(0), ..good.early_stop };
        let bad_probability = EarlyStop { min_probability: 1.0, ..good.early_stop };
        let cases = [
            (Config { max_steps: 0, ..good }, ConfigError::Steps),
            (Config { directions: 0, ..good }, ConfigError::Directions),
            (Config { directions: 9, ..good }, ConfigError::Directions),
            (Config { readers: 1.0, ..good }, ConfigError::Readers),
            (Config { minibatch: Minibatch::Rewrites(0), ..good }, ConfigError::Minibatch),
            (Config { spacing: Spacing::Relative(0.0), ..good }, ConfigError::Spacing),
            (Config { rule: bad_rule, ..good }, ConfigError::Rule),
            (Config { combine: Combine::Tracked { memory: 1.0 }, ..good }, ConfigError::Rule),
            (Config { clamp: -1.0, ..good }, ConfigError::Clamp),
            (Config { kl_factor: f32::NAN, ..good }, ConfigError::Factor),
            (Config { early_stop: bad_probability, ..good }, ConfigError::Probability),
            (Config { early_stop: bad_watch, ..good }, ConfigError::Watch),
            (Config { keys: Keys::Balanced { ridge: 0.0 }, ..good }, ConfigError::Keys),
            (Config { covariance: Covariance::Samples { ridge: 0.0, iterations: 9 }, ..good }, ConfigError::Covariance),
            (Config { refresh: Some(Stall { fall: 0.0, steps: 0 }), ..good }, ConfigError::Refresh),
            (Config { batch: 0, ..good }, ConfigError::Batch),
        ];
        for (config, error) in cases {
            assert_eq!(config.check(&SPEC), Err(error));
        }
        assert_eq!(good.check(&ModelSpec { d_ff: 0, ..SPEC }), Err(ConfigError::Model));
    }
}
