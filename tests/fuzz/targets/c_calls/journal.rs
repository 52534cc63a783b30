//! Calls of a journal in a flash that fails, is cut off from power, or is damaged: what was kept is there to the bit, and what was
//! undone is not.

use std::collections::BTreeMap;
use std::ffi::c_void;

use ::mobiedit::capi::*;

use super::super::input::Input;
use super::memory::{Kept, Lent};

/// Most bytes of an area: a few edits.
const AREA: usize = 600;
const SPEC: mobiedit_spec = mobiedit_spec { d_model: 3, d_ff: 4, layers: 2, kv_dim: 1, vocab: 4, max_tokens: 8 };
/// Numbers of a patch.
const NUMBERS: usize = 7;

/// What stands behind the callbacks of the flash and of the model.
struct Device {
    areas: [Vec<u8>; 2],
    calls: u32,
    /// Every so-manyth call fails halfway; 0: none.
    fails: u32,
    /// What the flash was asked for and cannot do.
    misused: bool,
    /// Which model this is.
    model: u64,
    /// The patch that was applied last.
    applied: Patch,
}

/// A patch's layer and bits.
type Patch = (u32, Vec<u32>);

/// What the journal is known to hold.
#[derive(Clone, Debug, PartialEq)]
struct Edit {
    model: u64,
    patch: Patch,
    note: Vec<u8>,
}

impl Device {
    fn fails(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.checked_rem(self.fails) == Some(0)
    }

    /// The bytes of an area, where they are there.
    fn place(&mut self, area: u32, at: u32, len: usize) -> &mut [u8] {
        let bytes = self.areas.get_mut(area as usize).and_then(|area| area.get_mut(at as usize..)?.get_mut(..len));
        self.misused |= bytes.is_none();
        bytes.unwrap_or_default()
    }
}

/// # Safety
/// `context` is a [`Device`] that nobody else uses meanwhile, as all callbacks' contexts are here.
unsafe fn device<'d>(context: *mut c_void) -> &'d mut Device {
    // SAFETY: by this function's contract.
    unsafe { &mut *context.cast::<Device>() }
}

/// # Safety
/// As the callback of this name in `mobiedit_flash`.
unsafe extern "C" fn read(context: *mut c_void, area: u32, at: u32, into: *mut u8, len: usize) -> i32 {
    // SAFETY: by the callback's contract.
    let (device, into) = unsafe { (device(context), std::slice::from_raw_parts_mut(into, len)) };
    into.iter_mut().zip(device.place(area, at, len)).for_each(|(to, from)| *to = *from);
    if device.fails() { -31 } else { 0 }
}

/// # Safety
/// As the callback of this name in `mobiedit_flash`.
unsafe extern "C" fn write(context: *mut c_void, area: u32, at: u32, bytes: *const u8, len: usize) -> i32 {
    // SAFETY: by the callback's contract.
    let (device, bytes) = unsafe { (device(context), std::slice::from_raw_parts(bytes, len)) };
    let fails = device.fails();
    let cells = device.place(area, at, len);
    let misused = cells.iter().any(|cell| *cell != 0xFF) || !at.is_multiple_of(4) || !len.is_multiple_of(4);
    let written = if fails { len / 2 } else { len };
    cells.iter_mut().zip(bytes).take(written).for_each(|(to, from)| *to = *from);
    device.misused |= misused;
    if fails { -32 } else { 0 }
}

/// # Safety
/// As the callback of this name in `mobiedit_flash`.
unsafe extern "C" fn erase(context: *mut c_void, area: u32) -> i32 {
    // SAFETY: by the callback's contract.
    let device = unsafe { device(context) };
    let fails = device.fails();
    device.place(area, 0, if fails { AREA / 2 } else { AREA }).fill(0xFF);
    if fails { -33 } else { 0 }
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn identity(context: *mut c_void, _: u32, out: *mut u64) -> i32 {
    // SAFETY: by the callback's contract.
    unsafe { *out = device(context).model };
    0
}

/// # Safety
/// As the callback of this name in `mobiedit_backend`.
unsafe extern "C" fn apply(context: *mut c_void, patch: *const mobiedit_patch, id: *mut u32) -> i32 {
    // SAFETY: by the callback's contract.
    let (device, mobiedit_patch { layer, u, lambda }) = unsafe { (device(context), patch.read()) };
    // SAFETY: as above: of the backend's sizes.
    let (u, lambda) = unsafe {
        (std::slice::from_raw_parts(u, SPEC.d_ff as usize), std::slice::from_raw_parts(lambda, SPEC.d_model as usize))
    };
    device.applied = (layer, u.iter().chain(lambda).map(|x| x.to_bits()).collect());
    // SAFETY: as above.
    unsafe { *id = 7 };
    0
}

/// A journal, and what it should hold.
pub(super) struct Journal {
    state: Kept<mobiedit_journal>,
    device: Kept<Device>,
    backend: Kept<mobiedit_backend>,
    /// Kept and not undone.
    edits: BTreeMap<u32, Edit>,
    /// Undone, or never given.
    gone: Vec<u32>,
    /// Ids that an undo which failed leaves open; a power cut decides.
    open: Vec<u32>,
    /// An append failed: until the next start shows what came of it, there may be one more.
    more: bool,
    /// The bytes were changed: nothing is known.
    damaged: bool,
}

impl Journal {
    pub(super) fn new() -> Self {
        let applied = (0, Vec::new());
        let areas = [vec![0xFF; AREA], vec![0xFF; AREA]];
        let device = Kept::new(Device { areas, calls: 0, fails: 0, misused: false, model: 0, applied });
        let context = device.at().cast();
        let backend =
            mobiedit_backend { spec: SPEC, context, identity: Some(identity), apply: Some(apply), ..super::none() };
        Self {
            state: Kept::new(mobiedit_journal { opaque: [0; MOBIEDIT_JOURNAL_WORDS] }),
            device,
            backend: Kept::new(backend),
            edits: BTreeMap::new(),
            gone: Vec::new(),
            open: Vec::new(),
            more: false,
            damaged: false,
        }
    }

    /// Makes a call.
    pub(super) fn call(&mut self, input: &mut Input<'_>) -> i32 {
        let code = match input.below(9) {
            0 => self.start(input),
            1..=3 => self.append(input),
            4 => self.undo(input),
            5 => {
                // SAFETY: the journal is zeroed or opened; what it points to is kept.
                unsafe { mobiedit_journal_compact(self.state.at()) }
            }
            6 => self.damage(input),
            _ => self.replay(input),
        };
        let mut info = mobiedit_journal_info::default();
        // SAFETY: as above.
        let known = unsafe { mobiedit_journal_get_info(self.state.at(), &raw mut info) };
        assert!(known != MOBIEDIT_OK || info.used as usize <= AREA && info.edits <= MOBIEDIT_JOURNAL_EDITS as u32);
        // SAFETY: no call is under way that uses the device.
        assert!(unsafe { !(*self.device.at()).misused }, "the flash was asked for what it cannot do");
        code
    }

    /// Does something with the device between two calls.
    fn device<R>(&mut self, work: impl FnOnce(&mut Device) -> R) -> R {
        // SAFETY: no call is under way that uses it.
        work(unsafe { &mut *self.device.at() })
    }

    /// Power on: from now on, or from when the journal is opened, the flash fails now and then, or does not.
    fn start(&mut self, input: &mut Input<'_>) -> i32 {
        let (fails, model) = (u32::from(input.byte() % 64), input.below(3) as u64);
        let (whole, at_once) = (!input.rarely(16), input.rarely(4));
        self.device(|device| (device.calls, device.fails, device.model) = (0, if at_once { fails } else { 0 }, model));
        let flash = mobiedit_flash {
            abi: if input.rarely(32) { input.word() } else { MOBIEDIT_ABI },
            area_len: AREA as u32,
            context: self.device.at().cast(),
            read: Some(read),
            write: whole.then_some(write),
            erase: Some(erase),
            sync: None,
        };
        // SAFETY: the flash is kept, and its callbacks keep to their contract.
        let code = unsafe { mobiedit_journal_open(self.state.at(), &raw const flash) };
        assert!(self.damaged || code != MOBIEDIT_ERR_JOURNAL, "nothing was damaged");
        self.device(|device| device.fails = fails);
        if code == MOBIEDIT_OK && !self.damaged {
            self.settle();
        }
        code
    }

    /// What a start shows of calls that had failed: it is so from now on.
    fn settle(&mut self) {
        let Ok(listed) = self.listed() else { return };
        for id in std::mem::take(&mut self.open) {
            if !listed.contains(&id) {
                self.edits.remove(&id);
                self.gone.push(id);
            }
        }
        let unknown: Vec<u32> = listed.iter().copied().filter(|id| !self.edits.contains_key(id)).collect();
        assert!(unknown.is_empty() || self.more && unknown.len() == 1, "{unknown:?} were never kept");
        for id in unknown {
            // SAFETY: the journal is opened.
            if unsafe { mobiedit_journal_undo(self.state.at(), id) } == MOBIEDIT_OK {
                self.gone.push(id);
            } else {
                // It stays unknown.
                return;
            }
        }
        self.more = false;
    }

    fn append(&mut self, input: &mut Input<'_>) -> i32 {
        let strange = input.rarely(16);
        let layer = if strange { input.word() } else { input.below(2) as u32 };
        let numbers: Vec<f32> = (0..NUMBERS)
            .map(|_| if strange { f32::from_bits(input.word()) } else { f32::from(input.byte()) })
            .collect();
        let note = {
            let len = input.below(40);
            input.take(len).to_vec()
        };
        let (u, lambda) = numbers.split_at(SPEC.d_ff as usize);
        let (patch, mut id) = (mobiedit_patch { layer, u: u.as_ptr(), lambda: lambda.as_ptr() }, 0);
        // SAFETY: the journal is zeroed or opened, all that is pointed to is there.
        let code = unsafe {
            let (state, backend) = (self.state.at(), self.backend.at());
            mobiedit_journal_append(state, backend, &raw const patch, note.as_ptr(), note.len(), &raw mut id)
        };
        let finite = numbers.iter().all(|x| x.is_finite());
        if code == MOBIEDIT_OK {
            assert!(finite && layer < SPEC.layers);
            assert!(self.damaged || !self.gone.contains(&id) && !self.edits.contains_key(&id), "{id} is given again");
            let patch = (layer, numbers.iter().map(|x| x.to_bits()).collect());
            let model = self.device(|device| device.model);
            self.edits.insert(id, Edit { model, patch, note });
        }
        self.more |= code == MOBIEDIT_ERR_FLASH;
        code
    }

    fn undo(&mut self, input: &mut Input<'_>) -> i32 {
        let id = if input.rarely(8) { input.word() } else { 1 + u32::from(input.byte() % 12) };
        // SAFETY: the journal is zeroed or opened; what it points to is kept.
        let code = unsafe { mobiedit_journal_undo(self.state.at(), id) };
        if code == MOBIEDIT_OK {
            let known = self.edits.remove(&id).is_some();
            assert!(known || self.more || self.damaged, "{id} was not there");
            self.open.retain(|open| *open != id);
            self.gone.push(id);
        } else if code == MOBIEDIT_ERR_FLASH && self.edits.contains_key(&id) {
            self.open.push(id);
        }
        code
    }

    /// Changes a byte of the flash, or erases it.
    fn damage(&mut self, input: &mut Input<'_>) -> i32 {
        if !input.rarely(2) {
            return MOBIEDIT_OK;
        }
        let (area, at, bits, new) = (input.below(2), input.size() % AREA, input.byte(), input.rarely(2));
        self.device(|device| {
            if new {
                device.areas.iter_mut().for_each(|area| area.fill(0xFF));
            } else if let Some(byte) = device.areas[area].get_mut(at) {
                *byte ^= bits;
            }
        });
        // SAFETY: the state has no memory of its own.
        unsafe { self.state.at().write(mobiedit_journal { opaque: [0; MOBIEDIT_JOURNAL_WORDS] }) };
        (self.damaged, self.more) = (!new, false);
        self.edits.clear();
        self.gone.clear();
        self.open.clear();
        MOBIEDIT_OK
    }

    /// The ids that are gone through.
    fn listed(&self) -> Result<Vec<u32>, i32> {
        let (mut ids, mut edit) = (Vec::new(), mobiedit_journal_edit::default());
        loop {
            let before = edit.id;
            // SAFETY: the journal is zeroed or opened; what it points to is kept.
            match unsafe { mobiedit_journal_next(self.state.at(), &raw mut edit) } {
                MOBIEDIT_OK => ids.push(edit.id),
                MOBIEDIT_ENDED => return Ok(ids),
                code => return Err(code),
            }
            assert!(edit.id > before && ids.len() <= MOBIEDIT_JOURNAL_EDITS, "it goes back from {before}");
        }
    }

    /// Goes through all edits, applies them and reads their notes.
    fn replay(&mut self, input: &mut Input<'_>) -> i32 {
        let model = input.below(3) as u64;
        self.device(|device| device.model = model);
        let listed = match self.listed() {
            Ok(listed) => listed,
            Err(code) => return code,
        };
        if !self.damaged {
            assert!(self.edits.keys().all(|id| listed.contains(id)), "lost: {:?}, {listed:?}", self.edits);
            assert!(listed.iter().all(|id| !self.gone.contains(id)), "back: {:?}, {listed:?}", self.gone);
        }
        let (numbers, note) = (Lent::new(NUMBERS * size_of::<f32>()), Lent::new(40));
        for id in listed {
            let (mut patch, state) = (0, self.state.at());
            // SAFETY: as above; the numbers have this length.
            let applied = unsafe {
                let backend = self.backend.at();
                mobiedit_journal_apply(state, id, backend, numbers.at().cast(), NUMBERS, &raw mut patch)
            };
            // SAFETY: as above; the note has this length.
            let noted = unsafe { mobiedit_journal_note(state, id, note.at().cast(), note.len) };
            assert!(numbers.is_whole() && note.is_whole(), "written behind the lent memory");
            let Some(edit) = self.edits.get(&id) else { continue };
            match applied {
                MOBIEDIT_OK => {
                    assert_eq!(model, edit.model, "applied to another model");
                    // SAFETY: no call is under way that uses the device.
                    assert_eq!(unsafe { &(*self.device.at()).applied }, &edit.patch, "edit {id}");
                }
                MOBIEDIT_ERR_OTHER_MODEL => assert_ne!(model, edit.model),
                code => assert_eq!(code, MOBIEDIT_ERR_FLASH),
            }
            if noted == MOBIEDIT_OK {
                // SAFETY: the note is at least so long.
                let bytes = unsafe { std::slice::from_raw_parts(note.at().cast::<u8>(), edit.note.len()) };
                assert_eq!(bytes, edit.note, "edit {id}");
            } else {
                assert_eq!(noted, MOBIEDIT_ERR_FLASH);
            }
        }
        MOBIEDIT_OK
    }
}

/// Keeps two edits, undoes one and starts anew, where the flash fails now and then or does not.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let append = |layer: u8| [&[14, 1, 0, layer][..], &[1, 2, 3, 4, 5, 6, 7], &[2, 9, 9]].concat();
    let start = |fails: u8| [14, 0, fails, 1, 0, 0, 0];
    let replay = [14, 7, 1];
    let all = |fails: u8| {
        let parts: [&[u8]; 10] = [
            &start(fails),
            &append(0),
            &append(1),
            &replay,
            &[14, 4, 0, 0],
            &replay,
            &start(0),
            &replay,
            &[14, 5],
            &replay,
        ];
        parts.concat()
    };
    vec![("journal", all(0)), ("journal-that-fails", all(30))]
}
