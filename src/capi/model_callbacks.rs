//! The callbacks of a built-in model, on whichever device: what C hands over becomes slices, and the transformer does the work.

use core::ffi::c_void;

use mobiedit_backends::device::Device;
use mobiedit_backends::generate::Sequence;
use mobiedit_backends::identity;
use mobiedit_backends::transformer::ForwardError;
use mobiedit_core::backend::{ForwardBackend, Loss, PatchId};
use mobiedit_core::problem::{MAX_PROMPTS, PromptSet};
use mobiedit_core::rank_one::RankOne;

use crate::capi::code::*;
use crate::capi::memory::{lent, lent_mut, one, one_mut};
use crate::capi::model::State;
use crate::capi::request::{NO_PROMPT, problem_in};
use crate::capi::types::*;

/// A kind of state that stands behind a callback's context.
pub(crate) trait Behind {
    /// What its model runs on.
    type Device: Device + 'static;

    /// The state behind a context.
    ///
    /// # Safety
    /// `context` is that of a `mobiedit_backend` that this kind has filled, or NULL, and is the caller's alone.
    unsafe fn open<'s>(context: *mut c_void) -> Result<&'s mut State<Self::Device>, i32>;
}

/// A backend of a model that stands behind this context.
pub(crate) fn backend<B: Behind>(spec: mobiedit_spec, context: *mut c_void) -> mobiedit_backend {
    mobiedit_backend {
        spec,
        context,
        prefill: Some(prefill::<B>),
        losses: Some(losses::<B>),
        evaluate: Some(evaluate::<B>),
        project: Some(project::<B>),
        apply: Some(apply::<B>),
        remove: Some(remove::<B>),
        applied: Some(applied::<B>),
        generate: Some(generate::<B>),
        identity: Some(identity::<B>),
    }
}

pub(crate) fn failed<E>(error: ForwardError<E>) -> i32 {
    of_forward(&error)
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn prefill<B: Behind>(
    context: *mut c_void,
    problem: *const mobiedit_problem,
    _: i64,
    cache: *mut f32,
    cache_len: usize,
    keys: *mut f32,
    value: *mut f32,
) -> i32 {
    let run = || {
        let mut prompts = [NO_PROMPT; MAX_PROMPTS];
        // SAFETY: by this function's contract.
        let (state, given) = unsafe { (B::open(context)?, one(problem)?) };
        let spec = state.transformer.config().spec;
        // SAFETY: as above.
        let problem = unsafe { problem_in(&spec, given, &mut prompts) }?;
        let keys_len = problem.key_rows().saturating_mul(spec.d_ff);
        // SAFETY: as above.
        let (cache, keys, value) =
            unsafe { (lent_mut(cache, cache_len)?, lent_mut(keys, keys_len)?, lent_mut(value, spec.d_model)?) };
        state.transformer.prefill(&problem, cache, keys, value).map_err(failed)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn losses<B: Behind>(
    context: *mut c_void,
    problem: *const mobiedit_problem,
    which: u32,
    cache: *mut f32,
    cache_len: usize,
    deltas: *const f32,
    count: usize,
    out: *mut mobiedit_loss,
) -> i32 {
    /// Losses that are copied through the stack at once.
    const AT_ONCE: usize = 16;
    let run = || {
        let mut prompts = [NO_PROMPT; MAX_PROMPTS];
        // SAFETY: by this function's contract.
        let (state, given) = unsafe { (B::open(context)?, one(problem)?) };
        let spec = state.transformer.config().spec;
        // SAFETY: as above.
        let problem = unsafe { problem_in(&spec, given, &mut prompts) }?;
        let width = spec.d_model.max(1);
        // SAFETY: as above.
        let (cache, deltas, out) =
            unsafe { (lent_mut(cache, cache_len)?, lent(deltas, count.saturating_mul(width))?, lent_mut(out, count)?) };
        let all = (0..MAX_PROMPTS).filter(|index| which >> index & 1 == 1);
        let which = all.fold(PromptSet::NONE, PromptSet::with);
        for (deltas, out) in deltas.chunks(AT_ONCE.saturating_mul(width).max(1)).zip(out.chunks_mut(AT_ONCE)) {
            let mut buffer = [Loss::default(); AT_ONCE];
            let losses = buffer.get_mut(..out.len()).ok_or(MOBIEDIT_ERR_RANGE)?;
            state.transformer.losses(&problem, which, cache, deltas, losses).map_err(failed)?;
            out.iter_mut().zip(losses).for_each(|(out, loss)| *out = (*loss).into());
        }
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn evaluate<B: Behind>(
    context: *mut c_void,
    problem: *const mobiedit_problem,
    out: *mut mobiedit_loss,
) -> i32 {
    let run = || {
        let mut prompts = [NO_PROMPT; MAX_PROMPTS];
        // SAFETY: by this function's contract.
        let (state, given, out) = unsafe { (B::open(context)?, one(problem)?, one_mut(out)?) };
        let spec = state.transformer.config().spec;
        // SAFETY: as above.
        let problem = unsafe { problem_in(&spec, given, &mut prompts) }?;
        *out = state.transformer.evaluate(&problem).map_err(failed)?.into();
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn project<B: Behind>(context: *mut c_void, layer: u32, key: *const f32, out: *mut f32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let state = unsafe { B::open(context) }?;
        let spec = state.transformer.config().spec;
        // SAFETY: as above.
        let (key, out) = unsafe { (lent(key, spec.d_ff)?, lent_mut(out, spec.d_model)?) };
        state.transformer.project(layer as usize, key, out).map_err(failed)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn apply<B: Behind>(context: *mut c_void, patch: *const mobiedit_patch, id: *mut u32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, patch, id) = unsafe { (B::open(context)?, one(patch)?, one_mut(id)?) };
        let spec = state.transformer.config().spec;
        // SAFETY: as above.
        let (u, lambda) = unsafe { (lent(patch.u, spec.d_ff)?, lent(patch.lambda, spec.d_model)?) };
        let patch = RankOne { layer: patch.layer as usize, u, lambda };
        *id = state.transformer.apply(patch).map_err(failed)?.0;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn remove<B: Behind>(context: *mut c_void, id: u32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        unsafe { B::open(context) }?.transformer.remove(PatchId(id)).map_err(failed)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn applied<B: Behind>(context: *mut c_void, layer: u32, index: u32, out: *mut mobiedit_patch) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, out) = unsafe { (B::open(context)?, one_mut(out)?) };
        let patch = state.transformer.applied(layer as usize, index as usize).ok_or(MOBIEDIT_ERR_PATCH)?;
        *out = mobiedit_patch { layer, u: patch.u.as_ptr(), lambda: patch.lambda.as_ptr() };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn generate<B: Behind>(
    context: *mut c_void,
    prompt: *const u32,
    prompt_len: usize,
    stop: *const u32,
    stop_len: usize,
    out: *mut u32,
    out_len: usize,
    written: *mut usize,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, prompt, stop, out, written) = unsafe {
            let (prompt, stop) = (lent(prompt, prompt_len)?, lent(stop, stop_len)?);
            (B::open(context)?, prompt, stop, lent_mut(out, out_len)?, one_mut(written)?)
        };
        let mut sequence = Sequence::new(state.context, state.sequence);
        *written = state.transformer.generate(&mut sequence, prompt, stop, out).map_err(failed)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// # Safety
/// As `mobiedit_backend` says.
unsafe extern "C" fn identity<B: Behind>(context: *mut c_void, layer: u32, out: *mut u64) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, out) = unsafe { (B::open(context)?, one_mut(out)?) };
        *out = identity::identity(state.transformer.model(), layer as usize);
        Ok(MOBIEDIT_OK)
    };
    code(run())
}
