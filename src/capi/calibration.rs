//! A calibration in memory or flash, as `mobiedit calibrate` writes it, for an edit: its statistics are lent where they lie.
//! Measures nothing, and links no backend.

use mobiedit_backends::calibration::{Calibration, Halves};

use crate::capi::callbacks::model_spec;
use crate::capi::code::*;
use crate::capi::memory::{lent, one, one_mut};
use crate::capi::types::*;

/// The calibration in these bytes, whole.
///
/// # Safety
/// `bytes` is NULL, or `len` bytes are there that do not change for `'a`.
pub(crate) unsafe fn parsed<'a>(bytes: *const u8, len: usize) -> Result<Calibration<'a>, i32> {
    if bytes.is_null() {
        return Err(MOBIEDIT_ERR_NULL);
    }
    // SAFETY: by this function's contract.
    Calibration::parse(unsafe { lent(bytes, len) }?).map_err(of_unusable)
}

/// Half-precision floats as C takes them.
fn shown(halves: Halves<'_>) -> Result<(*const u16, usize), i32> {
    let halves = halves.in_place().ok_or(MOBIEDIT_ERR_ALIGNMENT)?;
    Ok((halves.as_ptr().cast(), halves.len()))
}

/// Opens a calibration for edits of `layer` on a model of these sizes: `samples` and `bank` of `out` point into its bytes, which
/// have to stay and to start at an even address; `readers` is left empty.
///
/// Every byte is checked against the file's checksum. That the calibration is of this very model, and not of another one of its
/// sizes, is found out by `mobiedit_cpu_init`, which has the weights, if it is given the calibration too.
///
/// # Safety
/// The pointers are NULL or what they are declared to be; `len` bytes are at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_open_calibration(
    bytes: *const u8,
    len: usize,
    spec: *const mobiedit_spec,
    layer: u32,
    out: *mut mobiedit_statistics,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (calibration, spec) = unsafe { (parsed(bytes, len)?, model_spec(one(spec)?)) };
        let calibration = calibration.of_sizes(&spec).map_err(of_unusable)?;
        if calibration.layer() != layer as usize {
            return Err(MOBIEDIT_ERR_OTHER_MODEL);
        }
        let (samples, samples_len) = shown(calibration.samples())?;
        let (bank, bank_len) = shown(calibration.bank())?;
        let readers = core::ptr::null();
        // SAFETY: by this function's contract; `out` may be uninitialised.
        let out = unsafe { one_mut(out.cast::<core::mem::MaybeUninit<mobiedit_statistics>>()) }?;
        out.write(mobiedit_statistics { samples, samples_len, bank, bank_len, readers, readers_len: 0 });
        Ok(MOBIEDIT_OK)
    };
    code(run())
}
