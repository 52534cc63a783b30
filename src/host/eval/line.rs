//! One record's results, as they are appended to `records.jsonl`. Computes none of them.
//!
//! All figures but `seconds` and `peak_rss_bytes` are a function of settings and seed.

use serde::{Deserialize, Serialize};

/// A prompt that should be answered in a certain way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The prompt.
    pub prompt: String,
    /// Teacher forcing: the share of the wanted answer's tokens that are the argmax, those before it given (EasyEdit).
    pub tokens: f64,
    /// Free greedy generation says the wanted answer, and ends a word there.
    pub exact: bool,
    /// What free greedy generation says.
    pub said: String,
}

/// A prompt whose answer should stay what the clean model says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The prompt.
    pub prompt: String,
    /// Teacher forcing over the reference answer: the share of positions whose argmax is the clean model's (EasyEdit).
    pub tokens: f64,
    /// Free greedy generation gives the clean model's tokens.
    pub exact: bool,
    /// What the clean model says.
    pub before: String,
    /// What the edited model says.
    pub after: String,
    /// It names the subject and asks for the edit's own truth, so a good edit changes it: KnowEdit's ZsRE has such prompts.
    pub asks_the_edit: bool,
}

/// How likely two objects are at a prompt: mean −log P per token, in nats (ROME).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihoods {
    /// Of the edit's target.
    pub new: f64,
    /// Of the true object.
    pub truth: f64,
}

/// CounterFact's comparisons, on the edited model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CounterFact {
    /// At the edit's prompt.
    pub rewrite: Likelihoods,
    /// At the rephrasings.
    pub paraphrase: Vec<Likelihoods>,
    /// At the neighbourhood prompts.
    pub neighbourhood: Vec<Likelihoods>,
}

/// One unit of a search, for the loss curves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimiser steps so far.
    pub step: u32,
    /// Forward passes so far.
    pub forward_passes: u64,
    /// The loss of equation (3).
    pub loss: f32,
    /// Its −log P part, in nats.
    pub nll: f32,
}

/// What the search cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The editor's own success rule was met.
    pub found: bool,
    /// Optimiser steps.
    pub steps: u32,
    /// Loss evaluations of one candidate over all prompts.
    pub forward_passes: u64,
    /// Token rows computed.
    pub rows: u64,
    /// Seconds of the search alone.
    pub seconds: f64,
    /// Most physical memory of the process so far, where the system says.
    pub peak_rss_bytes: Option<u64>,
    /// P(target) of the written model over the search's own prompts.
    pub p_target: f32,
    /// At most 200 points, evenly thinned.
    pub curve: Vec<Point>,
}

/// Everything about one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Place of the record in the dataset's file, from 0.
    pub record: usize,
    /// Line of the file, from 1.
    pub line: usize,
    /// The edit's subject.
    pub subject: String,
    /// The edit's target.
    pub target: String,
    /// Free greedy generation of the clean model says the truth.
    pub known: bool,
    /// What the clean model says to the edit's prompt.
    pub before: String,
    /// Why the record could not be edited (a target that is too long, say); then the measures are empty.
    pub refused: Option<String>,
    /// The edit's prompt.
    pub rewrite: Option<Answer>,
    /// Other wordings.
    pub rephrase: Vec<Answer>,
    /// What should follow.
    pub portability: Vec<Answer>,
    /// What should stay.
    pub locality: Vec<Kept>,
    /// CounterFact only.
    pub counterfact: Option<CounterFact>,
    /// n-gram entropy of the clean model's texts, in bits × 100, where asked for.
    pub fluency_before: Option<f64>,
    /// … of the edited model's.
    pub fluency: Option<f64>,
    /// Bytes of the patch: (d_ff + d_model) floats.
    pub patch_bytes: u64,
    /// `None` where the patch came from a file.
    pub cost: Option<Cost>,
}
