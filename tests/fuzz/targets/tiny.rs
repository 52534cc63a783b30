//! A model of a few kilobytes, written by the repository's own writer, and an edit of a model that is none. Checks nothing.

use std::convert::Infallible;

use mobiedit::backends::generate::Sequence;
use mobiedit::backends::gguf::format_of;
use mobiedit::backends::model::ModelConfig;
use mobiedit::core::backend::{ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit::core::problem::{Problem, PromptSet};
use mobiedit::core::rank_one::RankOne;
use mobiedit::host::gguf_file::{self, DEFAULT_ALIGNMENT, Metadata, Tensor, f16_bytes, f32_bytes};

use super::input::Stream;

/// GGML's numbers of formats.
pub const F32: u32 = gguf_file::F32;
/// Blocks of 32.
pub const Q8_0: u32 = 8;
/// Blocks of 256.
pub const Q4_K: u32 = 12;

/// Tokens of the vocabulary.
const TOKENS: [&str; 20] = [
    "<|endoftext|>",
    "a",
    "b",
    "c",
    "r",
    "i",
    "s",
    "o",
    "m",
    "e",
    "\u{120}",
    "is",
    "me",
    "ro",
    "rome",
    "\u{120}is",
    "\u{c3}",
    "\u{a9}",
    "1",
    "\u{10a}",
];
const MERGES: [&str; 5] = ["i s", "m e", "r o", "ro me", "\u{120} is"];

/// A file of this architecture, its matrices in this format where their rows are whole blocks, else in F16.
pub fn model(architecture: &str, kind: u32) -> Vec<u8> {
    model_with(architecture, kind, 16)
}

/// The same with this context length.
pub fn model_with(architecture: &str, kind: u32, context: u32) -> Vec<u8> {
    let block = format_of(kind).map_or(1, |format| format.block_len());
    let (d_model, heads, head_dim) = if block == 1 { (8, 2, 4) } else { (block, 2, 2) };
    let (d_ff, kv_dim, vocab) = (8, head_dim, TOKENS.len());
    let name = |key: &str| format!("{architecture}.{key}");
    let types: Vec<i32> = TOKENS.iter().map(|text| if text.len() > 9 { 3 } else { 1 }).collect();
    let metadata = Metadata::default()
        .string("general.architecture", architecture)
        .number(&name("embedding_length"), d_model as u32)
        .number(&name("block_count"), 2)
        .number(&name("attention.head_count"), heads as u32)
        .number(&name("attention.head_count_kv"), 1)
        .number(&name("attention.key_length"), head_dim as u32)
        .number(&name("attention.value_length"), head_dim as u32)
        .number(&name("feed_forward_length"), d_ff as u32)
        .number(&name("context_length"), context)
        .float(&name("attention.layer_norm_rms_epsilon"), 1e-6)
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "qwen2")
        .strings("tokenizer.ggml.tokens", &TOKENS)
        .integers("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &MERGES)
        .number("tokenizer.ggml.eos_token_id", 0);
    let mut shapes =
        vec![("token_embd.weight".to_owned(), vocab, d_model), ("output_norm.weight".to_owned(), 1, d_model)];
    for layer in 0..2 {
        let parts = [
            ("attn_norm.weight", 1, d_model),
            ("attn_q.weight", heads * head_dim, d_model),
            ("attn_k.weight", kv_dim, d_model),
            ("attn_k.bias", 1, kv_dim),
            ("attn_v.weight", kv_dim, d_model),
            ("attn_output.weight", d_model, heads * head_dim),
            ("ffn_norm.weight", 1, d_model),
            ("ffn_gate.weight", d_ff, d_model),
            ("ffn_up.weight", d_ff, d_model),
            ("ffn_down.weight", d_model, d_ff),
        ];
        shapes.extend(parts.map(|(part, rows, cols)| (format!("blk.{layer}.{part}"), rows, cols)));
    }
    let mut stream = Stream::new(7);
    let of = |rows: usize, cols: usize, stream: &mut Stream| {
        let numbers: Vec<f32> = (0..rows * cols).map(|_| stream.unit()).collect();
        match format_of(kind).filter(|_| rows > 1 && cols.is_multiple_of(block)) {
            _ if rows == 1 => (F32, f32_bytes(&numbers)),
            None => (gguf_file::F16, f16_bytes(&numbers)),
            Some(_) if kind == F32 => (F32, f32_bytes(&numbers)),
            Some(format) => {
                let len = format.row_bytes(cols).map_or(0, |bytes| bytes * rows);
                let mut bytes: Vec<u8> = (0..len).map(|_| stream.word() as u8).collect();
                tame(&mut bytes, format.block_bytes());
                (kind, bytes)
            }
        }
    };
    let weights: Vec<_> = shapes.iter().map(|(_, rows, cols)| of(*rows, *cols, &mut stream)).collect();
    let tensors: Vec<_> = shapes
        .iter()
        .zip(&weights)
        .map(|((name, rows, cols), (kind, bytes))| {
            let sizes = if *rows == 1 { vec![*cols as u64] } else { vec![*cols as u64, *rows as u64] };
            Tensor { name, sizes, kind: *kind, bytes }
        })
        .collect();
    let mut file = Vec::new();
    gguf_file::write(&mut file, &metadata, &tensors, DEFAULT_ALIGNMENT).expect("a Vec takes all bytes");
    file
}

/// Makes the f16 at the begin, the second place, and the end of each block a small number: one of them is its scale in any format.
pub fn tame(bytes: &mut [u8], block: usize) {
    for block in bytes.chunks_exact_mut(block) {
        let last = block.len() - 1;
        for at in [1, 3, last] {
            block[at] &= 0xA3;
        }
    }
}

/// f32s that a sequence takes.
pub fn sequence_len(config: &ModelConfig, capacity: usize) -> usize {
    Sequence::memory_len(&config.spec, capacity)
}

/// The sizes of [`Toy`].
pub const SPEC: ModelSpec = ModelSpec { d_model: 8, d_ff: 6, layers: 3, kv_dim: 2, vocab: 9, max_tokens: 8 };

/// A model that is none: its losses are a function of δ, and a patch makes its target likely. Never fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toy {
    /// Patches that are applied.
    pub applied: u32,
}

impl Toy {
    /// The loss at a distance from where it is least.
    pub fn loss(away: f32) -> Loss {
        Loss { nll: 0.01 + away, kl: away / 8.0, hits: u32::from(away < 0.5), targets: 1 }
    }
}

impl ForwardBackend for Toy {
    type Error = Never;

    fn spec(&self) -> ModelSpec {
        SPEC
    }

    fn prefill(
        &mut self,
        _: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Never> {
        cache.fill(0.5);
        keys.iter_mut().zip((0..).map(|i| 1.0 + i as f32 / 64.0)).for_each(|(key, x)| *key = x);
        value.fill(1.5);
        Ok(())
    }

    fn losses(
        &mut self,
        _: &Problem<'_>,
        _: PromptSet,
        _: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Never> {
        for (out, delta) in out.iter_mut().zip(deltas.chunks_exact(SPEC.d_model)) {
            *out = Self::loss(delta.iter().map(|x| (x - 1.0) * (x - 1.0)).sum());
        }
        Ok(())
    }

    fn evaluate(&mut self, _: &Problem<'_>) -> Result<Loss, Never> {
        Ok(Self::loss(if self.applied > 0 { 0.4 } else { 3.0 }))
    }

    fn project(&mut self, _: usize, key: &[f32], out: &mut [f32]) -> Result<(), Never> {
        out.fill(key.iter().sum());
        Ok(())
    }

    fn apply(&mut self, _: RankOne<'_>) -> Result<PatchId, Never> {
        self.applied += 1;
        Ok(PatchId(self.applied))
    }

    fn remove(&mut self, _: PatchId) -> Result<(), Never> {
        self.applied -= 1;
        Ok(())
    }
}

/// The error of what cannot fail.
#[derive(Debug)]
pub struct Never(Infallible);

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {}
    }
}

impl std::error::Error for Never {}

impl mobiedit::core::backend::BackendError for Never {
    fn kind(&self) -> mobiedit::core::backend::BackendErrorKind {
        match self.0 {}
    }
}
