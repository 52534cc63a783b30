//! Patches that another editor made, read from a file of JSON lines. Applies none of them.

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

use mobiedit_backends::identity::Fnv;
use mobiedit_core::RankOne;
use mobiedit_core::backend::ModelSpec;
use serde::Deserialize;

/// A line of the file. Its other fields, such as steps and seconds, are the other editor's notes and are not read.
#[derive(Debug, Deserialize)]
struct Row {
    record: usize,
    #[serde(flatten)]
    patch: Given,
}

/// A patch that was given.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Given {
    /// The patched layer.
    pub layer: usize,
    /// `u`, `(d_ff)`.
    pub u: Vec<f32>,
    /// `Λ`, `(d_model)`.
    pub lambda: Vec<f32>,
}

impl Given {
    /// The patch.
    pub fn patch(&self) -> RankOne<'_> {
        RankOne { layer: self.layer, u: &self.u, lambda: &self.lambda }
    }
}

/// Why given patches cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GivenError {
    /// The file cannot be read.
    #[error("the patches {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A line is no patch.
    #[error("line {line} of {path} is no patch: {error}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A patch does not fit the model.
    #[error("line {line} of {path} does not fit this model: {what}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What does not fit.
        what: String,
    },
    /// A record has two patches.
    #[error("line {line} of {path} is a second patch for record {record}", path = path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The record.
        record: usize,
    },
}

/// A file of patches, by the number of their record.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenPatches {
    /// The patches.
    pub of_record: BTreeMap<usize, Given>,
    /// Hash of the file.
    pub digest: u64,
}

impl GivenPatches {
    /// Reads lines of `{"record": number, "layer": l, "u": [d_ff floats], "lambda": [d_model floats]}`.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no patch of a model of these sizes, two patches for one record.
    pub fn read(path: &Path, spec: &ModelSpec) -> Result<Self, GivenError> {
        let bytes = fs::read(path).map_err(|error| GivenError::Read { path: path.to_owned(), error })?;
        let mut of_record = BTreeMap::new();
        for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let (path, line) = (path.to_owned(), index + 1);
            let row: Row = match serde_json::from_slice(text) {
                Ok(row) => row,
                Err(error) => return Err(GivenError::Line { path, line, error }),
            };
            if let Some(what) = misfit(&row.patch, spec) {
                return Err(GivenError::Shape { path, line, what });
            }
            if of_record.insert(row.record, row.patch).is_some() {
                return Err(GivenError::Twice { path, line, record: row.record });
            }
        }
        let mut hash = Fnv::default();
        hash.write(&bytes);
        Ok(Self { of_record, digest: hash.finish() })
    }
}

/// What keeps a patch from being applied.
fn misfit(patch: &Given, spec: &ModelSpec) -> Option<String> {
    if patch.layer >= spec.layers {
        return Some(format!("there is no layer {} among its {}", patch.layer, spec.layers));
    }
    for (name, numbers, len) in [("u", &patch.u, spec.d_ff), ("lambda", &patch.lambda, spec.d_model)] {
        if numbers.len() != len {
            return Some(format!("{name} has {} numbers instead of {len}", numbers.len()));
        }
        if numbers.iter().any(|x| !x.is_finite()) {
            return Some(format!("{name} has a number that is too large"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ModelSpec = ModelSpec { d_model: 2, d_ff: 3, layers: 4, kv_dim: 2, vocab: 9, max_tokens: 8 };

    fn read(text: &str) -> Result<GivenPatches, GivenError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        GivenPatches::read(file.path(), &SPEC)
    }

    #[test]
    fn patches_are_found_by_record() {
        let line = r#"{"record": 7, "layer": 3, "u": [1, 2.5, -3e-8], "lambda": [0, 1], "steps": 25, "seconds": 0.5}"#;
        let given = read(&format!("\n{line}\n")).unwrap();
        let patch = Given { layer: 3, u: vec![1.0, 2.5, -3e-8], lambda: vec![0.0, 1.0] };
        assert_eq!(given.of_record, BTreeMap::from([(7, patch)]));
    }

    #[test]
    fn a_line_that_does_not_fit_is_named() {
        let good = r#"{"record": 7, "layer": 3, "u": [1, 2, 3], "lambda": [0, 1]}"#;
        for (line, says) in [
            ("nonsense", "line 2 of"),
            (r#"{"record": 8, "layer": 4, "u": [1, 2, 3], "lambda": [0, 1]}"#, "no layer 4 among its 4"),
            (r#"{"record": 8, "layer": 3, "u": [1, 2], "lambda": [0, 1]}"#, "u has 2 numbers instead of 3"),
            (r#"{"record": 8, "layer": 3, "u": [1, 2, 3], "lambda": []}"#, "lambda has 0 numbers instead of 2"),
            (r#"{"record": 8, "layer": 3, "u": [1, 2, 1e39], "lambda": [0, 1]}"#, "u has a number that is too large"),
            (good, "a second patch for record 7"),
        ] {
            let error = read(&format!("{good}\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("line 2 of"), "{line}: {error}");
        }
    }
}
