//! CounterFact, as ROME published it (<https://rome.baulab.info/data/dsets/counterfact.json>). Reads one record.

use serde_json::Value;

use crate::host::eval::dataset::fields::{field, optional_texts, text};
use crate::host::eval::dataset::{Question, Record};
use crate::host::prompts::{EditRequest, Template};

/// The record in a JSON object; whoever calls numbers it.
///
/// The right answer to each neighbourhood prompt is the true object: that is how the neighbourhood was chosen.
/// `attribute_prompts` are not read: no published score uses them.
pub(super) fn record(value: &Value) -> Result<Record, String> {
    let rewrite = field(value, &["requested_rewrite"]).ok_or("the field requested_rewrite is missing")?;
    let object = |name| {
        let object = field(rewrite, &[name]).ok_or_else(|| format!("the field {name} is missing"))?;
        text(object, &["str"]).map_err(|reason| format!("{reason} in {name}"))
    };
    let prompt = text(rewrite, &["prompt"])?;
    Template::parse(&prompt).map_err(|error| error.to_string())?;
    let truth = object("target_true")?;
    let neighbour = |prompt| Question { prompt, answers: vec![truth.clone()] };
    Ok(Record {
        number: 0,
        line: 0,
        request: EditRequest { prompt, subject: text(rewrite, &["subject"])?, target: object("target_new")? },
        rephrases: optional_texts(value, &["paraphrase_prompts"])?,
        locality: optional_texts(value, &["neighborhood_prompts"])?.into_iter().map(neighbour).collect(),
        portability: Vec::new(),
        generation: optional_texts(value, &["generation_prompts"])?,
        truth: vec![truth],
        compares_objects: true,
    })
}
