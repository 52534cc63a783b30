//! What is done with an edit that has ended: its patch is read, applied, taken off again, and tried out. Searches nothing.

use mobiedit_core::Editor;
use mobiedit_core::backend::{ForwardBackend, PatchId};

use crate::capi::code::*;
use crate::capi::editor::{mobiedit, open};
use crate::capi::memory::{lent, lent_mut, one_mut};
use crate::capi::types::*;

/// The patch of an edit that has ended, to `out`: its numbers lie in the editor's memory until another edit begins. It is
/// not applied.
///
/// # Safety
/// The pointers are NULL or what they are declared to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_get_patch(state: *mut mobiedit, out: *mut mobiedit_patch) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, out) = unsafe { (open(state)?, one_mut(out)?) };
        let patch = state.editor.as_ref().and_then(Editor::patch).ok_or(MOBIEDIT_ERR_STATE)?;
        *out = mobiedit_patch { layer: patch.layer as u32, u: patch.u.as_ptr(), lambda: patch.lambda.as_ptr() };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Applies the patch of the edit that has ended; `id` receives the number that `mobiedit_undo` takes.
///
/// # Safety
/// The pointers are NULL or what they are declared to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_apply(state: *mut mobiedit, id: *mut u32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, id) = unsafe { (open(state)?, one_mut(id)?) };
        let patch = state.editor.as_ref().and_then(Editor::patch).ok_or(MOBIEDIT_ERR_STATE)?;
        match state.callbacks.apply(patch) {
            Ok(PatchId(number)) => {
                *id = number;
                Ok(MOBIEDIT_OK)
            }
            Err(failed) => {
                state.backend_code = failed.0;
                Err(MOBIEDIT_ERR_BACKEND)
            }
        }
    };
    code(run())
}

/// Takes an applied patch off again.
///
/// # Safety
/// `state` is NULL or a state.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_undo(state: *mut mobiedit, id: u32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let state = unsafe { open(state) }?;
        state.callbacks.remove(PatchId(id)).map_err(|failed| {
            state.backend_code = failed.0;
            MOBIEDIT_ERR_BACKEND
        })?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Greedy generation with the applied patches: writes the likeliest tokens behind `prompt` to `out`, until one is in `stop`
/// (which is not written) or `out_len` are there; how many there are to `written`.
///
/// # Safety
/// The pointers are NULL or what they are declared to be, of the lengths given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_generate(
    state: *mut mobiedit,
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
        let state = unsafe { open(state) }?;
        // SAFETY: as above.
        unsafe {
            lent(prompt, prompt_len)?;
            lent(stop, stop_len)?;
            lent_mut(out, out_len)?;
            *one_mut(written)? = 0;
        }
        let call = state.callbacks.backend.generate.ok_or(MOBIEDIT_ERR_UNSUPPORTED)?;
        let context = state.callbacks.backend.context;
        // SAFETY: the buffers were checked just now; the rest is the backend's contract.
        let failed = unsafe { call(context, prompt, prompt_len, stop, stop_len, out, out_len, written) };
        if failed == MOBIEDIT_OK {
            return Ok(MOBIEDIT_OK);
        }
        state.backend_code = failed;
        Err(MOBIEDIT_ERR_BACKEND)
    };
    code(run())
}
