//! An edit from C: the caller allocates the state and calls a unit of work at a time, so that its own scheduler and watchdog
//! stay in charge. Knows no model but through the callbacks.

use core::mem::MaybeUninit;

use mobiedit_core::backend::Loss;
use mobiedit_core::checkpoint::{CHECKPOINT_VERSION, checkpoint_len};
use mobiedit_core::problem::Prompt;
use mobiedit_core::{CheckedConfig, EditStorage, Editor, Footprint, Outcome, Phase, Progress, Statistics};

use crate::capi::callbacks::Callbacks;
use crate::capi::code::*;
use crate::capi::memory::{Pool, bytes_of, lent, lent_mut, one, one_mut};
use crate::capi::request::{NO_PROMPT, checked, problem_in, statistics};
use crate::capi::types::*;

/// 8-byte words of a `mobiedit` state.
pub const MOBIEDIT_STATE_WORDS: usize = 160;
/// What an initialised state starts with.
const MAGIC: u64 = u64::from_le_bytes(*b"mobiedit");

/// The state of an editor. Allocated by the caller anywhere, filled by `mobiedit_init`, not to be copied or looked into.
#[repr(C)]
#[derive(Debug)]
pub struct mobiedit {
    /// The library's affair.
    pub opaque: [u64; MOBIEDIT_STATE_WORDS],
}

#[repr(C)]
pub(crate) struct State {
    magic: u64,
    config: CheckedConfig,
    pub(crate) callbacks: Callbacks,
    statistics: Statistics<'static>,
    memory: (*mut core::ffi::c_void, usize),
    progress: mobiedit_progress,
    /// What a callback returned last, where that was no 0.
    pub(crate) backend_code: i32,
    pub(crate) editor: Option<Editor<'static>>,
}

const _: () = assert!(size_of::<State>() <= size_of::<mobiedit>() && align_of::<State>() <= align_of::<mobiedit>());

/// The state behind the pointer, if it is one.
///
/// # Safety
/// `state` is NULL, or points to a `mobiedit` that is the caller's alone and was zeroed or given to `mobiedit_init`.
pub(crate) unsafe fn open<'s>(state: *mut mobiedit) -> Result<&'s mut State, i32> {
    // SAFETY: by this function's contract.
    let words = unsafe { one_mut(state) }?;
    if words.opaque[0] != MAGIC {
        return Err(MOBIEDIT_ERR_STATE);
    }
    // SAFETY: the magic says that `mobiedit_init` wrote a `State` here, which fits, as asserted above.
    Ok(unsafe { &mut *core::ptr::from_mut(words).cast::<State>() })
}

/// The library's version: major * 10000 + minor * 100 + patch.
#[unsafe(no_mangle)]
pub extern "C" fn mobiedit_version() -> u32 {
    const fn number(text: &str) -> u32 {
        let (bytes, mut at, mut number) = (text.as_bytes(), 0, 0);
        while at < bytes.len() {
            number = number * 10 + (bytes[at] - b'0') as u32;
            at += 1;
        }
        number
    }
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
        + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

/// The version of the checkpoints that this library writes and reads.
#[unsafe(no_mangle)]
pub extern "C" fn mobiedit_checkpoint_version() -> u32 {
    CHECKPOINT_VERSION
}

/// Bytes of `memory` that an editor with this config needs for this problem, to `bytes`. The config's `memory` may be NULL.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_footprint(
    config: *const mobiedit_config,
    problem: *const mobiedit_problem,
    bytes: *mut usize,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (config, given, bytes) = unsafe { (one(config)?, one(problem)?, one_mut(bytes)?) };
        // SAFETY: as above.
        let checked = checked(config, unsafe { one(config.backend) }?)?;
        let mut prompts = [NO_PROMPT; MOBIEDIT_MAX_PROMPTS];
        // SAFETY: as above.
        let problem = unsafe { problem_in(checked.spec(), given, &mut prompts) }?;
        let need = Footprint::for_problem(&checked, &problem);
        let floats = bytes_of::<f32>(need.floats).saturating_add(bytes_of::<f32>(need.cache));
        let rest = bytes_of::<Loss>(need.losses).saturating_add(bytes_of::<Prompt<'_>>(given.prompts_len));
        *bytes = floats.saturating_add(rest);
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Makes an editor of the bytes at `state`: settings, backend and memory of `config`, which is copied. No edit begins yet.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; what `config` points to stays until the editor
/// is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_init(state: *mut mobiedit, config: *const mobiedit_config) -> i32 {
    let run = || {
        // SAFETY: by this function's contract; the words of a state are plain numbers until the magic is there.
        let (words, config) = unsafe { (one_mut(state.cast::<MaybeUninit<mobiedit>>())?, one(config)?) };
        // SAFETY: as above.
        let backend = unsafe { one(config.backend) }?;
        let checked = checked(config, backend)?;
        Pool::new(config.memory, config.memory_len)?;
        let fresh = State {
            magic: MAGIC,
            config: checked,
            callbacks: Callbacks { backend: *backend, problem: core::ptr::null() },
            // SAFETY: as above.
            statistics: unsafe { statistics(config.statistics) }?,
            memory: (config.memory, config.memory_len),
            progress: mobiedit_progress::default(),
            backend_code: MOBIEDIT_OK,
            editor: None,
        };
        // SAFETY: it fits, as asserted above; nothing in a former state has to be dropped.
        unsafe { words.as_mut_ptr().cast::<State>().write(fresh) };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Begins an edit; one that was running is left. Patches stay applied.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; what `problem` points to stays until another
/// edit begins or the editor is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_edit(state: *mut mobiedit, problem: *const mobiedit_problem) -> i32 {
    // SAFETY: by this function's contract.
    code(unsafe { begin(state, problem, None) })
}

/// Goes on with the edit that `mobiedit_checkpoint` wrote to `bytes`: the same problem, settings, model and statistics, and the same
/// patches applied, which a checkpoint does not know. Bytes that are refused leave the state without an edit.
///
/// # Safety
/// As `mobiedit_edit`; `len` bytes are at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_resume(
    state: *mut mobiedit,
    problem: *const mobiedit_problem,
    bytes: *const u8,
    len: usize,
) -> i32 {
    // SAFETY: by this function's contract.
    code(unsafe { lent(bytes, len).and_then(|bytes| begin(state, problem, Some(bytes))) })
}

/// # Safety
/// As `mobiedit_edit`.
unsafe fn begin(state: *mut mobiedit, given: *const mobiedit_problem, checkpoint: Option<&[u8]>) -> Result<i32, i32> {
    // SAFETY: by this function's contract.
    let (state, problem) = unsafe { (open(state)?, one(given)?) };
    let config = state.config;
    let mut checking = [NO_PROMPT; MOBIEDIT_MAX_PROMPTS];
    // A problem that cannot be posed, and too little memory, leave the running edit alone.
    // SAFETY: by this function's contract.
    let need = Footprint::for_problem(&config, &unsafe { problem_in(config.spec(), problem, &mut checking) }?);
    let all = [bytes_of::<f32>(need.floats), bytes_of::<f32>(need.cache), bytes_of::<Loss>(need.losses)];
    let bytes = all.into_iter().fold(bytes_of::<Prompt<'_>>(problem.prompts_len), usize::saturating_add);
    if bytes > state.memory.1 {
        return Err(MOBIEDIT_ERR_TOO_SMALL);
    }
    // Nobody holds the memory any more.
    state.editor = None;
    let mut pool = Pool::new(state.memory.0, state.memory.1)?;
    // SAFETY: the memory is the editor's alone by `mobiedit_init`'s contract, and the former edit is gone.
    let (prompts, floats, cache, losses) = unsafe {
        (
            pool.take(problem.prompts_len, NO_PROMPT)?,
            pool.take(need.floats, 0.0)?,
            pool.take(need.cache, 0.0)?,
            pool.take(need.losses, Loss::default())?,
        )
    };
    // SAFETY: by this function's contract.
    let posed = unsafe { problem_in(config.spec(), problem, prompts) }?;
    let storage = EditStorage { floats, cache, losses };
    let editor = match checkpoint {
        Some(bytes) => Editor::resume(config, posed, state.statistics, storage, bytes),
        None => Editor::new(config, posed, state.statistics, problem.seed, storage),
    };
    state.editor = Some(editor.map_err(of_setup)?);
    state.callbacks.problem = given;
    state.progress = mobiedit_progress { max_steps: config.config().max_steps, ..mobiedit_progress::default() };
    Ok(MOBIEDIT_OK)
}

/// Does one unit of work: the clean pass, a batch of starts, an optimiser step, or a verification. Returns MOBIEDIT_OK while
/// there is more to do, MOBIEDIT_ENDED once the edit has an outcome, or an error, after which the edit is where it was and the
/// same call tries again.
///
/// # Safety
/// `state` is NULL or a state; what its config and problem point to is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_step(state: *mut mobiedit) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let state = unsafe { open(state) }?;
        let editor = state.editor.as_mut().ok_or(MOBIEDIT_ERR_STATE)?;
        match editor.step(&mut state.callbacks) {
            Ok(progress) => {
                state.progress = shown(&progress);
                state.backend_code = MOBIEDIT_OK;
                Ok(if editor.patch().is_some() { MOBIEDIT_ENDED } else { MOBIEDIT_OK })
            }
            Err(error) => {
                if let mobiedit_core::StepError::Backend(failed) = error {
                    state.backend_code = failed.0;
                }
                Err(of_step(error))
            }
        }
    };
    code(run())
}

fn shown(progress: &Progress) -> mobiedit_progress {
    mobiedit_progress {
        phase: match progress.phase {
            Phase::Prefill => MOBIEDIT_PHASE_PREFILL,
            Phase::Bank => MOBIEDIT_PHASE_BANK,
            Phase::Search => MOBIEDIT_PHASE_SEARCH,
            Phase::Verify => MOBIEDIT_PHASE_VERIFY,
            _ => MOBIEDIT_PHASE_DONE,
        },
        outcome: match progress.outcome {
            None => MOBIEDIT_RUNNING,
            Some(Outcome::Success) => MOBIEDIT_SUCCESS,
            Some(Outcome::Exhausted) => MOBIEDIT_EXHAUSTED,
        },
        step: progress.step,
        max_steps: progress.max_steps,
        loss: progress.loss,
        nll: progress.nll,
        kl: progress.kl,
        p_target: progress.p_target,
        forward_passes: progress.forward_passes,
        rows: progress.rows,
    }
}

/// What the last unit of work did.
///
/// # Safety
/// The pointers are NULL or what they are declared to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_get_progress(state: *mut mobiedit, out: *mut mobiedit_progress) -> i32 {
    // SAFETY: by this function's contract.
    let run = || unsafe {
        *one_mut(out)? = open(state)?.progress;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// What the callback returned that made `mobiedit_step`, `mobiedit_apply` or `mobiedit_undo` fail; 0 if none did.
///
/// # Safety
/// `state` is NULL or a state.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_backend_code(state: *mut mobiedit) -> i32 {
    // SAFETY: by this function's contract.
    unsafe { open(state) }.map_or(MOBIEDIT_OK, |state| state.backend_code)
}

/// Bytes of a checkpoint of an edit on a model of this width.
#[unsafe(no_mangle)]
pub extern "C" fn mobiedit_checkpoint_len(d_model: u32) -> usize {
    checkpoint_len(d_model as usize)
}

/// Writes the edit's state to the front of `bytes`, at any time between two steps; how many bytes that are to `written`.
///
/// # Safety
/// The pointers are NULL or what they are declared to be; `len` bytes are at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_checkpoint(
    state: *mut mobiedit,
    bytes: *mut u8,
    len: usize,
    written: *mut usize,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, bytes, written) = unsafe { (open(state)?, lent_mut(bytes, len)?, one_mut(written)?) };
        let editor = state.editor.as_ref().ok_or(MOBIEDIT_ERR_STATE)?;
        *written = editor.checkpoint(bytes).map_err(of_checkpoint)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}
