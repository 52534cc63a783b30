//! An edit as C describes it, as the editor takes it: settings, statistics, problem. Begins none.

use mobiedit_core::problem::{Prompt, Role};
use mobiedit_core::{CheckedConfig, Config, ModelSpec, Problem, Statistics, f16};

use crate::capi::callbacks::model_spec;
use crate::capi::code::*;
use crate::capi::memory::{lent, one};
use crate::capi::types::*;

/// The settings that C asks for, checked against the backend's model.
pub(crate) fn checked(config: &mobiedit_config, backend: &mobiedit_backend) -> Result<CheckedConfig, i32> {
    if config.abi != MOBIEDIT_ABI {
        return Err(MOBIEDIT_ERR_VERSION);
    }
    let mut settings = match config.preset {
        MOBIEDIT_DEFAULT => Config::DEFAULT,
        MOBIEDIT_PAPER => Config::PAPER,
        _ => return Err(MOBIEDIT_ERR_CONFIG),
    };
    if config.max_steps > 0 {
        settings.max_steps = config.max_steps;
    }
    if config.batch > 0 {
        settings.batch = config.batch as usize;
    }
    if config.directions > 0 {
        settings.directions = config.directions as usize;
    }
    if config.min_probability != 0.0 {
        settings.early_stop.min_probability = config.min_probability;
    }
    if config.aim != 0.0 {
        settings.early_stop.aim = config.aim;
    }
    settings.check(&model_spec(&backend.spec)).map_err(|_| MOBIEDIT_ERR_CONFIG)
}

/// The statistics that C lends; none for NULL.
///
/// # Safety
/// As `mobiedit_statistics` says.
pub(crate) unsafe fn statistics(given: *const mobiedit_statistics) -> Result<Statistics<'static>, i32> {
    if given.is_null() {
        return Ok(Statistics::default());
    }
    // SAFETY: by this function's contract; an f16 is its 16 bits.
    unsafe {
        let given = one(given)?;
        Ok(Statistics {
            samples: lent(given.samples.cast::<f16>(), given.samples_len)?,
            bank: lent(given.bank.cast::<f16>(), given.bank_len)?,
            readers: lent(given.readers.cast::<f16>(), given.readers_len)?,
        })
    }
}

/// The prompt that C describes.
///
/// # Safety
/// As `mobiedit_prompt` says.
unsafe fn prompt(given: &mobiedit_prompt, spec: &ModelSpec) -> Result<Prompt<'static>, i32> {
    let role = match given.role {
        MOBIEDIT_REWRITE => Role::Rewrite,
        MOBIEDIT_ESSENCE => Role::Essence,
        _ => return Err(MOBIEDIT_ERR_PROBLEM),
    };
    if given.tokens_len > spec.max_tokens {
        return Err(MOBIEDIT_ERR_PROBLEM);
    }
    // SAFETY: by this function's contract.
    let tokens = unsafe { lent(given.tokens, given.tokens_len) }?;
    Ok(Prompt { tokens, subject_last: given.subject_last as usize, role })
}

/// No prompt, to fill a buffer with.
pub(crate) const NO_PROMPT: Prompt<'_> = Prompt { tokens: &[], subject_last: 0, role: Role::Rewrite };

/// The problem that C describes; its prompts go to the front of `prompts`.
///
/// # Safety
/// As `mobiedit_problem` says, for `'a`.
pub(crate) unsafe fn problem_in<'a>(
    spec: &ModelSpec,
    given: &mobiedit_problem,
    prompts: &'a mut [Prompt<'static>],
) -> Result<Problem<'a>, i32> {
    // Counts are looked at before what they count: no pointer has to hold for one that is refused.
    if given.prompts_len > MOBIEDIT_MAX_PROMPTS || given.target_len > MOBIEDIT_MAX_TARGET_TOKENS {
        return Err(MOBIEDIT_ERR_PROBLEM);
    }
    // SAFETY: by this function's contract.
    let (lent_prompts, target) =
        unsafe { (lent(given.prompts, given.prompts_len)?, lent(given.target, given.target_len)?) };
    let prompts = prompts.get_mut(..lent_prompts.len()).ok_or(MOBIEDIT_ERR_PROBLEM)?;
    for (to, from) in prompts.iter_mut().zip(lent_prompts) {
        // SAFETY: by this function's contract.
        *to = unsafe { prompt(from, spec) }?;
    }
    Problem::new(spec, given.layer as usize, prompts, target).map_err(|_| MOBIEDIT_ERR_PROBLEM)
}
