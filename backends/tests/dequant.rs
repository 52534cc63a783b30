//! Every format against gguf-py's numbers, to the last bit. Golden files and their maker lie in `golden/`.

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::weights::Format;

const GOLDEN: &str = include_str!("golden/dequant.txt");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn format(name: &str) -> Format {
    match name {
        "F32" => Format::F32,
        "F16" => Format::F16,
        "BF16" => Format::Bf16,
        "Q8_0" => Format::Q8_0,
        "Q4_0" => Format::Q4_0,
        "Q4_K" => Format::Q4K,
        "Q5_K" => Format::Q5K,
        "Q6_K" => Format::Q6K,
        other => panic!("{other}"),
    }
}

/// Case number, format, bytes, numbers.
fn cases() -> impl Iterator<Item = (usize, Format, Vec<u8>, Vec<f32>)> {
    GOLDEN.lines().enumerate().map(|(case, line)| {
        let [name, bytes, numbers] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let numbers = unhex(numbers).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (case, format(name), unhex(bytes), numbers)
    })
}

fn assert_same(case: usize, format: Format, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(same, "case {case}, {format:?}, number {i}: {found} instead of {expected}");
    }
}

#[test]
fn blocks_have_the_numbers_that_ggml_gives_them() {
    let mut formats = Vec::new();
    for (case, format, bytes, expected) in cases() {
        let mut found = vec![f32::MAX; expected.len()];
        dequantize_row(format, &bytes, &mut found);
        assert_same(case, format, &found, &expected);
        formats.push(format);
    }
    formats.dedup();
    assert_eq!(formats.len(), 8, "a format has no golden case");
}

#[test]
fn a_row_is_its_blocks_one_after_the_other() {
    let kinds =
        [Format::F32, Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4K, Format::Q5K, Format::Q6K];
    for kind in kinds {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (_, _, b, n) in cases().filter(|(_, format, ..)| *format == kind) {
            bytes.extend(b);
            expected.extend(n);
        }
        assert_eq!(kind.row_bytes(expected.len()), Some(bytes.len()), "{kind:?}");
        let mut found = vec![f32::MAX; expected.len()];
        dequantize_row(kind, &bytes, &mut found);
        assert_same(usize::MAX, kind, &found, &expected);
    }
}

#[test]
fn a_buffer_for_fewer_blocks_gets_those_and_no_more() {
    for (case, format, bytes, expected) in cases() {
        let mut found = vec![f32::MAX; format.block_len() + 1];
        dequantize_row(format, &bytes[..format.block_bytes()], &mut found);
        assert_same(case, format, &found[..format.block_len()], &expected[..format.block_len()]);
        assert_eq!(found[format.block_len()], f32::MAX, "case {case} wrote beyond its block");
    }
}
