//! Files cut short, bytes flipped, counts and lengths that lie.

use mobiedit_backends::gguf::{Gguf, GgufError, MAX_PAIRS, MAX_TENSORS, ModelError, PairFlaw, TensorFlaw};
use mobiedit_backends::model::{Layer, Model};

use crate::TINY;
use crate::sketch::{ARRAY, BOOL, STR, Sketch, U8, U32, array, text};

/// Sweeps look at every so-manyth byte where QEMU emulates a Hexagon, some hundred times more slowly.
const STRIDE: usize = if cfg!(target_arch = "hexagon") { 16 } else { 1 };

/// Reads all that a file offers; whatever it is, this must come back.
fn walk(file: &[u8]) -> Result<(), GgufError> {
    let gguf = Gguf::parse(file)?;
    assert_eq!(gguf.metadata().count(), gguf.metadata_len());
    for array in gguf.metadata().filter_map(|(_, value)| value.as_array()) {
        let counts = [array.strs().map(Iterator::count), array.u32s().map(Iterator::count)];
        assert!(counts.into_iter().flatten().all(|count| count == array.len()));
    }
    assert_eq!(gguf.tensors().count(), gguf.tensors_len());
    for tensor in gguf.tensors() {
        assert_eq!(tensor.bytes(), &file[tensor.range()]);
        assert_eq!(tensor.matrix().is_some(), tensor.format().is_some());
    }
    let mut layers = [Layer::EMPTY; 2];
    if let Err(error) = Model::open(&gguf, &mut layers) {
        assert!(!error.to_string().is_empty());
    }
    Ok(())
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    assert_eq!(walk(TINY), Ok(()));
    for len in (0..TINY.len()).step_by(STRIDE) {
        let error = walk(&TINY[..len]).expect_err("a file that is cut off was read");
        let expected = if len < 4 { "not a GGUF file" } else { "the file is truncated" };
        assert!(error.to_string().starts_with(expected), "{len} bytes: {error}");
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    let data = Gguf::parse(TINY).unwrap().tensors().map(|t| t.range().start).min().unwrap();
    let mut file = TINY.to_vec();
    let mut refused = 0;
    for at in (0..data).step_by(STRIDE) {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            refused += usize::from(walk(&file).is_err());
            file[at] ^= 1 << bit;
        }
    }
    assert!(refused * STRIDE > data, "{refused} of {} flips were refused", 8 * data);
}

#[test]
fn any_bytes_at_any_places_never_panic() {
    let mut state = 42_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % below
    };
    let whole = Sketch::llama().file();
    for _ in 0..20_000 {
        let mut file = whole.clone();
        for _ in 0..=random(4) {
            let at = random(1200);
            let bytes = [0, 1, 127, 128, 255, random(256) as u8];
            let run = 1 + random(8);
            file[at..at + run].fill(bytes[random(bytes.len())]);
        }
        let _ = walk(&file);
    }
}

/// A spoiled file is refused with this error.
fn check(spoil: impl Fn(&mut Sketch), expected: GgufError) {
    let mut sketch = Sketch::llama();
    spoil(&mut sketch);
    assert_eq!(walk(&sketch.file()), Err(expected));
    assert!(!expected.to_string().is_empty());
}

#[test]
fn headers_that_are_not_version_3() {
    assert_eq!(walk(b""), Err(GgufError::NotGguf));
    assert_eq!(walk(b"GGML\x03\0\0\0"), Err(GgufError::NotGguf));
    assert_eq!(walk(b"GGUF\x03\0\0\0"), Err(GgufError::Truncated));
    for version in [0, 1, 2, 4, 3_u32.swap_bytes()] {
        check(|s| s.version = version, GgufError::Version(version));
    }
    assert!(GgufError::Version(3_u32.swap_bytes()).to_string().contains("big-endian"));
}

#[test]
fn counts_that_lie() {
    let with = |place: usize, count: u64| {
        let mut file = Sketch::llama().file();
        file[place..place + 8].copy_from_slice(&count.to_le_bytes());
        walk(&file)
    };
    for count in [u64::MAX, 1 << 40, MAX_TENSORS as u64 + 1] {
        assert_eq!(with(8, count), Err(GgufError::TooManyTensors(count)));
    }
    for count in [u64::MAX, 1 << 40, MAX_PAIRS as u64 + 1] {
        assert_eq!(with(16, count), Err(GgufError::TooManyPairs(count)));
    }
    assert!(matches!(with(8, MAX_TENSORS as u64), Err(GgufError::Tensor { .. })));
    assert!(matches!(with(16, MAX_PAIRS as u64), Err(GgufError::Pair { .. })));
    let mut full = Sketch::empty();
    (0..MAX_PAIRS).for_each(|i| full.number(&format!("k{i}"), 1));
    (0..MAX_TENSORS).for_each(|i| full.tensor(&format!("t{i}"), 8, 1));
    assert_eq!(walk(&full.file()), Ok(()));
}

#[test]
fn flawed_metadata() {
    let bad = |key: &'static str, kind: u32, value: Vec<u8>, flaw| {
        let index = Sketch::llama().pairs.len();
        check(move |s| s.pair(key, kind, &value), GgufError::Pair { index, flaw });
    };
    bad("k", 13, vec![0; 8], PairFlaw::Type(13));
    bad("k", ARRAY, array(u32::MAX, 0, &[]), PairFlaw::Type(u32::MAX));
    bad("k", ARRAY, array(ARRAY, 1, &array(U8, 0, &[])), PairFlaw::Nested);
    bad("k", BOOL, vec![2], PairFlaw::Bool);
    bad("k", ARRAY, array(BOOL, 3, &[0, 1, 2]), PairFlaw::Bool);
    bad("k", STR, text(b"\xff"), PairFlaw::Text);
    bad("k", ARRAY, array(STR, 1, &text(b"\xc3")), PairFlaw::Text);
    bad("llama.block_count", U32, vec![1, 0, 0, 0], PairFlaw::Duplicate);
    bad("k", STR, u64::MAX.to_le_bytes().to_vec(), PairFlaw::Truncated);
    for len in [u64::MAX, u64::MAX / 4 + 1, 1 << 40] {
        bad("k", ARRAY, array(U8, len, &[]), PairFlaw::Truncated);
        bad("k", ARRAY, array(U32, len, &[]), PairFlaw::Truncated);
    }
    let long: &'static str = "k".repeat(65_536).leak();
    bad(long, U8, vec![0], PairFlaw::KeyLength);
}

#[test]
fn flawed_alignments() {
    for value in [0, 3, 48, u32::MAX] {
        check(|s| s.number("general.alignment", value), GgufError::Alignment);
    }
    check(|s| s.text("general.alignment", "32"), GgufError::Alignment);
    for value in [1, 8, 64, 4096] {
        let mut sketch = Sketch::llama();
        sketch.number("general.alignment", value as u32);
        sketch.alignment = value;
        let file = sketch.file();
        assert_eq!(walk(&file), Ok(()), "alignment {value}");
        assert_eq!(Gguf::parse(&file).unwrap().alignment(), value);
    }
}

#[test]
fn flawed_tensors() {
    const LAST: &str = "blk.0.ffn_down.weight";
    let bad = |spoil: &dyn Fn(&mut crate::sketch::Tensor), flaw| {
        check(|s| spoil(s.at(LAST)), GgufError::Tensor { index: 10, flaw });
    };
    for dims in [vec![], vec![16, 0], vec![16, 2, 2, 2, 1], vec![0]] {
        bad(&|t| t.dims = dims.clone(), TensorFlaw::Shape);
    }
    for dims in [vec![u64::MAX, 8], vec![1 << 32, 1 << 32], vec![1 << 62, 4, 1 << 62, 4]] {
        bad(&|t| t.dims = dims.clone(), TensorFlaw::Shape);
    }
    bad(&|t| t.type_id = 8, TensorFlaw::Shape);
    bad(&|t| t.dims = vec![16, 9], TensorFlaw::Outside);
    for offset in [u64::MAX - 31, 1 << 40] {
        bad(&|t| t.offset = Some(offset), TensorFlaw::Outside);
    }
    bad(&|t| t.offset = Some(1), TensorFlaw::Misaligned);
    bad(&|t| t.name = "blk.0.attn_q.weight".to_owned(), TensorFlaw::Duplicate);
    bad(&|t| t.name = "n".repeat(64), TensorFlaw::Name);
    // Of an unknown type, at least the start lies inside.
    bad(&|t| (t.type_id, t.offset) = (999, Some(1 << 30)), TensorFlaw::Outside);
}

#[test]
fn an_unknown_type_harms_only_who_uses_it() {
    for (type_id, name) in [(11, "Q3_K"), (999, "unknown")] {
        let mut sketch = Sketch::llama();
        sketch.at("blk.0.ffn_down.weight").type_id = type_id;
        let file = sketch.file();
        let gguf = Gguf::parse(&file).unwrap();
        let tensor = gguf.tensor("blk.0.ffn_down.weight").unwrap();
        assert_eq!((tensor.type_id(), tensor.format(), tensor.dims()), (type_id, None, [16, 8].as_slice()));
        assert!(tensor.matrix().is_none() && tensor.bytes().is_empty());
        let mut layers = [Layer::EMPTY];
        let error = Model::open(&gguf, &mut layers).unwrap_err();
        assert!(matches!(error, ModelError::UnsupportedTensorType { .. }));
        let sentence = error.to_string();
        assert!(sentence.contains("blk.0.ffn_down.weight") && sentence.contains(name), "{sentence}");
        assert!(sentence.contains(&type_id.to_string()), "{sentence}");
    }
}
