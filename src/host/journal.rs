//! The journal's file, as what its [format](mobiedit_backends::journal) is kept on: locked by one process, and replaced as a
//! whole by a compaction. Knows no edits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mobiedit_backends::journal::{ReadStorage, Storage};

use crate::host::locked::Locked;

/// A file that this process alone writes.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: Locked,
    path: PathBuf,
    /// Whether each record is on the disk before the next one: not while a file is written that has no name yet.
    syncs: bool,
}

impl JournalFile {
    /// Opens the journal at `path`, makes it if need be, and locks it: [`io::ErrorKind::WouldBlock`] where another process has.
    ///
    /// A compaction puts another file at the path. Who opened the one before it, and waited, would lock and write a file
    /// that nobody finds: so the path is looked at again behind the lock.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        loop {
            let file = Locked::new(create(path, false)?)?;
            let journal = Self { file, path: path.to_owned(), syncs: true };
            if journal.is_current()? {
                return Ok(journal);
            }
        }
    }

    /// Whether it is still what lies at its path.
    pub(crate) fn is_current(&self) -> io::Result<bool> {
        let ours = same_file::Handle::from_file(self.file.try_clone()?)?;
        match same_file::Handle::from_path(&self.path) {
            Ok(there) => Ok(ours == there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All its bytes.
    pub(crate) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// An empty file beside this one, which is to take its place: [`replace`](Self::replace). What an earlier one left is
    /// overwritten. It is locked before it has the name, so nobody else writes between.
    pub(crate) fn beside(&self) -> io::Result<Self> {
        // Where the journal is a link, the file behind it is replaced.
        let path = fs::canonicalize(&self.path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(PART);
        let path = path.with_file_name(name);
        // Not written over in place: whoever has the old one open, or has linked to it, is not to see the new one.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { file: Locked::new(create(&path, true)?)?, path, syncs: false })
    }

    /// Puts this file, whole and on the disk, in the place of `old`.
    pub(crate) fn replace(&mut self, old: &Self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, fs::canonicalize(&old.path)?)?;
        old.path.clone_into(&mut self.path);
        self.syncs = true;
        Ok(())
    }

    /// Removes a file that has not taken its place.
    pub(crate) fn discard(self) {
        // The error to report is the one before.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a file that is to take the journal's place has behind its name.
pub(crate) const PART: &str = ".part";

fn create(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).create_new(new).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl ReadStorage for JournalFile {
    type Error = io::Error;

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(into)
    }
}

impl Storage for JournalFile {
    fn capacity(&self) -> u64 {
        u64::MAX
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs { self.file.sync_all() } else { Ok(()) }
    }

    fn cut(&mut self, at: u64) -> io::Result<bool> {
        self.file.set_len(at)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(path: &Path) -> same_file::Handle {
        same_file::Handle::from_path(path).unwrap()
    }

    #[test]
    fn who_waited_for_a_file_that_was_replaced_gets_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let old = JournalFile::open(&path).unwrap();
        let waiting = create(&path, false).unwrap();
        let mut new = old.beside().unwrap();
        new.write(0, b"new").unwrap();
        let locked = || JournalFile::open(&path).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        assert!(locked(), "before");
        new.replace(&old).unwrap();
        assert!(locked(), "after");
        assert!(new.is_current().unwrap() && !old.is_current().unwrap());
        drop((old, new));
        let waited = JournalFile { file: Locked::new(waiting).unwrap(), path: path.clone(), syncs: true };
        assert!(!waited.is_current().unwrap());
        assert_eq!(JournalFile::open(&path).unwrap().bytes().unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn behind_a_link_the_file_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("journal"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let before = inode(&path);
        let old = JournalFile::open(&link).unwrap();
        let mut new = old.beside().unwrap();
        new.write(0, b"new").unwrap();
        new.replace(&old).unwrap();
        assert!(before != inode(&path) && fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        new.beside().unwrap().discard();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
