//! The model in flash, and its sizes, so that the compiler can count its memory. [`crate::with_model`] compares them with the file's.

use mobiedit_backends::model::{Architecture, ModelConfig};
use mobiedit_backends::op::RopePairs;
use mobiedit_core::ModelSpec;

/// `tests/fixtures/model.gguf`, aligned as GGUF wants it.
pub const MODEL: &[u8] = &ALIGNED.0;

static ALIGNED: Aligned<[u8; include_bytes!("../../../../fixtures/model.gguf").len()]> =
    Aligned(*include_bytes!("../../../../fixtures/model.gguf"));

#[repr(align(32))]
struct Aligned<T>(T);

/// What the file says of itself (`mobiedit inspect`).
pub const CONFIG: ModelConfig = ModelConfig {
    architecture: Architecture::Qwen2,
    spec: ModelSpec { d_model: 256, d_ff: 768, layers: 8, kv_dim: 64, vocab: 6144, max_tokens: 256 },
    heads: 8,
    kv_heads: 2,
    head_dim: 32,
    rope_dim: 32,
    rope_theta: 10_000.0,
    rope_linear_scale: 1.0,
    rope_pairs: RopePairs::Halves,
    norm_eps: 1e-6,
};
