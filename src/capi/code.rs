//! Error codes and their texts. Stable: a number that was published never changes its meaning.

use core::ffi::c_char;

use mobiedit_backends::calibration::Unusable;
use mobiedit_backends::journal::JournalError;
use mobiedit_backends::journal::edits::EditError;
use mobiedit_backends::transformer::ForwardError;
use mobiedit_core::backend::BackendErrorKind;
use mobiedit_core::checkpoint::CheckpointError;
use mobiedit_core::{SetupError, StepError};

use crate::capi::callbacks::CallbackError;

/// All went well.
pub const MOBIEDIT_OK: i32 = 0;
/// The edit has an outcome: `mobiedit_get_progress` says which, `mobiedit_get_patch` and `mobiedit_apply` can be called. Or the
/// journal has no edit behind the one that was given.
pub const MOBIEDIT_ENDED: i32 = 1;
/// A pointer that is needed is NULL.
pub const MOBIEDIT_ERR_NULL: i32 = -1;
/// A pointer has not the alignment of what it points to; `memory` needs `MOBIEDIT_ALIGNMENT`.
pub const MOBIEDIT_ERR_ALIGNMENT: i32 = -2;
/// A lent buffer is too small: `mobiedit_footprint`, `mobiedit_cpu_footprint` and `mobiedit_checkpoint_len` say how much is needed.
pub const MOBIEDIT_ERR_TOO_SMALL: i32 = -3;
/// `abi` of a config is not the library's `MOBIEDIT_ABI`: header and library are of different versions.
pub const MOBIEDIT_ERR_VERSION: i32 = -4;
/// A setting is outside its range.
pub const MOBIEDIT_ERR_CONFIG: i32 = -5;
/// The problem does not fit the model: prompts, subject positions, target or layer.
pub const MOBIEDIT_ERR_PROBLEM: i32 = -6;
/// Sample keys, bank or readers are no whole rows, or not finite.
pub const MOBIEDIT_ERR_STATISTICS: i32 = -7;
/// The state was not initialised, has no edit, or its edit has not ended.
pub const MOBIEDIT_ERR_STATE: i32 = -8;
/// The checkpoint is damaged, or of another version of the library.
pub const MOBIEDIT_ERR_CHECKPOINT: i32 = -9;
/// The checkpoint belongs to another edit: other problem, settings, statistics or model.
pub const MOBIEDIT_ERR_OTHER_EDIT: i32 = -10;
/// The model gave a NaN or an infinity, or a patch holds one.
pub const MOBIEDIT_ERR_NOT_FINITE: i32 = -11;
/// The key or the value at the subject is zero, or the prompts' keys cancel each other.
pub const MOBIEDIT_ERR_DEGENERATE: i32 = -12;
/// A callback failed: the edit is where it was, and the same call tries again. `mobiedit_backend_code` is what it returned.
pub const MOBIEDIT_ERR_BACKEND: i32 = -13;
/// The bytes are no GGUF of a model that is supported.
pub const MOBIEDIT_ERR_MODEL: i32 = -14;
/// No room for another patch, or a patch that is not applied.
pub const MOBIEDIT_ERR_PATCH: i32 = -15;
/// A token outside the vocabulary, or a layer outside the model.
pub const MOBIEDIT_ERR_RANGE: i32 = -16;
/// The text is longer than the context.
pub const MOBIEDIT_ERR_CONTEXT: i32 = -17;
/// The backend cannot do this.
pub const MOBIEDIT_ERR_UNSUPPORTED: i32 = -18;
/// The bytes are no calibration, damaged, cut off, or of another version of the file.
pub const MOBIEDIT_ERR_CALIBRATION: i32 = -19;
/// The calibration or the kept edit was made of another model, or the calibration's statistics are of another layer.
pub const MOBIEDIT_ERR_OTHER_MODEL: i32 = -20;
/// The NPU's library does not open, or gives no device.
pub const MOBIEDIT_ERR_DEVICE: i32 = -21;
/// A callback of the flash failed: `mobiedit_journal_get_info` says what it returned.
pub const MOBIEDIT_ERR_FLASH: i32 = -22;
/// What is in the flash is no journal, or is damaged, or a newer version of the library wrote it: `mobiedit_journal_get_info` says
/// which record.
pub const MOBIEDIT_ERR_JOURNAL: i32 = -23;
/// The flash has no room for the edit, and a compaction would not make any.
pub const MOBIEDIT_ERR_FULL: i32 = -24;
/// The journal has no edit of this id, or it was undone.
pub const MOBIEDIT_ERR_UNKNOWN: i32 = -25;

/// What a code means, in English; never NULL. A positive number and a number that is no code have a text too.
#[unsafe(no_mangle)]
pub extern "C" fn mobiedit_strerror(code: i32) -> *const c_char {
    let text = match code {
        MOBIEDIT_OK => c"ok",
        MOBIEDIT_ENDED => c"the edit has ended, or the list of edits",
        MOBIEDIT_ERR_NULL => c"a pointer that is needed is NULL",
        MOBIEDIT_ERR_ALIGNMENT => c"a pointer has not the alignment of what it points to",
        MOBIEDIT_ERR_TOO_SMALL => c"a lent buffer is too small",
        MOBIEDIT_ERR_VERSION => {
            c"the config's abi is not that of this library: header and library do not belong together"
        }
        MOBIEDIT_ERR_CONFIG => c"a setting is outside its range",
        MOBIEDIT_ERR_PROBLEM => c"the prompts, the subject positions, the target or the layer do not fit the model",
        MOBIEDIT_ERR_STATISTICS => c"the statistics cannot be used with this model",
        MOBIEDIT_ERR_STATE => c"the state is not initialised, has no edit, or its edit has not ended",
        MOBIEDIT_ERR_CHECKPOINT => c"the checkpoint is damaged or of another version",
        MOBIEDIT_ERR_OTHER_EDIT => c"the checkpoint belongs to another edit",
        MOBIEDIT_ERR_NOT_FINITE => c"the model gave a NaN or an infinity, or a patch holds one",
        MOBIEDIT_ERR_DEGENERATE => {
            c"the key or the value at the subject is zero, or the prompts' keys cancel each other"
        }
        MOBIEDIT_ERR_BACKEND => c"the backend failed; the same call tries again",
        MOBIEDIT_ERR_MODEL => c"the bytes are no GGUF of a model that is supported",
        MOBIEDIT_ERR_PATCH => c"no room for another patch, or the patch is not applied",
        MOBIEDIT_ERR_RANGE => c"a token outside the vocabulary or a layer outside the model",
        MOBIEDIT_ERR_CONTEXT => c"the text is longer than the context",
        MOBIEDIT_ERR_UNSUPPORTED => c"the backend cannot do this",
        MOBIEDIT_ERR_CALIBRATION => c"the calibration is damaged, cut off, of another version, or none at all",
        MOBIEDIT_ERR_OTHER_MODEL => c"the calibration or the edit belongs to another model or layer",
        MOBIEDIT_ERR_DEVICE => c"the NPU's library does not open, or gives no device",
        MOBIEDIT_ERR_FLASH => c"a callback of the flash failed",
        MOBIEDIT_ERR_JOURNAL => c"the flash holds no journal, or a damaged one, or one of a newer version",
        MOBIEDIT_ERR_FULL => c"the flash has no room for the edit",
        MOBIEDIT_ERR_UNKNOWN => c"the journal has no edit of this id",
        _ => c"no code of this library",
    };
    text.as_ptr()
}

/// What a function returns.
pub(crate) fn code(result: Result<i32, i32>) -> i32 {
    result.unwrap_or_else(|code| code)
}

pub(crate) fn of_setup(error: SetupError) -> i32 {
    match error {
        SetupError::Problem(_) => MOBIEDIT_ERR_PROBLEM,
        SetupError::Storage(_) => MOBIEDIT_ERR_TOO_SMALL,
        SetupError::Statistics(_) => MOBIEDIT_ERR_STATISTICS,
        SetupError::Checkpoint(error) => of_checkpoint(error),
        _ => MOBIEDIT_ERR_CONFIG,
    }
}

pub(crate) fn of_unusable(error: Unusable) -> i32 {
    match error {
        Unusable::OtherModel => MOBIEDIT_ERR_OTHER_MODEL,
        _ => MOBIEDIT_ERR_CALIBRATION,
    }
}

pub(crate) fn of_checkpoint(error: CheckpointError) -> i32 {
    match error {
        CheckpointError::TooSmall { .. } => MOBIEDIT_ERR_TOO_SMALL,
        CheckpointError::OtherEdit => MOBIEDIT_ERR_OTHER_EDIT,
        _ => MOBIEDIT_ERR_CHECKPOINT,
    }
}

pub(crate) fn of_step(error: StepError<CallbackError>) -> i32 {
    match error {
        StepError::Backend(_) => MOBIEDIT_ERR_BACKEND,
        StepError::OtherModel => MOBIEDIT_ERR_CONFIG,
        StepError::NotFinite => MOBIEDIT_ERR_NOT_FINITE,
        _ => MOBIEDIT_ERR_DEGENERATE,
    }
}

pub(crate) fn of_forward<E>(error: &ForwardError<E>) -> i32 {
    match error {
        ForwardError::WorkTooSmall { .. } | ForwardError::BufferTooSmall { .. } => MOBIEDIT_ERR_TOO_SMALL,
        ForwardError::NotFinite => MOBIEDIT_ERR_NOT_FINITE,
        ForwardError::Patch | ForwardError::UnknownPatch => MOBIEDIT_ERR_PATCH,
        ForwardError::OutOfRange => MOBIEDIT_ERR_RANGE,
        ForwardError::ContextFull => MOBIEDIT_ERR_CONTEXT,
        ForwardError::Model => MOBIEDIT_ERR_MODEL,
        _ => MOBIEDIT_ERR_BACKEND,
    }
}

pub(crate) fn of_edit(error: EditError<CallbackError>) -> i32 {
    match error {
        EditError::Journal(JournalError::Storage(_)) => MOBIEDIT_ERR_FLASH,
        EditError::Journal(JournalError::Full) => MOBIEDIT_ERR_FULL,
        EditError::TooMany => MOBIEDIT_ERR_PATCH,
        EditError::Unknown => MOBIEDIT_ERR_UNKNOWN,
        EditError::NotFinite => MOBIEDIT_ERR_NOT_FINITE,
        EditError::OtherModel => MOBIEDIT_ERR_OTHER_MODEL,
        EditError::TooSmall { .. } => MOBIEDIT_ERR_TOO_SMALL,
        _ => MOBIEDIT_ERR_JOURNAL,
    }
}

/// The class of a code that a callback returned.
pub(crate) fn kind_of(code: i32) -> BackendErrorKind {
    match code {
        MOBIEDIT_ERR_TOO_SMALL => BackendErrorKind::TooSmall,
        MOBIEDIT_ERR_NOT_FINITE => BackendErrorKind::NotFinite,
        MOBIEDIT_ERR_UNSUPPORTED | MOBIEDIT_ERR_RANGE | MOBIEDIT_ERR_PATCH => BackendErrorKind::Unsupported,
        _ => BackendErrorKind::Device,
    }
}
