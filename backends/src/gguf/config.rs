//! Hyper-parameters from a file's metadata, with the defaults of llama.cpp. Looks at no weights but the embedding's rows.

use mobiedit_core::backend::ModelSpec;

use super::model_error::{ModelError, Name};
use super::{Gguf, TensorName, Value};
use crate::model::{Architecture, MAX_HEAD_DIM, ModelConfig};
use crate::op::RopePairs;

pub(super) const EMBEDDING: TensorName = TensorName { layer: None, part: "token_embd.weight" };
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

impl ModelConfig {
    /// Reads the hyper-parameters. What they ask of the tensors is checked by [`Model::open`](crate::model::Model::open),
    /// for which `spec.layers` says how many layers to lend; there are never more layers than tensors.
    ///
    /// # Errors
    /// An architecture or a RoPE scaling that is not supported; keys that are missing or do not fit each other.
    pub fn read(gguf: &Gguf<'_>) -> Result<Self, ModelError> {
        let keys = Keys { gguf: *gguf, architecture: architecture(gguf)? };
        let d_model = keys.size("embedding_length")?;
        let layers = keys.size("block_count")?;
        keys.check(layers <= gguf.tensors_len(), "block_count")?;
        let heads = keys.size("attention.head_count")?;
        let kv_heads = keys.size_or("attention.head_count_kv", heads)?;
        keys.check(heads.is_multiple_of(kv_heads), "attention.head_count_kv")?;
        let head_dim = keys.head_dim(d_model, heads)?;
        let kv_dim = kv_heads.checked_mul(head_dim).ok_or(keys.invalid("attention.head_count_kv"))?;
        keys.check(heads.checked_mul(head_dim).is_some(), "attention.head_count")?;
        let embedding = gguf.tensor(EMBEDDING.part).ok_or(ModelError::MissingTensor(EMBEDDING))?;
        let spec = ModelSpec {
            d_model,
            d_ff: keys.size("feed_forward_length")?,
            layers,
            kv_dim,
            vocab: embedding.dims().get(1).copied().unwrap_or(1),
            max_tokens: keys.size("context_length")?,
        };
        let norm_eps = "attention.layer_norm_rms_epsilon";
        Ok(Self {
            architecture: keys.architecture,
            spec,
            heads,
            kv_heads,
            head_dim,
            rope_dim: head_dim,
            rope_theta: keys.positive("rope.freq_base")?.unwrap_or(DEFAULT_ROPE_THETA),
            rope_linear_scale: keys.rope_linear_scale()?,
            rope_pairs: match keys.architecture {
                Architecture::Llama => RopePairs::Neighbours,
                Architecture::Qwen2 => RopePairs::Halves,
            },
            norm_eps: keys.positive(norm_eps)?.ok_or(keys.missing(norm_eps))?,
        })
    }
}

fn architecture(gguf: &Gguf<'_>) -> Result<Architecture, ModelError> {
    let name = gguf.str("general.architecture").ok_or(ModelError::NoArchitecture)?;
    let supported = [Architecture::Llama, Architecture::Qwen2];
    supported.into_iter().find(|a| a.name() == name).ok_or(ModelError::UnsupportedArchitecture(Name::new(name)))
}

/// The keys of one architecture.
struct Keys<'a> {
    gguf: Gguf<'a>,
    architecture: Architecture,
}

impl<'a> Keys<'a> {
    fn missing(&self, key: &'static str) -> ModelError {
        ModelError::MissingKey { architecture: self.architecture, key }
    }

    fn invalid(&self, key: &'static str) -> ModelError {
        ModelError::InvalidKey { architecture: self.architecture, key }
    }

    fn check(&self, fits: bool, key: &'static str) -> Result<(), ModelError> {
        if fits { Ok(()) } else { Err(self.invalid(key)) }
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        let prefix = self.architecture.name();
        let is_key = |k: &str| k.strip_prefix(prefix).and_then(|k| k.strip_prefix('.')) == Some(key);
        self.gguf.metadata().find(|(k, _)| is_key(k)).map(|(_, value)| value)
    }

    /// A number of at least 1, if the key is there.
    fn optional_size(&self, key: &'static str) -> Result<Option<usize>, ModelError> {
        let size = |v: Value<'_>| v.as_u32().filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok());
        self.get(key).map(|value| size(value).ok_or(self.invalid(key))).transpose()
    }

    fn size(&self, key: &'static str) -> Result<usize, ModelError> {
        self.optional_size(key)?.ok_or(self.missing(key))
    }

    fn size_or(&self, key: &'static str, default: usize) -> Result<usize, ModelError> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    fn float(&self, key: &'static str) -> Result<Option<f32>, ModelError> {
        let finite = |v: Value<'_>| v.as_f32().filter(|x| x.is_finite());
        self.get(key).map(|value| finite(value).ok_or(self.invalid(key))).transpose()
    }

    /// A float over 0, if the key is there.
    fn positive(&self, key: &'static str) -> Result<Option<f32>, ModelError> {
        self.float(key)?.map(|x| if x > 0.0 { Ok(x) } else { Err(self.invalid(key)) }).transpose()
    }

    /// Elements of a head: even, the same for keys and values, all turned by RoPE.
    fn head_dim(&self, d_model: usize, heads: usize) -> Result<usize, ModelError> {
        let length = "attention.key_length";
        let head_dim = match self.optional_size(length)? {
            Some(given) => given,
            None if d_model.is_multiple_of(heads) => d_model / heads.max(1),
            None => return Err(self.invalid("attention.head_count")),
        };
        self.check(head_dim.is_multiple_of(2) && head_dim <= MAX_HEAD_DIM, length)?;
        for key in ["attention.value_length", "rope.dimension_count"] {
            self.check(self.size_or(key, head_dim)? == head_dim, key)?;
        }
        Ok(head_dim)
    }

    /// 1 without scaling. A factor of 0 means the same, as it does to llama.cpp.
    fn rope_linear_scale(&self) -> Result<f32, ModelError> {
        let (kind, factor) = ("rope.scaling.type", "rope.scaling.factor");
        let scaling = self.get(kind).map_or(Some("linear"), Value::as_str).ok_or(self.invalid(kind))?;
        let given = match self.float(factor)? {
            Some(given) => given,
            None => self.float("rope.scale_linear")?.unwrap_or(0.0),
        };
        self.check(given >= 0.0, factor)?;
        match scaling {
            "none" => Ok(1.0),
            "linear" => Ok(if given == 0.0 { 1.0 } else { given }),
            other => Err(ModelError::UnsupportedRopeScaling(Name::new(other))),
        }
    }
}
