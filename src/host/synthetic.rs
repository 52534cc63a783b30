//! Model files of real architectures with random weights: right in every size and name, and good for nothing but measuring what a
//! model of that size costs.

use std::io::{self, Write};

use half::f16;
use mobiedit_backends::weights::Format;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::host::gguf_file::{DEFAULT_ALIGNMENT, Entry, F32, Metadata, f32_bytes, write_head, write_part};

/// GGML's numbers of the formats that are written.
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const Q6_K: u32 = 14;

/// An architecture, in its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its name, as it is asked for.
    pub name: &'static str,
    /// Of GGUF's metadata.
    pub architecture: &'static str,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the MLP's inner layer.
    pub d_ff: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Longest sequence.
    pub context: usize,
    /// θ of RoPE.
    pub rope_theta: f32,
    /// Added to the mean square of norms.
    pub norm_eps: f32,
    /// Whether queries, keys and values have biases.
    pub biased: bool,
    /// Whether RoPE's frequencies have factors (Llama 3).
    pub rope_factors: bool,
}

const QWEN2_5_3B: Shape = Shape {
    name: "qwen2.5-3b",
    architecture: "qwen2",
    layers: 36,
    d_model: 2048,
    d_ff: 11_008,
    heads: 16,
    kv_heads: 2,
    head_dim: 128,
    vocab: 151_936,
    context: 32_768,
    rope_theta: 1e6,
    norm_eps: 1e-6,
    biased: true,
    rope_factors: false,
};

/// The architectures that are measured, from their models' `config.json`. Heads are tied to embeddings in all of them.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "qwen2.5-0.5b", layers: 24, d_model: 896, d_ff: 4864, heads: 14, head_dim: 64, ..QWEN2_5_3B },
    QWEN2_5_3B,
    Shape {
        name: "llama-3.2-3b",
        architecture: "llama",
        layers: 28,
        d_model: 3072,
        d_ff: 8192,
        heads: 24,
        kv_heads: 8,
        head_dim: 128,
        vocab: 128_256,
        context: 131_072,
        rope_theta: 5e5,
        norm_eps: 1e-5,
        biased: false,
        rope_factors: true,
    },
];

/// What the matrices are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// 8 bits, all of them.
    Q8_0,
    /// 4 bits, the embedding in 6, as llama.cpp's Q4_K files have it; matrices of other widths than multiples of 256 in 8.
    Q4K,
}

/// A tensor to be written: random matrix, or a vector of one number.
enum Content {
    Matrix(Format),
    Vector(f32),
}

impl Shape {
    /// Its tensors, with rows' lengths before their number.
    fn tensors(&self, quant: Quant) -> Vec<(String, [usize; 2], Content)> {
        let (d, ff, kv, q) = (self.d_model, self.d_ff, self.kv_heads * self.head_dim, self.heads * self.head_dim);
        let format = |cols: usize, wanted| if cols.is_multiple_of(256) { wanted } else { Format::Q8_0 };
        let [of_layer, of_embedding] = match quant {
            Quant::Q8_0 => [Format::Q8_0; 2],
            Quant::Q4K => [Format::Q4K, Format::Q6K],
        };
        let mut all = vec![("token_embd.weight".to_owned(), [d, self.vocab], Content::Matrix(format(d, of_embedding)))];
        for layer in 0..self.layers {
            let matrices = [
                ("attn_q", d, q),
                ("attn_k", d, kv),
                ("attn_v", d, kv),
                ("attn_output", q, d),
                ("ffn_gate", d, ff),
                ("ffn_up", d, ff),
                ("ffn_down", ff, d),
            ];
            all.extend(matrices.map(|(part, cols, rows)| {
                (format!("blk.{layer}.{part}.weight"), [cols, rows], Content::Matrix(format(cols, of_layer)))
            }));
            let mut vector = |part: &str, len, number| {
                all.push((format!("blk.{layer}.{part}"), [len, 1], Content::Vector(number)));
            };
            vector("attn_norm.weight", d, 1.0);
            vector("ffn_norm.weight", d, 1.0);
            if self.biased {
                [("attn_q.bias", q), ("attn_k.bias", kv), ("attn_v.bias", kv)]
                    .into_iter()
                    .for_each(|(part, len)| vector(part, len, 0.1));
            }
        }
        all.push(("output_norm.weight".to_owned(), [d, 1], Content::Vector(1.0)));
        if self.rope_factors {
            all.push(("rope_freqs.weight".to_owned(), [self.head_dim / 2, 1], Content::Vector(1.0)));
        }
        all
    }

    fn metadata(&self) -> Metadata {
        let key = |key: &str| format!("{}.{key}", self.architecture);
        let numbers = [
            ("block_count", self.layers),
            ("context_length", self.context),
            ("embedding_length", self.d_model),
            ("feed_forward_length", self.d_ff),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
            ("vocab_size", self.vocab),
        ];
        let start = Metadata::default()
            .string("general.architecture", self.architecture)
            .string("general.name", &format!("{} with random weights", self.name))
            // What llama.cpp calls a model without a tokenizer.
            .string("tokenizer.ggml.model", "no_vocab");
        numbers
            .into_iter()
            .fold(start, |metadata, (name, number)| metadata.number(&key(name), number as u32))
            .float(&key("attention.layer_norm_rms_epsilon"), self.norm_eps)
            .float(&key("rope.freq_base"), self.rope_theta)
    }

    /// Writes a file of this architecture, without a tokenizer. `written` is told how many of how many bytes are there.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(
        &self,
        quant: Quant,
        seed: u64,
        out: &mut impl Write,
        mut written: impl FnMut(u64, u64),
    ) -> io::Result<()> {
        let tensors = self.tensors(quant);
        let entry = |(name, [cols, rows], content): &(String, [usize; 2], Content)| {
            let (kind, len) = match content {
                Content::Vector(_) => (F32, 4 * cols),
                Content::Matrix(format) => (number_of(*format), rows * row_bytes(*format, *cols)),
            };
            let sizes =
                if let Content::Vector(_) = content { vec![*cols as u64] } else { vec![*cols as u64, *rows as u64] };
            (name.clone(), Entry { sizes, kind, len })
        };
        let entries: Vec<_> = tensors.iter().map(entry).collect();
        write_head(out, &self.metadata(), &entries, DEFAULT_ALIGNMENT)?;
        let all = entries.iter().map(|(_, entry)| entry.len as u64).sum();
        let mut done = 0;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        for (_, [cols, rows], content) in tensors {
            let bytes = match content {
                Content::Vector(number) => f32_bytes(&vec![number; cols]),
                Content::Matrix(format) => matrix(format, rows, cols, &mut random),
            };
            write_part(out, &bytes, DEFAULT_ALIGNMENT)?;
            done += bytes.len() as u64;
            written(done, all);
        }
        Ok(())
    }
}

fn number_of(format: Format) -> u32 {
    match format {
        Format::Q4K => Q4_K,
        Format::Q6K => Q6_K,
        _ => Q8_0,
    }
}

fn row_bytes(format: Format, cols: usize) -> usize {
    cols / format.block_len() * format.block_bytes()
}

/// A matrix as such a file has it, alone.
pub fn random_matrix(format: Format, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    matrix(format, rows, cols, &mut Xoshiro256PlusPlus::seed_from_u64(seed))
}

/// Random blocks whose numbers have a mean square of about 1 / cols, so that outputs are as large as inputs.
fn matrix(format: Format, rows: usize, cols: usize, random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut bytes = vec![0; rows * row_bytes(format, cols)];
    random.fill_bytes(&mut bytes);
    let size = 1.0 / (cols as f32).sqrt();
    let half = |number: f32| f16::from_f32(number).to_le_bytes();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            // d, minimum's d, 12 bytes of scales and minima, levels 0 to 15 twice a byte: (level - 7.5) of a mean step of 32 d.
            Format::Q4K => {
                let d = size / 150.0;
                block[..2].copy_from_slice(&half(d));
                block[2..4].copy_from_slice(&half(7.5 * d));
            }
            // Levels, scales of any sign up to 127, d behind them: levels from -32 to 31.
            Format::Q6K => {
                let last = block.len() - 2;
                block[last..].copy_from_slice(&half(size / 1350.0));
            }
            // d, levels from -128 to 127.
            _ => block[..2].copy_from_slice(&half(size / 74.0)),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use mobiedit_backends::dequant::dequantize_row;
    use mobiedit_backends::gguf::Gguf;
    use mobiedit_backends::model::{Layer, Model, ModelConfig};

    use super::*;

    /// The architecture, made small where only time depends on it.
    fn small(shape: &Shape) -> Shape {
        Shape {
            layers: 2,
            vocab: 512,
            d_model: shape.d_model / 4,
            d_ff: shape.d_ff / 4,
            heads: 2 * shape.kv_heads,
            ..*shape
        }
    }

    #[test]
    fn files_are_models_of_the_architecture() {
        for shape in SHAPES.iter().map(small) {
            for quant in [Quant::Q8_0, Quant::Q4K] {
                let (mut file, mut told) = (Vec::new(), 0);
                shape.write(quant, 1, &mut file, |done, all| told = if done == all { done } else { told }).unwrap();
                assert!(told > 0 && told <= file.len() as u64);
                let gguf = Gguf::parse(&file).unwrap();
                let mut layers = vec![Layer::EMPTY; 2];
                let config = ModelConfig::read(&gguf).unwrap();
                let model = Model::open(&gguf, &mut layers).unwrap();
                assert_eq!(
                    (config.spec.d_ff, config.heads, config.kv_heads),
                    (shape.d_ff, shape.heads, shape.kv_heads)
                );
                for matrix in [model.embedding, model.layers[1].down, model.layers[0].q] {
                    let mut row = vec![0.0; matrix.cols()];
                    dequantize_row(matrix.format(), matrix.row(3), &mut row);
                    let square = row.iter().map(|x| x * x).sum::<f32>();
                    assert!((0.3..3.0).contains(&square), "{} {:?}: {square}", shape.name, matrix.format());
                }
            }
        }
    }
}
