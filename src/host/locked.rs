//! A file that one process writes at a time. It does not say what is written.

use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};

/// A file locked for writing until this is dropped.
///
/// It is unlocked, not only closed: the lock is the open file's, and a child process that another thread is just starting has
/// that open too, until it becomes another program.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Locks the file.
    pub(crate) fn new(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing it, which comes next, does the same unless somebody has it open too.
        let _failed = self.0.unlock();
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_process_still_has_open_locks_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let locked = Locked::new(file.reopen().unwrap()).unwrap();
        assert!(Locked::new(file.reopen().unwrap()).is_err());
        let inherited = locked.try_clone().unwrap();
        drop(locked);
        assert!(Locked::new(file.reopen().unwrap()).is_ok());
        drop(inherited);
    }
}
