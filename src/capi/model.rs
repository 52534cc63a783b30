//! A model of a GGUF as C configures it, on whichever device: read, checked, and put together in the caller's memory.

use mobiedit_backends::calibration::Calibration;
use mobiedit_backends::device::Device;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Model, ModelConfig};
use mobiedit_backends::scales::StaticScales;
use mobiedit_backends::transformer::{Precision, Transformer};
use mobiedit_core::backend::ModelSpec;
use mobiedit_hal_cpu::{Scratch, ScratchLens};

use crate::capi::calibration::parsed;
use crate::capi::code::*;
use crate::capi::cpu::*;
use crate::capi::memory::{Pool, lent};
use crate::capi::model_memory::{Memory, Parts};
use crate::capi::types::*;

/// What stands behind the callbacks of a built-in model.
#[derive(Debug)]
pub(crate) struct State<D> {
    pub(crate) transformer: Transformer<'static, D>,
    pub(crate) sequence: &'static mut [f32],
    pub(crate) context: usize,
}

/// How a config wants activations to be treated.
#[derive(Clone, Copy)]
enum Activations {
    Dynamic,
    Float,
    Static { clip: bool },
}

/// A config whose pointers and numbers make sense.
pub(crate) struct Opened {
    gguf: Gguf<'static>,
    activations: Activations,
    parts: Parts,
}

impl Opened {
    /// Reads the model's hyper-parameters; `scratch` says what the device takes beside the model.
    ///
    /// # Safety
    /// As `mobiedit_cpu_config` says of `model`.
    pub(crate) unsafe fn new(
        config: &mobiedit_cpu_config,
        scratch: impl FnOnce(&ModelConfig) -> ScratchLens,
    ) -> Result<Self, i32> {
        if config.abi != MOBIEDIT_ABI {
            return Err(MOBIEDIT_ERR_VERSION);
        }
        let activations = match config.activations {
            MOBIEDIT_W8A16 => Activations::Dynamic,
            MOBIEDIT_FLOAT => Activations::Float,
            MOBIEDIT_STATIC => Activations::Static { clip: false },
            MOBIEDIT_STATIC_CLIPPED => Activations::Static { clip: true },
            _ => return Err(MOBIEDIT_ERR_CONFIG),
        };
        let is_static = matches!(activations, Activations::Static { .. });
        if config.model.is_null() || is_static && config.calibration.is_null() {
            return Err(MOBIEDIT_ERR_NULL);
        }
        // SAFETY: by this function's contract.
        let gguf = Gguf::parse(unsafe { lent(config.model, config.model_len) }?).map_err(|_| MOBIEDIT_ERR_MODEL)?;
        let model = ModelConfig::read(&gguf).map_err(|_| MOBIEDIT_ERR_MODEL)?;
        Ok(Self { gguf, activations, parts: Parts::of(&model, config, is_static, scratch(&model)) })
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.bytes()
    }

    /// The treatment of activations, with the calibration's scales in `scales`.
    fn precision(
        &self,
        layers: usize,
        calibration: Option<Calibration<'_>>,
        scales: &'static mut [f32],
    ) -> Result<Precision<'static>, i32> {
        let clip = match self.activations {
            Activations::Dynamic => return Ok(Precision::W8A16),
            Activations::Float => return Ok(Precision::Float),
            Activations::Static { clip } => clip,
        };
        let calibrated = calibration.ok_or(MOBIEDIT_ERR_NULL)?.scales(clip);
        scales.iter_mut().zip(calibrated).for_each(|(scale, calibrated)| *scale = calibrated);
        let scales = StaticScales::new(layers, scales).map_err(|_| MOBIEDIT_ERR_CALIBRATION)?;
        Ok(Precision::Static(scales))
    }

    /// The model in the config's memory.
    ///
    /// # Safety
    /// As `mobiedit_cpu_config` says.
    pub(crate) unsafe fn ready(self, config: &mobiedit_cpu_config) -> Result<Ready, i32> {
        if self.bytes() > config.memory_len {
            return Err(MOBIEDIT_ERR_TOO_SMALL);
        }
        let calibration = if config.calibration.is_null() {
            None
        } else {
            // SAFETY: by this function's contract.
            Some(unsafe { parsed(config.calibration, config.calibration_len) }?)
        };
        let mut pool = Pool::new(config.memory, config.memory_len)?;
        // SAFETY: by this function's contract the memory is the backend's alone.
        let Memory { layers, work, patches, sequence, static_scales, scratch } =
            unsafe { self.parts.divide(&mut pool) }?;
        let model = Model::open(&self.gguf, layers).map_err(|_| MOBIEDIT_ERR_MODEL)?;
        let calibration =
            calibration.map(|calibration| calibration.of_model(&model)).transpose().map_err(of_unusable)?;
        let precision = self.precision(model.layers.len(), calibration, static_scales)?;
        Ok(Ready { model, precision, work, patches, sequence, scratch, context: config.context as usize })
    }
}

/// A model that lacks a device.
pub(crate) struct Ready {
    model: Model<'static>,
    precision: Precision<'static>,
    work: &'static mut [f32],
    patches: &'static mut [f32],
    sequence: &'static mut [f32],
    scratch: Scratch<'static>,
    context: usize,
}

impl Ready {
    /// The model on a device, which may take the scratch memory.
    pub(crate) fn on<D: Device>(self, device: impl FnOnce(Scratch<'static>) -> D) -> State<D> {
        let Self { model, precision, work, patches, sequence, scratch, context } = self;
        State { transformer: Transformer::new(model, device(scratch), precision, work, patches), sequence, context }
    }
}

/// The model's sizes as C has them.
pub(crate) fn c_spec(spec: &ModelSpec) -> mobiedit_spec {
    mobiedit_spec {
        d_model: spec.d_model as u32,
        d_ff: spec.d_ff as u32,
        layers: spec.layers as u32,
        kv_dim: spec.kv_dim as u32,
        vocab: spec.vocab as u32,
        max_tokens: spec.max_tokens as u32,
    }
}
