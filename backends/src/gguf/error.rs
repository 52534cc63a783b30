//! What can be wrong with a GGUF file as such. What a decoder misses in it is `model_error`'s affair.

use core::fmt;

use super::{MAX_PAIRS, MAX_TENSORS};

/// Why a file cannot be read. Entries are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GgufError {
    /// It does not begin with "GGUF".
    NotGguf,
    /// It has this version instead of 3; byte-swapped for a big-endian file.
    Version(u32),
    /// It ends inside its header.
    Truncated,
    /// It claims more metadata than [`MAX_PAIRS`].
    TooManyPairs(u64),
    /// It claims more tensors than [`MAX_TENSORS`].
    TooManyTensors(u64),
    /// A metadata pair is flawed.
    Pair {
        /// Which one.
        index: usize,
        /// In what way.
        flaw: PairFlaw,
    },
    /// `general.alignment` is no power of two.
    Alignment,
    /// A tensor is flawed.
    Tensor {
        /// Which one.
        index: usize,
        /// In what way.
        flaw: TensorFlaw,
    },
}

/// What is wrong with a metadata pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PairFlaw {
    /// The file ends inside of it.
    Truncated,
    /// A key or text is not UTF-8.
    Text,
    /// The key has over 65,535 bytes.
    KeyLength,
    /// No type of values has this number.
    Type(u32),
    /// An array of arrays.
    Nested,
    /// A bool is neither 0 nor 1.
    Bool,
    /// Its key is also an earlier pair's.
    Duplicate,
}

/// What is wrong with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TensorFlaw {
    /// The file ends inside its description.
    Truncated,
    /// Its name is not UTF-8, or has 64 bytes or more.
    Name,
    /// It has not 1 to 4 dimensions, one is 0, a row is no whole number of blocks, or its size does not fit memory.
    Shape,
    /// Its name is also an earlier one's.
    Duplicate,
    /// It does not start at a multiple of the alignment.
    Misaligned,
    /// It reaches beyond the end of the file.
    Outside,
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGguf => write!(f, "not a GGUF file"),
            Self::Version(v) if v.swap_bytes() == 3 => {
                write!(f, "a big-endian GGUF file; little-endian ones can be read")
            }
            Self::Version(v) => write!(f, "GGUF version {v}; only version 3 can be read"),
            Self::Truncated => write!(f, "the file is truncated: it ends inside its header"),
            Self::TooManyPairs(n) => write!(f, "the file claims {n} metadata pairs, over the limit of {MAX_PAIRS}"),
            Self::TooManyTensors(n) => write!(f, "the file claims {n} tensors, over the limit of {MAX_TENSORS}"),
            Self::Pair { index, flaw: PairFlaw::Truncated } => {
                write!(f, "the file is truncated: it ends inside metadata pair {index}")
            }
            Self::Pair { index, flaw } => write!(f, "metadata pair {index} {flaw}"),
            Self::Alignment => write!(f, "general.alignment is not a power of two"),
            Self::Tensor { index, flaw: TensorFlaw::Truncated } => {
                write!(f, "the file is truncated: it ends inside the description of tensor {index}")
            }
            Self::Tensor { index, flaw: TensorFlaw::Outside } => {
                write!(f, "the file is truncated: tensor {index} reaches beyond its end")
            }
            Self::Tensor { index, flaw } => write!(f, "tensor {index} {flaw}"),
        }
    }
}

impl fmt::Display for PairFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "is cut off"),
            Self::Text => write!(f, "has a text that is not UTF-8"),
            Self::KeyLength => write!(f, "has a key of over 65535 bytes"),
            Self::Type(t) => write!(f, "has the unknown value type {t}"),
            Self::Nested => write!(f, "is an array of arrays"),
            Self::Bool => write!(f, "has a bool that is neither 0 nor 1"),
            Self::Duplicate => write!(f, "has the key of an earlier one"),
        }
    }
}

impl fmt::Display for TensorFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "has a description that is cut off",
            Self::Name => "has a name that is not UTF-8 or too long",
            Self::Shape => "has an impossible shape",
            Self::Duplicate => "has the name of an earlier one",
            Self::Misaligned => "does not start at a multiple of the alignment",
            Self::Outside => "reaches beyond the end of the file",
        })
    }
}

impl core::error::Error for GgufError {}
