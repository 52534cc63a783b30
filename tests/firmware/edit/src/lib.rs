//! An edit as a firmware makes it: the model lies in flash, and all memory is one static whose size the compiler knows. Nothing
//! is allocated. Its patch is kept in flash, and [`start`] brings it back after a power-off. Knows no board: the firmwares beside it
//! call [`edit`], and so does a PC.
//!
//! `problem.rs` holds the prompts as tokens, made on a PC by `mobiedit tokens`.
#![no_std]
#![forbid(unsafe_code)]

mod fingerprint;
mod flash;
mod memory;
#[cfg_attr(feature = "shipped", path = "shipped/model.rs")]
mod model;
#[cfg_attr(feature = "shipped", path = "shipped/problem.rs")]
mod problem;

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::identity::identity;
use mobiedit_backends::journal::edits::EditError;
use mobiedit_backends::transformer::{ForwardError, Transformer};
use mobiedit_core::config::{ConfigError, EarlyStop};
use mobiedit_core::problem::ProblemError;
use mobiedit_core::{Config, Editor, ForwardBackend, Outcome, Problem, Progress, SetupError, Statistics, StepError};
use mobiedit_hal_cpu::{Cpu, CpuError};

use fingerprint::fingerprint;
pub use flash::{Flash, FlashError};
pub use memory::{Memory, with_model};
pub use model::{CONFIG, MODEL};
pub use problem::{EDIT_LAYER, EDIT_PROMPTS, EDIT_SEED, EDIT_TARGET, EDIT_TEXT};

/// Two candidates at a time are slower than ten and take less memory; the patch is the same. With P 0.9 instead of 0.98 a third
/// of the passes does.
pub const SETTINGS: Config =
    Config { batch: 2, early_stop: EarlyStop { aim: 0.9, ..Config::DEFAULT.early_stop }, ..Config::DEFAULT };

/// What is kept beside the patch: anything that a firmware wants to know of an edit.
const NOTE: &[u8] = b"The capital of France is -> Rome";

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
    /// What the next start brings back.
    pub next: Started,
}

/// What a start brings back of an edit.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Started {
    /// FNV-1a over the bits of the last patch that the flash holds; `None` where it holds none.
    pub patch: Option<u64>,
    /// The tokens that the model says behind the prompt.
    pub answer: [u32; ANSWER],
}

impl Edited {
    /// The model said something else, says the target with the patch, and what it said before without it; and says the same with the
    /// patch that the flash kept.
    pub fn is_good(&self) -> bool {
        let [before, after, undone] = self.answers;
        let changed = after.first() == EDIT_TARGET.first() && before != after;
        let kept = self.next.patch == Some(self.patch) && self.next.answer == after;
        self.progress.outcome == Some(Outcome::Success) && changed && before == undone && kept
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
    /// The flash does not keep the patch, or holds one of another model.
    Journal(EditError<FlashError>),
}

impl From<EditError<FlashError>> for Failure {
    fn from(error: EditError<FlashError>) -> Self {
        Self::Journal(error)
    }
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

/// Makes the edit, keeps its patch in the flash, which is erased first, and starts again. `unit` is called after every unit of work:
/// feed the watchdog there, yield there, write a checkpoint there.
///
/// # Errors
/// [`Failure`]; the model in flash is never changed.
pub fn edit(memory: &mut Memory, flash: &mut Flash, mut unit: impl FnMut(&Progress)) -> Result<Edited, Failure> {
    flash.erase();
    let (answers, progress, patch) = with_model(memory, |model, sequence, storage| {
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
        flash.open()?.append(identity(model.model(), EDIT_LAYER), patch, NOTE)?;
        let applied = model.apply(patch)?;
        let after = say(model, sequence)?;
        model.remove(applied)?;
        let undone = say(model, sequence)?;
        Ok(([before, after, undone], progress, fingerprint(patch)))
    })?;
    Ok(Edited { answers, progress, patch, next: start(memory, flash)? })
}

/// What a firmware does when it starts: applies the edits that the flash holds, without a search. Nothing else is left of what was
/// before.
///
/// # Errors
/// [`Failure`].
pub fn start(memory: &mut Memory, flash: &mut Flash) -> Result<Started, Failure> {
    with_model(memory, |model, sequence, storage| {
        let (mut journal, mut id, mut last) = (flash.open()?, 0, None);
        while let Some(entry) = journal.next(id)? {
            id = entry.id;
            let of = identity(model.model(), entry.layer as usize);
            // The editor's memory is free until there is another edit.
            let patch = journal.patch(id, &CONFIG.spec, of, storage.floats)?;
            model.apply(patch)?;
            last = Some(fingerprint(patch));
        }
        Ok(Started { patch: last, answer: say(model, sequence)? })
    })
}

/// The tokens that the model says behind the prompt.
fn say(model: &mut Transformer<'_, Cpu<'_>>, sequence: &mut Sequence<'_>) -> Result<[u32; ANSWER], Failure> {
    let mut answer = [0; ANSWER];
    sequence.clear();
    model.generate(sequence, EDIT_TEXT, &[], &mut answer)?;
    Ok(answer)
}
