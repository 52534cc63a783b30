//! All memory of an edit in one static: every size is a constant, made of the model's. Decides nothing about the edit.

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Layer, Model, ModelConfig};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::transformer::{Precision, Transformer};
use mobiedit_core::{EditStorage, Footprint, Limits, OwnedStorage};
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens};

use crate::model::{CONFIG, MODEL};
use crate::problem::{EDIT_LAYER, EDIT_PROMPTS};
use crate::{Failure, SETTINGS};

/// Tokens of a sequence, prompt included.
const CONTEXT: usize = 16;
/// Token rows of a forward pass at once.
const ROWS: usize = 64;
/// Rows that are multiplied at once: a weight is unpacked once for so many.
const TILE: usize = 8;

const LIMITS: Limits = Limits { layer: EDIT_LAYER, prompts: EDIT_PROMPTS.len(), essences: 2, tokens: 32 };
const NEED: Footprint = Footprint::of(&CONFIG.spec, &SETTINGS, &LIMITS);
const SCRATCH: ScratchLens = ScratchLens::of(&CONFIG, TILE);
const WORK: usize = Transformer::<Cpu<'_>>::work_len(&CONFIG, ROWS);
const PATCH: usize = Patches::len_of_one(CONFIG.spec.d_ff, CONFIG.spec.d_model);
const SEQUENCE: usize = Sequence::memory_len(&CONFIG.spec, CONTEXT);

/// All memory of an edit of this model. All zero bits, so a `static` of it takes no flash.
pub struct Memory {
    storage: OwnedStorage<{ NEED.floats }, { NEED.cache }, { NEED.losses }>,
    device: Buffers,
    sequence: [f32; SEQUENCE],
}

struct Buffers {
    work: [f32; WORK],
    patch: [f32; PATCH],
    activations: [i16; SCRATCH.activations],
    scales: [f32; SCRATCH.scales],
    levels: [i8; SCRATCH.levels],
    weights: [f32; SCRATCH.weights],
    scores: [f32; SCRATCH.scores],
    logits: [f32; SCRATCH.logits],
}

impl Memory {
    /// For a `static`.
    pub const NEW: Self = Self {
        storage: OwnedStorage::new(),
        device: Buffers {
            work: [0.0; WORK],
            patch: [0.0; PATCH],
            activations: [0; SCRATCH.activations],
            scales: [0.0; SCRATCH.scales],
            levels: [0; SCRATCH.levels],
            weights: [0.0; SCRATCH.weights],
            scores: [0.0; SCRATCH.scores],
            logits: [0.0; SCRATCH.logits],
        },
        sequence: [0.0; SEQUENCE],
    };
}

/// Opens the model and calls `run` with it, memory for a sequence and memory for an editor.
///
/// # Errors
/// Those of `run`, and bytes that are another model.
pub fn with_model<R>(
    memory: &mut Memory,
    run: impl FnOnce(&mut Transformer<'_, Cpu<'_>>, &mut Sequence<'_>, EditStorage<'_>) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let gguf = Gguf::parse(MODEL).map_err(|_| Failure::Model)?;
    if ModelConfig::read(&gguf) != Ok(CONFIG) {
        return Err(Failure::Model);
    }
    let mut layers = [Layer::EMPTY; CONFIG.spec.layers];
    let model = Model::open(&gguf, &mut layers).map_err(|_| Failure::Model)?;
    let Memory { storage, device, sequence } = memory;
    let mut statistics = [Default::default(); TILE];
    let cpu = Cpu::new(Scratch {
        activations: &mut device.activations,
        scales: &mut device.scales,
        levels: &mut device.levels,
        weights: &mut device.weights,
        scores: &mut device.scores,
        logits: &mut device.logits,
        statistics: &mut statistics,
    });
    let mut transformer = Transformer::new(model, cpu, Precision::W8A16, &mut device.work, &mut device.patch);
    run(&mut transformer, &mut Sequence::new(CONTEXT, sequence), storage.lend())
}
