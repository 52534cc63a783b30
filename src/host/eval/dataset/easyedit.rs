//! The layouts of EasyEdit (<https://github.com/zjunlp/EasyEdit>). Reads one record.
//!
//! They differ in the names of their fields: KnowEdit's ZsRE, Wiki sets and WikiBio (`easyeditor/dataset/knowedit.py`), requests
//! as the editor takes them (`locality` and `portability` hold a prompt and its answer, or lists of both), and ZsRE as
//! MEND has it (`easyeditor/dataset/zsre.py`: `src`, `alt`, `answers`, `loc` …, with a question about portability in
//! some files).

use serde_json::Value;

use crate::host::eval::dataset::fields::{field, optional_texts, questions, text};
use crate::host::eval::dataset::{Question, Record};
use crate::host::prompts::{EditRequest, Template};

/// What the fields of a layout may be called; the first that is there is taken.
pub(super) struct Names {
    subject: &'static [&'static str],
    prompt: &'static [&'static str],
    target: &'static [&'static str],
    truth: &'static [&'static str],
    rephrase: &'static [&'static str],
    /// A prompt to stay as it is, beside those in `locality`, and its answer.
    neighbour: Option<(&'static [&'static str], &'static [&'static str])>,
}

/// ZsRE as KnowEdit has it.
pub(super) const KNOWEDIT: Names = Names {
    subject: &["subject"],
    prompt: &["prompt"],
    target: &["target_new"],
    truth: &["ground_truth"],
    rephrase: &["rephrase_prompt", "rephrase"],
    neighbour: None,
};

/// All layouts.
pub(super) const ANY: Names = Names {
    subject: &["subject", "concept"],
    prompt: &["prompt", "src", "text"],
    target: &["target_new", "alt", "labels"],
    truth: &["ground_truth", "answers"],
    rephrase: &["rephrase_prompt", "rephrase"],
    neighbour: Some((&["loc", "locality_prompt"], &["loc_ans", "locality_ground_truth"])),
};

/// The record in a JSON object; whoever calls numbers it.
pub(super) fn record(value: &Value, names: &Names) -> Result<Record, String> {
    let (subject, prompt) = (text(value, names.subject)?, text(value, names.prompt)?);
    let mut locality = questions(value, "locality")?;
    if let Some((prompt, answer)) = names.neighbour {
        let answers = optional_texts(value, answer)?;
        let question = |prompt| Question { prompt, answers: answers.clone() };
        locality.extend(optional_texts(value, prompt)?.into_iter().map(question));
    }
    Ok(Record {
        number: 0,
        line: 0,
        request: EditRequest { prompt: template(&prompt, &subject)?, subject, target: text(value, names.target)? },
        truth: optional_texts(value, names.truth)?,
        rephrases: optional_texts(value, names.rephrase)?,
        locality,
        portability: portability(value)?,
        generation: Vec::new(),
        compares_objects: false,
    })
}

/// Questions that should be answered as follows from the edit; MEND's files ask one as `New Question`.
fn portability(value: &Value) -> Result<Vec<Question>, String> {
    match field(value, &["portability"]).filter(|one| one.get("New Question").is_some()) {
        Some(one) => {
            let answers = optional_texts(one, &["New Answer"])?;
            Ok(vec![Question { prompt: text(one, &["New Question"])?, answers }])
        }
        None => questions(value, "portability"),
    }
}

/// The prompt with `{}` for the subject: at the last place where the subject stands as whole words, or else at its last
/// place. What comes before it then knows as much of the prompt as can be, and "Ada" is not found in "Adam".
///
/// Upper and lower case are told apart, as in EasyEdit.
fn template(prompt: &str, subject: &str) -> Result<String, String> {
    let ends_in_word = |text: &str| text.chars().next_back().is_some_and(char::is_alphanumeric);
    let begins_in_word = |text: &str| text.chars().next().is_some_and(char::is_alphanumeric);
    let places = || prompt.rmatch_indices(subject).map(|(at, _)| (&prompt[..at], &prompt[at + subject.len()..]));
    let whole = places().find(|(before, after)| !ends_in_word(before) && !begins_in_word(after));
    let (before, after) = whole.or_else(|| places().next()).ok_or("the subject does not occur in the prompt")?;
    let template = format!("{before}{{}}{after}");
    Template::parse(&template).map_err(|_| "the prompt has {} in it, which stands for the subject".to_owned())?;
    Ok(template)
}
