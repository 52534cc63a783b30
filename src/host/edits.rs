//! The edits folder: what was edited and what was taken back, kept in an append-only journal.
//!
//! Reading never changes the folder. Writing takes an exclusive lock, and an edit is committed when its record is on the
//! disk. Solves and applies nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mobiedit_core::rank_one::RankOne;
use serde::{Deserialize, Serialize};

use crate::host::journal::{self, JournalError};
use crate::host::locked::Locked;

/// Name of the journal inside the folder.
const JOURNAL: &str = "journal.mej";

/// Why the edits folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditsError {
    /// A file operation failed.
    #[error("the edits folder {path} cannot be {what}: {error}", path = path.display())]
    Io {
        /// The folder, or the file in it.
        path: PathBuf,
        /// "read", "written", "created".
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// The journal cannot be read.
    #[error("the journal {path} cannot be used: {error}", path = path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        error: JournalError,
    },
    /// Another process is writing.
    #[error("another mobiedit is writing to the edits folder {path}: wait until it is done", path = .0.display())]
    Locked(PathBuf),
    /// No edit has this id.
    #[error("there is no edit {0:?} in the edits folder: `mobiedit list` names those it has")]
    Unknown(String),
    /// The edit was taken back before.
    #[error("edit {0:?} is already undone")]
    Undone(String),
}

/// What is known about an edit besides its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditInfo {
    /// "e1", "e2", …
    pub edit_id: String,
    /// [`identity`](mobiedit_backends::identity::identity) of the model and layer it was made for.
    pub model: u64,
    /// The prompt's template.
    pub prompt: String,
    /// The subject.
    pub subject: String,
    /// The target.
    pub target: String,
    /// The edited layer.
    pub layer: usize,
    /// "default" or "paper".
    pub preset: String,
    /// Seed of the search.
    pub seed: u64,
    /// Steps of the search.
    pub steps: u32,
    /// Loss evaluations of one candidate over the prompt set.
    pub forward_passes: u64,
    /// Geometric mean of the target tokens' probabilities after the edit.
    pub p_target: f32,
    /// The model with it says the target. Journals of before have only such edits, and do not say so.
    #[serde(default = "yes")]
    pub success: bool,
}

fn yes() -> bool {
    true
}

/// A committed edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What it is.
    pub info: EditInfo,
    /// `u` of the rank-one patch, `(d_ff)`.
    pub u: Vec<f32>,
    /// `Λ` of the rank-one patch, `(d_model)`.
    pub lambda: Vec<f32>,
    /// Not undone.
    pub active: bool,
}

impl Edit {
    /// The patch.
    pub fn patch(&self) -> RankOne<'_> {
        RankOne { layer: self.info.layer, u: &self.u, lambda: &self.lambda }
    }
}

/// One record of the journal: a line of JSON, then an edit's numbers.
#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record {
    Edit {
        #[serde(flatten)]
        info: EditInfo,
        d_ff: usize,
        d_model: usize,
    },
    Undo {
        edit_id: String,
    },
}

/// The edits folder as it was read.
#[derive(Debug)]
pub struct Edits {
    folder: PathBuf,
    edits: Vec<Edit>,
    /// Bytes of the journal's whole records.
    whole: u64,
    /// Bytes behind them: a write that was cut off.
    torn: u64,
}

impl Edits {
    /// Reads the folder; one that does not exist has no edits.
    ///
    /// # Errors
    /// A folder that cannot be read, a journal that is damaged or of a newer version.
    pub fn read(folder: &Path) -> Result<Self, EditsError> {
        let path = folder.join(JOURNAL);
        match fs::read(&path) {
            Ok(bytes) => Self::replay(folder, &path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::replay(folder, &path, &[]),
            Err(error) => Err(EditsError::Io { path: folder.to_owned(), what: "read", error }),
        }
    }

    fn replay(folder: &Path, path: &Path, bytes: &[u8]) -> Result<Self, EditsError> {
        let mut edits = Self { folder: folder.to_owned(), edits: Vec::new(), whole: 0, torn: 0 };
        let refuse = |error| EditsError::Journal { path: path.to_owned(), error };
        let replay = journal::replay(bytes).map_err(refuse)?;
        for (index, payload) in replay.records.iter().enumerate() {
            edits.take(payload).ok_or_else(|| refuse(JournalError::Damaged(index + 1)))?;
        }
        edits.whole = replay.whole as u64;
        edits.torn = (bytes.len() - replay.whole) as u64;
        Ok(edits)
    }

    /// Applies one record; `None` for one that makes no sense.
    fn take(&mut self, payload: &[u8]) -> Option<()> {
        let line = payload.iter().position(|b| *b == b'\n')?;
        let numbers = payload.get(line + 1..)?;
        match serde_json::from_slice(payload.get(..line)?).ok()? {
            Record::Edit { info, d_ff, d_model } => {
                let floats: Vec<f32> = numbers.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                if numbers.len() != d_ff.checked_add(d_model)?.checked_mul(4)? {
                    return None;
                }
                let (u, lambda) = floats.split_at_checked(d_ff)?;
                self.edits.push(Edit { info, u: u.to_vec(), lambda: lambda.to_vec(), active: true });
            }
            Record::Undo { edit_id } => self.edits.iter_mut().find(|e| e.info.edit_id == edit_id)?.active = false,
        }
        Some(())
    }

    /// The file that holds the edits.
    pub fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Ids of the active edits of the same subject that were made after `edit_id`, and so on top of it.
    pub fn on_top_of(&self, edit_id: &str) -> Vec<&str> {
        let mut later = self.edits.iter().skip_while(|e| e.info.edit_id != edit_id);
        let Some(edit) = later.next() else { return Vec::new() };
        let above = later.filter(|e| e.active && e.info.subject == edit.info.subject);
        above.map(|e| e.info.edit_id.as_str()).collect()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All edits ever committed, oldest first.
    pub fn list(&self) -> &[Edit] {
        &self.edits
    }

    /// The edits that are not undone, oldest first.
    pub fn active(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().filter(|e| e.active)
    }

    /// The edit with this id.
    ///
    /// # Errors
    /// [`EditsError::Unknown`].
    pub fn get(&self, edit_id: &str) -> Result<&Edit, EditsError> {
        let found = self.edits.iter().find(|e| e.info.edit_id == edit_id);
        found.ok_or_else(|| EditsError::Unknown(edit_id.to_owned()))
    }

    /// Bytes of a write that was cut off, at the end of the journal: ignored, and overwritten by the next one.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

/// The edits folder, locked for writing until this is dropped.
#[derive(Debug)]
pub struct EditsWriter {
    edits: Edits,
    file: Locked,
}

impl EditsWriter {
    /// Creates the folder if need be (with rights for its owner alone), locks it and reads it.
    ///
    /// # Errors
    /// Those of [`Edits::read`]; a folder that cannot be written; a lock that another process holds.
    pub fn open(folder: &Path) -> Result<Self, EditsError> {
        let failed = |what| move |error| EditsError::Io { path: folder.to_owned(), what, error };
        create_folder(folder).map_err(failed("created"))?;
        let path = folder.join(JOURNAL);
        let file = open_journal(&path).map_err(failed("written"))?;
        let mut file = match Locked::new(file) {
            Ok(file) => file,
            Err(TryLockError::WouldBlock) => return Err(EditsError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("locked")(error)),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut *file, &mut bytes).map_err(failed("read"))?;
        let edits = Edits::replay(folder, &path, &bytes)?;
        Ok(Self { edits, file })
    }

    /// What the folder holds.
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// The id that the next edit will have.
    pub fn next_id(&self) -> String {
        format!("e{}", self.edits.edits.len() + 1)
    }

    /// Commits an edit; its `edit_id` should be [`EditsWriter::next_id`].
    ///
    /// # Errors
    /// A full disk and the like; the edit is then not committed.
    pub fn commit(&mut self, info: EditInfo, patch: RankOne<'_>) -> Result<(), EditsError> {
        let record = Record::Edit { info, d_ff: patch.u.len(), d_model: patch.lambda.len() };
        let numbers = patch.u.iter().chain(patch.lambda).flat_map(|x| x.to_le_bytes());
        self.append(&record, numbers)
    }

    /// Takes an edit back.
    ///
    /// # Errors
    /// An unknown id, an edit that is already undone, and those of writing.
    pub fn undo(&mut self, edit_id: &str) -> Result<(), EditsError> {
        if !self.edits.get(edit_id)?.active {
            return Err(EditsError::Undone(edit_id.to_owned()));
        }
        self.append(&Record::Undo { edit_id: edit_id.to_owned() }, core::iter::empty())
    }

    /// Takes all active edits back, newest first, and returns their ids.
    ///
    /// # Errors
    /// Those of writing; edits undone before the error stay undone.
    pub fn undo_all(&mut self) -> Result<Vec<String>, EditsError> {
        let ids: Vec<String> = self.edits.active().map(|e| e.info.edit_id.clone()).collect();
        for id in ids.iter().rev() {
            self.undo(id)?;
        }
        Ok(ids)
    }

    fn append(&mut self, record: &Record, numbers: impl Iterator<Item = u8>) -> Result<(), EditsError> {
        let folder = self.edits.folder.clone();
        let failed = |error| EditsError::Io { path: folder.clone(), what: "written", error };
        let mut payload = serde_json::to_vec(record).map_err(|e| failed(e.into()))?;
        payload.push(b'\n');
        payload.extend(numbers);
        let mut bytes = if self.edits.whole == 0 { journal::header() } else { Vec::new() };
        bytes.extend(journal::record(&payload));
        if let Err(error) = self.write(&bytes) {
            // What came so far is a torn tail, or whole and not known to last: it is no record. The first error is told.
            let _ = self.file.set_len(self.edits.whole);
            return Err(failed(error));
        }
        self.edits.whole += bytes.len() as u64;
        self.edits.torn = 0;
        // What was written is what a later reader will take.
        let _ = self.edits.take(&payload);
        Ok(())
    }

    /// Puts `bytes` behind the whole records, over a torn tail.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.set_len(self.edits.whole)?;
        io::Seek::seek(&mut *self.file, io::SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        sync_folder(&self.edits.folder)
    }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Creating a file is done when its folder is on the disk too.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn open_journal(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(edit_id: String, subject: &str) -> EditInfo {
        EditInfo {
            edit_id,
            model: u64::MAX - 3,
            prompt: "The capital of {} is".into(),
            subject: subject.into(),
            target: "Rome".into(),
            layer: 2,
            preset: "default".into(),
            seed: 7,
            steps: 3,
            forward_passes: 40,
            p_target: 0.75,
            success: true,
        }
    }

    fn commit(writer: &mut EditsWriter, subject: &str) {
        let info = info(writer.next_id(), subject);
        let patch = RankOne { layer: 2, u: &[1.5, -0.25, 1e-30], lambda: &[f32::MIN_POSITIVE, 3.0] };
        writer.commit(info, patch).unwrap();
    }

    fn subjects(edits: &Edits) -> Vec<(&str, bool)> {
        edits.list().iter().map(|e| (e.info.subject.as_str(), e.active)).collect()
    }

    #[test]
    fn edits_and_undos_come_back_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edits");
        assert!(Edits::read(&path).unwrap().list().is_empty());
        assert!(!path.exists(), "reading must not create the folder");
        let mut writer = EditsWriter::open(&path).unwrap();
        commit(&mut writer, "France");
        commit(&mut writer, "Zoë 東京");
        writer.undo("e1").unwrap();
        assert!(matches!(writer.undo("e1"), Err(EditsError::Undone(_))));
        assert!(matches!(writer.undo("e9"), Err(EditsError::Unknown(_))));
        drop(writer);
        let edits = Edits::read(&path).unwrap();
        assert_eq!(subjects(&edits), [("France", false), ("Zoë 東京", true)]);
        let edit = edits.get("e2").unwrap();
        assert_eq!(edit.info, info("e2".into(), "Zoë 東京"));
        assert_eq!(edit.patch(), RankOne { layer: 2, u: &[1.5, -0.25, 1e-30], lambda: &[f32::MIN_POSITIVE, 3.0] });
    }

    #[test]
    fn later_edits_of_a_subject_are_on_top_of_its_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EditsWriter::open(folder.path()).unwrap();
        for subject in ["France", "Spain", "France", "France"] {
            commit(&mut writer, subject);
        }
        writer.undo("e4").unwrap();
        let above = |id| writer.edits().on_top_of(id);
        assert_eq!([above("e1"), above("e2"), above("e3"), above("e9")], [vec!["e3"], vec![], vec![], vec![]]);
    }

    #[test]
    fn a_torn_tail_is_reported_and_the_next_edit_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EditsWriter::open(folder.path()).unwrap();
        commit(&mut writer, "France");
        drop(writer);
        let journal = folder.path().join(JOURNAL);
        let whole = fs::read(&journal).unwrap();
        fs::write(&journal, [&whole[..], &journal::record(b"never finished")[..9]].concat()).unwrap();
        let edits = Edits::read(folder.path()).unwrap();
        assert_eq!((subjects(&edits), edits.torn()), (vec![("France", true)], 9));
        let mut writer = EditsWriter::open(folder.path()).unwrap();
        commit(&mut writer, "Spain");
        assert_eq!(writer.undo_all().unwrap(), ["e1", "e2"]);
        drop(writer);
        let edits = Edits::read(folder.path()).unwrap();
        assert_eq!((subjects(&edits), edits.torn()), (vec![("France", false), ("Spain", false)], 0));
    }

    #[test]
    fn two_writers_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let first = EditsWriter::open(folder.path()).unwrap();
        assert!(matches!(EditsWriter::open(folder.path()), Err(EditsError::Locked(_))));
        drop(first);
        EditsWriter::open(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edits");
        commit(&mut EditsWriter::open(&path).unwrap(), "France");
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join(JOURNAL))), (0o700, 0o600));
    }
}
