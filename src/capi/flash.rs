//! The firmware's flash by callbacks, as the storage of a journal. Knows nothing of what is kept there.

use core::ffi::c_void;

use mobiedit_backends::journal::areas::Erase;
use mobiedit_backends::journal::{ReadStorage, Storage};

use crate::capi::callbacks::{CallbackError, done};
use crate::capi::code::{MOBIEDIT_ERR_NULL, MOBIEDIT_ERR_RANGE, MOBIEDIT_ERR_VERSION, MOBIEDIT_OK};
use crate::capi::types::MOBIEDIT_ABI;

/// Two areas of a flash, 0 and 1, of equal size and of whole erase sectors each: while one counts, a compaction fills the other.
///
/// Every callback gets `context` and returns 0 or a code of its own. No byte is written twice between two erasures. Addresses
/// and lengths of writes are multiples of 4, so flash that is programmed by bytes, halves or words will do; one that is programmed by
/// larger units has to collect what comes in a row until `sync`, and to be able to program the rest of such a unit later.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_flash {
    /// Has to be MOBIEDIT_ABI.
    pub abi: u32,
    /// Bytes of one area. An edit takes 52 + 4 (d_ff + d_model) of them and its note, and 28 that its undo may take.
    pub area_len: u32,
    /// Handed to every callback.
    pub context: *mut c_void,
    /// Reads `len` bytes of an area from its byte `at` on, all of them inside it. Erased bytes are 0xFF.
    pub read: Option<unsafe extern "C" fn(context: *mut c_void, area: u32, at: u32, into: *mut u8, len: usize) -> i32>,
    /// Writes `len` bytes to an area from its byte `at` on, where nothing was written since it was erased.
    pub write:
        Option<unsafe extern "C" fn(context: *mut c_void, area: u32, at: u32, bytes: *const u8, len: usize) -> i32>,
    /// Makes all bytes of an area 0xFF.
    pub erase: Option<unsafe extern "C" fn(context: *mut c_void, area: u32) -> i32>,
    /// Returns when what was written to an area outlasts a power cut. May be NULL where `write` returns no earlier.
    pub sync: Option<unsafe extern "C" fn(context: *mut c_void, area: u32) -> i32>,
}

/// One area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    flash: mobiedit_flash,
    number: u32,
}

impl mobiedit_flash {
    /// Both areas, if the struct is filled.
    pub(crate) fn areas(&self) -> Result<[Area; 2], i32> {
        if self.abi != MOBIEDIT_ABI {
            return Err(MOBIEDIT_ERR_VERSION);
        }
        if self.read.is_none() || self.write.is_none() || self.erase.is_none() {
            return Err(MOBIEDIT_ERR_NULL);
        }
        Ok([0, 1].map(|number| Area { flash: *self, number }))
    }
}

/// An address outside the area, or a callback that was found to be there and is not: neither happens.
const NOWHERE: CallbackError = CallbackError(MOBIEDIT_ERR_RANGE);

impl Area {
    /// Where `len` bytes from `at` on are, as C has it.
    fn place(&self, at: u64, len: usize) -> Result<u32, CallbackError> {
        let end = at.saturating_add(len as u64);
        if end > u64::from(self.flash.area_len) { Err(NOWHERE) } else { Ok(at as u32) }
    }
}

// SAFETY of every call below: whoever filled the struct promises that each callback accepts its own `context` and keeps to the
// contract in its documentation, and each gets a slice's own pointer and length.
impl ReadStorage for Area {
    type Error = CallbackError;

    fn size(&mut self) -> Result<u64, CallbackError> {
        Ok(self.capacity())
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), CallbackError> {
        let (at, call) = (self.place(at, into.len())?, self.flash.read.ok_or(NOWHERE)?);
        if into.is_empty() {
            return Ok(());
        }
        // SAFETY: see above.
        done(unsafe { call(self.flash.context, self.number, at, into.as_mut_ptr(), into.len()) })
    }
}

impl Storage for Area {
    fn capacity(&self) -> u64 {
        self.flash.area_len.into()
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), CallbackError> {
        let (at, call) = (self.place(at, bytes.len())?, self.flash.write.ok_or(NOWHERE)?);
        // SAFETY: see above.
        done(unsafe { call(self.flash.context, self.number, at, bytes.as_ptr(), bytes.len()) })
    }

    fn sync(&mut self) -> Result<(), CallbackError> {
        // SAFETY: see above.
        done(self.flash.sync.map_or(MOBIEDIT_OK, |call| unsafe { call(self.flash.context, self.number) }))
    }

    fn cut(&mut self, _at: u64) -> Result<bool, CallbackError> {
        Ok(false)
    }
}

impl Erase for Area {
    fn erase(&mut self) -> Result<(), CallbackError> {
        let call = self.flash.erase.ok_or(NOWHERE)?;
        // SAFETY: see above.
        done(unsafe { call(self.flash.context, self.number) })
    }
}
