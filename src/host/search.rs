//! Drives the editor to its end: memory, progress, interruption. Chooses no settings and stores nothing.

use std::ops::ControlFlow;

use mobiedit_core::backend::{ForwardBackend, Loss};
use mobiedit_core::checkpoint::CheckpointError;
use mobiedit_core::config::{ConfigError, Covariance};
use mobiedit_core::problem::ProblemError;
use mobiedit_core::{
    Config, EditStorage, Editor, Footprint, Outcome, Problem, Progress, RankOne, SetupError, Statistics, StepError,
};

use crate::host::prompts::EditPrompts;

/// How a value is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The editor's settings.
    pub config: Config,
    /// The edit layer.
    pub layer: usize,
    /// Seed of the random directions.
    pub seed: u64,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The last progress: totals, losses, outcome.
    pub progress: Progress,
    /// The edit layer.
    pub layer: usize,
    /// `u` of the rank-one patch, `(d_ff)`.
    pub u: Vec<f32>,
    /// `Λ` of the rank-one patch, `(d_model)`.
    pub lambda: Vec<f32>,
}

impl Found {
    /// The patch.
    pub fn patch(&self) -> RankOne<'_> {
        RankOne { layer: self.layer, u: &self.u, lambda: &self.lambda }
    }

    /// The model with the patch says the target, by the success rule.
    pub fn is_success(&self) -> bool {
        self.progress.outcome == Some(Outcome::Success)
    }
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// All the way.
    Found(Found),
    /// The caller stopped it; these bytes resume it.
    Interrupted(Vec<u8>),
}

/// What a search does after a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next unit.
    Search,
    /// The same, once its state is kept.
    Keep,
    /// It stops with its state.
    Stop,
}

/// Why a search could not be begun or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError<E: std::error::Error + 'static> {
    /// The settings make no sense for this model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The edit cannot be posed to this model.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// The editor refused to begin.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The state of the edit could not be kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError<E>),
}

impl Search {
    /// Whether the settings make any use of statistics.
    pub fn uses_statistics(&self) -> bool {
        self.config.bank || matches!(self.config.covariance, Covariance::Samples { .. })
    }

    /// Searches the patch that `prompts` ask for. `resume` holds the bytes of an interrupted search of the same edit;
    /// `watch` is told after each unit of work and may stop the search there.
    ///
    /// # Errors
    /// Prompts, settings or statistics that do not fit the model, and failures of the device.
    pub fn run<B: ForwardBackend>(
        &self,
        backend: &mut B,
        prompts: &EditPrompts,
        statistics: Statistics<'_>,
        resume: Option<&[u8]>,
        mut watch: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Ended, SearchError<B::Error>>
    where
        B::Error: 'static,
    {
        let next = |progress: &Progress| if watch(progress).is_break() { Next::Stop } else { Next::Search };
        self.run_keeping(backend, prompts, statistics, resume, next, |_| ())
    }

    /// [`run`](Self::run), where `next` may also ask for a state that is kept while the search goes on: a process that is
    /// killed cannot give its own.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_keeping<B: ForwardBackend>(
        &self,
        backend: &mut B,
        prompts: &EditPrompts,
        statistics: Statistics<'_>,
        resume: Option<&[u8]>,
        mut next: impl FnMut(&Progress) -> Next,
        mut keep: impl FnMut(&[u8]),
    ) -> Result<Ended, SearchError<B::Error>>
    where
        B::Error: 'static,
    {
        let lent = prompts.lend();
        let problem = Problem::new(&backend.spec(), self.layer, &lent, &prompts.target)?;
        let config = self.config.check(&backend.spec())?;
        let need = Footprint::for_problem(&config, &problem);
        let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
        let mut losses = vec![Loss::default(); need.losses];
        let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
        let mut editor = match resume {
            Some(bytes) => Editor::resume(config, problem, statistics, storage, bytes)?,
            None => Editor::new(config, problem, statistics, self.seed, storage)?,
        };
        loop {
            let progress = editor.step(backend)?;
            if let Some(patch) = editor.patch() {
                let (u, lambda) = (patch.u.to_vec(), patch.lambda.to_vec());
                return Ok(Ended::Found(Found { progress, layer: self.layer, u, lambda }));
            }
            let next = next(&progress);
            if next == Next::Search {
                continue;
            }
            let mut bytes = vec![0; editor.checkpoint_len()];
            editor.checkpoint(&mut bytes)?;
            if next == Next::Stop {
                return Ok(Ended::Interrupted(bytes));
            }
            keep(&bytes);
        }
    }
}
