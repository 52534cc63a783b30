//! Edits that outlast a power-off: kept in the firmware's flash, listed, applied and undone after the next start. Searches nothing.

use core::mem::MaybeUninit;

use mobiedit_backends::journal::edits::{EditError, EditJournal, Entry, MOST_EDITS};
use mobiedit_backends::journal::{JournalError, Unreadable};
use mobiedit_core::backend::{ForwardBackend, PatchId};
use mobiedit_core::rank_one::RankOne;

use crate::capi::callbacks::{CallbackError, Callbacks, model_spec};
use crate::capi::code::*;
use crate::capi::flash::{Area, mobiedit_flash};
use crate::capi::memory::{lent, lent_mut, one, one_mut};
use crate::capi::types::*;

/// 8-byte words of a `mobiedit_journal`.
pub const MOBIEDIT_JOURNAL_WORDS: usize = 112;
/// Most edits at a time that are not undone.
pub const MOBIEDIT_JOURNAL_EDITS: usize = 128;

const _: () = assert!(MOBIEDIT_JOURNAL_EDITS == MOST_EDITS);

/// What an opened journal starts with.
const MAGIC: u64 = u64::from_le_bytes(*b"mobi-jrn");

/// The state of a journal. Allocated by the caller, filled by `mobiedit_journal_open`, not to be copied or looked into.
#[repr(C)]
#[derive(Debug)]
pub struct mobiedit_journal {
    /// The library's affair.
    pub opaque: [u64; MOBIEDIT_JOURNAL_WORDS],
}

/// What a journal says of an edit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_journal_edit {
    /// Names the edit, from 1. No other edit of the journal ever has it.
    pub id: u32,
    /// The layer, from 0.
    pub layer: u32,
    /// What the backend's `identity` said of the model when the edit was kept.
    pub model: u64,
    /// Numbers of u.
    pub d_ff: u32,
    /// Numbers of lambda.
    pub d_model: u32,
    /// Bytes of the note.
    pub note_len: u32,
}

impl From<Entry> for mobiedit_journal_edit {
    fn from(entry: Entry) -> Self {
        let Entry { id, layer, model, d_ff, d_model, note_len } = entry;
        Self { id, layer, model, d_ff, d_model, note_len }
    }
}

/// How full a journal is, and why its last call failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_journal_info {
    /// Edits that are not undone.
    pub edits: u32,
    /// Bytes of the area that counts which are taken, by undone edits too.
    pub used: u32,
    /// After MOBIEDIT_ERR_JOURNAL: the record that is damaged or of a newer version, counted from 1 in the area; 0 for what is no
    /// journal at all.
    pub record: u32,
    /// After MOBIEDIT_ERR_FLASH and MOBIEDIT_ERR_BACKEND: what the callback returned.
    pub callback_code: i32,
}

#[repr(C)]
struct State {
    magic: u64,
    /// What the last call that failed had to say.
    failed: Failed,
    /// `None` where the flash could not be read.
    edits: Option<EditJournal<Area>>,
}

const _: () = assert!(size_of::<State>() <= size_of::<mobiedit_journal>());
const _: () = assert!(align_of::<State>() <= align_of::<mobiedit_journal>());

/// A code, and what stands behind it.
#[derive(Clone, Copy, Default)]
struct Failed {
    code: i32,
    record: u32,
    callback_code: i32,
}

impl From<i32> for Failed {
    fn from(code: i32) -> Self {
        Self { code, ..Self::default() }
    }
}

impl From<EditError<CallbackError>> for Failed {
    fn from(error: EditError<CallbackError>) -> Self {
        let record = match error {
            EditError::Journal(JournalError::Unreadable(Unreadable::Damaged(record))) | EditError::Newer(record) => {
                record
            }
            _ => 0,
        };
        let callback_code = match error {
            EditError::Journal(JournalError::Storage(CallbackError(code))) => code,
            _ => MOBIEDIT_OK,
        };
        Self { code: of_edit(error), record, callback_code }
    }
}

/// A callback of the backend that failed.
fn of_backend(CallbackError(callback_code): CallbackError) -> Failed {
    Failed { code: MOBIEDIT_ERR_BACKEND, record: 0, callback_code }
}

/// The state behind the pointer, if it is one.
///
/// # Safety
/// `journal` is NULL, or points to a `mobiedit_journal` that is the caller's alone and was zeroed or given to
/// `mobiedit_journal_open`.
unsafe fn open<'s>(journal: *mut mobiedit_journal) -> Result<&'s mut State, i32> {
    // SAFETY: by this function's contract.
    let words = unsafe { one_mut(journal) }?;
    if words.opaque[0] != MAGIC {
        return Err(MOBIEDIT_ERR_STATE);
    }
    // SAFETY: the magic says that `mobiedit_journal_open` wrote a `State` here, which fits, as asserted above.
    Ok(unsafe { &mut *core::ptr::from_mut(words).cast::<State>() })
}

/// Does something with an opened journal, which remembers why it failed.
///
/// # Safety
/// As [`open`].
unsafe fn with(journal: *mut mobiedit_journal, run: impl FnOnce(&mut EditJournal<Area>) -> Result<i32, Failed>) -> i32 {
    // SAFETY: by this function's contract.
    let state = match unsafe { open(journal) } {
        Ok(state) => state,
        Err(code) => return code,
    };
    let outcome = match &mut state.edits {
        Some(edits) => run(edits),
        None => return MOBIEDIT_ERR_STATE,
    };
    state.failed = outcome.err().unwrap_or_default();
    outcome.unwrap_or_else(|failed| failed.code)
}

/// Opens the journal in a flash, which is copied: reads both areas, every checksum. A flash that was erased is an empty journal. What
/// a power cut left is passed over; erases an area where one came between the last two steps of a compaction.
///
/// After MOBIEDIT_ERR_FLASH and MOBIEDIT_ERR_JOURNAL no edit was erased, and `mobiedit_journal_get_info` says more. A journal that is
/// damaged stays so: erase both areas to begin anew, without its edits.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; the callbacks' context stays until the journal is
/// used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_open(journal: *mut mobiedit_journal, flash: *const mobiedit_flash) -> i32 {
    let run = || {
        // SAFETY: by this function's contract; the words of a state are plain numbers until the magic is there.
        let (words, flash) = unsafe { (one_mut(journal.cast::<MaybeUninit<mobiedit_journal>>())?, one(flash)?) };
        let [a, b] = flash.areas()?;
        let (failed, edits) = match EditJournal::open(a, b) {
            Ok(edits) => (Failed::default(), Some(edits)),
            Err(error) => (error.into(), None),
        };
        // SAFETY: it fits, as asserted above; nothing in a former state has to be dropped.
        unsafe { words.as_mut_ptr().cast::<State>().write(State { magic: MAGIC, failed, edits }) };
        Ok(failed.code)
    };
    code(run())
}

/// Keeps a patch of the backend's model, and `note_len` bytes of the caller's own with it; `id` receives its number. When this returns
/// MOBIEDIT_OK, the edit outlasts a power cut; after an error it is not kept, and the same call tries again. Only a power cut
/// before the next call may show that MOBIEDIT_ERR_FLASH came too late to stop it. The patch is copied, and not applied.
///
/// Where there is no room, undone edits are dropped first, as by `mobiedit_journal_compact`.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; `note_len` bytes are at `note`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_append(
    journal: *mut mobiedit_journal,
    backend: *const mobiedit_backend,
    patch: *const mobiedit_patch,
    note: *const u8,
    note_len: usize,
    id: *mut u32,
) -> i32 {
    let run = |edits: &mut EditJournal<Area>| {
        // SAFETY: by this function's contract.
        let (backend, patch, note, id) = unsafe { (one(backend)?, one(patch)?, lent(note, note_len)?, one_mut(id)?) };
        let spec = &backend.spec;
        if patch.layer >= spec.layers {
            return Err(MOBIEDIT_ERR_RANGE.into());
        }
        // SAFETY: as above.
        let (u, lambda) = unsafe { (lent(patch.u, spec.d_ff as usize)?, lent(patch.lambda, spec.d_model as usize)?) };
        let model = callbacks(backend).identity(patch.layer).map_err(of_backend)?;
        *id = edits.append(model, RankOne { layer: patch.layer as usize, u, lambda }, note)?;
        Ok(MOBIEDIT_OK)
    };
    // SAFETY: by this function's contract.
    unsafe { with(journal, run) }
}

/// Goes through the edits that are not undone, oldest first: `edit` becomes the first one whose id is over its own. Begin with
/// zeros. MOBIEDIT_ENDED where there is none. The journal may be changed meanwhile.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_next(
    journal: *mut mobiedit_journal,
    edit: *mut mobiedit_journal_edit,
) -> i32 {
    let run = |edits: &mut EditJournal<Area>| {
        // SAFETY: by this function's contract.
        let edit = unsafe { one_mut(edit) }?;
        let Some(next) = edits.next(edit.id)? else { return Ok(MOBIEDIT_ENDED) };
        *edit = next.into();
        Ok(MOBIEDIT_OK)
    };
    // SAFETY: by this function's contract.
    unsafe { with(journal, run) }
}

/// Reads the note of an edit to the front of `note`, which has room for `len` bytes; how many there are is in its `mobiedit_journal_edit`.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be; `len` bytes are at `note`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_note(
    journal: *mut mobiedit_journal,
    id: u32,
    note: *mut u8,
    len: usize,
) -> i32 {
    let run = |edits: &mut EditJournal<Area>| {
        // SAFETY: by this function's contract.
        edits.note(id, unsafe { lent_mut(note, len) }?)?;
        Ok(MOBIEDIT_OK)
    };
    // SAFETY: by this function's contract.
    unsafe { with(journal, run) }
}

/// Applies an edit to the model that it was made for, and gives MOBIEDIT_ERR_OTHER_MODEL for another one; `patch` receives the number
/// that `mobiedit_undo` takes. `numbers`, d_ff + d_model of them, is lent for the call: memory that an editor is given later will do.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; `len` floats are at `numbers`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_apply(
    journal: *mut mobiedit_journal,
    id: u32,
    backend: *const mobiedit_backend,
    numbers: *mut f32,
    len: usize,
    patch: *mut u32,
) -> i32 {
    let run = |edits: &mut EditJournal<Area>| {
        // SAFETY: by this function's contract.
        let (backend, numbers, patch) = unsafe { (one(backend)?, lent_mut(numbers, len)?, one_mut(patch)?) };
        let (mut callbacks, entry) = (callbacks(backend), edits.get(id)?);
        if entry.layer >= backend.spec.layers {
            return Err(MOBIEDIT_ERR_OTHER_MODEL.into());
        }
        let model = callbacks.identity(entry.layer).map_err(of_backend)?;
        let kept = edits.patch(id, &model_spec(&backend.spec), model, numbers)?;
        let PatchId(number) = callbacks.apply(kept).map_err(of_backend)?;
        *patch = number;
        Ok(MOBIEDIT_OK)
    };
    // SAFETY: by this function's contract.
    unsafe { with(journal, run) }
}

/// Takes an edit back for good: it is not gone through any more, and a compaction drops it. What is applied stays applied. For an undo
/// there is always room.
///
/// # Safety
/// `journal` is NULL, or was zeroed or given to `mobiedit_journal_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_undo(journal: *mut mobiedit_journal, id: u32) -> i32 {
    // SAFETY: by this function's contract.
    unsafe {
        with(journal, |edits| {
            edits.undo(id)?;
            Ok(MOBIEDIT_OK)
        })
    }
}

/// Drops what was undone out of the flash: copies the other edits into the other area, and erases this one. `mobiedit_journal_append`
/// and `mobiedit_journal_undo` do so themselves where they have to; a firmware can choose a better time.
///
/// # Safety
/// `journal` is NULL, or was zeroed or given to `mobiedit_journal_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_compact(journal: *mut mobiedit_journal) -> i32 {
    // SAFETY: by this function's contract.
    unsafe {
        with(journal, |edits| {
            edits.compact()?;
            Ok(MOBIEDIT_OK)
        })
    }
}

/// How full the journal is, and why its last call failed; also after `mobiedit_journal_open` failed.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_journal_get_info(
    journal: *mut mobiedit_journal,
    out: *mut mobiedit_journal_info,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (state, out) = unsafe { (open(journal)?, one_mut(out)?) };
        let Failed { record, callback_code, .. } = state.failed;
        let (edits, used) = match &mut state.edits {
            Some(edits) => (edits.active().len() as u32, edits.used() as u32),
            None => (0, 0),
        };
        *out = mobiedit_journal_info { edits, used, record, callback_code };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// The backend's callbacks, of which no problem is asked.
fn callbacks(backend: &mobiedit_backend) -> Callbacks {
    Callbacks { backend: *backend, problem: core::ptr::null() }
}
