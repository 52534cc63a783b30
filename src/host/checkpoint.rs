//! A running edit's checkpoint on disk: the editor's bytes, under a name that only the same edit has.
//!
//! The editor checks its bytes itself; this finds and keeps them.

use std::fs;
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mobiedit_backends::identity::Fnv;

use crate::host::atomic_file;

/// Where a running edit is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    path: PathBuf,
}

impl CheckpointFile {
    /// The place in `folder` of the edit that all of `inputs` describe: model, words, settings, earlier edits. `edit_id` is
    /// what it will be called: when an edit of this name is committed or forgotten, its states go too.
    pub fn new(folder: &Path, edit_id: &str, inputs: &[&[u8]]) -> Self {
        let mut hash = Fnv::default();
        for input in inputs {
            hash.write(&(input.len() as u64).to_le_bytes());
            hash.write(input);
        }
        Self { path: folder.join(format!("running-{edit_id}-{:016x}.mec", hash.finish())) }
    }

    /// The checkpoint's bytes, if the edit was interrupted.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the editor's bytes; a later call replaces them.
    ///
    /// # Errors
    /// A file that cannot be written; the one before is then kept.
    pub fn store(&self, bytes: &[u8]) -> io::Result<()> {
        atomic_file::write_private(&self.path, |file| file.write_all(bytes))
    }

    /// Forgets the checkpoint, if there is one.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_edit_does_not_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |inputs: &[&[u8]]| CheckpointFile::new(folder.path(), "e1", inputs);
        file(&[b"ab", b"c"]).store(b"half way").unwrap();
        assert_eq!(file(&[b"ab", b"c"]).load().unwrap().as_deref(), Some(&b"half way"[..]));
        assert_eq!(file(&[b"a", b"bc"]).load().unwrap(), None);
        file(&[b"ab", b"c"]).remove().unwrap();
        file(&[b"ab", b"c"]).remove().unwrap();
        assert_eq!(file(&[b"ab", b"c"]).load().unwrap(), None);
    }
}
