//! An edit as a firmware makes it: the model lies in flash, and all memory is one static whose size the compiler knows. Nothing
//! is allocated. Knows no board: the firmwares beside it call [`edit`], and so does a PC.
//!
//! `problem.rs` holds the prompts as tokens, made on a PC by `mobiedit tokens`.
#![no_std]
#![forbid(unsafe_code)]

mod fingerprint;
mod model;
mod problem;

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Layer, Model, ModelConfig};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit_core::config::{ConfigError, EarlyStop};
use mobiedit_core::problem::ProblemError;
use mobiedit_core::{
    Config, EditStorage, Editor, Footprint, ForwardBackend, Limits, Outcome, OwnedStorage, Problem, Progress,
    SetupError, Statistics, StepError,
};
use mobiedit_hal_cpu::{Cpu, CpuError, Scratch, ScratchLens};

use fingerprint::fingerprint;
pub use model::{CONFIG, MODEL};
pub use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

/// Two candidates at a time are slower than ten and take less memory; the patch is the same. With P 0.9 instead of 0.98 a third
/// of the passes does.
pub const SETTINGS: Config =
    Config { batch: 2, early_stop: EarlyStop { aim: 0.9, ..Config::DEFAULT.early_stop }, ..Config::DEFAULT };

/// Tokens that are generated to look at an answer.
const ANSWER: usize = 4;
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

/// What came of it.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Edited {
    /// The tokens that the model says behind the prompt, before the edit, with its patch, and without it again.
    pub answers: [[u32; ANSWER]; 3],
    /// The last unit of work.
    pub progress: Progress,
    /// FNV-1a over the bits of the patch: the same on every target.
    pub patch: u64,
}

impl Edited {
    /// The model said something else, says the target with the patch, and what it said before without it.
    pub fn is_good(&self) -> bool {
        let [before, after, undone] = self.answers;
        let changed = after.first() == EDIT_TARGET.first() && before != after;
        self.progress.outcome == Some(Outcome::Success) && changed && before == undone
    }
}

/// Why there is no edit.
#[derive(Debug)]
pub enum Failure {
    /// The bytes are not the model that [`Memory`] is made for.
    Model,
    /// A setting does not fit the model.
    Settings(ConfigError),
    /// The prompts do not.
    Problem(ProblemError),
    /// The editor refused the memory.
    Setup(SetupError),
    /// A unit of work failed.
    Step(StepError<ForwardError<CpuError>>),
    /// A forward pass failed.
    Forward(ForwardError<CpuError>),
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl From<StepError<ForwardError<CpuError>>> for Failure {
    fn from(error: StepError<ForwardError<CpuError>>) -> Self {
        Self::Step(error)
    }
}

impl From<ForwardError<CpuError>> for Failure {
    fn from(error: ForwardError<CpuError>) -> Self {
        Self::Forward(error)
    }
}

/// Makes the edit. `unit` is called after every unit of work: feed the watchdog there, yield there, write a checkpoint there.
///
/// # Errors
/// [`Failure`]; the model in flash is never changed.
pub fn edit(memory: &mut Memory, mut unit: impl FnMut(&Progress)) -> Result<Edited, Failure> {
    with_model(memory, |model, sequence, storage| {
        let problem = Problem::new(&CONFIG.spec, EDIT_LAYER, EDIT_PROMPTS, EDIT_TARGET).map_err(Failure::Problem)?;
        let config = SETTINGS.check(&CONFIG.spec).map_err(Failure::Settings)?;
        let before = say(model, sequence)?;
        let mut editor = Editor::new(config, problem, Statistics::default(), EDIT_SEED, storage)?;
        let (progress, patch) = loop {
            let progress = editor.step(model)?;
            unit(&progress);
            if let Some(patch) = editor.patch() {
                break (progress, patch);
            }
        };
        let applied = model.apply(patch)?;
        let after = say(model, sequence)?;
        model.remove(applied)?;
        let undone = say(model, sequence)?;
        Ok(Edited { answers: [before, after, undone], progress, patch: fingerprint(patch) })
    })
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

/// The tokens that the model says behind the prompt.
fn say(model: &mut Transformer<'_, Cpu<'_>>, sequence: &mut Sequence<'_>) -> Result<[u32; ANSWER], Failure> {
    let mut answer = [0; ANSWER];
    sequence.clear();
    model.generate(sequence, EDIT_TEXT, &[], &mut answer)?;
    Ok(answer)
}
