//! The caller's bytes, divided into typed slices. Every slice starts aligned, and none overlaps another.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use crate::capi::code::{MOBIEDIT_ERR_ALIGNMENT, MOBIEDIT_ERR_NULL, MOBIEDIT_ERR_TOO_SMALL};
use crate::capi::types::MOBIEDIT_ALIGNMENT;

/// Types that every division can hold: their bits may be anything before they are written, and their alignment is small.
pub(crate) trait Plain: Copy {}

impl Plain for f32 {}
impl Plain for i16 {}
impl Plain for i8 {}
impl Plain for u32 {}
impl Plain for mobiedit_core::backend::Loss {}
impl Plain for mobiedit_core::problem::Prompt<'_> {}
impl Plain for mobiedit_hal_cpu::Statistics {}
impl Plain for mobiedit_backends::model::Layer<'_> {}

/// Bytes that `len` elements take, filled up to the alignment.
pub(crate) const fn bytes_of<T: Plain>(len: usize) -> usize {
    let bytes = len.saturating_mul(size_of::<T>());
    bytes.saturating_add(MOBIEDIT_ALIGNMENT - 1) & !(MOBIEDIT_ALIGNMENT - 1)
}

/// What is left of the lent bytes.
pub(crate) struct Pool {
    at: *mut u8,
    left: usize,
}

impl Pool {
    /// The bytes at `memory`, if that is a place for anything.
    pub(crate) fn new(memory: *mut c_void, len: usize) -> Result<Self, i32> {
        if memory.is_null() {
            return Err(MOBIEDIT_ERR_NULL);
        }
        if !(memory as usize).is_multiple_of(MOBIEDIT_ALIGNMENT) {
            return Err(MOBIEDIT_ERR_ALIGNMENT);
        }
        Ok(Self { at: memory.cast(), left: len })
    }

    /// The next `len` elements, each set to `value`.
    ///
    /// # Safety
    /// The bytes given to [`new`](Self::new) are the caller's alone for `'a`.
    pub(crate) unsafe fn take<'a, T: Plain>(&mut self, len: usize, value: T) -> Result<&'a mut [T], i32> {
        const { assert!(align_of::<T>() <= MOBIEDIT_ALIGNMENT) };
        let bytes = bytes_of::<T>(len);
        if bytes > self.left {
            return Err(MOBIEDIT_ERR_TOO_SMALL);
        }
        let start = self.at.cast::<MaybeUninit<T>>();
        // SAFETY: `bytes` bytes are left behind `at`, which is aligned, as its start and all divisions are multiples of
        // MOBIEDIT_ALIGNMENT; they are nobody else's by this function's contract, and are never handed out again.
        let slots = unsafe { core::slice::from_raw_parts_mut(start, len) };
        for slot in slots.iter_mut() {
            slot.write(value);
        }
        // SAFETY: inside the lent bytes, or one behind them.
        self.at = unsafe { self.at.add(bytes) };
        self.left -= bytes;
        // SAFETY: every element was written just now.
        Ok(unsafe { &mut *(core::ptr::from_mut(slots) as *mut [T]) })
    }
}

/// A slice that C describes by pointer and length; NULL is a slice without elements.
///
/// # Safety
/// `len` elements at `at` are there and do not change for `'a`.
pub(crate) unsafe fn lent<'a, T>(at: *const T, len: usize) -> Result<&'a [T], i32> {
    if len == 0 {
        return Ok(&[]);
    }
    if at.is_null() {
        return Err(MOBIEDIT_ERR_NULL);
    }
    if !at.is_aligned() {
        return Err(MOBIEDIT_ERR_ALIGNMENT);
    }
    // SAFETY: not null and aligned; the rest is this function's contract.
    Ok(unsafe { core::slice::from_raw_parts(at, len) })
}

/// The same to be written.
///
/// # Safety
/// `len` elements at `at` are there, and are the caller's alone for `'a`.
pub(crate) unsafe fn lent_mut<'a, T>(at: *mut T, len: usize) -> Result<&'a mut [T], i32> {
    if len == 0 {
        return Ok(&mut []);
    }
    if at.is_null() {
        return Err(MOBIEDIT_ERR_NULL);
    }
    if !at.is_aligned() {
        return Err(MOBIEDIT_ERR_ALIGNMENT);
    }
    // SAFETY: not null and aligned; the rest is this function's contract.
    Ok(unsafe { core::slice::from_raw_parts_mut(at, len) })
}

/// A struct that C points to.
///
/// # Safety
/// If it is not NULL, a `T` is there and does not change for `'a`.
pub(crate) unsafe fn one<'a, T>(at: *const T) -> Result<&'a T, i32> {
    // SAFETY: by this function's contract.
    unsafe { lent(at, 1) }?.first().ok_or(MOBIEDIT_ERR_NULL)
}

/// The same to be written.
///
/// # Safety
/// If it is not NULL, a `T` is there and is the caller's alone for `'a`.
pub(crate) unsafe fn one_mut<'a, T>(at: *mut T) -> Result<&'a mut T, i32> {
    // SAFETY: by this function's contract.
    unsafe { lent_mut(at, 1) }?.first_mut().ok_or(MOBIEDIT_ERR_NULL)
}
