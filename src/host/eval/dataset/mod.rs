//! Records of a dataset of edits, whatever its file format. Runs no model.
//!
//! A file is an array of objects or one object after the other (JSON lines). `slices` finds the objects, so that one
//! that is broken costs no other; `counterfact` and `easyedit` read what is in them.

mod counterfact;
mod easyedit;
mod fields;
mod slices;

use std::fmt;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use mobiedit_backends::identity::Fnv;
use serde::{Deserialize, Serialize};

use crate::host::prompts::EditRequest;
use slices::Slice;

/// A prompt and what may be said to it: any of the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The whole prompt.
    pub prompt: String,
    /// Right answers; none where the dataset names none.
    pub answers: Vec<String>,
}

/// One edit and what it is measured by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in the file, counted from 0, malformed records included: names the record in every result.
    pub number: usize,
    /// Line of the file that it begins at, counted from 1.
    pub line: usize,
    /// The edit. Its prompt has one `{}` for the subject.
    pub request: EditRequest,
    /// What is true: CounterFact's `target_true`, ZsRE's `ground_truth`.
    pub truth: Vec<String>,
    /// Other wordings of the prompt, subject filled in; they should get the target too.
    pub rephrases: Vec<String>,
    /// Prompts whose answers should stay: CounterFact's neighbourhood, ZsRE's Relation_Specificity.
    pub locality: Vec<Question>,
    /// Prompts whose answers should follow from the edit.
    pub portability: Vec<Question>,
    /// Prompts that are continued at length for fluency; none where the dataset has none.
    pub generation: Vec<String>,
    /// CounterFact only: new and true object are compared at the prompt, the rephrasings and the neighbourhood.
    pub compares_objects: bool,
}

/// How a file writes its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ROME's CounterFact.
    CounterFact,
    /// ZsRE as KnowEdit has it.
    Zsre,
    /// Any layout of EasyEdit: KnowEdit's sets, requests as its editor takes them, ZsRE as MEND has it.
    EasyEdit,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CounterFact => "counterfact",
            Self::Zsre => "zsre",
            Self::EasyEdit => "easyedit",
        })
    }
}

/// A record that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Line of the file that it begins at, counted from 1.
    pub line: usize,
    /// Its place in the file, counted as [`Record::number`].
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The records, in the file's order.
    pub records: Vec<Record>,
    /// What was skipped, in the file's order.
    pub malformed: Vec<Malformed>,
    /// FNV-1a of the file's bytes: tells files apart that were not made to collide.
    pub digest: u64,
}

/// Why a file gives no records.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("the dataset {path} cannot be read ({error}): give a file that exists with --dataset", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// No record was found, only malformed ones.
    #[error(
        "the dataset {path} has no usable record ({malformed} malformed, the first at line {line}: {reason}): check the \
         file, or whether it has another --format than {format}",
        path = path.display()
    )]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// What it was read as.
        format: Format,
        /// Malformed records.
        malformed: usize,
        /// Where the first one begins.
        line: usize,
        /// What is wrong with that one.
        reason: String,
    },
    /// There is nothing in the file.
    #[error("the dataset {path} is empty: give a file with records, as a JSON array or JSON lines", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads all records of a file; those that are malformed are told, not returned.
///
/// # Errors
/// A file that cannot be read or has no usable record.
pub fn read(path: &Path, format: Format) -> Result<Dataset, DatasetError> {
    let bytes = std::fs::read(path).map_err(|error| DatasetError::Read { path: path.to_owned(), error })?;
    let dataset = parse(&bytes, format);
    if !dataset.records.is_empty() {
        return Ok(dataset);
    }
    let malformed = dataset.malformed.len();
    Err(match dataset.malformed.into_iter().next() {
        None => DatasetError::Empty { path: path.to_owned() },
        Some(Malformed { line, reason, .. }) => {
            DatasetError::NoRecord { path: path.to_owned(), format, malformed, line, reason }
        }
    })
}

/// The same of a file's bytes, which may have no record at all.
pub fn parse(bytes: &[u8], format: Format) -> Dataset {
    let mut hash = Fnv::default();
    hash.write(bytes);
    let mut dataset = Dataset { records: Vec::new(), malformed: Vec::new(), digest: hash.finish() };
    for (number, slice) in slices::split(bytes).into_iter().enumerate() {
        match record(&slice, number, format) {
            Ok(record) => dataset.records.push(record),
            Err(reason) => dataset.malformed.push(Malformed { line: slice.line, number, reason }),
        }
    }
    dataset
}

/// The record in one object, or what is wrong with it.
fn record(slice: &Slice<'_>, number: usize, format: Format) -> Result<Record, String> {
    let value = slice.json()?;
    let read = match format {
        Format::CounterFact => counterfact::record(&value)?,
        Format::Zsre => easyedit::record(&value, &easyedit::KNOWEDIT)?,
        Format::EasyEdit => easyedit::record(&value, &easyedit::ANY)?,
    };
    Ok(Record { number, line: slice.line, ..read })
}

#[cfg(test)]
mod tests;
