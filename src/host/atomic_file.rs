//! Files that are either there whole or not at all: written beside their place, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::host::edits::sync_folder;

/// Writes a file through `content`. After an error, the path holds what it held before. Where it is a link, the file behind
/// it is written.
///
/// # Errors
/// Those of `content` and of the file system; a path that is there and no file, which a rename would replace.
pub fn write(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    write_with(path, OpenOptions::new(), content)
}

/// The same with rights for the owner alone.
///
/// # Errors
/// Those of [`write()`].
pub fn write_private(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there are no such rights"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_with(path, options, content)
}

fn write_with(
    path: &Path,
    options: OpenOptions,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let there = fs::canonicalize(path);
    let path = there.as_deref().unwrap_or(path);
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a folder or a device, not a file"));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.part", std::process::id()));
    let unfinished = folder.join(unfinished);
    let result = finish(path, folder, &unfinished, options, content);
    if result.is_err() {
        // The error to report is the first one.
        let _ = fs::remove_file(&unfinished);
    }
    result
}

fn finish(
    path: &Path,
    folder: &Path,
    unfinished: &PathBuf,
    mut options: OpenOptions,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufWriter::new(options.write(true).create(true).truncate(true).open(unfinished)?);
    content(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    drop(file);
    fs::rename(unfinished, path)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        write(&path, |f| f.write_all(b"old")).unwrap();
        let failed = write(&path, |f| f.write_all(b"new").and(Err(io::ErrorKind::StorageFull.into())));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link, socket) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(write(&socket, |_| Ok(())).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(fs::metadata(&socket).is_ok_and(|m| !m.is_file()));
    }
}
