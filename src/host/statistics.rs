//! What an edit may know about the model beforehand: sample keys for `C` and a bank of values to start from.
//!
//! Collected by forward passes over statements, the built-in ones or a text's; does not choose the layer and keeps nothing
//! on disk.

use half::f16;
use mobiedit_backends::transformer::ForwardError;
use mobiedit_core::backend::ModelSpec;

/// True statements with the subject in braces, one a line; lines that start with `#` are comments.
const STATEMENTS: &str = include_str!("calibration.txt");
/// Neutral sentences, one a line, to be put before a prompt.
const PREFIXES: &str = include_str!("prefixes.txt");

/// Values that a search may start from.
const BANK: usize = 64;
/// Most sample keys of C: more cost time in every edit and changed no score on the shipped model.
const SAMPLES: usize = 1024;

/// A statement in tokens, or a piece of a text that is run by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// Position of the subject's last token, where a subject is marked.
    pub subject_last: Option<usize>,
}

/// Keys and values read off a clean model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Inputs of the edit layer's `down_proj` at evenly spaced positions, `(samples, d_ff)`: 1,024 at most.
    pub samples: Vec<f16>,
    /// Its outputs at marked subjects, or at evenly spaced positions where none is marked, `(bank, d_model)`: 64 at most.
    pub bank: Vec<f16>,
    /// What the layers above read, `(n, d_model)`: [`Transformer::readers`]. Made from the weights; no file keeps them.
    ///
    /// [`Transformer::readers`]: mobiedit_backends::transformer::Transformer::readers
    pub readers: Vec<f16>,
    /// Tokens seen.
    pub tokens: usize,
}

/// The built-in statements: `(text before the subject, subject, text after it)`.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    built_in_lines().filter_map(split_at_subject)
}

/// The same as lines with the subject in braces.
pub fn built_in_lines() -> impl Iterator<Item = &'static str> {
    lines(STATEMENTS)
}

/// `(text before the subject, subject, text after it)` of a line with one subject in braces.
pub fn split_at_subject(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once('{')?;
    let (subject, after) = rest.split_once('}')?;
    let others = [before, subject, after].iter().any(|part| part.contains(['{', '}']));
    (!others && !subject.trim().is_empty()).then_some((before, subject, after))
}

/// Which positions of a list of statements are kept: evenly spaced, so that all of the list counts.
struct Selection {
    /// Every so many positions give a key.
    key_stride: usize,
    /// Every so many marked subjects give a value; 0 without marks.
    subject_stride: usize,
    /// Every so many positions give a value, where no subject is marked.
    value_stride: usize,
}

impl Selection {
    fn of(statements: &[Statement]) -> Self {
        let tokens: usize = statements.iter().map(|statement| statement.tokens.len()).sum();
        let subjects = statements.iter().filter(|statement| statement.subject_last.is_some()).count();
        let stride = |all: usize, most: usize| all.div_ceil(most).max(1);
        Self {
            key_stride: stride(tokens, SAMPLES),
            subject_stride: if subjects > 0 { stride(subjects, BANK) } else { 0 },
            value_stride: stride(tokens, BANK),
        }
    }

    /// Positions of a statement that give a value; `tokens` and `subjects` came before it.
    fn values(&self, statement: &Statement, tokens: usize, subjects: usize) -> Vec<usize> {
        if self.subject_stride > 0 {
            return statement
                .subject_last
                .filter(|_| subjects.is_multiple_of(self.subject_stride))
                .into_iter()
                .collect();
        }
        // From the middle of the first stretch on: a text's first token is like no other.
        let kept = |at: &usize| (tokens + at) % self.value_stride == self.value_stride / 2;
        (0..statement.tokens.len()).filter(kept).collect()
    }
}

/// The built-in prefixes.
pub fn prefixes() -> impl Iterator<Item = &'static str> {
    lines(PREFIXES)
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

impl Statistics {
    /// As the editor takes them.
    pub fn lend(&self) -> mobiedit_core::Statistics<'_> {
        mobiedit_core::Statistics { samples: &self.samples, bank: &self.bank, readers: &self.readers }
    }

    /// Keeps keys and values of `statements`: `run` writes those of one statement, `(tokens, d_ff)` and `(tokens, d_model)`.
    /// `seen` is told after each statement how many are done.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn collect<E>(
        spec: &ModelSpec,
        statements: &[Statement],
        mut run: impl FnMut(&[u32], &mut [f32], &mut [f32]) -> Result<(), ForwardError<E>>,
        mut seen: impl FnMut(usize),
    ) -> Result<Self, ForwardError<E>> {
        let selection = Selection::of(statements);
        let (mut statistics, mut subjects) = (Self::default(), 0);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (index, statement) in statements.iter().enumerate() {
            let tokens = statement.tokens.len();
            keys.resize(tokens * spec.d_ff, 0.0);
            values.resize(tokens * spec.d_model, 0.0);
            run(&statement.tokens, &mut keys, &mut values)?;
            for (position, key) in keys.chunks_exact(spec.d_ff).enumerate() {
                if (statistics.tokens + position).is_multiple_of(selection.key_stride) {
                    statistics.samples.extend(key.iter().copied().map(f16::from_f32));
                }
            }
            for position in selection.values(statement, statistics.tokens, subjects) {
                let start = position * spec.d_model;
                let value = values.get(start..start + spec.d_model).ok_or(ForwardError::OutOfRange)?;
                statistics.bank.extend(value.iter().copied().map(f16::from_f32));
            }
            subjects += usize::from(statement.subject_last.is_some());
            statistics.tokens += tokens;
            seen(index + 1);
        }
        Ok(statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_line_names_its_subject_once() {
        assert_eq!(statements().count(), built_in_lines().count());
        for (before, subject, after) in statements() {
            assert!(!subject.is_empty() && after.ends_with('.'), "{before}{{{subject}}}{after}");
            assert!(!after.contains('{') && !before.contains('}'), "{before}{{{subject}}}{after}");
        }
        assert!(prefixes().count() >= 16);
    }

    #[test]
    fn a_line_marks_one_subject_or_none() {
        assert_eq!(split_at_subject("In {Macau}, they"), Some(("In ", "Macau", ", they")));
        for none in ["Macau", "{}", "{ } x", "{a} {b}", "}a{", "{a", "{{a}}", "a}"] {
            assert_eq!(split_at_subject(none), None, "{none}");
        }
    }

    /// Statistics of a model whose key at the n-th token of all is n, and whose value is −n.
    fn counted(statements: &[Statement]) -> (Vec<f32>, Vec<f32>) {
        let spec = ModelSpec { d_model: 1, d_ff: 1, layers: 1, kv_dim: 1, vocab: 1, max_tokens: 9999 };
        let mut at = 0.0;
        let run = |tokens: &[u32], keys: &mut [f32], values: &mut [f32]| {
            for (_, (key, value)) in tokens.iter().zip(keys.iter_mut().zip(values)) {
                (*key, *value) = (at, -at);
                at += 1.0;
            }
            Ok::<(), ForwardError<()>>(())
        };
        let statistics = Statistics::collect(&spec, statements, run, |_| ()).unwrap();
        let numbers = |kept: &[f16]| kept.iter().map(|x| x.to_f32()).collect();
        (numbers(&statistics.samples), numbers(&statistics.bank))
    }

    #[test]
    fn what_is_kept_is_spread_evenly_over_all_of_the_text() {
        let statement = |len, subject_last| Statement { tokens: vec![0; len], subject_last };
        let (keys, values) = counted(&[statement(1000, None), statement(1000, None)]);
        assert_eq!(keys, (0..1000).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
        assert_eq!(values, (0..62).map(|i| -(16 + 32 * i) as f32).collect::<Vec<_>>());

        let marked: Vec<Statement> = (0..130).map(|_| statement(3, Some(1))).collect();
        let (keys, values) = counted(&marked);
        assert_eq!(keys.len(), 390);
        assert_eq!(values, (0..44).map(|i| -(9 * i + 1) as f32).collect::<Vec<_>>());

        let (_, values) = counted(&[statement(500, None), statement(4, Some(3)), statement(500, None)]);
        assert_eq!(values, [-503.0], "where a subject is marked, marks alone count");
    }
}
