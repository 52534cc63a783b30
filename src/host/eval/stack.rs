//! What becomes of a model as edits are stacked on it: a row of figures whenever one is asked for. Draws and keeps nothing.
//!
//! As in `mobiedit edit`, an edit without success is not kept.

use mobiedit_core::ForwardBackend;
use serde::Serialize;

use crate::host::edits::Edit;
use crate::host::eval::dataset::Record;
use crate::host::eval::measure::{knows, rephrased};
use crate::host::eval::run::{Evaluation, RunError, Watch};
use crate::host::health::{Health, Held, Scores};
use crate::host::session::Session;

/// The model under its stack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Edits that were tried.
    pub tried: usize,
    /// Those with success: they are stacked.
    pub edits: usize,
    /// Share of those tried since the row before that had success.
    pub success: Option<f64>,
    /// Share of the stacked edits that still hold, by free generation.
    pub hold: Option<f64>,
    /// Share of their rephrasings that are answered by the target.
    pub rephrase: Option<f64>,
    /// Share of the other facts, known to the clean model and never edited, that the model still says.
    pub others: f64,
    /// What `mobiedit verify` measures.
    pub health: Health,
    /// What it warns of.
    pub warnings: Vec<String>,
}

/// Edits on a model, each made on top of those before.
#[derive(Debug)]
pub struct Stack<'a> {
    evaluation: Evaluation<'a>,
    preset: &'a str,
    strength: f32,
    others: Vec<&'a Record>,
    clean: Scores,
    edits: Vec<(&'a Record, Edit)>,
    tried: usize,
    /// Whether each edit tried since the last row had success.
    newest: Vec<bool>,
}

impl<'a> Stack<'a> {
    /// An empty stack on a clean model, which knows the facts of `others`. The patches that `evaluation` makes are applied
    /// `strength` times.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn new(
        session: &mut Session<'_>,
        evaluation: Evaluation<'a>,
        preset: &'a str,
        strength: f32,
        others: Vec<&'a Record>,
    ) -> Result<Self, RunError> {
        let clean = Scores::measure(session)?;
        Ok(Self { evaluation, preset, strength, others, clean, edits: Vec::new(), tried: 0, newest: Vec::new() })
    }

    /// Tries the edit of a record on top of the others; `false` where `watch` stopped it.
    ///
    /// # Errors
    /// Failures of the device, more edits than a session holds.
    pub fn push(&mut self, session: &mut Session<'_>, record: &'a Record, watch: Watch<'_>) -> Result<bool, RunError> {
        session.check_room()?;
        let stacked = self.edits.len();
        match self.evaluation.edit(session, record, watch) {
            Ok(None) => return Ok(false),
            Ok(Some(mut made)) => {
                if made.is_success() {
                    made.lambda.iter_mut().for_each(|x| *x *= self.strength);
                    session.transformer.apply(made.patch())?;
                    let id = format!("e{}", self.edits.len() + 1);
                    let info = self.evaluation.info(session, id, self.preset, record, &made);
                    self.edits.push((record, Edit { info, u: made.u, lambda: made.lambda, active: true }));
                }
            }
            // One that cannot be made of this record on this model is one without success.
            Err(error) => drop(error.refusal()?),
        }
        self.newest.push(self.edits.len() > stacked);
        self.tried += 1;
        Ok(true)
    }

    /// Measures the model as it is.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn row(&mut self, session: &mut Session<'_>) -> Result<Row, RunError> {
        let mut held = Vec::new();
        let mut answers = Vec::new();
        for (record, edit) in &self.edits {
            held.push(Held::check(session, edit)?.holds);
            answers.extend(rephrased(session, record)?.iter().map(|answer| answer.exact));
        }
        let mut others = Vec::new();
        for record in &self.others {
            others.push(knows(session, record)?);
        }
        let edits: Vec<&Edit> = self.edits.iter().map(|(_, edit)| edit).collect();
        let health = Health::measure(session, &self.clean, &edits)?;
        Ok(Row {
            tried: self.tried,
            edits: edits.len(),
            success: share(&core::mem::take(&mut self.newest)),
            hold: share(&held),
            rephrase: share(&answers),
            others: share(&others).unwrap_or(1.0),
            health,
            warnings: health.warnings(),
        })
    }
}

fn share(of: &[bool]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().filter(|yes| **yes).count() as f64 / of.len() as f64)
}
