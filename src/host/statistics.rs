//! What an edit may know about the model beforehand: sample keys for `C` and a bank of values to start from.
//!
//! Collected by forward passes over built-in statements; does not choose the layer and keeps nothing on disk.

use half::f16;
use mobiedit_backends::device::Device;
use mobiedit_backends::transformer::{ForwardError, Transformer};

/// True statements with the subject in braces, one a line; lines that start with `#` are comments.
const STATEMENTS: &str = include_str!("calibration.txt");
/// Neutral sentences, one a line, to be put before a prompt.
const PREFIXES: &str = include_str!("prefixes.txt");

/// A statement in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The whole statement.
    pub tokens: Vec<u32>,
    /// Position of the subject's last token.
    pub subject_last: usize,
}

/// Keys and values read off a clean model.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Inputs of the edit layer's `down_proj` at evenly spaced positions, `(samples, d_ff)`.
    pub samples: Vec<f16>,
    /// Its outputs at the statements' subjects, `(statements in the bank, d_model)`.
    pub bank: Vec<f16>,
    /// Tokens seen.
    pub tokens: usize,
}

/// The built-in statements: `(text before the subject, subject, text after it)`.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    lines(STATEMENTS).filter_map(|line| {
        let (before, rest) = line.split_once('{')?;
        let (subject, after) = rest.split_once('}')?;
        Some((before, subject, after))
    })
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
        mobiedit_core::Statistics { samples: &self.samples, bank: &self.bank }
    }

    /// Runs `statements` through the layers up to `layer`; every `len / bank`-th one also gives a value for the bank,
    /// and positions at even distances give at most `samples` keys. `seen` is told after each statement how many are done.
    pub fn collect<D: Device>(
        transformer: &mut Transformer<'_, D>,
        layer: usize,
        statements: &[Statement],
        bank: usize,
        samples: usize,
        mut seen: impl FnMut(usize),
    ) -> Result<Self, ForwardError<D::Error>> {
        let spec = transformer.config().spec;
        let every = statements.len().div_ceil(bank.max(1)).max(1);
        let all_tokens: usize = statements.iter().map(|statement| statement.tokens.len()).sum();
        let stride = all_tokens.div_ceil(samples.max(1)).max(1);
        let mut statistics = Self::default();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (index, statement) in statements.iter().enumerate() {
            let tokens = statement.tokens.len();
            keys.resize(tokens * spec.d_ff, 0.0);
            values.resize(tokens * spec.d_model, 0.0);
            transformer.capture(&statement.tokens, layer, &mut keys, &mut values)?;
            for (position, key) in keys.chunks_exact(spec.d_ff).enumerate() {
                if (statistics.tokens + position).is_multiple_of(stride) {
                    statistics.samples.extend(key.iter().copied().map(f16::from_f32));
                }
            }
            statistics.tokens += tokens;
            if bank > 0 && index % every == 0 {
                let start = statement.subject_last * spec.d_model;
                let value = values.get(start..start + spec.d_model).ok_or(ForwardError::OutOfRange)?;
                statistics.bank.extend(value.iter().copied().map(f16::from_f32));
            }
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
        assert_eq!(statements().count(), lines(STATEMENTS).count());
        for (before, subject, after) in statements() {
            assert!(!subject.is_empty() && after.ends_with('.'), "{before}{{{subject}}}{after}");
            assert!(!after.contains('{') && !before.contains('}'), "{before}{{{subject}}}{after}");
        }
        assert!(prefixes().count() >= 16);
    }
}
