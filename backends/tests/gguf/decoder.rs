//! Files as models: hyper-parameters with llama.cpp's defaults, weights where they belong, and what is refused.

use std::path::Path;

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::gguf::{Gguf, ModelError, TensorName};
use mobiedit_backends::model::{Architecture, Layer, Model, ModelConfig};
use mobiedit_backends::op::RopePairs;
use mobiedit_backends::weights::Format;
use mobiedit_core::backend::ModelSpec;

use crate::TINY;
use crate::sketch::{F32, Sketch, U32};

const LLAMA: ModelConfig = ModelConfig {
    architecture: Architecture::Llama,
    spec: ModelSpec { d_model: 8, d_ff: 16, layers: 1, kv_dim: 4, vocab: 5, max_tokens: 32 },
    heads: 2,
    kv_heads: 1,
    head_dim: 4,
    rope_dim: 4,
    rope_theta: 10_000.0,
    rope_linear_scale: 1.0,
    rope_pairs: RopePairs::Neighbours,
    norm_eps: 1e-5,
};

#[test]
fn a_qwen2_of_gguf_py_opens() {
    let gguf = Gguf::parse(TINY).unwrap();
    let mut layers = [Layer::EMPTY; 3];
    let model = Model::open(&gguf, &mut layers).unwrap();
    let expected = ModelConfig {
        architecture: Architecture::Qwen2,
        spec: ModelSpec { d_model: 32, d_ff: 32, layers: 2, kv_dim: 16, vocab: 12, max_tokens: 64 },
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        rope_dim: 16,
        rope_theta: 1e6,
        rope_linear_scale: 1.0,
        rope_pairs: RopePairs::Halves,
        norm_eps: 1e-6,
    };
    assert_eq!((model.config, ModelConfig::read(&gguf)), (expected, Ok(expected)));
    assert_eq!(model.layers.len(), 2);
    assert_eq!(model.head.bytes(), model.embedding.bytes(), "the embedding is the head");
    let [first, second] = model.layers else { panic!() };
    assert_eq!((first.q.format(), second.q.format(), second.down.format()), (Format::Q8_0, Format::Q4_0, Format::Bf16));
    for (at, matrix) in [
        ("blk.0.attn_norm.weight", first.attn_norm),
        ("blk.0.attn_q.weight", first.q),
        ("blk.0.attn_q.bias", first.q_bias.unwrap()),
        ("blk.0.attn_k.weight", first.k),
        ("blk.0.attn_k.bias", first.k_bias.unwrap()),
        ("blk.0.attn_v.weight", first.v),
        ("blk.0.attn_v.bias", first.v_bias.unwrap()),
        ("blk.0.attn_output.weight", first.o),
        ("blk.0.ffn_norm.weight", first.ffn_norm),
        ("blk.0.ffn_gate.weight", first.gate),
        ("blk.0.ffn_up.weight", first.up),
        ("blk.1.ffn_down.weight", second.down),
        ("output_norm.weight", model.output_norm),
    ] {
        assert_eq!(matrix.bytes().as_ptr(), gguf.tensor(at).unwrap().bytes().as_ptr(), "{at} is not where it belongs");
    }
}

#[test]
fn the_shipped_model_opens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/model.gguf");
    let bytes = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let config = ModelConfig::read(&gguf).unwrap();
    let mut layers = vec![Layer::EMPTY; config.spec.layers];
    let model = Model::open(&gguf, &mut layers).unwrap();
    assert_eq!((config.architecture, model.embedding.format()), (Architecture::Qwen2, Format::Q8_0));
    let tokens = gguf.array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(config.spec.vocab, tokens.strs().unwrap().count());
    let mut row = vec![0.0; config.spec.d_model];
    for token in 0..config.spec.vocab {
        dequantize_row(model.embedding.format(), model.embedding.row(token), &mut row);
        assert!(row.iter().all(|x| x.is_finite()));
    }
}

fn read(change: impl Fn(&mut Sketch)) -> Result<ModelConfig, ModelError> {
    let mut sketch = Sketch::llama();
    change(&mut sketch);
    let file = sketch.file();
    let gguf = Gguf::parse(&file).unwrap();
    let mut layers = [Layer::EMPTY; 2];
    Model::open(&gguf, &mut layers).map(|model| model.config)
}

/// The hyper-parameters of a llama with `change`.
fn reads(change: impl Fn(&mut Sketch), expected: ModelConfig) {
    assert_eq!(read(change), Ok(expected));
}

fn refuses(change: impl Fn(&mut Sketch), expected: ModelError, sentence: &str) {
    assert_eq!(read(change), Err(expected));
    assert_eq!(expected.to_string(), sentence);
}

#[test]
fn defaults_are_those_of_llama_cpp() {
    reads(|_| (), LLAMA);
    let all_heads = |s: &mut Sketch| {
        s.without("llama.attention.head_count_kv");
        s.at("blk.0.attn_k.weight").dims = vec![8, 8];
        s.at("blk.0.attn_v.weight").dims = vec![8, 8];
        s.at("blk.0.attn_k.weight").bytes = vec![0; 256];
        s.at("blk.0.attn_v.weight").bytes = vec![0; 256];
    };
    reads(all_heads, ModelConfig { kv_heads: 2, spec: ModelSpec { kv_dim: 8, ..LLAMA.spec }, ..LLAMA });
    reads(|s| s.float("llama.rope.freq_base", 5e5), ModelConfig { rope_theta: 5e5, ..LLAMA });
    reads(|s| s.number("llama.rope.dimension_count", 4), LLAMA);
}

#[test]
fn rope_scaling_as_llama_cpp_reads_it() {
    let scaled = |kind: Option<&'static str>, key: &'static str, factor: f32, expected: f32| {
        let change = move |s: &mut Sketch| {
            kind.iter().for_each(|kind| s.text("llama.rope.scaling.type", kind));
            s.float(&format!("llama.{key}"), factor);
        };
        reads(change, ModelConfig { rope_linear_scale: expected, ..LLAMA });
    };
    scaled(None, "rope.scaling.factor", 4.0, 4.0);
    scaled(Some("linear"), "rope.scaling.factor", 4.0, 4.0);
    scaled(Some("linear"), "rope.scaling.factor", 0.0, 1.0);
    scaled(Some("none"), "rope.scaling.factor", 4.0, 1.0);
    scaled(None, "rope.scale_linear", 2.0, 2.0);
    let yarn = read(|s| s.text("llama.rope.scaling.type", "yarn")).unwrap_err().to_string();
    assert_eq!(yarn, "the RoPE scaling \"yarn\" is not supported; none and linear are");
}

#[test]
fn heads_may_be_wider_than_their_share() {
    let mut sketch = Sketch::llama();
    sketch.number("llama.attention.key_length", 6);
    sketch.number("llama.attention.value_length", 6);
    for (name, cols, rows) in [("attn_q", 8, 12), ("attn_k", 8, 6), ("attn_v", 8, 6), ("attn_output", 12, 8)] {
        let tensor = sketch.at(&format!("blk.0.{name}.weight"));
        (tensor.dims, tensor.bytes) = (vec![cols, rows], vec![0; (cols * rows * 4) as usize]);
    }
    let spec = ModelSpec { kv_dim: 6, ..LLAMA.spec };
    let expected = ModelConfig { head_dim: 6, rope_dim: 6, spec, ..LLAMA };
    reads(|s| *s = sketch.clone(), expected);
}

#[test]
fn an_own_head_biases_and_rope_factors_are_found() {
    let mut sketch = Sketch::llama();
    sketch.tensor("output.weight", 8, 5);
    sketch.tensor("rope_freqs.weight", 2, 1);
    sketch.tensor("blk.0.attn_k.bias", 4, 1);
    let file = sketch.file();
    let gguf = Gguf::parse(&file).unwrap();
    let mut layers = [Layer::EMPTY];
    let model = Model::open(&gguf, &mut layers).unwrap();
    assert_eq!(model.head.bytes().as_ptr(), gguf.tensor("output.weight").unwrap().bytes().as_ptr());
    assert_eq!(model.rope_factors.map(|f| f.cols()), Some(2));
    let layer = model.layers[0];
    assert_eq!((layer.k_bias.is_some(), layer.q_bias.is_some(), layer.v_bias.is_some()), (true, false, false));
}

#[test]
fn hyper_parameters_that_are_missing_or_impossible() {
    let architecture = Architecture::Llama;
    for key in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.layer_norm_rms_epsilon",
    ] {
        let full = format!("llama.{key}");
        let sentence = format!("the metadata {full} is missing");
        refuses(|s| s.without(&full), ModelError::MissingKey { architecture, key }, &sentence);
    }
    let impossible = |key: &'static str, kind: u32, value: [u8; 4]| {
        let full = format!("llama.{key}");
        let change = |s: &mut Sketch| {
            s.without(&full);
            s.pair(&full, kind, &value);
        };
        let sentence = format!("the metadata {full} has an impossible value");
        refuses(change, ModelError::InvalidKey { architecture, key }, &sentence);
    };
    let size = |key, value: u32| impossible(key, U32, value.to_le_bytes());
    let float = |key, value: f32| impossible(key, F32, value.to_le_bytes());
    size("block_count", 0);
    size("block_count", u32::MAX);
    size("context_length", 0);
    size("attention.head_count", 0);
    size("attention.head_count", 3);
    size("attention.head_count_kv", 3);
    size("attention.key_length", 3);
    size("attention.key_length", 258);
    size("attention.value_length", 6);
    size("rope.dimension_count", 2);
    float("embedding_length", 8.0);
    float("attention.layer_norm_rms_epsilon", 0.0);
    float("attention.layer_norm_rms_epsilon", f32::NAN);
    float("rope.freq_base", -1.0);
    float("rope.freq_base", f32::INFINITY);
    float("rope.scaling.factor", -2.0);
    size("rope.scaling.type", 1);
}

#[test]
fn architectures_that_are_missing_or_not_supported() {
    let key = "general.architecture";
    let sentence = "the file does not say general.architecture: not a language model";
    refuses(|s| s.without(key), ModelError::NoArchitecture, sentence);
    let other = |name: &str| {
        let change = |s: &mut Sketch| {
            s.without(key);
            s.text(key, name);
        };
        read(change).unwrap_err().to_string()
    };
    assert_eq!(other("gemma3"), "the architecture \"gemma3\" is not supported; llama and qwen2 are");
    let cut = other(&"ö".repeat(1000));
    assert_eq!(cut, format!("the architecture \"{}\" is not supported; llama and qwen2 are", "ö".repeat(32)));
}

#[test]
fn tensors_that_are_missing_misshapen_or_unexpected() {
    for name in ["token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_down.weight"] {
        let error = read(|s| s.without(name)).unwrap_err();
        assert!(matches!(error, ModelError::MissingTensor(_)));
        assert_eq!(error.to_string(), format!("the tensor {name} is missing"));
    }
    let tensor = TensorName { layer: Some(0), part: "ffn_up.weight" };
    refuses(
        |s| s.at("blk.0.ffn_up.weight").dims = vec![8, 15],
        ModelError::TensorShape { tensor, expected: (16, 8), found: (15, 8) },
        "the tensor blk.0.ffn_up.weight is 15 x 8, but the metadata asks for 16 x 8",
    );
    refuses(
        |s| {
            let norm = s.at("blk.0.ffn_norm.weight");
            (norm.type_id, norm.bytes) = (1, vec![0; 16]);
        },
        ModelError::UnsupportedTensorType {
            tensor: TensorName { layer: Some(0), part: "ffn_norm.weight" },
            type_id: 1,
        },
        "the tensor blk.0.ffn_norm.weight has the type F16 (number 1), which is not supported for it",
    );
    for name in ["blk.0.attn_output.bias", "blk.1.attn_q.weight", "blk.00.attn_q.weight", "blk.0.x", "other", "blk."] {
        let error = read(|s| s.tensor(name, 8, 1)).unwrap_err();
        assert!(matches!(error, ModelError::UnexpectedTensor(_)));
        assert_eq!(error.to_string(), format!("the tensor {name} has no place in this architecture"));
    }
}

#[test]
fn too_few_layers_lent_are_counted() {
    let gguf = Gguf::parse(TINY).unwrap();
    let mut layers = [Layer::EMPTY; 1];
    let error = Model::open(&gguf, &mut layers).unwrap_err();
    assert_eq!(error, ModelError::TooFewLayers { needed: 2, lent: 1 });
    assert_eq!(error.to_string(), "the model has 2 layers, room for 1 was lent");
}
