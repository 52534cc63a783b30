//! Writing to the edits folder: committing, undoing, forgetting, compacting. One process at a time.

use std::io;
use std::path::{Path, PathBuf};

use mobiedit_backends::journal::{Cursor, Journal, JournalError, OLDEST};
use mobiedit_core::rank_one::RankOne;

use super::folder::{self, Kind, sync_folder};
use super::{EditInfo, Edits, EditsError, JOURNAL, Record, WITH_FORGOTTEN};
use crate::host::journal::JournalFile;

/// The edits folder, locked for writing until this is dropped.
#[derive(Debug)]
pub struct EditsWriter {
    edits: Edits,
    journal: Journal<JournalFile>,
}

impl EditsWriter {
    /// Creates the folder if need be (with rights for its owner alone), locks it and reads it.
    ///
    /// # Errors
    /// Those of [`Edits::read`]; a folder that cannot be written; a lock that another process holds.
    pub fn open(folder: &Path) -> Result<Self, EditsError> {
        let failed = |what| move |error| EditsError::Io { path: folder.to_owned(), what, error };
        folder::create(folder).map_err(failed("created"))?;
        let mut file = JournalFile::open(&folder.join(JOURNAL)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => EditsError::Locked(folder.to_owned()),
            _ => failed("written")(error),
        })?;
        // A record is on the disk when its file's name is there too.
        sync_folder(folder).map_err(failed("written"))?;
        let bytes = file.bytes().map_err(failed("read"))?;
        let (edits, journal) = Edits::replay(folder, &bytes)?;
        Ok(Self { edits, journal: journal.on(file) })
    }

    /// What the folder holds.
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// The id that the next edit will have.
    pub fn next_id(&self) -> String {
        self.edits.next_id()
    }

    /// Where the next edit's adapter is to be.
    pub fn next_adapter(&self) -> PathBuf {
        folder::adapter(&self.edits.folder, &self.next_id())
    }

    /// Commits an edit; its `edit_id` should be [`EditsWriter::next_id`].
    ///
    /// # Errors
    /// A full disk and the like; the edit is then not committed.
    pub fn commit(&mut self, info: EditInfo, patch: RankOne<'_>) -> Result<(), EditsError> {
        let edit_id = info.edit_id.clone();
        let record = Record::Edit { info, d_ff: patch.u.len(), d_model: patch.lambda.len() };
        let numbers = patch.u.iter().chain(patch.lambda).flat_map(|x| x.to_le_bytes());
        self.append(&record, numbers)?;
        // States of searches for an edit of this number, of whichever words, are of no use any more. The edit is committed:
        // one that cannot be removed is no error of it, and forgetting the edit tries again.
        let _left = folder::remove(&self.edits.folder, |kind| kind == Kind::Unfinished(&edit_id));
        Ok(())
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

    /// Removes all of an edit but its id, which no other edit will have: words and numbers from the journal, which is
    /// compacted, its adapter, and states of its search. The files are no longer in the folder; what a disk keeps of
    /// removed files until it writes there again is out of reach.
    ///
    /// # Errors
    /// An unknown id, an edit that is already forgotten, and those of writing. After an error the edit is still in the
    /// journal, its other files may be gone, and forgetting it again does the rest.
    pub fn forget(&mut self, edit_id: &str) -> Result<(), EditsError> {
        self.edits.get(edit_id)?;
        let of_edit = |id: &str| id == edit_id;
        folder::remove(
            &self.edits.folder,
            |kind| matches!(kind, Kind::Adapter(id) | Kind::Unfinished(id) if of_edit(id)),
        )?;
        self.rewrite(of_edit)
    }

    /// Forgets all edits, and what searches left that never came to one. Returns the ids.
    ///
    /// # Errors
    /// Those of [`forget`](Self::forget) but for the first two.
    pub fn forget_all(&mut self) -> Result<Vec<String>, EditsError> {
        let ids: Vec<String> = self.edits.edits.iter().map(|e| e.info.edit_id.clone()).collect();
        folder::remove(&self.edits.folder, |kind| kind != Kind::Other)?;
        self.rewrite(|_| true)?;
        Ok(ids)
    }

    /// Writes the journal anew, without what a write that was cut off has left at its end. It is whole at every moment: the
    /// new one is written beside it and then takes its place.
    ///
    /// # Errors
    /// Those of writing; the journal is then as before.
    pub fn compact(&mut self) -> Result<(), EditsError> {
        self.rewrite(|_| false)
    }

    /// Puts a journal in the place of this one that has only the ids of the edits that are to be forgotten.
    fn rewrite(&mut self, forget: impl Fn(&str) -> bool) -> Result<(), EditsError> {
        self.check_current()?;
        let path = self.edits.journal();
        let failed = |error| EditsError::Io { path: path.clone(), what: "compacted", error };
        let file = self.journal.storage().beside().map_err(failed)?;
        let forgets = self.edits.edits.iter().any(|edit| forget(&edit.info.edit_id));
        let version = if forgets { WITH_FORGOTTEN } else { self.journal.version().max(OLDEST) };
        let mut new = Journal::open(&[][..]).map_err(|_| failed(io::ErrorKind::Other.into()))?.on(file);
        new = new.with_version(version);
        if let Err(error) = self.copy(&mut new, forget).and_then(|()| new.storage().replace(self.journal.storage())) {
            new.into_storage().discard();
            return Err(failed(error));
        }
        self.journal = new;
        let bytes = self.journal.storage().bytes().map_err(failed)?;
        self.edits = Edits::replay(&self.edits.folder, &bytes)?.0;
        sync_folder(&self.edits.folder).map_err(failed)
    }

    /// Copies the journal's records, byte for byte but for those of edits to be forgotten.
    fn copy(&mut self, new: &mut Journal<JournalFile>, forget: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut cursor = Cursor::START;
        while let Some(record) = self.journal.next(&mut cursor).map_err(io_error)? {
            let mut payload = vec![0; record.len() as usize];
            self.journal.read(&record, 0, &mut payload).map_err(io_error)?;
            let (what, _) = Record::of(&payload).ok_or(io::ErrorKind::InvalidData)?;
            if forget(what.edit_id()) {
                if matches!(what, Record::Undo { .. }) {
                    continue;
                }
                payload = line(&Record::Forgotten { edit_id: what.edit_id().to_owned() })?;
            }
            new.append(&[&payload]).map_err(io_error)?;
        }
        Ok(())
    }

    fn append(&mut self, record: &Record, numbers: impl Iterator<Item = u8>) -> Result<(), EditsError> {
        self.check_current()?;
        let folder = self.edits.folder.clone();
        let failed = |error| EditsError::Io { path: folder.clone(), what: "written", error };
        let mut payload = line(record).map_err(failed)?;
        payload.extend(numbers);
        self.journal.append(&[&payload]).map_err(|error| failed(io_error(error)))?;
        self.edits.torn = 0;
        // What was written is what a later reader will take.
        let _ = self.edits.take(&payload);
        Ok(())
    }

    /// What is written to a file that has lost its name is lost with it.
    fn check_current(&mut self) -> Result<(), EditsError> {
        let path = self.edits.journal();
        match self.journal.storage().is_current() {
            Ok(true) => Ok(()),
            Ok(false) => Err(EditsError::Replaced(path)),
            Err(error) => Err(EditsError::Io { path, what: "read", error }),
        }
    }
}

/// A record's line of JSON.
fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

fn io_error(error: JournalError<io::Error>) -> io::Error {
    match error {
        JournalError::Storage(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
