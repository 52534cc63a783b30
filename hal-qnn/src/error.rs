//! What goes wrong between this crate and a QNN library, and short texts of fixed size. It recovers from nothing.

use core::ffi::CStr;
use core::fmt;

use mobiedit_backends::checked::Refusal;
use mobiedit_core::backend::{BackendError, BackendErrorKind};

use crate::sys::table::Version;

/// Why there is no library, or not what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QnnError {
    /// The file could not be opened as a library; the loader's reason.
    Open(Text),
    /// The library has no function of that name.
    Symbol(&'static str),
    /// The stream that the program writes its data to could not be guarded; the system's error number.
    Stdout(i32),
    /// The library has no interface, or the pointer to it is null.
    NoProvider,
    /// No interface of the library is the NPU's; the number of the first backend found.
    NotHtp(u32),
    /// The NPU's interface has another layout than this crate knows; the version found.
    CoreVersion(Version),
    /// The library does not have the function.
    Missing(&'static str),
    /// The function succeeded, and gave nothing.
    Nothing(&'static str),
    /// The buffer for an end of a graph has another size than its tensor.
    Buffer {
        /// The library's number of the tensor.
        tensor: u32,
        /// Numbers of the tensor.
        need: usize,
        /// Numbers of the buffer.
        given: usize,
    },
    /// The backend has no such operation.
    Operation {
        /// Its name in the library, the types and lengths of its inputs, and those of its output.
        types: Text,
        /// What the backend answered.
        status: Status,
    },
    /// The function failed.
    Refused {
        /// Which one, by its name in the interface.
        call: &'static str,
        /// What it answered.
        status: Status,
    },
}

impl fmt::Display for QnnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(reason) => write!(f, "the QNN library does not open: {reason}"),
            Self::Symbol(name) => write!(f, "the library is no QNN backend: it has no {name}"),
            Self::Stdout(number) => write!(f, "standard output cannot be guarded: error {number}"),
            Self::NoProvider => write!(f, "the QNN library has no interface"),
            Self::NotHtp(id) => write!(f, "the QNN library is for backend {id}, not for the NPU"),
            Self::CoreVersion(Version { major, minor, patch }) => {
                write!(f, "the QNN library has core API {major}.{minor}.{patch}, and only version 2 is known")
            }
            Self::Missing(call) => write!(f, "the QNN library lacks {call}"),
            Self::Nothing(call) => write!(f, "QNN's {call} gave nothing"),
            Self::Buffer { tensor, need, given } => {
                write!(f, "the buffer for tensor {tensor} has {given} numbers, {need} are needed")
            }
            Self::Operation { types, status } => write!(f, "the backend has no {types}: {status}"),
            Self::Refused { call, status } => write!(f, "QNN's {call} failed: {status}"),
        }
    }
}

impl core::error::Error for QnnError {}

/// An operation that was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// Index of the operation in the list.
    pub op: usize,
    /// Which operation it is.
    pub name: &'static str,
    /// Why.
    pub reason: Reason,
}

/// Why an operation was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No device would run it.
    Refused(Refusal),
    /// More rows than the device's graphs are built for.
    Rows {
        /// Rows of the operation.
        need: usize,
        /// Rows of a graph.
        most: usize,
    },
    /// The NPU has no such operation.
    Unsupported,
    /// The library.
    Library(QnnError),
}

impl From<QnnError> for Reason {
    fn from(error: QnnError) -> Self {
        Self::Library(error)
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} ({}) on the NPU: ", self.op, self.name)?;
        match self.reason {
            Reason::Refused(refusal) => write!(f, "{refusal}"),
            Reason::Rows { need, most } => write!(f, "it has {need} rows, the graphs are built for {most}"),
            Reason::Unsupported => write!(f, "the NPU has no such operation"),
            Reason::Library(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for DeviceError {}

impl BackendError for DeviceError {
    fn kind(&self) -> BackendErrorKind {
        match self.reason {
            Reason::Refused(refusal) => refusal.kind(),
            Reason::Rows { .. } => BackendErrorKind::TooSmall,
            Reason::Unsupported => BackendErrorKind::Unsupported,
            Reason::Library(_) => BackendErrorKind::Device,
        }
    }
}

/// `Qnn_ErrorHandle_t`: what a function of the library answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub u64);

impl Status {
    /// `QNN_SUCCESS`.
    pub const SUCCESS: Self = Self(0);

    /// The answer of `call` as a result.
    pub fn check(self, call: &'static str) -> Result<(), QnnError> {
        if self == Self::SUCCESS { Ok(()) } else { Err(QnnError::Refused { call, status: self }) }
    }

    /// In words, where a code is known.
    const fn meaning(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "success",
            1000 => "not supported",
            1002 => "out of memory",
            1003 => "system error",
            1004 | 4004 | 11003 => "invalid argument",
            1005 => "operation not permitted",
            1006 => "platform not supported",
            1007 | 1011 => "no communication with the NPU",
            1008 => "incompatible libraries",
            1009 => "the NPU's library does not load",
            1010 => "resource unavailable",
            1100 => "general error",
            3110 => "not an operation of this NPU with these types",
            5000 | 6000 => "invalid argument",
            5001 | 5002 | 6001 => "invalid handle",
            5003 | 6023 => "not finalised",
            5004 => "a binary of another version",
            5005 => "a binary that is not taken",
            5006 | 5007 => "no binary is given",
            5008 => "a binary for another configuration",
            5010 => "invalid configuration",
            5012 | 6031 => "aborted: the NPU was lost or is shut down",
            5013 | 6033 => "timed out",
            6002 => "no such graph",
            6003 => "invalid name",
            6004 | 7004 => "invalid tensor",
            6005 => "invalid operation",
            6007 => "an operation is not connected",
            6020 => "not created",
            6021 => "not optimised",
            6022 => "not finalised: it does not fit the NPU",
            6024 => "finalised already",
            7001 => "invalid tensor handle",
            7002 => "no such tensor",
            7003 => "a tensor of that name exists",
            7005 => "not supported for tensors",
            13000 | 13001 => "invalid power request",
            13002 | 13004 => "no such power vote",
            13003 => "no communication with the NPU",
            4000 | 11002 => "initialisation failed",
            4003 => "not supported by the backend",
            4010 | 4012 | 14001 => "invalid configuration",
            4011 | 11004 | 14000 => "invalid handle",
            14002 => "hardware unavailable",
            14003 => "the device has contexts",
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning() {
            Some(meaning) => write!(f, "{} ({meaning})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A text of at most [`Text::LEN`] bytes, cut between two characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; Self::LEN],
    len: u8,
}

impl Text {
    /// The most bytes.
    pub const LEN: usize = 72;

    /// The text, cut.
    pub fn new(text: &str) -> Self {
        let mut len = text.len().min(Self::LEN);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; Self::LEN];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The text up to the first byte that is not UTF-8, cut.
    pub fn from_c(text: &CStr) -> Self {
        let valid = text.to_bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid());
        Self::new(valid)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or("")
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn errors_say_what_was_found() {
        let refused = |status| QnnError::Refused { call: "deviceCreate", status: Status(status) };
        for (error, expected) in [
            (QnnError::CoreVersion(Version { major: 3, minor: 1, patch: 0 }), "core API 3.1.0, and only version 2"),
            (QnnError::NotHtp(3), "backend 3, not for the NPU"),
            (QnnError::Open(Text::new("no such file")), "does not open: no such file"),
            (QnnError::Missing("logCreate"), "lacks logCreate"),
            (refused(14001), "deviceCreate failed: 14001 (invalid configuration)"),
            (refused(123), "deviceCreate failed: 123"),
        ] {
            let text = format!("{error}");
            assert!(text.ends_with(expected) || text.contains(expected), "{text}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let long = "é".repeat(60);
        for (text, expected) in [("", ""), ("v2", "v2"), (long.as_str(), &long[..72]), (&long[2..], &long[..72])] {
            assert_eq!(Text::new(text).as_str(), expected);
        }
        let odd = format!("a{long}");
        assert_eq!(Text::new(&odd).as_str(), &odd[..71]);
        assert_eq!(Text::from_c(c"ab\xffcd").as_str(), "ab");
    }
}
