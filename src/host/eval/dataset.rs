//! Records of a dataset of edits, whatever its file format. Runs no model.

use crate::host::prompts::EditRequest;

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
