//! Fields of a JSON object, as datasets write them: a text, a list of texts, lists of lists. Knows no format.
//!
//! A field that is missing and one that is `null` are the same. What is wrong is told in words that stand behind a line
//! number.

use serde_json::Value;

use crate::host::eval::dataset::Question;

/// The first of the fields `names` that the object has.
pub(super) fn field<'v>(object: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().filter_map(|name| object.get(name)).find(|value| !value.is_null())
}

/// The text in a field that must be there.
pub(super) fn text(object: &Value, names: &[&str]) -> Result<String, String> {
    let all = names.join(" or ");
    let value = field(object, names).ok_or_else(|| format!("the field {all} is missing"))?;
    let text = texts(value, &all)?.into_iter().next();
    text.ok_or_else(|| format!("the field {all} is empty"))
}

/// The texts in a field that may be missing.
pub(super) fn optional_texts(object: &Value, names: &[&str]) -> Result<Vec<String>, String> {
    field(object, names).map_or_else(|| Ok(Vec::new()), |value| texts(value, &names.join(" or ")))
}

/// All texts in a text, a list of texts, or lists of lists; trimmed, and without the empty ones. Numbers count as texts.
pub(super) fn texts(value: &Value, name: &str) -> Result<Vec<String>, String> {
    let one = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            let nested = items.iter().filter(|item| !item.is_null()).map(|item| texts(item, name));
            return Ok(nested.collect::<Result<Vec<_>, _>>()?.concat());
        }
        _ => return Err(format!("the field {name} is neither a text nor a list of texts")),
    };
    Ok(if one.is_empty() { Vec::new() } else { vec![one] })
}

/// Questions by groups: `{name: group}`, each group a list of `{prompt, ground_truth}`, or one such object, whose prompt
/// may be a list with as many answers.
pub(super) fn questions(object: &Value, name: &str) -> Result<Vec<Question>, String> {
    let Some(groups) = field(object, &[name]) else { return Ok(Vec::new()) };
    let groups = groups.as_object().ok_or_else(|| format!("the field {name} is no object"))?;
    let mut all = Vec::new();
    for (group, value) in groups {
        let name = format!("{name}.{group}");
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    all.extend(asked(item, &name)?);
                }
            }
            one => all.extend(asked(one, &name)?),
        }
    }
    Ok(all)
}

/// The questions of one `{prompt, ground_truth}`.
fn asked(value: &Value, name: &str) -> Result<Vec<Question>, String> {
    let prompt = field(value, &["prompt"]).ok_or_else(|| format!("a prompt is missing in {name}"))?;
    let prompts = texts(prompt, &format!("{name}.prompt"))?;
    let name = format!("{name}.ground_truth");
    let answers = field(value, &["ground_truth"]);
    if let [prompt] = prompts.as_slice() {
        let answers = answers.map_or_else(|| Ok(Vec::new()), |answers| texts(answers, &name))?;
        return Ok(vec![Question { prompt: prompt.clone(), answers }]);
    }
    let answers = answers.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !answers.is_empty() && answers.len() != prompts.len() {
        return Err(format!("{name} has {} answers for {} prompts", answers.len(), prompts.len()));
    }
    let of_prompt = |(index, prompt)| {
        let answers = answers.get(index).map_or_else(|| Ok(Vec::new()), |answer| texts(answer, &name))?;
        Ok(Question { prompt, answers })
    };
    prompts.into_iter().enumerate().map(of_prompt).collect()
}
