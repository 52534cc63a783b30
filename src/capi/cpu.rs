//! The built-in backend: a GGUF as bytes in memory or flash, on the scalar CPU device. Fills a `mobiedit_backend` with callbacks
//! of its own, so that the editor sees no difference to the firmware's.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Layer, Model, ModelConfig};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::transformer::{Precision, Transformer};
use mobiedit_core::backend::ModelSpec;
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens};

use crate::capi::code::*;
use crate::capi::cpu_callbacks::*;
use crate::capi::memory::{Pool, bytes_of, lent, one, one_mut};
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
    /// MOBIEDIT_W8A16 or MOBIEDIT_FLOAT.
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
    /// The backend's memory, aligned to MOBIEDIT_ALIGNMENT.
    pub memory: *mut c_void,
    /// Its bytes: `mobiedit_cpu_footprint` says how many it takes.
    pub memory_len: usize,
}

#[repr(C)]
pub(crate) struct State {
    magic: u64,
    pub(crate) transformer: Transformer<'static, Cpu<'static>>,
    pub(crate) sequence: &'static mut [f32],
    pub(crate) context: usize,
}

const _: () = assert!(size_of::<State>() <= size_of::<mobiedit_cpu>());

/// The state behind a callback's context.
///
/// # Safety
/// `context` is NULL, or points to a `mobiedit_cpu` that is the caller's alone and was zeroed or given to `mobiedit_cpu_init`.
pub(crate) unsafe fn open<'s>(context: *mut c_void) -> Result<&'s mut State, i32> {
    // SAFETY: by this function's contract.
    let words = unsafe { one_mut(context.cast::<mobiedit_cpu>()) }?;
    if words.opaque[0] != MAGIC {
        return Err(MOBIEDIT_ERR_STATE);
    }
    // SAFETY: the magic says that `mobiedit_cpu_init` wrote a `State` here, which fits, as asserted above.
    Ok(unsafe { &mut *core::ptr::from_mut(words).cast::<State>() })
}

/// The memory of a backend: elements of each part.
struct Parts {
    layers: usize,
    work: usize,
    patches: usize,
    sequence: usize,
    scratch: ScratchLens,
}

impl Parts {
    fn of(model: &ModelConfig, config: &mobiedit_cpu_config) -> Self {
        let spec = model.spec;
        let one = Patches::len_of_one(spec.d_ff, spec.d_model);
        let context = config.context as usize;
        Self {
            layers: spec.layers,
            work: Transformer::<Cpu<'_>>::work_len(model, config.rows as usize),
            patches: one.saturating_mul(config.patches as usize),
            sequence: if context > 0 { Sequence::memory_len(&spec, context) } else { 0 },
            scratch: ScratchLens::of(model, TILE_ROWS),
        }
    }

    fn bytes(&self) -> usize {
        let s = &self.scratch;
        let floats = [self.work, self.patches, self.sequence, s.scales, s.weights, s.scores, s.logits];
        let floats = floats.into_iter().map(bytes_of::<f32>).fold(0, usize::saturating_add);
        let rest = [
            bytes_of::<Layer<'_>>(self.layers),
            bytes_of::<i16>(s.activations),
            bytes_of::<i8>(s.levels),
            bytes_of::<mobiedit_hal_cpu::Statistics>(s.statistics),
        ];
        rest.into_iter().fold(floats, usize::saturating_add)
    }
}

/// The file and its hyper-parameters.
///
/// # Safety
/// As `mobiedit_cpu_config` says of `model`.
unsafe fn opened(config: &mobiedit_cpu_config) -> Result<(Gguf<'static>, ModelConfig), i32> {
    if config.abi != MOBIEDIT_ABI {
        return Err(MOBIEDIT_ERR_VERSION);
    }
    if config.model.is_null() {
        return Err(MOBIEDIT_ERR_NULL);
    }
    // SAFETY: by this function's contract.
    let gguf = Gguf::parse(unsafe { lent(config.model, config.model_len) }?).map_err(|_| MOBIEDIT_ERR_MODEL)?;
    let model = ModelConfig::read(&gguf).map_err(|_| MOBIEDIT_ERR_MODEL)?;
    Ok((gguf, model))
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
        let (_, model) = unsafe { opened(config) }?;
        *bytes = Parts::of(&model, config).bytes();
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

/// Opens a model and fills `backend` with its sizes and callbacks; its context is `cpu`, which has to stay where it is.
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
        let (gguf, model) = unsafe { opened(config) }?;
        let precision = match config.activations {
            MOBIEDIT_W8A16 => Precision::W8A16,
            MOBIEDIT_FLOAT => Precision::Float,
            _ => return Err(MOBIEDIT_ERR_CONFIG),
        };
        let parts = Parts::of(&model, config);
        if parts.bytes() > config.memory_len {
            return Err(MOBIEDIT_ERR_TOO_SMALL);
        }
        let mut pool = Pool::new(config.memory, config.memory_len)?;
        // SAFETY: by this function's contract the memory is the backend's alone.
        let (layers, work, patches, sequence, scratch) = unsafe {
            let lens = &parts.scratch;
            let scratch = Scratch {
                activations: pool.take(lens.activations, 0)?,
                scales: pool.take(lens.scales, 0.0)?,
                levels: pool.take(lens.levels, 0)?,
                weights: pool.take(lens.weights, 0.0)?,
                scores: pool.take(lens.scores, 0.0)?,
                logits: pool.take(lens.logits, 0.0)?,
                statistics: pool.take(lens.statistics, mobiedit_hal_cpu::Statistics::default())?,
            };
            (
                pool.take(parts.layers, Layer::EMPTY)?,
                pool.take(parts.work, 0.0)?,
                pool.take(parts.patches, 0.0)?,
                pool.take(parts.sequence, 0.0)?,
                scratch,
            )
        };
        let model = Model::open(&gguf, layers).map_err(|_| MOBIEDIT_ERR_MODEL)?;
        let transformer = Transformer::new(model, Cpu::new(scratch), precision, work, patches);
        let state = State { magic: MAGIC, transformer, sequence, context: config.context as usize };
        // SAFETY: it fits, as asserted above; nothing in a former state has to be dropped.
        unsafe { words.as_mut_ptr().cast::<State>().write(state) };
        *backend = mobiedit_backend {
            spec: c_spec(&model.config.spec),
            context: cpu.cast(),
            prefill: Some(prefill),
            losses: Some(losses),
            evaluate: Some(evaluate),
            project: Some(project),
            apply: Some(apply),
            remove: Some(remove),
            applied: Some(applied),
            generate: Some(generate),
        };
        Ok(MOBIEDIT_OK)
    };
    code(run())
}

fn c_spec(spec: &ModelSpec) -> mobiedit_spec {
    mobiedit_spec {
        d_model: spec.d_model as u32,
        d_ff: spec.d_ff as u32,
        layers: spec.layers as u32,
        kv_dim: spec.kv_dim as u32,
        vocab: spec.vocab as u32,
        max_tokens: spec.max_tokens as u32,
    }
}
