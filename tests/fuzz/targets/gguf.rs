//! A GGUF file from anywhere: reading it ends, stays inside of it, and takes no more of the heap than its length allows.

use mobiedit::backends::gguf::{Gguf, Value};
use mobiedit::backends::model::{Layer, Model, ModelConfig};
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::hal_cpu::{Cpu, ScratchBuffers, ScratchLens};
use mobiedit::host::vocabulary::Vocabulary;

use super::{limit, tiny};

/// Most bytes of the heap that reading a file of `len` bytes may take: views of its layers, and copies of its vocabulary. A text of
/// one byte takes nine bytes of a file, and two `String`s of 24 in a list that may just be growing.
pub const fn bound(len: usize) -> usize {
    24 * len + 4096 * size_of::<Layer<'_>>()
}

/// Reads the file as a model; and runs it, if it is small.
pub fn run(bytes: &[u8]) {
    let Ok(gguf) = limit::within(0, "parsing", || Gguf::parse(bytes)) else { return };
    limit::within(0, "looking at everything", || look(&gguf, bytes));
    let texts = limit::within(bound(bytes.len()), "the vocabulary", || Vocabulary::from_gguf(&gguf));
    if let Ok(texts) = texts {
        assert_eq!(texts.tokens.len(), texts.types.len());
    }
    let Ok(config) = ModelConfig::read(&gguf) else { return };
    limit::within(bound(bytes.len()), "the model", || {
        let mut layers = vec![Layer::EMPTY; config.spec.layers];
        if let Ok(model) = Model::open(&gguf, &mut layers) {
            fits(&model);
        }
    });
    if bytes.len() < 1 << 16 {
        let mut layers = vec![Layer::EMPTY; config.spec.layers];
        if let Ok(model) = Model::open(&gguf, &mut layers) {
            forward(&model);
        }
    }
}

fn look(gguf: &Gguf<'_>, bytes: &[u8]) {
    assert_eq!(gguf.metadata().count(), gguf.metadata_len());
    for (_, value) in gguf.metadata() {
        if let Value::Array(array) = value {
            let len = array.len();
            assert!(array.strs().is_none_or(|texts| texts.count() == len));
            assert!(array.i32s().is_none_or(|numbers| numbers.count() == len));
            assert!(array.u32s().is_none_or(|numbers| numbers.count() == len));
            assert!(array.f32s().is_none_or(|numbers| numbers.count() == len));
        }
    }
    assert_eq!(gguf.tensors().count(), gguf.tensors_len());
    for tensor in gguf.tensors() {
        assert_eq!(bytes.get(tensor.range()), Some(tensor.bytes()), "{}", tensor.name());
        assert_eq!(tensor.matrix().is_some(), tensor.format().is_some(), "{}", tensor.name());
        assert!((1..=4).contains(&tensor.dims().len()));
        assert_eq!(gguf.tensor(tensor.name()).map(|found| found.range()), Some(tensor.range()));
    }
}

/// What inner loops take for granted.
fn fits(model: &Model<'_>) {
    let spec = model.config.spec;
    assert_eq!((model.embedding.rows(), model.embedding.cols()), (spec.vocab, spec.d_model));
    for layer in model.layers {
        assert_eq!((layer.down.rows(), layer.down.cols()), (spec.d_model, spec.d_ff));
        assert_eq!((layer.k.rows(), layer.k.cols()), (spec.kv_dim, spec.d_model));
    }
}

/// Whatever the weights are, a pass gives logits or an error.
fn forward(model: &Model<'_>) {
    let config = &model.config;
    let widest = config.spec.d_model.max(config.spec.d_ff).max(config.heads * config.head_dim);
    let mut scratch = ScratchBuffers::new(ScratchLens::with(widest, 2, 1));
    let mut work = vec![0.0; Transformer::<Cpu<'_>>::work_len(config, 1)];
    let device = Cpu::new(scratch.lend());
    let mut transformer = Transformer::new(*model, device, Precision::W8A16, &mut work, &mut []);
    let mut memory = vec![0.0; tiny::sequence_len(config, 2)];
    let mut sequence = mobiedit::backends::generate::Sequence::new(2, &mut memory);
    let mut out = [0];
    for prompt in [&[0][..], &[u32::MAX]] {
        let _ = transformer.generate(&mut sequence, prompt, &[], &mut out);
    }
}

/// Whole files, and heads with counts that no file has.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let head = |tensors: u64, pairs: u64, rest: &[u8]| {
        [b"GGUF", &3_u32.to_le_bytes()[..], &tensors.to_le_bytes(), &pairs.to_le_bytes(), rest].concat()
    };
    let array = |kind: u32, len: u64| {
        let key = [&1_u64.to_le_bytes()[..], b"k", &9_u32.to_le_bytes(), &kind.to_le_bytes(), &len.to_le_bytes()];
        head(0, 1, &key.concat())
    };
    vec![
        ("llama-f32", tiny::model("llama", tiny::F32)),
        ("qwen2-q8_0", tiny::model("qwen2", tiny::Q8_0)),
        ("qwen2-q4_k", tiny::model("qwen2", tiny::Q4_K)),
        ("context-4g", tiny::model_with("llama", tiny::F32, u32::MAX)),
        ("no-tensors", head(0, 0, &[])),
        ("most-tensors", head(u64::MAX, 0, &[])),
        ("most-pairs", head(0, u64::MAX, &[])),
        ("array-of-most-bytes", array(0, u64::MAX)),
        ("array-of-most-words", array(4, u64::MAX / 4 + 2)),
        ("array-of-most-texts", array(8, u64::MAX)),
        ("array-of-arrays", array(9, u64::MAX)),
    ]
}
