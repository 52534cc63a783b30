//! From a text to the pieces that calibration runs: a line at a time, cut where it is longer than a window.
//!
//! Holds the text and its tokens, both bounded. Runs no model.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mobiedit_core::problem::Role;

use crate::host::prompts::{PromptError, tokenise};
use crate::host::statistics::{Statement, split_at_subject};
use crate::host::tokenizer::Tokenizer;

/// Largest file that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Why a file cannot be used as text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file cannot be read.
    #[error("the text {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is larger than what is read.
    #[error("the text {path} is larger than {mib} MiB: give a part of it", path = .0.display(), mib = MOST_BYTES >> 20)]
    TooLarge(PathBuf),
    /// The file is not UTF-8, or has zero bytes in it.
    #[error("{path} is not text: line {line} is not UTF-8, or has a zero byte", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not, counted from 1.
        line: usize,
    },
}

/// Reads a text file.
///
/// # Errors
/// [`TextError`].
pub fn read(path: &Path) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match file {
        Err(error) => return Err(TextError::Read { path: path.to_owned(), error }),
        Ok(len) if len as u64 > MOST_BYTES => return Err(TextError::TooLarge(path.to_owned())),
        Ok(_) => {}
    }
    let not_text = |before: &[u8]| TextError::NotText {
        path: path.to_owned(),
        line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
    };
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        return Err(not_text(&bytes[..zero]));
    }
    String::from_utf8(bytes).map_err(|error| not_text(&error.as_bytes()[..error.utf8_error().valid_up_to()]))
}

/// The lines of a text in tokens, pieces of at most `window` each and `most` tokens in all; empty lines are left out. A
/// line may mark one subject in braces, which are not part of the text.
///
/// # Errors
/// Those of the tokenizer.
pub fn statements<'t>(
    tokenizer: &Tokenizer,
    lines: impl Iterator<Item = &'t str>,
    window: usize,
    most: usize,
) -> Result<Vec<Statement>, PromptError> {
    let (mut all, mut left) = (Vec::new(), most);
    for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
        let (tokens, subject_last) = match split_at_subject(line) {
            Some((before, subject, after)) => {
                let prompt = tokenise(tokenizer, before, subject, after, Role::Essence)?;
                (prompt.tokens, Some(prompt.subject_last))
            }
            None => (tokenizer.encode(line)?.ids, None),
        };
        for (index, piece) in tokens[..tokens.len().min(left)].chunks(window).enumerate() {
            let subject_last =
                subject_last.and_then(|at| at.checked_sub(index * window)).filter(|at| *at < piece.len());
            all.push(Statement { tokens: piece.to_vec(), subject_last });
            left -= piece.len();
        }
        if left == 0 {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_line() {
        assert_eq!(read(file("Grüße\n".as_bytes()).path()).unwrap(), "Grüße\n");
        for (bytes, at) in [(&b"one\ntwo\xff\n"[..], 2), (b"\0one", 1), (b"one\n\ntw\xc3", 3)] {
            let refused = read(file(bytes).path());
            assert!(matches!(refused, Err(TextError::NotText { line, .. }) if line == at), "{refused:?}");
        }
        assert!(matches!(read(Path::new(".")), Err(TextError::Read { .. })));
    }
}
