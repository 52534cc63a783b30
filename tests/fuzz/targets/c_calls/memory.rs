//! Memory as C has it: reached by pointers alone, so that it is nobody's else while it is lent.

use std::ptr::NonNull;

/// A value that stays where it is until it is dropped.
pub(super) struct Kept<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Kept<T> {
    /// Keeps the value.
    pub(super) fn new(value: impl Into<Box<T>>) -> Self {
        Self(NonNull::from(Box::leak(value.into())))
    }

    /// Where it is.
    pub(super) fn at(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T: ?Sized> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and nobody else frees it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What stands behind all memory that is lent.
const CANARY: u64 = 0xA5A5_5A5A_C3C3_3C3C;
/// How many words of it.
const CANARIES: usize = 4;

/// Memory with words behind it that stay as they are.
pub(super) struct Lent {
    words: Kept<[u64]>,
    /// Bytes.
    pub(super) len: usize,
}

impl Lent {
    /// So many bytes.
    pub(super) fn new(len: usize) -> Self {
        let mut words = vec![0xFFFF_FFFF_FFFF_FFFF; len.div_ceil(8)];
        words.extend([CANARY; CANARIES]);
        Self { words: Kept::new(words), len }
    }

    /// Where it begins.
    pub(super) fn at(&self) -> *mut std::ffi::c_void {
        self.words.at().cast()
    }

    /// Whether nothing was written behind it.
    pub(super) fn is_whole(&self) -> bool {
        let words = self.words.at().cast::<u64>();
        // SAFETY: so many words are there, behind those that are lent.
        (0..CANARIES).all(|word| unsafe { words.add(self.len.div_ceil(8) + word).read() } == CANARY)
    }
}
