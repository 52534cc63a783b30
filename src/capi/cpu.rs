//! The built-in backend: a GGUF as bytes in memory or flash, on the scalar CPU device. Fills a `mobiedit_backend` with callbacks
//! of its own, so that the editor sees no difference to the firmware's.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use mobiedit_backends::model::ModelConfig;
use mobiedit_core::f16;
use mobiedit_hal_cpu::{Cpu, ScratchLens};

use crate::capi::code::*;
use crate::capi::memory::{lent_mut, one, one_mut};
use crate::capi::model::{Opened, State, c_spec};
use crate::capi::model_callbacks::{self, Behind, failed};
use crate::capi::types::*;

/// 8-byte words of a `mobiedit_cpu`.
pub const MOBIEDIT_CPU_WORDS: usize = 448;
const MAGIC: u64 = u64::from_le_bytes(*b"mobi-cpu");
/// Rows that are multiplied at once: a weight is unpacked once for so many.
const TILE_ROWS: usize = 8;

/// Activations are int16 with a scale per row.
pub const MOBIEDIT_W8A16: u32 = 0;
/// Activations are float: slower, for comparison.
pub const MOBIEDIT_FLOAT: u32 = 1;
/// Activations are int16 with one scale per input, over the largest magnitude that calibration saw: as on an NPU.
pub const MOBIEDIT_STATIC: u32 = 2;
/// The same with ranges clipped by the published rule.
pub const MOBIEDIT_STATIC_CLIPPED: u32 = 3;

/// Rows of readers that `mobiedit edit` makes, where d_model is not less: then it makes d_model rows.
pub const MOBIEDIT_READERS: usize = 512;

const _: () = assert!(MOBIEDIT_READERS == mobiedit_backends::readers::MOST_READERS);

/// The state of the built-in backend. Allocated by the caller, filled by `mobiedit_cpu_init`, not to be copied or looked into.
#[repr(C)]
#[derive(Debug)]
pub struct mobiedit_cpu {
    /// The library's affair.
    pub opaque: [u64; MOBIEDIT_CPU_WORDS],
}

/// Model, sizes and buffers of the built-in backend.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct mobiedit_cpu_config {
    /// Has to be MOBIEDIT_ABI.
    pub abi: u32,
    /// MOBIEDIT_W8A16, MOBIEDIT_FLOAT, MOBIEDIT_STATIC or MOBIEDIT_STATIC_CLIPPED.
    pub activations: u32,
    /// The model: a GGUF v3 as it lies in memory or flash, aligned to 4 bytes. It has to stay.
    pub model: *const u8,
    /// Its bytes.
    pub model_len: usize,
    /// Token rows of a forward pass at once: at least those of the longest prompt, and of all prompts from subject_last on. More
    /// are faster; no result changes.
    pub rows: u32,
    /// Most patches that are applied at a time, one for the editor's tests of its own included; at most 128.
    pub patches: u32,
    /// Most tokens of a generation, prompt included; 0 for none.
    pub context: u32,
    /// A calibration as `mobiedit calibrate` writes it, or NULL: refused if it is of another model, and where static scales come
    /// from. They are copied; it need not stay for the backend.
    pub calibration: *const u8,
    /// Its bytes.
    pub calibration_len: usize,
    /// The backend's memory, aligned to MOBIEDIT_ALIGNMENT.
    pub memory: *mut c_void,
    /// Its bytes: `mobiedit_cpu_footprint` says how many it takes.
    pub memory_len: usize,
}

/// The state behind a word that tells that it is one.
///
/// cbindgen:ignore
#[repr(C)]
struct Marked {
    magic: u64,
    state: State<Cpu<'static>>,
}

const _: () = assert!(size_of::<Marked>() <= size_of::<mobiedit_cpu>());

impl Behind for mobiedit_cpu {
    type Device = Cpu<'static>;

    /// # Safety
    /// `context` is NULL, or points to a `mobiedit_cpu` that is the caller's alone and was zeroed or given to
    /// `mobiedit_cpu_init`.
    unsafe fn open<'s>(context: *mut c_void) -> Result<&'s mut State<Cpu<'static>>, i32> {
        // SAFETY: by this function's contract.
        let words = unsafe { one_mut(context.cast::<mobiedit_cpu>()) }?;
        if words.opaque[0] != MAGIC {
            return Err(MOBIEDIT_ERR_STATE);
        }
        // SAFETY: the magic says that `mobiedit_cpu_init` wrote a `Marked` here, which fits, as asserted above.
        Ok(unsafe { &mut (*core::ptr::from_mut(words).cast::<Marked>()).state })
    }
}

fn scratch(model: &ModelConfig) -> ScratchLens {
    ScratchLens::of(model, TILE_ROWS)
}

/// Bytes of `memory` that a backend with this config needs, to `bytes`. The config's `memory` may be NULL.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_cpu_footprint(config: *const mobiedit_cpu_config, bytes: *mut usize) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (config, bytes) = unsafe { (one(config)?, one_mut(bytes)?) };
        // SAFETY: as above.
        *bytes = unsafe { Opened::new(config, scratch) }?.bytes();
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Opens a model and fills `backend` with its sizes and callbacks; its context is `cpu`, which has to stay where it is. After an
/// error neither was written, but `memory` may have been.
///
/// # Safety
/// The pointers are NULL, or what they are declared to be, as the structs say; what `config` points to stays until the
/// backend is used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_cpu_init(
    cpu: *mut mobiedit_cpu,
    config: *const mobiedit_cpu_config,
    backend: *mut mobiedit_backend,
) -> i32 {
    let run = || {
        // SAFETY: by this function's contract.
        let (words, config, backend) =
            unsafe { (one_mut(cpu.cast::<MaybeUninit<mobiedit_cpu>>())?, one(config)?, one_mut(backend)?) };
        // SAFETY: as above.
        let state = unsafe { Opened::new(config, scratch)?.ready(config) }?.on(Cpu::new);
        let spec = c_spec(&state.transformer.config().spec);
        // SAFETY: it fits, as asserted above; nothing in a former state has to be dropped.
        unsafe { words.as_mut_ptr().cast::<Marked>().write(Marked { magic: MAGIC, state }) };
        *backend = model_callbacks::backend::<mobiedit_cpu>(spec, cpu.cast());
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Fills `out`, `len` halves, with what the layers above `layer` read: the `readers` of a `mobiedit_statistics` for edits of that
/// layer, whole rows of d_model. They come from the weights alone, the same ones every time, and need not be kept. With less
/// `memory` than the rows take as floats, the weights are read more than once.
///
/// # Safety
/// `cpu` is NULL, or was zeroed or given to `mobiedit_cpu_init`; `len` halves are at `out`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mobiedit_cpu_readers(cpu: *mut mobiedit_cpu, layer: u32, out: *mut u16, len: usize) -> i32 {
    let run = || {
        // SAFETY: by this function's contract; an f16 is its 16 bits.
        let (state, out) = unsafe { (mobiedit_cpu::open(cpu.cast())?, lent_mut(out.cast::<f16>(), len)?) };
        if len.checked_rem(state.transformer.config().spec.d_model) != Some(0) {
            return Err(MOBIEDIT_ERR_STATISTICS);
        }
        state.transformer.readers(layer as usize, out).map_err(failed)?;
        Ok(MOBIEDIT_OK)
    };
    code(run())
}
