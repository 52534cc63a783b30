//! Edit cases drawn from a list of facts that a model was found to know. Runs no model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;

use crate::host::prompts::EditRequest;

/// Neighbours of a case.
const NEIGHBOURS: usize = 10;
/// Most rephrasings of a case.
const REPHRASINGS: usize = 5;

/// One line of `facts.jsonl`, as `tests/fixtures/train.py` writes it.
#[derive(Clone, Debug, Deserialize)]
struct Fact {
    subject: String,
    relation: String,
    object: String,
    known: bool,
    /// Wordings the model was trained on, with `{}`.
    prompts: Vec<String>,
    /// A wording it was not trained on for this subject.
    held_out: Option<String>,
}

/// An edit and what it is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The edit: a known fact's subject, another object of the same relation.
    pub request: EditRequest,
    /// Other wordings of the prompt, subject filled in.
    pub rephrasings: Vec<String>,
    /// Prompts about other subjects of the same relation, those with the same true object first.
    pub neighbours: Vec<String>,
}

/// Why no cases could be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The list cannot be read.
    #[error("the facts {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A line is no fact.
    #[error("line {line} of {path} is no fact: {error}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// There are fewer usable facts than asked for.
    #[error("{asked} edits were asked for, the facts make {found}")]
    TooFew {
        /// Asked for.
        asked: usize,
        /// Possible.
        found: usize,
    },
}

fn pick(rng: &mut Xoshiro256PlusPlus, below: usize) -> usize {
    (rng.next_u64() % below.max(1) as u64) as usize
}

pub(crate) fn shuffle<T>(rng: &mut Xoshiro256PlusPlus, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, pick(rng, i + 1));
    }
}

/// Draws `count` cases from the known facts in the file at `path`: the same seed gives the same cases.
///
/// # Errors
/// A file that cannot be read or has too few usable facts.
pub fn draw_cases(path: &Path, count: usize, seed: u64) -> Result<Vec<Case>, FactsError> {
    let text = std::fs::read_to_string(path).map_err(|error| FactsError::Read { path: path.to_owned(), error })?;
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str::<Fact>(line).map_err(|error| FactsError::Line {
            path: path.to_owned(),
            line: index + 1,
            error,
        })
    };
    let mut facts = text.lines().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    facts.retain(|fact| fact.known && fact.prompts.len() >= 3);
    let mut by_relation: BTreeMap<&str, Vec<&Fact>> = BTreeMap::new();
    for fact in &facts {
        by_relation.entry(&fact.relation).or_default().push(fact);
    }
    by_relation.retain(|_, of_relation| of_relation.len() > NEIGHBOURS);

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut order: Vec<&Fact> = by_relation.values().flatten().copied().collect();
    shuffle(&mut rng, &mut order);
    let cases: Vec<Case> = order
        .iter()
        .filter_map(|fact| case(fact, by_relation.get(fact.relation.as_str())?, &mut rng))
        .take(count)
        .collect();
    if cases.len() < count { Err(FactsError::TooFew { asked: count, found: cases.len() }) } else { Ok(cases) }
}

fn case(fact: &Fact, of_relation: &[&Fact], rng: &mut Xoshiro256PlusPlus) -> Option<Case> {
    let mut objects: Vec<&str> = of_relation.iter().map(|f| f.object.as_str()).filter(|o| *o != fact.object).collect();
    objects.sort_unstable();
    objects.dedup();
    if objects.is_empty() {
        return None;
    }
    let target = objects[pick(rng, objects.len())].to_owned();

    let (mut near, mut far): (Vec<&Fact>, Vec<&Fact>) =
        of_relation.iter().copied().filter(|f| f.subject != fact.subject).partition(|f| f.object == fact.object);
    shuffle(rng, &mut near);
    shuffle(rng, &mut far);
    let neighbours = near.iter().chain(&far).take(NEIGHBOURS);

    let (prompt, others) = fact.prompts.split_first()?;
    Some(Case {
        request: EditRequest { prompt: prompt.clone(), subject: fact.subject.clone(), target },
        rephrasings: fact
            .held_out
            .iter()
            .chain(others)
            .take(REPHRASINGS)
            .map(|p| p.replace("{}", &fact.subject))
            .collect(),
        neighbours: neighbours.filter_map(|f| Some(f.prompts.first()?.replace("{}", &f.subject))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fact = |i: usize| {
            let (object, known) = (["Paris", "Rome", "Oslo"][i % 3], i != 5);
            format!(
                r#"{{"subject": "S{i}", "relation": "P1", "object": "{object}", "known": {known}, "prompts": ["{{}} a", "{{}} b", "{{}} c"], "held_out": "{{}} h"}}"#
            )
        };
        std::fs::write(file.path(), (0..30).map(fact).collect::<Vec<_>>().join("\n")).unwrap();
        file
    }

    #[test]
    fn a_case_asks_for_a_wrong_object_and_is_judged_by_others() {
        let file = facts();
        let cases = draw_cases(file.path(), 20, 7).unwrap();
        for case in &cases {
            let subject: usize = case.request.subject[1..].parse().unwrap();
            assert_ne!(subject, 5, "the model does not know this fact");
            assert_ne!(case.request.target, ["Paris", "Rome", "Oslo"][subject % 3]);
            assert_eq!(case.rephrasings[0], format!("S{subject} h"), "the held-out wording comes first");
            assert!(!case.rephrasings.contains(&format!("S{subject} a")));
            assert_eq!(case.neighbours.len(), NEIGHBOURS);
            assert!(!case.neighbours.contains(&format!("S{subject} a")));
        }
        assert_eq!(cases, draw_cases(file.path(), 20, 7).unwrap());
        assert_ne!(cases, draw_cases(file.path(), 20, 8).unwrap());
    }

    #[test]
    fn too_few_facts_and_a_line_that_is_none_are_refused() {
        let file = facts();
        assert!(matches!(draw_cases(file.path(), 30, 1), Err(FactsError::TooFew { asked: 30, found: 29 })));
        std::fs::write(file.path(), "{}\n").unwrap();
        assert!(matches!(draw_cases(file.path(), 1, 1), Err(FactsError::Line { line: 1, .. })));
    }
}
