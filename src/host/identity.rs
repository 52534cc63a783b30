//! Which model an edit belongs to: a hash of its sizes and of the matrix that is edited. And which a calibration belongs to.
//!
//! Tells models apart that were not made to collide; it is no signature.

use std::hash::Hasher;

use mobiedit_backends::model::Model;

use crate::host::export::architecture_name;

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

/// Identity of a model as far as edits of `layer` are concerned.
pub fn identity(model: &Model<'_>, layer: usize) -> u64 {
    let mut hash = Fnv::default();
    let spec = model.config.spec;
    hash.write(architecture_name(model.config.architecture).as_bytes());
    for size in [spec.d_model, spec.d_ff, spec.layers, spec.kv_dim, spec.vocab, layer] {
        hash.write(&(size as u64).to_le_bytes());
    }
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
    hash.write(format!("{:?}", model.config).as_bytes());
    let ends = [&model.embedding, &model.output_norm, &model.head].into_iter().chain(&model.rope_factors);
    let of_layers = model.layers.iter().flat_map(|w| {
        let matrices = [&w.attn_norm, &w.q, &w.k, &w.v, &w.o, &w.ffn_norm, &w.gate, &w.up, &w.down];
        matrices.into_iter().chain(&w.q_bias).chain(&w.k_bias).chain(&w.v_bias)
    });
    for matrix in ends.chain(of_layers) {
        let bytes = matrix.bytes();
        hash.write(format!("{:?} {} {}", matrix.format(), matrix.rows(), matrix.cols()).as_bytes());
        hash.write(&bytes[..bytes.len().min(ENDS)]);
        hash.write(&bytes[bytes.len().saturating_sub(ENDS)..]);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_published() {
        let mut hash = Fnv::default();
        hash.write(b"foobar");
        assert_eq!(hash.finish(), 0x8594_4171_f739_67e8);
    }
}
