//! The edits folder: what was edited, what was taken back and what was forgotten, kept in an append-only journal.
//!
//! Reading never changes the folder. Writing takes an exclusive lock, and an edit is committed when its record is on the
//! disk. Solves and applies nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mobiedit_backends::journal::{Cursor, Journal, JournalError, Unreadable};
use mobiedit_core::rank_one::RankOne;
use serde::{Deserialize, Serialize};

pub(crate) use folder::sync_folder;
pub use writer::EditsWriter;

mod folder;
mod writer;

/// Name of the journal inside the folder.
const JOURNAL: &str = "journal.mej";

/// Why the edits folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditsError {
    /// A file operation failed.
    #[error("the edits folder {path} cannot be {what}: {error}", path = path.display())]
    Io {
        /// The folder, or the file in it.
        path: PathBuf,
        /// "read", "written", "created".
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// The journal cannot be read.
    #[error("the journal {path} cannot be used: {error}{}", advice(*error), path = path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        error: Unreadable,
    },
    /// Somebody has removed the journal, or put another one in its place, while this process was writing it.
    #[error("the journal {path} was removed or replaced meanwhile: nothing more was written to it", path = .0.display())]
    Replaced(PathBuf),
    /// Another process is writing.
    #[error("another mobiedit is writing to the edits folder {path}: wait until it is done", path = .0.display())]
    Locked(PathBuf),
    /// No edit has this id.
    #[error("there is no edit {0:?} in the edits folder: `mobiedit list` names those it has")]
    Unknown(String),
    /// The edit was taken back before.
    #[error("edit {0:?} is already undone")]
    Undone(String),
    /// The edit was forgotten.
    #[error("edit {0:?} was forgotten: nothing is left of it")]
    Forgotten(String),
}

/// What to do about a journal that cannot be read.
fn advice(error: Unreadable) -> &'static str {
    match error {
        Unreadable::Damaged(_) => ": put a copy of it in its place, or begin another folder with --edits",
        _ => "",
    }
}

/// What is known about an edit besides its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditInfo {
    /// "e1", "e2", …
    pub edit_id: String,
    /// [`identity`](mobiedit_backends::identity::identity) of the model and layer it was made for.
    pub model: u64,
    /// The prompt's template.
    pub prompt: String,
    /// The subject.
    pub subject: String,
    /// The target.
    pub target: String,
    /// The edited layer.
    pub layer: usize,
    /// "default" or "paper".
    pub preset: String,
    /// Seed of the search.
    pub seed: u64,
    /// Steps of the search.
    pub steps: u32,
    /// Loss evaluations of one candidate over the prompt set.
    pub forward_passes: u64,
    /// Geometric mean of the target tokens' probabilities after the edit.
    pub p_target: f32,
    /// The model with it says the target. Journals of before have only such edits, and do not say so.
    #[serde(default = "yes")]
    pub success: bool,
}

fn yes() -> bool {
    true
}

/// A committed edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What it is.
    pub info: EditInfo,
    /// `u` of the rank-one patch, `(d_ff)`.
    pub u: Vec<f32>,
    /// `Λ` of the rank-one patch, `(d_model)`.
    pub lambda: Vec<f32>,
    /// Not undone.
    pub active: bool,
}

impl Edit {
    /// The patch.
    pub fn patch(&self) -> RankOne<'_> {
        RankOne { layer: self.info.layer, u: &self.u, lambda: &self.lambda }
    }
}

/// One record of the journal: a line of JSON, then an edit's numbers.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record {
    Edit {
        #[serde(flatten)]
        info: EditInfo,
        d_ff: usize,
        d_model: usize,
    },
    Undo {
        edit_id: String,
    },
    /// Stands where the edit was. Since version 2.
    Forgotten {
        edit_id: String,
    },
}

/// The version of a journal that holds an edit's place without the edit.
const WITH_FORGOTTEN: u32 = 2;

impl Record {
    /// The edit that it is about.
    fn edit_id(&self) -> &str {
        match self {
            Self::Edit { info, .. } => &info.edit_id,
            Self::Undo { edit_id } | Self::Forgotten { edit_id } => edit_id,
        }
    }

    /// The record in a payload, and the numbers behind it.
    fn of(payload: &[u8]) -> Option<(Self, &[u8])> {
        let line = payload.iter().position(|b| *b == b'\n')?;
        let record = serde_json::from_slice(payload.get(..line)?).ok()?;
        Some((record, payload.get(line + 1..)?))
    }
}

/// The edits folder as it was read.
#[derive(Debug)]
pub struct Edits {
    folder: PathBuf,
    edits: Vec<Edit>,
    /// Ids of those of which nothing else is left.
    forgotten: Vec<String>,
    /// Bytes behind the journal's whole records: a write that was cut off.
    torn: u64,
}

impl Edits {
    /// Reads the folder; one that does not exist has no edits.
    ///
    /// # Errors
    /// A folder that cannot be read, a journal that is damaged or of a newer version.
    pub fn read(folder: &Path) -> Result<Self, EditsError> {
        let bytes = match fs::read(folder.join(JOURNAL)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(EditsError::Io { path: folder.to_owned(), what: "read", error }),
        };
        Ok(Self::replay(folder, &bytes)?.0)
    }

    /// What a journal of these bytes comes to.
    fn replay<'a>(folder: &Path, bytes: &'a [u8]) -> Result<(Self, Journal<&'a [u8]>), EditsError> {
        let mut edits = Self { folder: folder.to_owned(), edits: Vec::new(), forgotten: Vec::new(), torn: 0 };
        let refuse = |error| match error {
            JournalError::Unreadable(error) => EditsError::Journal { path: folder.join(JOURNAL), error },
            // Of a slice only what is there is read, and nothing is written.
            _ => EditsError::Io { path: folder.to_owned(), what: "read", error: io::ErrorKind::InvalidData.into() },
        };
        let mut journal = Journal::open(bytes).map_err(refuse)?;
        let mut cursor = Cursor::START;
        while let Some(record) = journal.next(&mut cursor).map_err(refuse)? {
            let mut payload = vec![0; record.len() as usize];
            journal.read(&record, 0, &mut payload).map_err(refuse)?;
            let damaged = JournalError::Unreadable(Unreadable::Damaged(record.number()));
            edits.take(&payload).ok_or_else(|| refuse(damaged))?;
        }
        edits.torn = journal.behind();
        Ok((edits, journal))
    }

    /// Applies one record; `None` for one that makes no sense.
    fn take(&mut self, payload: &[u8]) -> Option<()> {
        let (record, numbers) = Record::of(payload)?;
        match record {
            Record::Edit { info, d_ff, d_model } => {
                let floats: Vec<f32> = numbers.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                if numbers.len() != d_ff.checked_add(d_model)?.checked_mul(4)? {
                    return None;
                }
                let (u, lambda) = floats.split_at_checked(d_ff)?;
                self.edits.push(Edit { info, u: u.to_vec(), lambda: lambda.to_vec(), active: true });
            }
            Record::Undo { edit_id } => self.edits.iter_mut().find(|e| e.info.edit_id == edit_id)?.active = false,
            Record::Forgotten { edit_id } => self.forgotten.push(edit_id),
        }
        Some(())
    }

    /// The file that holds the edits.
    pub fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Ids of the active edits of the same subject that were made after `edit_id`, and so on top of it.
    pub fn on_top_of(&self, edit_id: &str) -> Vec<&str> {
        let mut later = self.edits.iter().skip_while(|e| e.info.edit_id != edit_id);
        let Some(edit) = later.next() else { return Vec::new() };
        let above = later.filter(|e| e.active && e.info.subject == edit.info.subject);
        above.map(|e| e.info.edit_id.as_str()).collect()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All edits ever committed and not forgotten, oldest first.
    pub fn list(&self) -> &[Edit] {
        &self.edits
    }

    /// The edits that are not undone, oldest first.
    pub fn active(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().filter(|e| e.active)
    }

    /// Ids of the edits that were forgotten.
    pub fn forgotten(&self) -> &[String] {
        &self.forgotten
    }

    /// The id that the next edit will have: one that no edit ever had.
    pub fn next_id(&self) -> String {
        format!("e{}", self.edits.len() + self.forgotten.len() + 1)
    }

    /// The edit with this id.
    ///
    /// # Errors
    /// [`EditsError::Unknown`], [`EditsError::Forgotten`].
    pub fn get(&self, edit_id: &str) -> Result<&Edit, EditsError> {
        let found = self.edits.iter().find(|e| e.info.edit_id == edit_id);
        found.ok_or_else(|| {
            let forgotten = self.forgotten.iter().any(|id| id == edit_id);
            let error = if forgotten { EditsError::Forgotten } else { EditsError::Unknown };
            error(edit_id.to_owned())
        })
    }

    /// Bytes of a write that was cut off, at the end of the journal: ignored, and overwritten by the next one.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

#[cfg(test)]
mod tests;
