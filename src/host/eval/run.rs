//! Evaluates records one at a time, each edited from the clean model and undone. Chooses no records and no settings.

use std::ops::ControlFlow;
use std::time::Instant;

use mobiedit_backends::editing::Uncached;
use mobiedit_backends::transformer::ForwardError;
use mobiedit_core::{Config, ForwardBackend, Phase, Progress, RankOne, Statistics, StepError};

use crate::host::device::HostDeviceError;
use crate::host::edits::{EditInfo, EditsError};
use crate::host::eval::dataset::Record;
use crate::host::eval::folder::{FolderError, JsonLines};
use crate::host::eval::given::GivenPatches;
use crate::host::eval::line::{Cost, Line, Point};
use crate::host::eval::measure::{Clean, MeasureError, Measured, knows, measure};
use crate::host::memory::peak_rss_bytes;
use crate::host::prompts::{EditPrompts, PromptError};
use crate::host::search::{Ended, Found, Search, SearchError};
use crate::host::session::{Session, SessionError};

/// Points that a loss curve keeps.
const CURVE: usize = 200;

/// Where the patches come from.
#[derive(Clone, Copy, Debug)]
pub enum Method<'a> {
    /// From the editor.
    Search {
        /// Its settings.
        config: &'a Config,
        /// The edit layer.
        layer: usize,
        /// What calibration knows about the layer.
        statistics: Statistics<'a>,
        /// Prefixes of the rewrite prompts.
        prefixes: &'a [&'a str],
        /// Losses with the prefix cache, or by whole forward passes: the comparison.
        cached: bool,
    },
    /// From a file.
    Given(&'a GivenPatches),
}

/// How records are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Where the patches come from.
    pub method: Method<'a>,
    /// With a record's number added, the seed of its search: the same in any selection and shard.
    pub seed: u64,
    /// Generate texts for fluency.
    pub fluency: bool,
}

/// What a run tells while it goes.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// So many of so many records are done.
    Records(usize, usize),
    /// A unit of a search was done.
    Search(&'a Progress),
}

/// Told of events; may stop the run there.
pub type Watch<'w> = &'w mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// A patch, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    pub(crate) layer: usize,
    pub(crate) u: Vec<f32>,
    pub(crate) lambda: Vec<f32>,
    /// `None` where it came from a file.
    pub(crate) cost: Option<Cost>,
}

impl Made {
    pub(crate) fn patch(&self) -> RankOne<'_> {
        RankOne { layer: self.layer, u: &self.u, lambda: &self.lambda }
    }

    /// The search met the editor's success rule; of a patch from a file, nothing else is known.
    pub(crate) fn is_success(&self) -> bool {
        self.cost.as_ref().is_none_or(|cost| cost.found)
    }
}

/// Why an evaluation cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Words that make no prompts.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The search.
    #[error(transparent)]
    Search(#[from] SearchError<ForwardError<HostDeviceError>>),
    /// The measuring.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A patch could not be applied or removed.
    #[error(transparent)]
    Patch(#[from] ForwardError<HostDeviceError>),
    /// No patch was given for a record.
    #[error("no patch was given for record {0}")]
    NoPatch(usize),
    /// The output folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The stacked edits' folder.
    #[error(transparent)]
    Edits(#[from] EditsError),
    /// The stacked edits' folder has not the edits that its record of progress names.
    #[error("the stacked edits in {0} are not those that were committed there: choose another --out")]
    Stack(String),
}

impl RunError {
    /// The sentence for a record that this model cannot be asked; the error itself where all records would meet it.
    pub(crate) fn refusal(self) -> Result<String, Self> {
        let of_record = match &self {
            Self::Prompt(error) => words(error),
            Self::Session(error) => too_long(error),
            Self::Search(SearchError::Problem(_) | SearchError::Step(StepError::NotFinite | StepError::Degenerate)) => {
                true
            }
            Self::Measure(MeasureError::Session(error)) => too_long(error),
            _ => false,
        };
        if of_record { Ok(self.to_string()) } else { Err(self) }
    }
}

fn words(error: &PromptError) -> bool {
    !matches!(error, PromptError::Tokenizer(_))
}

fn too_long(error: &SessionError) -> bool {
    match error {
        SessionError::Prompt(error) => words(error),
        error => matches!(error, SessionError::Empty | SessionError::TooLong { .. }),
    }
}

/// Whether the model knows a record's fact; not where it cannot be asked.
///
/// # Errors
/// Failures of the device.
pub fn known(session: &mut Session<'_>, record: &Record) -> Result<bool, RunError> {
    match knows(session, record).map_err(RunError::from) {
        Ok(known) => Ok(known),
        Err(error) => error.refusal().map(|_| false),
    }
}

/// Evaluates those of `records` that have no line yet; `false` where `watch` stopped it.
///
/// # Errors
/// Failures of the device and of the output folder.
pub fn run(
    session: &mut Session<'_>,
    evaluation: &Evaluation<'_>,
    records: &[&Record],
    results: &mut JsonLines<Line>,
    watch: Watch<'_>,
) -> Result<bool, RunError> {
    for (index, record) in records.iter().enumerate().skip(results.lines().len()) {
        if watch(Event::Records(index, records.len())).is_break() {
            return Ok(false);
        }
        match evaluation.line(session, record, watch)? {
            Some(line) => results.append(line)?,
            None => return Ok(false),
        }
    }
    Ok(true)
}

impl Evaluation<'_> {
    /// Edits the clean model, measures, and takes the edit off again; `None` where `watch` stopped it.
    fn line(&self, session: &mut Session<'_>, record: &Record, watch: Watch<'_>) -> Result<Option<Line>, RunError> {
        let clean = match Clean::measure(session, record, self.fluency).map_err(RunError::from) {
            Ok(clean) => clean,
            Err(error) => return Ok(Some(refused(record, None, error.refusal()?))),
        };
        let made = match self.edit(session, record, watch) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(refused(record, Some(&clean), error.refusal()?))),
        };
        let patch = session.transformer.apply(made.patch())?;
        let measured = measure(session, record, &clean, self.fluency);
        session.transformer.remove(patch)?;
        Ok(Some(line(record, &clean, patch_bytes(&made), made.cost, measured)?))
    }

    /// Seed of a record's search.
    pub fn search_seed(&self, record: &Record) -> u64 {
        self.seed.wrapping_add(record.number as u64)
    }

    /// What is known about the patch of a record besides its numbers.
    pub(crate) fn info(
        &self,
        session: &Session<'_>,
        edit_id: String,
        preset: &str,
        record: &Record,
        made: &Made,
    ) -> EditInfo {
        EditInfo {
            edit_id,
            model: session.identity(made.layer),
            prompt: record.request.prompt.clone(),
            subject: record.request.subject.clone(),
            target: record.request.target.clone(),
            layer: made.layer,
            preset: preset.to_owned(),
            seed: self.search_seed(record),
            steps: made.cost.as_ref().map_or(0, |cost| cost.steps),
            forward_passes: made.cost.as_ref().map_or(0, |cost| cost.forward_passes),
            p_target: made.cost.as_ref().map_or(0.0, |cost| cost.p_target),
            success: made.is_success(),
        }
    }

    /// Makes the patch of a record on the model as it is; `None` where `watch` stopped it.
    pub(crate) fn edit(
        &self,
        session: &mut Session<'_>,
        record: &Record,
        watch: Watch<'_>,
    ) -> Result<Option<Made>, RunError> {
        let (config, layer, statistics, prefixes, cached) = match self.method {
            Method::Search { config, layer, statistics, prefixes, cached } => {
                (config, layer, statistics, prefixes, cached)
            }
            Method::Given(given) => {
                let given = given.of_record.get(&record.number).ok_or(RunError::NoPatch(record.number))?.clone();
                return Ok(Some(Made { layer: given.layer, u: given.u, lambda: given.lambda, cost: None }));
            }
        };
        let prompts = EditPrompts::new(&session.tokenizer, &record.request, prefixes)?;
        session.check_rows(prompts.rows())?;
        let search = Search { config: *config, layer, seed: self.search_seed(record) };
        let mut curve = Vec::new();
        let start = Instant::now();
        let watch = |progress: &Progress| {
            curve.extend(point(progress));
            watch(Event::Search(progress))
        };
        let transformer = &mut session.transformer;
        let ended = if cached {
            search.run(transformer, &prompts, statistics, None, watch)?
        } else {
            search.run(&mut Uncached(transformer), &prompts, statistics, None, watch)?
        };
        match ended {
            Ended::Found(mut found) => {
                if !cached {
                    // The editor counts the rows that the cache leaves to be computed.
                    let rows: usize = prompts.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
                    found.progress.rows = found.progress.forward_passes * rows as u64;
                }
                Ok(Some(made(found, start.elapsed().as_secs_f64(), &curve)))
            }
            Ended::Interrupted(_) => Ok(None),
        }
    }
}

fn made(found: Found, seconds: f64, curve: &[Point]) -> Made {
    let Progress { step, forward_passes, rows, p_target, .. } = found.progress;
    let cost = Cost {
        found: found.is_success(),
        steps: step,
        forward_passes,
        rows,
        seconds,
        peak_rss_bytes: peak_rss_bytes(),
        p_target,
        curve: thin(curve),
    };
    Made { layer: found.layer, u: found.u, lambda: found.lambda, cost: Some(cost) }
}

/// A point of the loss curve: a unit after which the loss of equation (3) is known.
fn point(progress: &Progress) -> Option<Point> {
    let Progress { step, forward_passes, loss, nll, .. } = *progress;
    let searches = matches!(progress.phase, Phase::Bank | Phase::Search) && loss.is_finite() && nll.is_finite();
    searches.then_some(Point { step, forward_passes, loss, nll })
}

/// At most [`CURVE`] points at even distances, first and last among them.
fn thin(curve: &[Point]) -> Vec<Point> {
    let last = curve.len().saturating_sub(1);
    let kept = curve.len().min(CURVE);
    (0..kept).filter_map(|i| curve.get(i * last / kept.saturating_sub(1).max(1)).copied()).collect()
}

/// Bytes that the patch takes when it is stored.
pub(crate) fn patch_bytes(made: &Made) -> u64 {
    ((made.u.len() + made.lambda.len()) * size_of::<f32>()) as u64
}

/// The line of an edited record; of one that cannot be measured, a refusal.
pub(crate) fn line(
    record: &Record,
    clean: &Clean,
    patch_bytes: u64,
    cost: Option<Cost>,
    measured: Result<Measured, MeasureError>,
) -> Result<Line, RunError> {
    let measured = match measured.map_err(RunError::from) {
        Ok(measured) => measured,
        Err(error) => return Ok(refused(record, Some(clean), error.refusal()?)),
    };
    Ok(Line {
        refused: None,
        rewrite: Some(measured.rewrite),
        rephrase: measured.rephrase,
        portability: measured.portability,
        locality: measured.locality,
        counterfact: measured.counterfact,
        fluency_before: clean.fluency,
        fluency: measured.fluency,
        patch_bytes,
        cost,
        ..empty(record, Some(clean))
    })
}

/// The line of a record that could not be edited or measured.
pub(crate) fn refused(record: &Record, clean: Option<&Clean>, why: String) -> Line {
    Line { refused: Some(why), ..empty(record, clean) }
}

fn empty(record: &Record, clean: Option<&Clean>) -> Line {
    Line {
        record: record.number,
        line: record.line,
        subject: record.request.subject.clone(),
        target: record.request.target.clone(),
        known: clean.is_some_and(|clean| clean.known),
        before: clean.map_or_else(String::new, |clean| clean.before.clone()),
        refused: None,
        rewrite: None,
        rephrase: Vec::new(),
        portability: Vec::new(),
        locality: Vec::new(),
        counterfact: None,
        fluency_before: None,
        fluency: None,
        patch_bytes: 0,
        cost: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_order() {
        let curve = |len: u32| -> Vec<Point> {
            (0..len).map(|step| Point { step, forward_passes: 0, loss: 0.0, nll: 0.0 }).collect()
        };
        for len in [0, 1, 2, 199, 200, 201, 600] {
            let steps: Vec<u32> = thin(&curve(len)).iter().map(|point| point.step).collect();
            assert_eq!(steps.len(), (len as usize).min(CURVE));
            assert_eq!((steps.first(), steps.last()), ((len > 0).then_some(&0), len.checked_sub(1).as_ref()));
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
