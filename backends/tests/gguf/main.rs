//! The GGUF reader: files that are not ours are read right, and hostile ones are refused by name, never with a panic.

mod decoder;
mod hostile;
mod sketch;

use mobiedit_backends::gguf::{Gguf, Value};
use mobiedit_backends::weights::Format;

/// Written by gguf-py; its maker lies beside it.
const TINY: &[u8] = include_bytes!("../golden/tiny.gguf");

#[test]
fn metadata_of_every_type_reads_as_gguf_py_wrote_it() {
    let gguf = Gguf::parse(TINY).unwrap();
    let cases = [
        ("uint8", Value::U8(200)),
        ("int8", Value::I8(-100)),
        ("uint16", Value::U16(60000)),
        ("int16", Value::I16(-30000)),
        ("int32", Value::I32(-2_000_000_000)),
        ("uint64", Value::U64((1 << 63) + 1)),
        ("int64", Value::I64(-(1 << 62))),
        ("float64", Value::F64(0.1)),
        ("bool", Value::Bool(true)),
    ];
    for (name, value) in cases {
        assert_eq!(gguf.get(&format!("test.{name}")), Some(value));
    }
    assert_eq!(gguf.str("general.architecture"), Some("qwen2"));
    assert_eq!(gguf.u32("qwen2.block_count"), Some(2));
    assert_eq!(gguf.u32("test.uint8"), Some(200));
    assert_eq!(gguf.f32("qwen2.rope.freq_base"), Some(1e6));
    assert_eq!(gguf.bool("tokenizer.ggml.add_bos_token"), Some(false));
    assert_eq!(gguf.metadata().count(), gguf.metadata_len());
}

#[test]
fn arrays_give_their_elements() {
    let gguf = Gguf::parse(TINY).unwrap();
    let tokens = gguf.array("tokenizer.ggml.tokens").unwrap();
    let expected: Vec<String> = (0..12).map(|i| format!("tökén{i}")).collect();
    assert_eq!(tokens.strs().unwrap().collect::<Vec<_>>(), expected);
    assert_eq!((tokens.len(), tokens.is_empty()), (12, false));
    let types: Vec<i32> = gguf.array("tokenizer.ggml.token_type").unwrap().i32s().unwrap().collect();
    assert_eq!(types, [3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let scores: Vec<f32> = gguf.array("tokenizer.ggml.scores").unwrap().f32s().unwrap().collect();
    assert_eq!(scores, (0..12).map(|i| -0.5 * i as f32).collect::<Vec<_>>());
    let unsigned = gguf.array("test.unsigned").unwrap();
    assert_eq!(unsigned.u32s().unwrap().collect::<Vec<_>>(), [7, 8, u32::MAX]);
}

#[test]
fn what_is_of_another_type_is_not_there() {
    let gguf = Gguf::parse(TINY).unwrap();
    assert_eq!(gguf.get("test.nothing"), None);
    assert_eq!(gguf.u32("test.int8"), None, "negative");
    assert_eq!(gguf.u32("test.uint64"), None, "too large");
    assert_eq!(gguf.str("test.bool"), None);
    assert_eq!(gguf.f32("test.float64"), None);
    assert_eq!(gguf.bool("test.uint8"), None);
    assert_eq!(gguf.array("test.bool"), None);
    assert!(gguf.array("test.unsigned").unwrap().i32s().is_none());
    assert!(gguf.array("test.unsigned").unwrap().strs().is_none());
}

#[test]
fn tensors_have_their_names_shapes_types_and_bytes() {
    let gguf = Gguf::parse(TINY).unwrap();
    assert_eq!((gguf.tensors_len(), gguf.tensors().count()), (2 + 2 * 12, 26));
    let cases = [
        ("token_embd.weight", [32, 12].as_slice(), Format::F16, "F16"),
        ("blk.0.attn_k.weight", &[32, 16], Format::Q8_0, "Q8_0"),
        ("blk.1.attn_k.weight", &[32, 16], Format::Q4_0, "Q4_0"),
        ("blk.1.ffn_down.weight", &[32, 32], Format::Bf16, "BF16"),
        ("blk.1.attn_v.bias", &[16], Format::F32, "F32"),
    ];
    for (name, dims, format, type_name) in cases {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!((tensor.name(), tensor.dims(), tensor.format()), (name, dims, Some(format)));
        assert_eq!(tensor.type_name(), Some(type_name));
        assert_eq!(tensor.bytes(), &TINY[tensor.range()]);
        let matrix = tensor.matrix().unwrap();
        let rows = dims.get(1).copied().unwrap_or(1);
        assert_eq!((matrix.rows(), matrix.cols(), matrix.bytes()), (rows, dims[0], tensor.bytes()));
    }
    let norm = gguf.tensor("output_norm.weight").unwrap().bytes();
    let counted: Vec<u8> = (0..32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    assert_eq!(norm, counted);
    assert!(gguf.tensor("output.weight").is_none());
}

#[test]
fn metadata_can_be_carried_into_another_file() {
    let gguf = Gguf::parse(TINY).unwrap();
    let mut file = TINY[..24].to_vec();
    file[8..16].fill(0);
    file.extend(gguf.metadata_bytes());
    let copy = Gguf::parse(&file).unwrap();
    assert!(copy.metadata().eq(gguf.metadata()));
    assert_eq!((copy.tensors_len(), copy.alignment()), (0, 32));
}
