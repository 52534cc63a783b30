//! The contract between the editor and the hardware: one trait, and the plain types that cross it.
//!
//! Knows no transformer and no device; `mobiedit-backends` implements the trait for any `Device`.

use crate::problem::{Problem, PromptSet};
use crate::rank_one::RankOne;

/// The sizes of a model that the editor needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelSpec {
    /// Width of the residual stream, and of the value vector.
    pub d_model: usize,
    /// Width of the MLP's inner layer, and of a key.
    pub d_ff: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Width of one token's keys (or values) in one layer: KV heads × head dimension.
    pub kv_dim: usize,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Longest sequence in tokens.
    pub max_tokens: usize,
}

/// What one candidate δ costs, over prompts of a [`Problem`] (equation 3 without the weight decay).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loss {
    /// Mean over the rewrite prompts of the mean over target tokens of −log P(token), in nats.
    pub nll: f32,
    /// Mean over the essence prompts of KL(P_edited ‖ P_clean) at the last token, in nats; 0 without one.
    pub kl: f32,
    /// Number of target tokens, over all rewrite prompts, that are the argmax.
    pub hits: u32,
    /// Number of target tokens over all rewrite prompts.
    pub targets: u32,
}

impl Loss {
    /// Geometric mean of the target tokens' probabilities.
    pub fn p_target(&self) -> f32 {
        libm::expf(-self.nll)
    }

    /// Greedy decoding says the target after every rewrite prompt.
    pub fn is_greedy(&self) -> bool {
        self.hits == self.targets
    }
}

/// Broad classes of backend errors, for code that does not know the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The model or the request cannot be served: retrying the same call fails again.
    Unsupported,
    /// A lent buffer is too small.
    TooSmall,
    /// A NaN or an infinity came out of the model.
    NotFinite,
    /// The device failed or went away.
    Device,
}

/// A backend's own error type.
pub trait BackendError: core::error::Error {
    /// The class this error belongs to.
    fn kind(&self) -> BackendErrorKind;
}

/// Names a patch applied to a backend, for [`ForwardBackend::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PatchId(pub u32);

/// A model that can be run forward, as the editor drives it.
///
/// Results are a function of the arguments and of the applied patches alone: the same call gives the same bits.
pub trait ForwardBackend {
    /// What can go wrong.
    type Error: BackendError;

    /// The model's sizes.
    fn spec(&self) -> ModelSpec;

    /// The clean pass: fills the prefix cache and reads the key and the value off the model.
    ///
    /// `cache` has [`CacheLayout::len`](crate::prefix_cache::CacheLayout::len) elements, laid out by that type.
    /// `keys`, `(key_rows, d_ff)`, receives the input of the edit layer's `down_proj` at each prompt's subject, and behind
    /// them, if there is one, at the first prompt's [`echo`](Problem::echo); `value`, `(d_model)`, its output at the first
    /// prompt's subject.
    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Self::Error>;

    /// Losses of a batch of candidates over the prompts `which` (means are over those alone): `deltas`,
    /// `(out.len(), d_model)`, each added to the edit layer's output at the subject's last token of each prompt. Runs only
    /// what the cache does not hold.
    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Self::Error>;

    /// Loss of the model as it stands (with its applied patches, without any δ), by whole forward passes without the
    /// cache. `kl` is 0 here: there is no clean model to compare with.
    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Self::Error>;

    /// `W k` of the `down_proj` at `layer`, applied patches included. `key`, `(d_ff)`; `out`, `(d_model)`.
    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Self::Error>;

    /// Adds a rank-one patch; its numbers are copied into memory that the backend was given.
    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Self::Error>;

    /// Takes a patch off again: results are the same bits as before it was applied.
    fn remove(&mut self, patch: PatchId) -> Result<(), Self::Error>;

    /// The applied patches of `layer`, by their index from 0, so that an edit can keep off them; a backend that does not keep
    /// their numbers gives none.
    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        let _ = (layer, index);
        None
    }
}

impl<T: ForwardBackend + ?Sized> ForwardBackend for &mut T {
    type Error = T::Error;

    fn spec(&self) -> ModelSpec {
        (**self).spec()
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Self::Error> {
        (**self).prefill(problem, cache, keys, value)
    }

    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Self::Error> {
        (**self).losses(problem, which, cache, deltas, out)
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Self::Error> {
        (**self).evaluate(problem)
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Self::Error> {
        (**self).project(layer, key, out)
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Self::Error> {
        (**self).apply(patch)
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Self::Error> {
        (**self).remove(patch)
    }

    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        (**self).applied(layer, index)
    }
}
