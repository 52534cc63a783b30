//! Joins the shards of an evaluation into what the unsharded run would have written. Evaluates nothing.

use std::path::{Path, PathBuf};

use crate::host::eval::folder::{Contents, FolderError, Settings};
use crate::host::eval::selection::Shard;

/// Why shards cannot be joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No folder was given.
    #[error("no folder to merge was given")]
    Nothing,
    /// A folder of a run that has no shards.
    #[error("{path} holds no shard, but a whole run", path = .0.display())]
    NoShard(PathBuf),
    /// A shard was given twice.
    #[error("shard {shard} is given twice: {first} and {second}", first = first.display(), second = second.display())]
    Twice {
        /// The shard.
        shard: Shard,
        /// Where it was found.
        first: PathBuf,
        /// Where it was found again.
        second: PathBuf,
    },
    /// Shards were not given.
    #[error("{count} of {of} shards missing: shard {first} first of all")]
    Missing {
        /// How many are missing.
        count: usize,
        /// The first of them.
        first: usize,
        /// How many there should be.
        of: usize,
    },
    /// A shard has not come to its end.
    #[error("shard {shard} in {path} is not finished: it has {done} of {all} records", path = path.display())]
    Unfinished {
        /// The shard.
        shard: Shard,
        /// Its folder.
        path: PathBuf,
        /// Records it has.
        done: usize,
        /// Records it should have.
        all: usize,
    },
    /// Shards of other selections: the model said something else, or a folder was changed.
    #[error("{first} and {second} have selected different records", first = first.display(), second = second.display())]
    Selection {
        /// A folder.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
}

/// Reads the shards in `folders` and puts their lines in the order of the unsharded run, whose contents are returned as they
/// would be in `out`.
///
/// # Errors
/// Shards of different settings, missing, doubled or unfinished ones.
pub fn merge(folders: &[PathBuf], out: &Path) -> Result<Contents, MergeError> {
    let mut shards: Vec<(Shard, Contents)> = Vec::new();
    for path in folders {
        let contents = Contents::read(path)?;
        let shard = contents.settings.shard.ok_or_else(|| MergeError::NoShard(path.clone()))?;
        shards.push((shard, contents));
    }
    shards.sort_by_key(|(shard, _)| (shard.of(), shard.number()));
    let Some((shard, first)) = shards.first() else { return Err(MergeError::Nothing) };
    check_together(&shards, first)?;
    check_complete(&shards, shard.of())?;

    let mut merged = Contents {
        path: out.to_owned(),
        settings: Settings { shard: None, ..first.settings.clone() },
        selection: first.selection.clone(),
        lines: Vec::new(),
        text: Vec::new(),
        // The first record is the first shard's first.
        drift: first.drift.clone(),
    };
    for index in 0..merged.selection.records.len() {
        let line = shards.get(index % shard.of()).and_then(|(_, contents)| {
            let at = index / shard.of();
            Some((contents.lines.get(at)?.clone(), contents.text.get(at)?.clone()))
        });
        merged.lines.extend(line.iter().map(|(line, _)| line.clone()));
        merged.text.extend(line.map(|(_, text)| text));
    }
    Ok(merged)
}

/// All of one run.
fn check_together(shards: &[(Shard, Contents)], first: &Contents) -> Result<(), MergeError> {
    for (shard, contents) in shards {
        first.settings.check_same_run(&contents.path, &contents.settings)?;
        if contents.settings.shard.map(Shard::of) != first.settings.shard.map(Shard::of) {
            let (theirs, ours) = (shard.to_string(), first.settings.shard.map_or_else(String::new, String::from));
            let (path, name) = (contents.path.clone(), "shard".to_owned());
            return Err(FolderError::Other { path, name, theirs, ours }.into());
        }
        if contents.selection != first.selection {
            return Err(MergeError::Selection { first: first.path.clone(), second: contents.path.clone() });
        }
    }
    Ok(())
}

/// Each shard once, and to its end.
fn check_complete(shards: &[(Shard, Contents)], of: usize) -> Result<(), MergeError> {
    for ((shard, one), (next, other)) in shards.iter().zip(shards.iter().skip(1)) {
        if shard == next {
            return Err(MergeError::Twice { shard: *shard, first: one.path.clone(), second: other.path.clone() });
        }
    }
    let given: Vec<usize> = shards.iter().map(|(shard, _)| shard.number()).collect();
    let mut missing = (1..=of).filter(|number| !given.contains(number));
    if let Some(first) = missing.next() {
        return Err(MergeError::Missing { count: of - given.len(), first, of });
    }
    for (shard, contents) in shards {
        let wanted = contents.selection.of(Some(*shard));
        let path = contents.path.clone();
        if contents.lines.len() < wanted.len() {
            let (done, all) = (contents.lines.len(), wanted.len());
            return Err(MergeError::Unfinished { shard: *shard, path, done, all });
        }
        if !contents.lines.iter().map(|line| line.record).eq(wanted) {
            return Err(FolderError::Foreign(path).into());
        }
    }
    Ok(())
}
