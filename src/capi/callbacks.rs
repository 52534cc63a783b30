//! The firmware's callbacks as the editor's `ForwardBackend`. Looks at no number that passes through.

use core::{fmt, ptr};

use mobiedit_core::backend::{BackendError, BackendErrorKind, ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit_core::problem::{Problem, PromptSet};
use mobiedit_core::rank_one::RankOne;

use crate::capi::code::{MOBIEDIT_ERR_UNSUPPORTED, MOBIEDIT_OK, kind_of};
use crate::capi::memory::lent;
use crate::capi::types::{mobiedit_backend, mobiedit_loss, mobiedit_patch, mobiedit_problem, mobiedit_spec};

/// What a callback returned instead of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallbackError(pub(crate) i32);

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a callback failed")
    }
}

impl core::error::Error for CallbackError {}

impl BackendError for CallbackError {
    fn kind(&self) -> BackendErrorKind {
        kind_of(self.0)
    }
}

/// A backend struct that is known to be there, and the problem its callbacks are asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callbacks {
    pub(crate) backend: mobiedit_backend,
    /// The C struct that the editor's problem was made of.
    pub(crate) problem: *const mobiedit_problem,
}

pub(crate) fn model_spec(spec: &mobiedit_spec) -> ModelSpec {
    ModelSpec {
        d_model: spec.d_model as usize,
        d_ff: spec.d_ff as usize,
        layers: spec.layers as usize,
        kv_dim: spec.kv_dim as usize,
        vocab: spec.vocab as usize,
        max_tokens: spec.max_tokens as usize,
    }
}

impl Callbacks {
    /// Which model this is, for patches of a layer.
    pub(crate) fn identity(&self, layer: u32) -> Result<u64, CallbackError> {
        let (mut identity, Some(call)) = (0, self.backend.identity) else { return Ok(0) };
        // SAFETY: as for the calls below.
        done(unsafe { call(self.backend.context, layer, &raw mut identity) })?;
        Ok(identity)
    }
}

pub(crate) fn done(code: i32) -> Result<(), CallbackError> {
    if code == MOBIEDIT_OK { Ok(()) } else { Err(CallbackError(code)) }
}

/// A backend without this callback.
const MISSING: CallbackError = CallbackError(MOBIEDIT_ERR_UNSUPPORTED);

/// Candidates of one call: their losses are copied through the stack.
const AT_ONCE: usize = 16;

// SAFETY of every call below: whoever filled the struct promises that each callback accepts its own `context` and keeps to the
// contract in its documentation, and each gets buffers of the documented lengths: the editor lends slices of those, checked
// here where the length is not the slice's own.
impl ForwardBackend for Callbacks {
    type Error = CallbackError;

    fn spec(&self) -> ModelSpec {
        model_spec(&self.backend.spec)
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), CallbackError> {
        let call = self.backend.prefill.ok_or(MISSING)?;
        let echo = problem.echo().map_or(-1, |at| at as i64);
        let (cache, cache_len) = (cache.as_mut_ptr(), cache.len());
        // SAFETY: see above.
        done(unsafe {
            call(self.backend.context, self.problem, echo, cache, cache_len, keys.as_mut_ptr(), value.as_mut_ptr())
        })
    }

    fn losses(
        &mut self,
        _: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), CallbackError> {
        let call = self.backend.losses.ok_or(MISSING)?;
        let width = (self.backend.spec.d_model as usize).max(1);
        let (cache, cache_len) = (cache.as_mut_ptr(), cache.len());
        for (deltas, out) in deltas.chunks(AT_ONCE.saturating_mul(width).max(1)).zip(out.chunks_mut(AT_ONCE)) {
            let mut losses = [mobiedit_loss::default(); AT_ONCE];
            let count = out.len().min(deltas.len() / width);
            let (deltas, to) = (deltas.as_ptr(), losses.as_mut_ptr());
            // SAFETY: see above.
            done(unsafe {
                call(self.backend.context, self.problem, bits(which), cache, cache_len, deltas, count, to)
            })?;
            out.iter_mut().zip(losses).for_each(|(out, loss)| *out = loss.into());
        }
        Ok(())
    }

    fn evaluate(&mut self, _: &Problem<'_>) -> Result<Loss, CallbackError> {
        let call = self.backend.evaluate.ok_or(MISSING)?;
        let mut loss = mobiedit_loss::default();
        // SAFETY: see above.
        done(unsafe { call(self.backend.context, self.problem, &raw mut loss) })?;
        Ok(loss.into())
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), CallbackError> {
        let call = self.backend.project.ok_or(MISSING)?;
        // SAFETY: see above.
        done(unsafe { call(self.backend.context, layer as u32, key.as_ptr(), out.as_mut_ptr()) })
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, CallbackError> {
        let call = self.backend.apply.ok_or(MISSING)?;
        let patch = mobiedit_patch { layer: patch.layer as u32, u: patch.u.as_ptr(), lambda: patch.lambda.as_ptr() };
        let mut id = 0;
        // SAFETY: see above.
        done(unsafe { call(self.backend.context, &raw const patch, &raw mut id) })?;
        Ok(PatchId(id))
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), CallbackError> {
        let call = self.backend.remove.ok_or(MISSING)?;
        // SAFETY: see above.
        done(unsafe { call(self.backend.context, patch.0) })
    }

    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        let call = self.backend.applied?;
        let mut patch = mobiedit_patch { layer: layer as u32, u: ptr::null(), lambda: ptr::null() };
        // SAFETY: see above.
        done(unsafe { call(self.backend.context, layer as u32, u32::try_from(index).ok()?, &raw mut patch) }).ok()?;
        let spec = &self.backend.spec;
        // SAFETY: the numbers stay until a patch is applied or removed, which takes this backend as `&mut`.
        let (u, lambda) = unsafe { (lent(patch.u, spec.d_ff as usize), lent(patch.lambda, spec.d_model as usize)) };
        Some(RankOne { layer, u: u.ok()?, lambda: lambda.ok()? })
    }
}

/// A set of prompts as C gets it: bit i is prompt i.
fn bits(which: PromptSet) -> u32 {
    (0..mobiedit_core::problem::MAX_PROMPTS)
        .filter(|index| which.contains(*index))
        .fold(0, |bits, index| bits | 1 << index)
}
