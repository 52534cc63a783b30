//! Qualcomm's NPU behind the C interface, in a library built with the feature `qnn`: it loads the vendor's library, so it needs an
//! operating system and a heap.

use core::ffi::{CStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mobiedit_hal_cpu::ScratchLens;
use mobiedit_hal_qnn::sys::{Burst, Interface};
use mobiedit_hal_qnn::{Counters, Qnn, QnnError};

use crate::capi::code::*;
use crate::capi::cpu::mobiedit_cpu_config;
use crate::capi::memory::{one, one_mut};
use crate::capi::model::{Opened, State, c_spec};
use crate::capi::model_callbacks::{self, Behind};
use crate::capi::types::*;
use crate::npu::{self, QnnOptions};

/// How the NPU is reached. Zeros but for `abi` mean defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_qnn_config {
    /// Has to be MOBIEDIT_ABI.
    pub abi: u32,
    /// The chip, by its number in the vendor's SDK: SM8550 is 43, SM8650 57, SM8750 69; 0 leaves it to the library.
    pub soc: u32,
    /// The vendor's library, by its path or, with the loader's search, by its name; NULL means libQnnHtp.so.
    pub library: *const c_char,
    /// A `QnnInterface_t` of core API 2 that the caller has from the library itself, or NULL; then `library` is not looked at.
    pub interface: *const c_void,
    /// The folder in which finalised graphs are kept for the next process; NULL for none.
    pub cache: *const c_char,
    /// Rows of the larger graphs: at least those of the longest prompt, and of all prompts from subject_last on; 0 means 64.
    pub rows: u32,
}

/// The NPU, and the model that runs on it. Made by `mobiedit_qnn_open`.
#[derive(Debug)]
pub struct mobiedit_qnn {
    // Given back before the device.
    burst: Option<Burst>,
    on: On,
}

/// cbindgen:ignore
#[derive(Debug)]
enum On {
    /// No model.
    Device(Box<Qnn>),
    Model(Box<State<Qnn>>),
    /// Between the two.
    Neither,
}

impl mobiedit_qnn {
    fn device(&self) -> Option<&Qnn> {
        match &self.on {
            On::Device(device) => Some(device),
            On::Model(state) => Some(state.transformer.device()),
            On::Neither => None,
        }
    }
}

impl Behind for mobiedit_qnn {
    type Device = Qnn;

    unsafe fn open<'s>(context: *mut c_void) -> Result<&'s mut State<Qnn>, i32> {
        // SAFETY: by this function's contract.
        match unsafe { one_mut(context.cast::<mobiedit_qnn>()) }?.on {
            On::Model(ref mut state) => Ok(&mut **state),
            _ => Err(MOBIEDIT_ERR_STATE),
        }
    }
}

/// A text of C, if there is one.
///
/// # Safety
/// `text` is NULL, or ends with zero and stays for `'t`.
unsafe fn text<'t>(text: *const c_char) -> Option<&'t CStr> {
    // SAFETY: not null; the rest is this function's contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// Copies as much of the error's text as fits, with a zero behind it.
///
/// # Safety
/// `len` bytes at `out` can be written, or it is NULL.
unsafe fn tell(error: &QnnError, out: *mut c_char, len: usize) {
    let Some(room) = len.checked_sub(1).filter(|_| !out.is_null()) else { return };
    let text = error.to_string();
    let bytes = text.as_bytes().get(..room.min(text.len())).unwrap_or_default();
    // SAFETY: as many bytes and one more, by this function's contract.
    unsafe {
        out.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        out.add(bytes.len()).write(0);
    }
}

/// Opens the NPU. Without one, MOBIEDIT_ERR_DEVICE is returned, and why is written to `message`, `message_len` bytes with the
/// zero at the end, unless that is NULL: `mobiedit_cpu_init` runs the same model then.
///
/// The library's code is executed: name a file that only its owner can change.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be; texts end with zero. What is behind `interface` stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_open(
    config: *const mobiedit_qnn_config,
    npu: *mut *mut mobiedit_qnn,
    message: *mut c_char,
    message_len: usize,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (config, npu) = unsafe { (one(config)?, one_mut(npu)?) };
        if config.abi != MOBIEDIT_ABI {
            return Err(MOBIEDIT_ERR_VERSION);
        }
        // SAFETY: by this function's contract.
        let path = |at| unsafe { text(at) }.map(|text| PathBuf::from(std::ffi::OsStr::from_bytes(text.to_bytes())));
        let options = QnnOptions {
            library: path(config.library),
            soc: (config.soc > 0).then_some(config.soc),
            rows: (config.rows > 0).then_some(config.rows as usize),
            cache: path(config.cache),
        };
        let opened = if config.interface.is_null() {
            npu::open(&options)
        } else {
            // SAFETY: by this function's contract.
            unsafe { Interface::from_ptr(config.interface.cast()) }
                .and_then(|interface| npu::open_on(interface, &options))
        };
        match opened {
            Ok(device) => {
                *npu = Box::into_raw(Box::new(mobiedit_qnn { burst: None, on: On::Device(Box::new(device)) }));
                Ok(MOBIEDIT_OK)
            }
            Err(error) => {
                // SAFETY: by this function's contract.
                unsafe { tell(&error, message, message_len) };
                Err(MOBIEDIT_ERR_DEVICE)
            }
        }
    };
    code(run())
}

/// Gives the NPU back. No backend may be used any more that `mobiedit_qnn_init` filled on it.
///
/// # Safety
/// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_close(npu: *mut mobiedit_qnn) {
    if !npu.is_null() {
        // SAFETY: `mobiedit_qnn_open` made it so, and it is the caller's alone.
        drop(unsafe { Box::from_raw(npu) });
    }
}

/// Bytes of `memory` that a model with this config needs on the NPU, to `bytes`. The config's `memory` may be NULL.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_footprint(config: *const mobiedit_cpu_config, bytes: *mut usize) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (config, bytes) = unsafe { (one(config)?, one_mut(bytes)?) };
        // SAFETY: as above.
        *bytes = unsafe { Opened::new(config, |_| ScratchLens::default()) }?.bytes();
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Opens a model on the NPU, in place of another one that it had, and fills `backend` as `mobiedit_cpu_init` does; the context is
/// `npu`. MOBIEDIT_STATIC and a calibration give the NPU integer products; the graphs are made as they are needed.
///
/// # Safety
/// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet; the other pointers as `mobiedit_cpu_init` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_init(
    npu: *mut mobiedit_qnn,
    config: *const mobiedit_cpu_config,
    backend: *mut mobiedit_backend,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (npu, config, backend) = unsafe { (one_mut(npu)?, one(config)?, one_mut(backend)?) };
        // The model that there was, if any, is gone before its memory may be used anew.
        npu.on = match core::mem::replace(&mut npu.on, On::Neither) {
            On::Model(state) => On::Device(Box::new(state.transformer.into_device())),
            other => other,
        };
        // SAFETY: as above.
        let ready = unsafe { Opened::new(config, |_| ScratchLens::default())?.ready(config) }?;
        let On::Device(device) = core::mem::replace(&mut npu.on, On::Neither) else {
            return Err(MOBIEDIT_ERR_STATE);
        };
        let state = ready.on(|_| *device);
        let spec = c_spec(&state.transformer.config().spec);
        npu.on = On::Model(Box::new(state));
        *backend = model_callbacks::backend::<mobiedit_qnn>(spec, core::ptr::from_mut(npu).cast());
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Votes for the NPU's highest clocks while `on` is not 0, as for the steps of an edit, and takes that back. It changes no result.
/// MOBIEDIT_ERR_UNSUPPORTED where there is no such vote.
///
/// # Safety
/// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_burst(npu: *mut mobiedit_qnn, on: u32) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let npu = unsafe { one_mut(npu) }?;
        npu.burst = None;
        if on != 0 {
            let device = npu.device().ok_or(MOBIEDIT_ERR_STATE)?;
            npu.burst = Some(device.burst().map_err(|_| MOBIEDIT_ERR_UNSUPPORTED)?);
        }
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// What the NPU has done so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct mobiedit_qnn_counters {
    /// Graphs that were finalised.
    pub finalized: u64,
    /// Graphs that were read from the folder instead.
    pub restored: u64,
    /// Files of the folder that were damaged, or not taken by the library, and made anew.
    pub rejected: u64,
    /// Graphs whose ends are in memory that the NPU shares.
    pub shared: u64,
    /// Executions of graphs.
    pub executed: u64,
}

/// Writes the counts to `out`.
///
/// # Safety
/// `npu` is NULL, or of `mobiedit_qnn_open` and not closed yet; `out` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_qnn_get_counters(npu: *mut mobiedit_qnn, out: *mut mobiedit_qnn_counters) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (npu, out) = unsafe { (one_mut(npu)?, one_mut(out)?) };
        let counted = npu.device().ok_or(MOBIEDIT_ERR_STATE)?.counters();
        let Counters { finalized, restored, rejected, shared, executed } = counted;
        *out = mobiedit_qnn_counters { finalized, restored, rejected, shared, executed };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}
