//! The output folder of an evaluation: what its results depend on, and results appended line by line.
//!
//! A line counts once it is on the disk, whole; results of other settings are never mixed in. Evaluates nothing.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::atomic_file;
use crate::host::edits::sync_folder;
use crate::host::eval::dataset::Format;
use crate::host::eval::line::Line;
use crate::host::eval::report::Drift;
use crate::host::eval::selection::{Selection, Shard};
use crate::host::locked::Locked;

/// Version of [`Line`] and of what it means.
pub const LINE_FORMAT: u32 = 2;
/// Results, a line each.
pub const RECORDS: &str = "records.jsonl";
const SETTINGS: &str = "settings.json";
const SELECTION: &str = "selection.json";
const DRIFT: &str = "drift.json";

/// Why an output folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file operation failed.
    #[error("{path} cannot be {what}: {error}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// "read", "written", "created".
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// Another process evaluates into this folder.
    #[error("another mobiedit is writing to {path}: wait until it is done, or choose another --out", path = .0.display())]
    Locked(PathBuf),
    /// A file of the folder is damaged, or somebody else's.
    #[error("{path} is not as mobiedit eval writes it: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A line is damaged.
    #[error("line {line} of {path} is no result: {error}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Results without settings.
    #[error("{path} has results and no {SETTINGS}: choose another --out", path = .0.display())]
    NoSettings(PathBuf),
    /// Results of other settings.
    #[error("{path} holds results with {name} {theirs}, not {ours}: choose another --out", path = path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// The first setting that differs.
        name: String,
        /// Its value there.
        theirs: String,
        /// Its value in this run.
        ours: String,
    },
    /// Results of other records than the selection's.
    #[error("{path} does not hold the records that {SELECTION} names: choose another --out", path = .0.display())]
    Foreign(PathBuf),
}

impl FolderError {
    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { path: path.to_owned(), what, error }
    }
}

/// Everything that the results depend on. Hashes are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// [`LINE_FORMAT`].
    pub line_format: u32,
    /// Name of the dataset's file.
    pub dataset: String,
    /// Hash of its bytes.
    pub dataset_digest: String,
    /// Its format.
    pub format: Format,
    /// [`identity`](mobiedit_backends::identity::identity) of the model and layer.
    pub model: String,
    /// How activations are treated: "dynamic", "static" …, and the checksum of the calibration, if there is one.
    pub precision: String,
    /// "default", "paper"; "patches" where they were given.
    pub preset: String,
    /// Hash of all the search's settings, prefixes and calibration statements; none where patches were given.
    pub search: Option<String>,
    /// Hash of the given patches.
    pub patches: Option<String>,
    /// The edit layer.
    pub layer: usize,
    /// Seed of the order; with a record's number added, of its search.
    pub seed: u64,
    /// Most records.
    pub limit: Option<usize>,
    /// Only records whose fact the model knows.
    pub known: bool,
    /// Texts are generated for fluency.
    pub fluency: bool,
    /// Edits are stacked.
    pub sequential: bool,
    /// The part of the selection.
    pub shard: Option<Shard>,
}

impl Settings {
    /// Names and values, for people to read.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(object)) = serde_json::to_value(self) else { return Vec::new() };
        object.into_iter().map(|(name, value)| (name, shown(Some(&value)))).collect()
    }

    /// Refuses `theirs`, the settings in the folder `path`, if anything in them differs.
    fn check(&self, path: &Path, theirs: &Value) -> Result<(), FolderError> {
        let ours = serde_json::to_value(self).map_err(|error| FolderError::File { path: path.to_owned(), error })?;
        // A newer format explains every other difference.
        let names = ["line_format"].into_iter().chain(keys(&ours)).chain(keys(theirs));
        match names.into_iter().find(|name| ours.get(name) != theirs.get(name)) {
            None => Ok(()),
            Some(name) => Err(FolderError::Other {
                path: path.to_owned(),
                name: name.to_owned(),
                theirs: shown(theirs.get(name)),
                ours: shown(ours.get(name)),
            }),
        }
    }

    /// Refuses other settings than these; their shards may differ.
    pub(crate) fn check_same_run(&self, path: &Path, theirs: &Self) -> Result<(), FolderError> {
        let theirs = Self { shard: self.shard, ..theirs.clone() };
        let theirs =
            serde_json::to_value(theirs).map_err(|error| FolderError::File { path: path.to_owned(), error })?;
        self.check(path, &theirs)
    }
}

fn keys(object: &Value) -> impl Iterator<Item = &str> {
    object.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A file of JSON lines, locked for appending until this is dropped.
#[derive(Debug)]
pub struct JsonLines<T> {
    path: PathBuf,
    file: Locked,
    lines: Vec<T>,
    /// Bytes of the whole lines.
    whole: u64,
}

impl<T: Serialize + DeserializeOwned> JsonLines<T> {
    /// Opens the file, creates it if need be, locks it, and reads its whole lines; one that was cut off is dropped.
    ///
    /// # Errors
    /// A lock that another process holds, a file that cannot be read or written, a whole line that makes no sense.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(FolderError::io(path, "written"))?;
        let mut file = match Locked::new(file) {
            Ok(file) => file,
            Err(TryLockError::WouldBlock) => return Err(FolderError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(FolderError::io(path, "locked")(error)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(FolderError::io(path, "read"))?;
        let whole = whole_lines(&bytes);
        let lines = parse(path, whole)?;
        Ok(Self { path: path.to_owned(), file, lines, whole: whole.len() as u64 })
    }

    /// All lines so far.
    pub fn lines(&self) -> &[T] {
        &self.lines
    }

    /// Adds a line; it is on the disk when this returns.
    ///
    /// # Errors
    /// A full disk and the like; the line is then not there.
    pub fn append(&mut self, line: T) -> Result<(), FolderError> {
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.write(&bytes)?;
            Ok(bytes.len())
        });
        match written {
            Ok(len) => self.whole += len as u64,
            Err(error) => {
                // What came so far is a torn line. The first error is told.
                let _ = self.file.set_len(self.whole);
                return Err(FolderError::io(&self.path, "written")(error));
            }
        }
        self.lines.push(line);
        Ok(())
    }

    /// Puts `bytes` behind the whole lines, over a torn one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.set_len(self.whole)?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }
}

/// The bytes up to the last line's end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or(bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Vec<T>, FolderError> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let parse = |(index, line): (usize, &[u8])| {
        let refuse = |error| FolderError::Line { path: path.to_owned(), line: index + 1, error };
        serde_json::from_slice(line).map_err(refuse)
    };
    lines.map(parse).collect()
}

/// The output folder of a run, locked until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The results.
    pub results: JsonLines<Line>,
}

impl Folder {
    /// Keeps how activations drifted in the first record's search.
    ///
    /// # Errors
    /// Failures of the file system.
    pub fn keep_drift(&self, drift: &[Drift]) -> Result<(), FolderError> {
        write_json(&self.path().join(DRIFT), &drift)
    }

    /// The selection that was kept in the folder by a run of these settings; none where there was no run yet. Changes
    /// nothing.
    ///
    /// # Errors
    /// Results of other settings, and files that cannot be read.
    pub fn kept(path: &Path, settings: &Settings) -> Result<Option<Selection>, FolderError> {
        match read_json::<Value>(&path.join(SETTINGS))? {
            Some(theirs) => settings.check(path, &theirs)?,
            None if fs::metadata(path.join(RECORDS)).is_ok_and(|records| records.len() > 0) => {
                return Err(FolderError::NoSettings(path.to_owned()));
            }
            None => return Ok(None),
        }
        read_json(&path.join(SELECTION))
    }

    /// Opens the folder, creates it if need be, and keeps settings and selection in it.
    ///
    /// # Errors
    /// Results of other settings or records, another process at work, and failures of the file system.
    pub fn open(path: &Path, settings: &Settings, selection: &Selection) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(FolderError::io(path, "created"))?;
        let results = JsonLines::open(&path.join(RECORDS)).map_err(|error| match error {
            FolderError::Locked(_) => FolderError::Locked(path.to_owned()),
            other => other,
        })?;
        // Only now does nobody else write.
        match Self::kept(path, settings)? {
            Some(kept) if kept != *selection => return Err(FolderError::Foreign(path.to_owned())),
            Some(_) => {}
            None => {
                write_json(&path.join(SETTINGS), settings)?;
                write_json(&path.join(SELECTION), selection)?;
            }
        }
        let folder = Self { path: path.to_owned(), results };
        folder.check_records(&selection.of(settings.shard))?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses results of other records than the first ones of `numbers`.
    fn check_records(&self, numbers: &[usize]) -> Result<(), FolderError> {
        let done = self.results.lines();
        let same = numbers.iter().zip(done).all(|(number, line)| *number == line.record);
        if same && done.len() <= numbers.len() { Ok(()) } else { Err(FolderError::Foreign(self.path.clone())) }
    }
}

/// An output folder as it is read for a report, with its lines as they were written.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The folder.
    pub path: PathBuf,
    /// Its settings.
    pub settings: Settings,
    /// Its records, of all shards.
    pub selection: Selection,
    /// Its results.
    pub lines: Vec<Line>,
    /// The same as text, in the same order, each with its line's end.
    pub text: Vec<String>,
    /// Drift of activations in the first record's search; may be empty.
    pub drift: Vec<Drift>,
}

impl Contents {
    /// Reads a folder; changes nothing in it.
    ///
    /// # Errors
    /// A folder that is none of an evaluation, a damaged line, failures of the file system.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        let missing = |name: &str| FolderError::io(&path.join(name), "read")(io::ErrorKind::NotFound.into());
        let settings = read_json(&path.join(SETTINGS))?.ok_or_else(|| missing(SETTINGS))?;
        let selection = read_json(&path.join(SELECTION))?.ok_or_else(|| missing(SELECTION))?;
        let records = path.join(RECORDS);
        let bytes = fs::read(&records).map_err(FolderError::io(&records, "read"))?;
        let whole = whole_lines(&bytes);
        let lines = parse(&records, whole)?;
        let text = String::from_utf8_lossy(whole).split_inclusive('\n').map(str::to_owned).collect();
        let drift = read_json(&path.join(DRIFT))?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), settings, selection, lines, text, drift })
    }

    /// Writes it to `folder`, which must be new, or hold the same already.
    ///
    /// # Errors
    /// A folder with other results, and failures of the file system.
    pub fn write(&self, folder: &Path) -> Result<(), FolderError> {
        match read_json::<Value>(&folder.join(SETTINGS))? {
            Some(theirs) => self.settings.check(folder, &theirs)?,
            None if folder.join(RECORDS).exists() => return Err(FolderError::NoSettings(folder.to_owned())),
            None => fs::create_dir_all(folder).map_err(FolderError::io(folder, "created"))?,
        }
        let records = folder.join(RECORDS);
        write_json(&folder.join(SETTINGS), &self.settings)?;
        write_json(&folder.join(SELECTION), &self.selection)?;
        write_json(&folder.join(DRIFT), &self.drift)?;
        let write =
            atomic_file::write(&records, |file| self.text.iter().try_for_each(|t| file.write_all(t.as_bytes())));
        write.map_err(FolderError::io(&records, "written"))?;
        sync_folder(folder).map_err(FolderError::io(folder, "written"))
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| FolderError::File { path: path.to_owned(), error })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FolderError::io(path, "read")(error)),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FolderError> {
    let write = atomic_file::write(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value)?;
        file.write_all(b"\n")
    });
    write.map_err(FolderError::io(path, "written"))
}
