//! The files beside the journal that belong to an edit: its adapter, states of its search, and what killed writes left.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::EditsError;

/// The adapter of an edit.
pub(super) fn adapter(folder: &Path, edit_id: &str) -> PathBuf {
    folder.join(format!("{edit_id}.gguf"))
}

/// What a file of an edits folder is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// The adapter of this edit.
    Adapter(&'a str),
    /// The state of a search for this edit, or what a killed write left of one or of an adapter.
    Unfinished(&'a str),
    /// Nothing of an edit's.
    Other,
}

impl<'a> Kind<'a> {
    pub(super) fn of(name: &'a OsStr) -> Self {
        let Some(name) = name.to_str() else { return Self::Other };
        if let Some((id, rest)) = name.strip_prefix("running-").and_then(|rest| rest.split_once('-')) {
            let state = rest.ends_with(".mec") || rest.ends_with(".part");
            return if state && is_id(id) { Self::Unfinished(id) } else { Self::Other };
        }
        match name.split_once(".gguf") {
            Some((id, "")) if is_id(id) => Self::Adapter(id),
            Some((id, rest)) if is_id(id) && rest.ends_with(".part") => Self::Unfinished(id),
            _ => Self::Other,
        }
    }
}

/// "e1", "e2", …
fn is_id(text: &str) -> bool {
    text.strip_prefix('e').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes the folder's files that are `wanted`.
pub(super) fn remove(folder: &Path, wanted: impl Fn(Kind<'_>) -> bool) -> Result<(), EditsError> {
    let failed = |path: &Path, what| {
        let path = path.to_owned();
        move |error| EditsError::Io { path, what, error }
    };
    for entry in fs::read_dir(folder).map_err(failed(folder, "read"))? {
        let entry = entry.map_err(failed(folder, "read"))?;
        if wanted(Kind::of(&entry.file_name())) {
            fs::remove_file(entry.path()).map_err(failed(&entry.path(), "removed"))?;
        }
    }
    Ok(())
}

/// Creates the folder, for its owner alone.
pub(super) fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// Creating a file is done when its folder is on the disk too.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_an_edits_own_is_taken_for_it() {
        for (name, kind) in [
            ("e1.gguf", Kind::Adapter("e1")),
            ("e12.gguf.7.part", Kind::Unfinished("e12")),
            ("running-e3-0123456789abcdef.mec", Kind::Unfinished("e3")),
            ("running-e3-0123456789abcdef.mec.44.part", Kind::Unfinished("e3")),
            ("journal.mej", Kind::Other),
            ("e1.gguf.bak", Kind::Other),
            ("e.gguf", Kind::Other),
            ("else.gguf", Kind::Other),
            ("running-e3-notes.txt", Kind::Other),
        ] {
            assert_eq!(Kind::of(OsStr::new(name)), kind, "{name}");
        }
    }
}
