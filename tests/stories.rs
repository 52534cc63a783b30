//! A Llama that we did not train tells the story that llama2.c tells: stories260K, converted to GGUF here.
//!
//! Covers what the shipped model does not: Llama's RoPE, a tied head, F32 weights, a scored vocabulary.

use std::fs;
use std::path::Path;

use mobiedit::backends::gguf::Gguf;
use mobiedit::host::gguf_file::{self, DEFAULT_ALIGNMENT, F32, Metadata, Tensor};
use mobiedit::host::session::{SessionError, SessionOptions, with_session};
use mobiedit::host::tokenizer::Tokenizer;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stories260K").join(name)).unwrap()
}

/// llama2.c's first format: seven sizes, then all weights in a fixed order, F32.
struct Checkpoint {
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    weights: Vec<u8>,
}

impl Checkpoint {
    fn read() -> Self {
        let bytes = fixture("stories260K.bin");
        let (head, weights) = bytes.split_at(7 * 4);
        let sizes: Vec<usize> = head.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as usize).collect();
        let [dim, hidden, layers, heads, kv_heads, vocabulary, context] = sizes[..] else { panic!("seven sizes") };
        Self { dim, hidden, layers, heads, kv_heads, vocabulary, context, weights: weights.to_vec() }
    }

    /// All tensors under GGUF's names: those of one kind lie together, layer after layer.
    fn tensors(&self) -> Vec<(String, Vec<u64>, &[u8])> {
        let (dim, hidden, kv) = (self.dim, self.hidden, self.dim / self.heads * self.kv_heads);
        let kinds = [
            ("attn_norm", dim, 1),
            ("attn_q", dim, dim),
            ("attn_k", dim, kv),
            ("attn_v", dim, kv),
            ("attn_output", dim, dim),
            ("ffn_norm", dim, 1),
            ("ffn_gate", dim, hidden),
            ("ffn_down", hidden, dim),
            ("ffn_up", dim, hidden),
        ];
        let mut rest = &self.weights[..];
        let mut take = |name: String, cols: usize, rows: usize| {
            let (bytes, behind) = rest.split_at(4 * cols * rows);
            rest = behind;
            let sizes = if rows == 1 { vec![cols as u64] } else { vec![cols as u64, rows as u64] };
            (name, sizes, bytes)
        };
        let mut tensors = vec![take("token_embd.weight".into(), dim, self.vocabulary)];
        for (name, cols, rows) in kinds {
            tensors.extend((0..self.layers).map(|layer| take(format!("blk.{layer}.{name}.weight"), cols, rows)));
        }
        tensors.push(take("output_norm.weight".into(), dim, 1));
        tensors
    }

    fn metadata(&self) -> Metadata {
        let number = |metadata: Metadata, (key, value): (&str, usize)| metadata.number(key, value as u32);
        let metadata =
            Metadata::default().string("general.architecture", "llama").string("tokenizer.ggml.model", "llama");
        [
            ("llama.block_count", self.layers),
            ("llama.context_length", self.context),
            ("llama.embedding_length", self.dim),
            ("llama.feed_forward_length", self.hidden),
            ("llama.attention.head_count", self.heads),
            ("llama.attention.head_count_kv", self.kv_heads),
            ("llama.rope.dimension_count", self.dim / self.heads),
            ("tokenizer.ggml.bos_token_id", 1),
            ("tokenizer.ggml.eos_token_id", 2),
        ]
        .into_iter()
        .fold(metadata, number)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .strings("tokenizer.ggml.tokens", &vocabulary().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>())
        .floats("tokenizer.ggml.scores", &vocabulary().iter().map(|(score, _)| *score).collect::<Vec<_>>())
        .integers("tokenizer.ggml.token_type", &(0..self.vocabulary).map(token_type).collect::<Vec<_>>())
    }
}

/// Unknown, two control tokens, 256 bytes, then pieces of text.
fn token_type(id: usize) -> i32 {
    match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    }
}

/// Scores and texts, spaces written as SentencePiece writes them.
fn vocabulary() -> Vec<(f32, String)> {
    let bytes = fixture("tok512.bin");
    let mut rest = &bytes[4..];
    let mut vocabulary = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(8) {
        let score = f32::from_le_bytes(head[..4].try_into().unwrap());
        let (text, behind) = behind.split_at(u32::from_le_bytes(head[4..].try_into().unwrap()) as usize);
        vocabulary.push((score, String::from_utf8(text.to_vec()).unwrap().trim_matches('\n').replace(' ', "\u{2581}")));
        rest = behind;
    }
    vocabulary
}

fn convert(path: &Path) {
    let checkpoint = Checkpoint::read();
    let tensors = checkpoint.tensors();
    let tensors: Vec<Tensor<'_>> =
        tensors.iter().map(|(name, sizes, bytes)| Tensor { name, sizes: sizes.clone(), kind: F32, bytes }).collect();
    let mut file = fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &checkpoint.metadata(), &tensors, DEFAULT_ALIGNMENT).unwrap();
}

#[test]
fn stories260k_goes_on_as_in_llama2_c() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stories260K.gguf");
    convert(&path);
    let bytes = fs::read(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(&Gguf::parse(&bytes).unwrap()).unwrap();
    // As llama2.c prints them.
    assert_eq!(tokenizer.encode("Once upon a time").unwrap().ids, [1, 403, 407, 261, 378]);
    for text in ["Once upon a time", " caf\u{e9} 東京 \u{1F600}\n\ttab", "ZZZ"] {
        let ids = tokenizer.encode_continuation(text).unwrap().ids;
        assert_eq!(tokenizer.decode(&ids), text);
    }

    let options = SessionOptions { model: Some(path), ..SessionOptions::default() };
    let told =
        with_session(&options, |session| -> Result<String, SessionError> { session.complete("Once upon a time", 32) });
    let story = ", there was a little girl named Lily. She loved to play outside in the park";
    let told = told.unwrap();
    assert!(told.starts_with(story), "{told:?}");
}
