//! What a file lacks to be a decoder. Flaws of the file as such are in `error`.

use core::fmt;

use super::type_name;
use crate::model::Architecture;

/// Why a file is not a model that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ModelError {
    /// `general.architecture` is missing.
    NoArchitecture,
    /// An architecture that is not supported.
    UnsupportedArchitecture(Name),
    /// A hyper-parameter is missing.
    MissingKey {
        /// The first part of its key.
        architecture: Architecture,
        /// The rest of its key.
        key: &'static str,
    },
    /// A hyper-parameter is of the wrong type, out of its range, or does not fit the others.
    InvalidKey {
        /// The first part of its key.
        architecture: Architecture,
        /// The rest of its key.
        key: &'static str,
    },
    /// A way to scale RoPE that is not supported.
    UnsupportedRopeScaling(Name),
    /// A tensor is missing.
    MissingTensor(TensorName),
    /// A tensor that such a decoder does not have: to leave it out would change what the model says.
    UnexpectedTensor(Name),
    /// A tensor's shape does not fit the hyper-parameters.
    TensorShape {
        /// Which one.
        tensor: TensorName,
        /// Rows and columns it should have.
        expected: (usize, usize),
        /// Rows and columns it has.
        found: (usize, usize),
    },
    /// A tensor's type is not supported, or not for this tensor: norms and biases are F32.
    UnsupportedTensorType {
        /// Which one.
        tensor: TensorName,
        /// GGML's number of the type.
        type_id: u32,
    },
    /// Fewer layers were lent than the model has.
    TooFewLayers {
        /// Layers of the model.
        needed: usize,
        /// Layers lent.
        lent: usize,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArchitecture => write!(f, "the file does not say general.architecture: not a language model"),
            Self::UnsupportedArchitecture(name) => {
                write!(f, "the architecture \"{name}\" is not supported; llama and qwen2 are")
            }
            Self::MissingKey { architecture, key } => {
                write!(f, "the metadata {}.{key} is missing", architecture.name())
            }
            Self::InvalidKey { architecture, key } => {
                write!(f, "the metadata {}.{key} has an impossible value", architecture.name())
            }
            Self::UnsupportedRopeScaling(name) => {
                write!(f, "the RoPE scaling \"{name}\" is not supported; none and linear are")
            }
            Self::MissingTensor(tensor) => write!(f, "the tensor {tensor} is missing"),
            Self::UnexpectedTensor(name) => write!(f, "the tensor {name} has no place in this architecture"),
            Self::TensorShape { tensor, expected: (r, c), found: (rows, cols) } => {
                write!(f, "the tensor {tensor} is {rows} x {cols}, but the metadata asks for {r} x {c}")
            }
            Self::UnsupportedTensorType { tensor, type_id } => {
                let name = type_name(*type_id).unwrap_or("an unknown one");
                write!(f, "the tensor {tensor} has the type {name} (number {type_id}), which is not supported for it")
            }
            Self::TooFewLayers { needed, lent } => write!(f, "the model has {needed} layers, room for {lent} was lent"),
        }
    }
}

impl core::error::Error for ModelError {}

/// The name of a tensor that a decoder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TensorName {
    /// Its layer, if it belongs to one.
    pub layer: Option<usize>,
    /// What it is, such as "attn_q.weight".
    pub part: &'static str,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Some(layer) => write!(f, "blk.{layer}.{}", self.part),
            None => f.write_str(self.part),
        }
    }
}

/// A name taken from a file, cut off after 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl Name {
    const MAX_LEN: usize = 64;

    pub(super) fn new(text: &str) -> Self {
        let len = (0..=Self::MAX_LEN).rfind(|&len| text.is_char_boundary(len)).unwrap_or(0);
        let mut bytes = [0; Self::MAX_LEN];
        for (to, from) in bytes.iter_mut().zip(text.bytes().take(len)) {
            *to = from;
        }
        Self { bytes, len }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Name {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
