//! A decoder's weights and hyper-parameters, as views into a model file. Reading the file is `gguf`'s work.

use mobiedit_core::backend::ModelSpec;

use crate::op::RopePairs;
use crate::weights::Matrix;

/// Hyper-parameters of a Llama or Qwen2 decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelConfig {
    /// The architecture.
    pub architecture: Architecture,
    /// Sizes that the editor needs too.
    pub spec: ModelSpec,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Elements of a head that RoPE turns; the same as `head_dim` in every model supported so far.
    pub rope_dim: usize,
    /// RoPE's base θ.
    pub rope_theta: f32,
    /// Positions are divided by this (linear scaling); 1 for none.
    pub rope_linear_scale: f32,
    /// Which elements RoPE turns together.
    pub rope_pairs: RopePairs,
    /// RMSNorm's ε.
    pub norm_eps: f32,
}

/// Most elements of a head.
pub const MAX_HEAD_DIM: usize = 256;

/// Supported architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2 and 3.x.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
}

impl Architecture {
    /// Its name in `general.architecture`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// The weights of one decoder layer. Matrices are `(outputs, inputs)`; norms and biases have one row, F32.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// RMSNorm before attention, `(1, d_model)`.
    pub attn_norm: Matrix<'a>,
    /// Query projection, `(heads · head_dim, d_model)`.
    pub q: Matrix<'a>,
    /// Its bias.
    pub q_bias: Option<Matrix<'a>>,
    /// Key projection, `(kv_dim, d_model)`.
    pub k: Matrix<'a>,
    /// Its bias.
    pub k_bias: Option<Matrix<'a>>,
    /// Value projection, `(kv_dim, d_model)`.
    pub v: Matrix<'a>,
    /// Its bias.
    pub v_bias: Option<Matrix<'a>>,
    /// Output projection, `(d_model, heads · head_dim)`.
    pub o: Matrix<'a>,
    /// RMSNorm before the MLP, `(1, d_model)`.
    pub ffn_norm: Matrix<'a>,
    /// `gate_proj`, `(d_ff, d_model)`.
    pub gate: Matrix<'a>,
    /// `up_proj`, `(d_ff, d_model)`.
    pub up: Matrix<'a>,
    /// `down_proj`, `(d_model, d_ff)`: the matrix that an edit changes.
    pub down: Matrix<'a>,
}

impl Layer<'_> {
    /// A layer without weights, for lending `[Layer::EMPTY; N]` to [`Model::open`].
    pub const EMPTY: Self = Self {
        attn_norm: Matrix::EMPTY,
        q: Matrix::EMPTY,
        q_bias: None,
        k: Matrix::EMPTY,
        k_bias: None,
        v: Matrix::EMPTY,
        v_bias: None,
        o: Matrix::EMPTY,
        ffn_norm: Matrix::EMPTY,
        gate: Matrix::EMPTY,
        up: Matrix::EMPTY,
        down: Matrix::EMPTY,
    };
}

/// A whole model.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Hyper-parameters.
    pub config: ModelConfig,
    /// Token embedding, `(vocab, d_model)`.
    pub embedding: Matrix<'a>,
    /// Decoder layers, first to last.
    pub layers: &'a [Layer<'a>],
    /// RMSNorm before the head, `(1, d_model)`.
    pub output_norm: Matrix<'a>,
    /// The output head, `(vocab, d_model)`: the embedding itself where the model ties them.
    pub head: Matrix<'a>,
    /// Divisors of RoPE's frequencies, `(1, rope_dim / 2)`, F32 (`rope_freqs.weight`: Llama 3's scaling).
    pub rope_factors: Option<Matrix<'a>>,
}
