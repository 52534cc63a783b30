//! Evaluates records whose edits are stacked: all are made, each on top of those before, then all are measured.
//!
//! What the clean model says is measured with every patch taken off. Patches and progress are kept in the output folder, so
//! a run that was killed anywhere goes on from its last whole record.

use std::path::Path;

use mobiedit_core::ForwardBackend;
use mobiedit_core::backend::PatchId;
use serde::{Deserialize, Serialize};

use crate::host::edits::{Edit, EditsWriter};
use crate::host::eval::dataset::Record;
use crate::host::eval::folder::{Folder, JsonLines};
use crate::host::eval::line::Cost;
use crate::host::eval::measure::{Clean, measure};
use crate::host::eval::run::{Evaluation, Event, Made, RunError, Watch, line, refused};
use crate::host::session::Session;

/// The folder of the patches, an edits folder like any other.
const EDITS: &str = "edits";
/// What is known of each record once its edit is made.
const STACKED: &str = "stacked.jsonl";

/// A record whose edit is on the stack, or was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stacked {
    record: usize,
    /// What the clean model says.
    clean: Option<Clean>,
    refused: Option<String>,
    /// Its edit in the edits folder.
    edit_id: Option<String>,
    cost: Option<Cost>,
}

/// The stack as it is kept.
struct Stack {
    done: JsonLines<Stacked>,
    edits: EditsWriter,
}

/// Makes the edits of `records` that are not made yet, then measures those that have no line yet; `false` where `watch`
/// stopped it. `preset` is noted beside each edit.
///
/// # Errors
/// Failures of the device and of the output folder.
pub fn run(
    session: &mut Session<'_>,
    evaluation: &Evaluation<'_>,
    preset: &str,
    records: &[&Record],
    folder: &mut Folder,
    watch: Watch<'_>,
) -> Result<bool, RunError> {
    let mut stack = Stack::open(folder.path())?;
    let all = 2 * records.len();
    for (index, record) in records.iter().enumerate().skip(stack.done.lines().len()) {
        if watch(Event::Records(index, all)).is_break() || !stack.push(session, evaluation, preset, record, watch)? {
            return Ok(false);
        }
    }
    stack.apply(session)?;
    let of_records = records.iter().zip(stack.done.lines()).enumerate();
    for (index, (record, stacked)) in of_records.skip(folder.results.lines().len()) {
        if watch(Event::Records(records.len() + index, all)).is_break() {
            return Ok(false);
        }
        let line = match (&stacked.clean, &stacked.refused) {
            (Some(clean), None) => {
                let bytes =
                    stack.edit(stacked)?.map_or(0, |edit| (edit.u.len() + edit.lambda.len()) * size_of::<f32>());
                let measured = measure(session, record, clean, evaluation.fluency);
                line(record, clean, bytes as u64, stacked.cost.clone(), measured)?
            }
            (clean, why) => refused(record, clean.as_ref(), why.clone().unwrap_or_default()),
        };
        folder.results.append(line)?;
    }
    Ok(true)
}

impl Stack {
    /// Opens the stack in an output folder. An edit that was committed just before a kill, and is not noted as done, is
    /// taken back: it is made again.
    fn open(folder: &Path) -> Result<Self, RunError> {
        let done: JsonLines<Stacked> = JsonLines::open(&folder.join(STACKED))?;
        let mut edits = EditsWriter::open(&folder.join(EDITS))?;
        let noted: Vec<&str> = done.lines().iter().filter_map(|stacked| stacked.edit_id.as_deref()).collect();
        let active: Vec<String> = edits.edits().active().map(|edit| edit.info.edit_id.clone()).collect();
        for id in active.iter().filter(|id| !noted.contains(&id.as_str())) {
            edits.undo(id)?;
        }
        Ok(Self { done, edits })
    }

    /// The edit of a record, if it has one.
    fn edit(&self, stacked: &Stacked) -> Result<Option<&Edit>, RunError> {
        let Some(id) = &stacked.edit_id else { return Ok(None) };
        let edit = self.edits.edits().get(id)?;
        let foreign = || RunError::Stack(self.edits.edits().folder().display().to_string());
        if edit.active { Ok(Some(edit)) } else { Err(foreign()) }
    }

    /// Applies all edits to a clean model.
    fn apply(&self, session: &mut Session<'_>) -> Result<Vec<PatchId>, RunError> {
        let mut applied = Vec::new();
        for stacked in self.done.lines() {
            if let Some(edit) = self.edit(stacked)? {
                session.check_room()?;
                applied.push(session.transformer.apply(edit.patch())?);
            }
        }
        Ok(applied)
    }

    /// Makes the next edit, on top of the others; `false` where `watch` stopped it. The model is clean before and after.
    fn push(
        &mut self,
        session: &mut Session<'_>,
        evaluation: &Evaluation<'_>,
        preset: &str,
        record: &Record,
        watch: Watch<'_>,
    ) -> Result<bool, RunError> {
        let mut stacked = Stacked { record: record.number, clean: None, refused: None, edit_id: None, cost: None };
        match Clean::measure(session, record, evaluation.fluency).map_err(RunError::from) {
            Err(error) => stacked.refused = Some(error.refusal()?),
            Ok(clean) => {
                stacked.clean = Some(clean);
                let applied = self.apply(session)?;
                let made = evaluation.edit(session, record, watch);
                for patch in applied {
                    session.transformer.remove(patch)?;
                }
                match made {
                    Err(error) => stacked.refused = Some(error.refusal()?),
                    Ok(None) => return Ok(false),
                    Ok(Some(made)) => {
                        stacked.edit_id = Some(self.commit(session, evaluation, preset, record, &made)?);
                        stacked.cost = made.cost;
                    }
                }
            }
        }
        self.done.append(stacked)?;
        Ok(true)
    }

    fn commit(
        &mut self,
        session: &Session<'_>,
        evaluation: &Evaluation<'_>,
        preset: &str,
        record: &Record,
        made: &Made,
    ) -> Result<String, RunError> {
        let edit_id = self.edits.next_id();
        let info = evaluation.info(session, edit_id.clone(), preset, record, made);
        self.edits.commit(info, made.patch())?;
        Ok(edit_id)
    }
}
