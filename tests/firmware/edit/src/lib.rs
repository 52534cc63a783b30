//! An edit as a firmware makes it: the model lies in flash, and all memory is one static whose size the compiler knows. Nothing
//! is allocated. Knows no board: the firmwares beside it call [`edit`], and so does a PC.
//!
//! `problem.rs` holds the prompts as tokens, made on a PC by `mobiedit tokens`.
#![no_std]
#![forbid(unsafe_code)]

mod fingerprint;
mod memory;
#[cfg_attr(feature = "shipped", path = "shipped/model.rs")]
mod model;
#[cfg_attr(feature = "shipped", path = "shipped/problem.rs")]
mod problem;

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::transformer::{ForwardError, Transformer};
use mobiedit_core::config::{ConfigError, EarlyStop};
use mobiedit_core::problem::ProblemError;
use mobiedit_core::{Config, Editor, ForwardBackend, Outcome, Problem, Progress, SetupError, Statistics, StepError};
use mobiedit_hal_cpu::{Cpu, CpuError};

use fingerprint::fingerprint;
pub use memory::{Memory, with_model};
pub use model::{CONFIG, MODEL};
pub use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

/// Two candidates at a time are slower than ten and take less memory; the patch is the same. With P 0.9 instead of 0.98 a third
/// of the passes does.
pub const SETTINGS: Config =
    Config { batch: 2, early_stop: EarlyStop { aim: 0.9, ..Config::DEFAULT.early_stop }, ..Config::DEFAULT };

/// Tokens that are generated to look at an answer.
const ANSWER: usize = 4;

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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

/// The tokens that the model says behind the prompt.
fn say(model: &mut Transformer<'_, Cpu<'_>>, sequence: &mut Sequence<'_>) -> Result<[u32; ANSWER], Failure> {
    let mut answer = [0; ANSWER];
    sequence.clear();
    model.generate(sequence, EDIT_TEXT, &[], &mut answer)?;
    Ok(answer)
}
