//! What crosses the border: plain structs, laid out as C has them. Checks nothing.

use core::ffi::c_void;

use mobiedit_core::backend::Loss;

/// The version of structs and functions. A config's `abi` has to be this.
pub const MOBIEDIT_ABI: u32 = 1;
/// What `memory` has to be aligned to, in bytes.
pub const MOBIEDIT_ALIGNMENT: usize = 8;
/// Most prompts of a problem, essence prompts included.
pub const MOBIEDIT_MAX_PROMPTS: usize = 16;
/// Longest target in tokens.
pub const MOBIEDIT_MAX_TARGET_TOKENS: usize = 32;

/// A prompt that should end in the target.
pub const MOBIEDIT_REWRITE: u32 = 0;
/// A prompt about the subject, "{subject} is a", whose last row's distribution should stay as it was.
pub const MOBIEDIT_ESSENCE: u32 = 1;

/// This project's settings.
pub const MOBIEDIT_DEFAULT: u32 = 0;
/// The published settings, at their published cost.
pub const MOBIEDIT_PAPER: u32 = 1;

/// The sizes of a model.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_spec {
    /// Width of the residual stream, and of the value vector.
    pub d_model: u32,
    /// Width of the MLP's inner layer, and of a key.
    pub d_ff: u32,
    /// Number of decoder layers.
    pub layers: u32,
    /// Width of one token's keys in one layer: KV heads times head dimension.
    pub kv_dim: u32,
    /// Number of tokens in the vocabulary.
    pub vocab: u32,
    /// Longest sequence in tokens.
    pub max_tokens: u32,
}

/// One token sequence of an edit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_prompt {
    /// For MOBIEDIT_REWRITE: prefix, prompt and all target tokens but the last. For MOBIEDIT_ESSENCE: all of it.
    pub tokens: *const u32,
    /// Number of tokens.
    pub tokens_len: usize,
    /// Position of the subject's last token, from 0.
    pub subject_last: u32,
    /// MOBIEDIT_REWRITE or MOBIEDIT_ESSENCE.
    pub role: u32,
}

/// What an edit is asked to do. It, the prompts and the tokens have to stay as they are until the edit is left.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_problem {
    /// The rewrite prompts, then the essence prompts.
    pub prompts: *const mobiedit_prompt,
    /// Number of prompts, at most MOBIEDIT_MAX_PROMPTS.
    pub prompts_len: usize,
    /// The target's tokens.
    pub target: *const u32,
    /// Number of target tokens, at most MOBIEDIT_MAX_TARGET_TOKENS.
    pub target_len: usize,
    /// The edit layer, from 0; not the last one.
    pub layer: u32,
    /// Seed of the random directions.
    pub seed: u64,
}

/// What one candidate costs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_loss {
    /// Mean over the rewrite prompts of the mean over target tokens of -log P(token), in nats.
    pub nll: f32,
    /// Mean over the essence prompts of KL(P_edited || P_clean) at the last token, in nats; 0 without one.
    pub kl: f32,
    /// Number of target tokens, over all rewrite prompts, that are the argmax.
    pub hits: u32,
    /// Number of target tokens over all rewrite prompts.
    pub targets: u32,
}

impl From<mobiedit_loss> for Loss {
    fn from(loss: mobiedit_loss) -> Self {
        Self { nll: loss.nll, kl: loss.kl, hits: loss.hits, targets: loss.targets }
    }
}

impl From<Loss> for mobiedit_loss {
    fn from(loss: Loss) -> Self {
        Self { nll: loss.nll, kl: loss.kl, hits: loss.hits, targets: loss.targets }
    }
}

/// A rank-one patch of one layer's `down_proj`: W' = W + lambda u^T.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_patch {
    /// The layer, from 0.
    pub layer: u32,
    /// What the patch looks for, (d_ff).
    pub u: *const f32,
    /// What it adds, (d_model).
    pub lambda: *const f32,
}

/// A model that can be run forward: the firmware's own, or the built-in one of `mobiedit_cpu_init`.
///
/// Every callback gets `context`, returns 0 or a code of its own, and has to give the same numbers for the same arguments and
/// applied patches. A callback that returns something else than 0 stops the unit of work that called it: nothing is lost,
/// and the next `mobiedit_step` tries again.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_backend {
    /// The model's sizes.
    pub spec: mobiedit_spec,
    /// Handed to every callback.
    pub context: *mut c_void,
    /// The clean pass. `keys`, (prompts_len, d_ff), receives the input of the edit layer's `down_proj` at each prompt's
    /// subject_last; if `echo` is not negative, a row more, with that at position `echo` of the first prompt. `value`,
    /// (d_model), receives its output at the first prompt's subject_last. `cache` is for the callbacks' own use until the next
    /// prefill: `losses` gets it as it was left.
    pub prefill: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            problem: *const mobiedit_problem,
            echo: i64,
            cache: *mut f32,
            cache_len: usize,
            keys: *mut f32,
            value: *mut f32,
        ) -> i32,
    >,
    /// Losses of `count` candidates: `deltas`, (count, d_model), each added to the edit layer's output at subject_last of each
    /// prompt. Of the prompts, those count whose bit is set in `which` (bit 0 is the first).
    pub losses: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            problem: *const mobiedit_problem,
            which: u32,
            cache: *mut f32,
            cache_len: usize,
            deltas: *const f32,
            count: usize,
            out: *mut mobiedit_loss,
        ) -> i32,
    >,
    /// Loss of the model as it stands, with its applied patches and without any delta, over all rewrite prompts; kl is 0.
    pub evaluate: Option<
        unsafe extern "C" fn(context: *mut c_void, problem: *const mobiedit_problem, out: *mut mobiedit_loss) -> i32,
    >,
    /// W key of the `down_proj` at `layer`, patches included: `key`, (d_ff), `out`, (d_model). Only MOBIEDIT_PAPER calls it.
    pub project: Option<unsafe extern "C" fn(context: *mut c_void, layer: u32, key: *const f32, out: *mut f32) -> i32>,
    /// Adds a patch, whose numbers it has to copy, and names it by a number.
    pub apply: Option<unsafe extern "C" fn(context: *mut c_void, patch: *const mobiedit_patch, id: *mut u32) -> i32>,
    /// Takes a patch off again.
    pub remove: Option<unsafe extern "C" fn(context: *mut c_void, id: u32) -> i32>,
    /// Names the patches that are applied to `layer`, so that an edit keeps off them: that of this `index`, the oldest being 0, to
    /// `out`. Returns 0, or something else where there are not so many. The numbers have to stay where they are until a patch is
    /// applied or removed. May be NULL: then edits are not kept off each other.
    pub applied:
        Option<unsafe extern "C" fn(context: *mut c_void, layer: u32, index: u32, out: *mut mobiedit_patch) -> i32>,
    /// Greedy generation behind `prompt` until a token of `stop` or `out_len` tokens. May be NULL.
    pub generate: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            prompt: *const u32,
            prompt_len: usize,
            stop: *const u32,
            stop_len: usize,
            out: *mut u32,
            out_len: usize,
            written: *mut usize,
        ) -> i32,
    >,
    /// Says which model this is, as far as patches of `layer` are concerned: a number that others do not have, such as a hash of
    /// the layer's weights, to `out`. A journal keeps it with each edit, and gives none to another model. May be NULL: then it is 0.
    pub identity: Option<unsafe extern "C" fn(context: *mut c_void, layer: u32, out: *mut u64) -> i32>,
}

/// Samples from the edit layer, half-precision floats as their bits: `mobiedit_open_calibration` fills it, `mobiedit_cpu_readers`
/// makes the readers. All may be absent: the search then takes more forward passes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_statistics {
    /// Keys of ordinary text, (n, d_ff).
    pub samples: *const u16,
    /// Number of halves.
    pub samples_len: usize,
    /// Values of other subjects' last tokens, (n, d_model).
    pub bank: *const u16,
    /// Number of halves.
    pub bank_len: usize,
    /// What the layers above read, (n, d_model).
    pub readers: *const u16,
    /// Number of halves.
    pub readers_len: usize,
}

/// Settings and buffers of an editor. All zero but `abi`, `backend` and `memory` means the settings of MOBIEDIT_DEFAULT.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_config {
    /// Has to be MOBIEDIT_ABI.
    pub abi: u32,
    /// MOBIEDIT_DEFAULT or MOBIEDIT_PAPER.
    pub preset: u32,
    /// Most optimiser steps; 0: the preset's.
    pub max_steps: u32,
    /// Most candidates of one call of `losses`, memory against speed; 0: the preset's. Changes no result.
    pub batch: u32,
    /// Directions per step; 0: the preset's.
    pub directions: u32,
    /// Least probability of the target for success, in 0..1; 0: the preset's.
    pub min_probability: f32,
    /// The probability that the search aims at; 0: the preset's.
    pub aim: f32,
    /// The model. The struct has to stay until the editor is left.
    pub backend: *const mobiedit_backend,
    /// Samples from the edit layer, or NULL. What it points to has to stay until the edit is left.
    pub statistics: *const mobiedit_statistics,
    /// The editor's memory, aligned to MOBIEDIT_ALIGNMENT; it stays the editor's until the editor is left.
    pub memory: *mut c_void,
    /// Its bytes: `mobiedit_footprint` says how many an edit needs.
    pub memory_len: usize,
}

/// The last unit was the clean pass.
pub const MOBIEDIT_PHASE_PREFILL: u32 = 0;
/// The last unit tried values of the bank as starts.
pub const MOBIEDIT_PHASE_BANK: u32 = 1;
/// The last unit was an optimiser step.
pub const MOBIEDIT_PHASE_SEARCH: u32 = 2;
/// The last unit tested the model as it will be written.
pub const MOBIEDIT_PHASE_VERIFY: u32 = 3;
/// The edit has ended.
pub const MOBIEDIT_PHASE_DONE: u32 = 4;

/// The edit goes on.
pub const MOBIEDIT_RUNNING: u32 = 0;
/// The model with the patch says the target.
pub const MOBIEDIT_SUCCESS: u32 = 1;
/// The search has ended without success; its best patch can be had all the same.
pub const MOBIEDIT_EXHAUSTED: u32 = 2;

/// What the last unit of work did, and the totals so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_progress {
    /// MOBIEDIT_PHASE_...: the unit that was done.
    pub phase: u32,
    /// MOBIEDIT_RUNNING, MOBIEDIT_SUCCESS or MOBIEDIT_EXHAUSTED.
    pub outcome: u32,
    /// Optimiser steps done.
    pub step: u32,
    /// Most optimiser steps.
    pub max_steps: u32,
    /// The objective.
    pub loss: f32,
    /// Its -log P part, in nats.
    pub nll: f32,
    /// Its divergence part, in nats.
    pub kl: f32,
    /// Geometric mean of the target tokens' probabilities.
    pub p_target: f32,
    /// Evaluations of one candidate over all prompts.
    pub forward_passes: u64,
    /// Token rows computed.
    pub rows: u64,
}
