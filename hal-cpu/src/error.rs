//! What a CPU device refuses, and at which operation. Recovers from nothing.

use core::fmt;

use mobiedit_backends::weights::Format;
use mobiedit_core::backend::{BackendError, BackendErrorKind};

/// An operation that was refused; nothing was written by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CpuError {
    /// Index of the operation in the list.
    pub op: usize,
    /// Why.
    pub reason: Reason,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// A slot, or a segment's part of the cache, ends outside its pool.
    OutOfMemory,
    /// Two slots of the operation overlap.
    Overlap,
    /// A slot lies in a pool that this operation does not work in.
    Pool,
    /// Lengths and shapes do not fit each other, or a width is zero.
    Shape,
    /// A token id or a row index is outside of what it indexes.
    Index,
    /// This device has no arithmetic for the format.
    Format(Format),
    /// A static scale is not a positive number.
    Scale,
    /// The scratch memory lent to the device is too small.
    Scratch {
        /// Elements needed of the buffer concerned.
        need: usize,
        /// Elements it has.
        given: usize,
    },
    /// The operation is newer than this device.
    UnknownOp,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => write!(f, "a slot ends outside its pool"),
            Self::Overlap => write!(f, "two slots overlap"),
            Self::Pool => write!(f, "a slot lies in the wrong pool"),
            Self::Shape => write!(f, "shapes do not fit each other"),
            Self::Index => write!(f, "an index is out of range"),
            Self::Format(format) => write!(f, "weights in format {format:?} are not supported"),
            Self::Scale => write!(f, "a static scale is not a positive number"),
            Self::Scratch { need, given } => {
                write!(f, "a scratch buffer has {given} elements, {need} are needed")
            }
            Self::UnknownOp => write!(f, "the operation is not supported"),
        }
    }
}

impl fmt::Display for CpuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} on the CPU: {}", self.op, self.reason)
    }
}

impl core::error::Error for CpuError {}

impl BackendError for CpuError {
    fn kind(&self) -> BackendErrorKind {
        match self.reason {
            Reason::Scratch { .. } | Reason::OutOfMemory => BackendErrorKind::TooSmall,
            _ => BackendErrorKind::Unsupported,
        }
    }
}
