//! A decoder's weights from a file's tensors, every shape checked against the hyper-parameters. Copies no weights.

use core::fmt::Write;

use super::config::EMBEDDING;
use super::model_error::{ModelError, Name, TensorName};
use super::{Gguf, Tensor};
use crate::model::{Layer, Model, ModelConfig};
use crate::weights::{Format, Matrix};

const OUTPUT_NORM: &str = "output_norm.weight";
const OUTPUT: &str = "output.weight";
const ROPE_FACTORS: &str = "rope_freqs.weight";
const WHOLE_PARTS: [&str; 4] = [EMBEDDING.part, OUTPUT_NORM, OUTPUT, ROPE_FACTORS];
const LAYER_PARTS: [&str; 12] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_q.bias",
    "attn_k.weight",
    "attn_k.bias",
    "attn_v.weight",
    "attn_v.bias",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

impl<'a> Model<'a> {
    /// Finds a decoder's weights in a file. `layers` is filled from the front; [`ModelConfig::read`] says how many it takes.
    ///
    /// # Errors
    /// Those of [`ModelConfig::read`]; too few layers lent; tensors that are missing, of the wrong shape, of a type that
    /// is not supported, or that such a decoder does not have.
    pub fn open(gguf: &Gguf<'a>, layers: &'a mut [Layer<'a>]) -> Result<Self, ModelError> {
        let config = ModelConfig::read(gguf)?;
        let (spec, lent) = (config.spec, layers.len());
        let layers = layers.get_mut(..spec.layers).ok_or(ModelError::TooFewLayers { needed: spec.layers, lent })?;
        expect_nothing_else(gguf, spec.layers)?;
        for (index, layer) in layers.iter_mut().enumerate() {
            *layer = Parts { gguf, layer: Some(index) }.layer(&config)?;
        }
        let whole = Parts { gguf, layer: None };
        let embedding = whole.matrix(EMBEDDING.part, spec.vocab, spec.d_model)?;
        Ok(Self {
            config,
            embedding,
            layers,
            output_norm: whole.vector(OUTPUT_NORM, spec.d_model)?,
            head: whole.optional(OUTPUT, spec.vocab, spec.d_model)?.unwrap_or(embedding),
            rope_factors: whole.optional_vector(ROPE_FACTORS, config.rope_dim / 2)?,
        })
    }
}

/// Tensors of one layer, or those that belong to none.
struct Parts<'g, 'a> {
    gguf: &'g Gguf<'a>,
    layer: Option<usize>,
}

impl<'a> Parts<'_, 'a> {
    fn layer(&self, c: &ModelConfig) -> Result<Layer<'a>, ModelError> {
        let (d, kv, ff, q) = (c.spec.d_model, c.spec.kv_dim, c.spec.d_ff, c.heads * c.head_dim);
        Ok(Layer {
            attn_norm: self.vector("attn_norm.weight", d)?,
            q: self.matrix("attn_q.weight", q, d)?,
            q_bias: self.optional_vector("attn_q.bias", q)?,
            k: self.matrix("attn_k.weight", kv, d)?,
            k_bias: self.optional_vector("attn_k.bias", kv)?,
            v: self.matrix("attn_v.weight", kv, d)?,
            v_bias: self.optional_vector("attn_v.bias", kv)?,
            o: self.matrix("attn_output.weight", d, q)?,
            ffn_norm: self.vector("ffn_norm.weight", d)?,
            gate: self.matrix("ffn_gate.weight", ff, d)?,
            up: self.matrix("ffn_up.weight", ff, d)?,
            down: self.matrix("ffn_down.weight", d, ff)?,
        })
    }

    fn name(&self, part: &'static str) -> TensorName {
        TensorName { layer: self.layer, part }
    }

    fn matrix(&self, part: &'static str, rows: usize, cols: usize) -> Result<Matrix<'a>, ModelError> {
        self.optional(part, rows, cols)?.ok_or(ModelError::MissingTensor(self.name(part)))
    }

    fn vector(&self, part: &'static str, len: usize) -> Result<Matrix<'a>, ModelError> {
        self.optional_vector(part, len)?.ok_or(ModelError::MissingTensor(self.name(part)))
    }

    fn optional_vector(&self, part: &'static str, len: usize) -> Result<Option<Matrix<'a>>, ModelError> {
        let vector = self.optional(part, 1, len)?;
        if let Some(other) = self.find(part).filter(|t| t.format() != Some(Format::F32)) {
            return Err(self.unsupported(part, &other));
        }
        Ok(vector)
    }

    fn optional(&self, part: &'static str, rows: usize, cols: usize) -> Result<Option<Matrix<'a>>, ModelError> {
        let Some(tensor) = self.find(part) else { return Ok(None) };
        let matrix = tensor.matrix().ok_or(self.unsupported(part, &tensor))?;
        if (matrix.rows(), matrix.cols()) != (rows, cols) {
            let found = (matrix.rows(), matrix.cols());
            return Err(ModelError::TensorShape { tensor: self.name(part), expected: (rows, cols), found });
        }
        Ok(Some(matrix))
    }

    fn find(&self, part: &'static str) -> Option<Tensor<'a>> {
        self.gguf.tensor(&written(self.name(part)))
    }

    fn unsupported(&self, part: &'static str, tensor: &Tensor<'_>) -> ModelError {
        ModelError::UnsupportedTensorType { tensor: self.name(part), type_id: tensor.type_id() }
    }
}

/// A bias or an expert that is left out would give a different model without a word.
fn expect_nothing_else(gguf: &Gguf<'_>, layers: usize) -> Result<(), ModelError> {
    let known = |name: &str| {
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.0.parse().ok());
        let parts: &[&'static str] = if layer.is_some() { &LAYER_PARTS } else { &WHOLE_PARTS };
        layer.is_none_or(|layer| layer < layers)
            && parts.iter().any(|part| written(TensorName { layer, part }).as_str() == name)
    };
    match gguf.tensors().find(|t| !known(t.name())) {
        Some(tensor) => Err(ModelError::UnexpectedTensor(Name::new(tensor.name()))),
        None => Ok(()),
    }
}

/// The name as text. The longest, with a layer of 20 digits, has 43 bytes.
fn written(name: TensorName) -> heapless::String<64> {
    let mut text = heapless::String::new();
    // Cannot fail, as it fits.
    let _ = write!(text, "{name}");
    text
}
