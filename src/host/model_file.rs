//! A model file opened: bytes, GGUF, model, one view upon the other.

use std::path::{Path, PathBuf};

use mobiedit_backends::gguf::{Gguf, GgufError, ModelError};
use mobiedit_backends::model::{Layer, Model, ModelConfig};

use crate::host::map::ModelBytes;

/// The fact model of `tests/fixtures`.
#[cfg(feature = "shipped-model")]
const SHIPPED: Option<&[u8]> = Some(include_bytes!("../../tests/fixtures/model.gguf"));
#[cfg(not(feature = "shipped-model"))]
const SHIPPED: Option<&[u8]> = None;

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// The file cannot be read.
    #[error("the model {path} cannot be read: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is damaged, or no GGUF at all.
    #[error("the model {name} cannot be used: {error}")]
    Gguf {
        /// The file, or "built in".
        name: String,
        /// What is wrong with it.
        error: GgufError,
    },
    /// The file holds no model that can be edited.
    #[error("the model {name} cannot be used: {error}")]
    Model {
        /// The file, or "built in".
        name: String,
        /// What is wrong with it.
        error: ModelError,
    },
    /// No model was named and none is built in.
    #[error("name a model with --model: this program was built without one (feature shipped-model)")]
    NoneBuiltIn,
}

/// An open model file.
#[derive(Debug)]
pub struct ModelFile {
    name: String,
    bytes: ModelBytes,
}

impl ModelFile {
    /// Opens the file at `path`, or the built-in model.
    ///
    /// # Errors
    /// A file that cannot be read. Its content is not looked at yet.
    pub fn open(path: Option<&Path>) -> Result<Self, ModelFileError> {
        let Some(path) = path else {
            let bytes = SHIPPED.ok_or(ModelFileError::NoneBuiltIn)?;
            return Ok(Self { name: "built in".to_owned(), bytes: ModelBytes::Included(bytes) });
        };
        match ModelBytes::map(path) {
            Ok(bytes) => Ok(Self { name: path.display().to_string(), bytes }),
            Err(error) => Err(ModelFileError::Read { path: path.to_owned(), error }),
        }
    }

    /// Lends the file's GGUF and the model in it to `work`.
    ///
    /// # Errors
    /// A file that is no supported model.
    pub fn with_model<T>(&self, work: impl FnOnce(&Gguf<'_>, &Model<'_>) -> T) -> Result<T, ModelFileError> {
        let gguf_error = |error| ModelFileError::Gguf { name: self.name.clone(), error };
        let model_error = |error| ModelFileError::Model { name: self.name.clone(), error };
        let gguf = Gguf::parse(self.bytes.as_ref()).map_err(gguf_error)?;
        let config = ModelConfig::read(&gguf).map_err(model_error)?;
        let mut layers = vec![Layer::EMPTY; config.spec.layers];
        let model = Model::open(&gguf, &mut layers).map_err(model_error)?;
        Ok(work(&gguf, &model))
    }
}
