//! What a CPU device refuses, and at which operation. Recovers from nothing.

use core::fmt;

use mobiedit_backends::checked::Refusal;
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
    /// No device would run it.
    Refused(Refusal),
    /// The scratch memory lent to the device is too small.
    Scratch {
        /// Elements needed of the buffer concerned.
        need: usize,
        /// Elements it has.
        given: usize,
    },
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Scratch { need, given } => {
                write!(f, "a scratch buffer has {given} elements, {need} are needed")
            }
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
            Reason::Refused(refusal) => refusal.kind(),
            Reason::Scratch { .. } => BackendErrorKind::TooSmall,
        }
    }
}
