//! Where a library's messages go: never to standard output. It filters nothing but by level.

use core::ffi::{c_char, c_void};

use super::table::{LogCallback, LogLevel};

/// A log, which every session has: a library without one writes its errors to standard output.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    pub(super) level: LogLevel,
    pub(super) callback: LogCallback,
}

impl LogConfig {
    /// Messages go nowhere.
    pub const SILENT: Self = Self { level: LogLevel::ERROR, callback: ignore };

    /// Messages up to `level` go to `callback`.
    ///
    /// # Safety
    /// The callback can be called from any thread, with what [`LogCallback`] says, until the session is dropped.
    pub const unsafe fn new(level: LogLevel, callback: LogCallback) -> Self {
        Self { level, callback }
    }

    /// Messages up to `level` go to standard error, a line each.
    #[cfg(all(feature = "std", unix))]
    pub const fn stderr(level: LogLevel) -> Self {
        Self { level, callback: stderr::line }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::SILENT
    }
}

/// Drops a message.
///
/// # Safety
/// None is needed.
unsafe extern "C" fn ignore(_: *const c_char, _: LogLevel, _: u64, _: *mut c_void) {}

#[cfg(all(feature = "std", unix))]
mod stderr {
    use core::ffi::{CStr, c_char, c_int, c_void};
    use std::io::Write;

    use crate::sys::table::LogLevel;

    // SAFETY: C's own function; its last argument is a `va_list`, which is passed as a pointer on these targets.
    unsafe extern "C" {
        fn vsnprintf(text: *mut c_char, len: usize, format: *const c_char, arguments: *mut c_void) -> c_int;
    }

    /// Prints a message, cut after some hundred characters.
    ///
    /// # Safety
    /// As [`crate::sys::table::LogCallback`] says.
    pub(super) unsafe extern "C" fn line(format: *const c_char, level: LogLevel, _: u64, arguments: *mut c_void) {
        let mut text = [0_u8; 1024];
        // SAFETY: the library's format with its own arguments; the text has as many bytes as are said, the last a zero.
        let written = unsafe { vsnprintf(text.as_mut_ptr().cast(), text.len(), format, arguments) };
        if let (0.., Ok(text)) = (written, CStr::from_bytes_until_nul(&text)) {
            // Not `eprintln`, which panics where standard error is closed.
            let _closed = std::io::stderr().write_fmt(format_args!(
                "QNN, level {}: {}\n",
                level.0,
                text.to_string_lossy().trim()
            ));
        }
    }
}
