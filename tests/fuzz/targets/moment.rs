//! Folders of a moment: in memory where the system has a place for that, since what is synced there is not waited for.

use std::path::Path;

use tempfile::TempDir;

/// An empty folder, which is gone with the value.
pub fn folder() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    made.expect("a folder for files of a moment")
}
