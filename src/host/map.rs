//! A model file in memory without reading it: a read-only map, or bytes that are part of the program.
//!
//! The only `unsafe` of the host code. Does not look into the bytes.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a model file.
#[derive(Debug)]
pub enum ModelBytes {
    /// A file, mapped.
    Mapped(Mmap),
    /// Bytes inside the program.
    Included(&'static [u8]),
}

impl ModelBytes {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// Those of opening and mapping it.
    pub fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        // SAFETY: the map is private to this process and never written through. Another process that shortens or rewrites
        // the file while it is mapped breaks the promise of `Mmap::map`; that a model file is not changed while it is in
        // use is the caller's part, as with every program that maps models, and our own exports replace files by rename.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self::Mapped(map))
    }
}

impl AsRef<[u8]> for ModelBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Included(bytes) => bytes,
        }
    }
}
