//! What can go wrong with an edit: before it begins, and in a unit of its work. Every error is `Copy` and without text.

use core::fmt;

use crate::backend::{BackendError, BackendErrorKind};
use crate::checkpoint::CheckpointError;
use crate::problem::ProblemError;
use crate::statistics::StatisticsError;
use crate::storage::StorageError;

/// Why an edit cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SetupError {
    /// The problem does not fit the model that the settings were checked against.
    Problem(ProblemError),
    /// A lent slice is too small.
    Storage(StorageError),
    /// The statistics cannot be used.
    Statistics(StatisticsError),
    /// The edit cannot be resumed from these bytes.
    Checkpoint(CheckpointError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(e) => e.fmt(f),
            Self::Storage(e) => e.fmt(f),
            Self::Statistics(e) => e.fmt(f),
            Self::Checkpoint(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for SetupError {}

/// Why a unit of work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepError<E> {
    /// The backend failed.
    Backend(E),
    /// The backend's model is not the one that the settings were checked against.
    OtherModel,
    /// A loss, a gradient, the key or the value is NaN or infinite.
    NotFinite,
    /// The value v0 or the key k* is zero, or u does not see k* (uᵀk* ≤ 0: the prompts' keys cancel each other): there is
    /// nothing to scale an edit by.
    Degenerate,
}

impl<E: BackendError> StepError<E> {
    /// The class of the error.
    pub fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Backend(e) => e.kind(),
            Self::NotFinite => BackendErrorKind::NotFinite,
            Self::OtherModel | Self::Degenerate => BackendErrorKind::Unsupported,
        }
    }
}

impl<E: fmt::Display> fmt::Display for StepError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(e) => e.fmt(f),
            Self::OtherModel => f.write_str("the backend's model is not the one that the edit was set up for"),
            Self::NotFinite => f.write_str("the model gave a NaN or an infinity"),
            Self::Degenerate => {
                f.write_str("the value or the key at the subject is zero, or the prompts' keys cancel each other")
            }
        }
    }
}

impl<E: core::error::Error> core::error::Error for StepError<E> {}

impl<E> From<E> for StepError<E> {
    fn from(error: E) -> Self {
        Self::Backend(error)
    }
}
