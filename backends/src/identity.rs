//! Which model an edit belongs to: a hash of its sizes and of the matrix that is edited. And which a calibration belongs to.
//!
//! Tells models apart that were not made to collide; it is no signature.

use core::hash::Hasher;

use mobiedit_core::ModelSpec;

use crate::model::{Model, ModelConfig};
use crate::op::RopePairs;
use crate::weights::{Format, Matrix};

/// FNV-1a with 64 bits: the same on every machine and in every version, unlike the standard library's hasher.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Fnv {
    fn words<const N: usize>(&mut self, words: [u64; N]) {
        words.iter().for_each(|word| self.write(&word.to_le_bytes()));
    }

    fn sizes<const N: usize>(&mut self, sizes: [usize; N]) {
        self.words(sizes.map(|size| size as u64));
    }

    /// All that a forward pass depends on besides the weights.
    fn config(&mut self, config: &ModelConfig) {
        // Taken apart in full, so that a new number cannot be forgotten here.
        let ModelConfig {
            architecture,
            spec,
            heads,
            kv_heads,
            head_dim,
            rope_dim,
            rope_theta,
            rope_linear_scale,
            rope_pairs,
            norm_eps,
        } = *config;
        let ModelSpec { d_model, d_ff, layers, kv_dim, vocab, max_tokens } = spec;
        self.write(architecture.name().as_bytes());
        self.sizes([d_model, d_ff, layers, kv_dim, vocab, max_tokens, heads, kv_heads, head_dim, rope_dim]);
        self.words([rope_theta, rope_linear_scale, norm_eps].map(|x| u64::from(x.to_bits())));
        self.words([match rope_pairs {
            RopePairs::Halves => 0,
            RopePairs::Neighbours => 1,
        }]);
    }

    /// Shape, format, and the bytes at either end.
    fn matrix(&mut self, matrix: &Matrix<'_>) {
        let bytes = matrix.bytes();
        let len = bytes.len().min(ENDS);
        self.sizes([number_of(matrix.format()), matrix.rows(), matrix.cols()]);
        self.write(bytes.get(..len).unwrap_or(bytes));
        self.write(bytes.get(bytes.len() - len..).unwrap_or(bytes));
    }
}

/// GGML's number of a format.
fn number_of(format: Format) -> usize {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q8_0 => 8,
        Format::Q4K => 12,
        Format::Q5K => 13,
        Format::Q6K => 14,
        Format::Bf16 => 30,
    }
}

/// Identity of a model as far as edits of `layer` are concerned.
pub fn identity(model: &Model<'_>, layer: usize) -> u64 {
    let mut hash = Fnv::default();
    let spec = model.config.spec;
    hash.write(model.config.architecture.name().as_bytes());
    hash.sizes([spec.d_model, spec.d_ff, spec.layers, spec.kv_dim, spec.vocab, layer]);
    if let Some(layer) = model.layers.get(layer) {
        hash.write(layer.down.bytes());
    }
    hash.finish()
}

/// Bytes at either end of a matrix that [`whole_identity`] looks at.
const ENDS: usize = 4096;

/// Identity of a model as a whole, as far as its activations are concerned: its hyper-parameters, and of every matrix the
/// shape, the format and the first and last 4 KiB. Reads some MB of a model of several GB.
pub fn whole_identity(model: &Model<'_>) -> u64 {
    let mut hash = Fnv::default();
    hash.config(&model.config);
    let ends = [&model.embedding, &model.output_norm, &model.head].into_iter().chain(&model.rope_factors);
    let of_layers = model.layers.iter().flat_map(|w| {
        let matrices = [&w.attn_norm, &w.q, &w.k, &w.v, &w.o, &w.ffn_norm, &w.gate, &w.up, &w.down];
        matrices.into_iter().chain(&w.q_bias).chain(&w.k_bias).chain(&w.v_bias)
    });
    ends.chain(of_layers).for_each(|matrix| hash.matrix(matrix));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;
    use std::collections::BTreeSet;

    #[test]
    fn hashes_as_published() {
        let mut hash = Fnv::default();
        hash.write(b"foobar");
        assert_eq!(hash.finish(), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_number_of_a_config_counts() {
        let spec = ModelSpec { d_model: 1, d_ff: 2, layers: 3, kv_dim: 4, vocab: 5, max_tokens: 6 };
        let config = ModelConfig {
            architecture: Architecture::Llama,
            spec,
            heads: 7,
            kv_heads: 8,
            head_dim: 9,
            rope_dim: 10,
            rope_theta: 11.0,
            rope_linear_scale: 12.0,
            rope_pairs: RopePairs::Halves,
            norm_eps: 13.0,
        };
        let changed = [
            config,
            ModelConfig { architecture: Architecture::Qwen2, ..config },
            ModelConfig { spec: ModelSpec { d_ff: 3, ..spec }, ..config },
            ModelConfig { spec: ModelSpec { max_tokens: 7, ..spec }, ..config },
            ModelConfig { heads: 8, ..config },
            ModelConfig { rope_dim: 9, ..config },
            ModelConfig { rope_theta: 10.0, ..config },
            ModelConfig { rope_linear_scale: 1.0, ..config },
            ModelConfig { rope_pairs: RopePairs::Neighbours, ..config },
            ModelConfig { norm_eps: -13.0, ..config },
        ];
        let all: BTreeSet<u64> = changed
            .iter()
            .map(|config| {
                let mut hash = Fnv::default();
                hash.config(config);
                hash.finish()
            })
            .collect();
        assert_eq!(all.len(), changed.len());
    }
}
