//! The W8A16 rules against their formulas in f64, and Q8_0 against gguf-py's blocks.

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::quant::{
    Q8_0_BYTES, Q8_0_LEN, calibrated_range, quantize_block_q8_0, quantize_row_i8, quantize_row_i16,
    quantize_row_i16_static, quantize_row_q8_0,
};
use mobiedit_backends::weights::Format;

const GOLDEN: &str = include_str!("golden/quant.txt");

/// Numbers over many magnitudes, from a seed (splitmix64).
fn numbers(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    };
    (0..len).map(|_| scale * ((next() >> 40) as f32 / (1 << 23) as f32 - 1.0).powi(3)).collect()
}

fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |most, x| f64::max(most, f64::from(x.abs())))
}

/// The levels are the nearest to x / scale in f64; the quotient's own rounding to f32 may decide near a tie.
fn assert_nearest(x: &[f32], scale: f32, levels: &[f64], most: f64) {
    for (x, level) in x.iter().zip(levels) {
        let exact = (f64::from(*x) / f64::from(scale)).clamp(-most, most);
        let slack = 0.5 + exact.abs() * f64::from(f32::EPSILON);
        assert!((level - exact).abs() <= slack, "{x} at scale {scale} became {level}, not {exact}");
    }
}

#[test]
fn activations_take_the_nearest_of_65535_levels() {
    for (seed, scale) in [(1, 1.0), (2, 1e-6), (3, 4000.0), (4, 1e30)] {
        let x = numbers(seed, 777, scale);
        let mut levels = vec![i16::MIN; x.len()];
        let step = quantize_row_i16(&x, &mut levels);
        let expected = largest(&x) / 32767.0;
        assert!((f64::from(step) / expected - 1.0).abs() < 1e-7, "scale {step} instead of {expected}");
        let levels: Vec<f64> = levels.into_iter().map(f64::from).collect();
        assert_nearest(&x, step, &levels, 32767.0);
        assert_eq!(levels.iter().fold(0.0, |most: f64, l| most.max(l.abs())), 32767.0);
    }
}

#[test]
fn static_scales_saturate_and_ties_go_to_even() {
    let x = [0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 40000.0, -40000.0, 32766.5, 1e38, -1e38];
    let mut levels = [1; 12];
    assert_eq!(quantize_row_i16_static(&x, 1.0, &mut levels), 1.0);
    assert_eq!(levels, [0, 0, 2, 2, 0, -2, -2, 32767, -32767, 32766, 32767, -32767]);
    let x = numbers(5, 500, 1.0);
    let mut levels = vec![0; x.len()];
    quantize_row_i16_static(&x, 1e-5, &mut levels);
    let levels: Vec<f64> = levels.into_iter().map(f64::from).collect();
    assert_nearest(&x, 1e-5, &levels, 32767.0);
    assert!(levels.contains(&32767.0) && levels.contains(&-32767.0), "nothing saturated");
}

#[test]
fn weights_take_the_nearest_of_255_levels() {
    for (seed, scale) in [(6, 0.02), (7, 1e-5), (8, 100.0)] {
        let x = numbers(seed, 500, scale);
        let mut levels = vec![i8::MIN; x.len()];
        let step = quantize_row_i8(&x, &mut levels);
        assert!((f64::from(step) / (largest(&x) / 127.0) - 1.0).abs() < 1e-7);
        let levels: Vec<f64> = levels.into_iter().map(f64::from).collect();
        assert_nearest(&x, step, &levels, 127.0);
        assert_eq!(levels.iter().fold(0.0, |most: f64, l| most.max(l.abs())), 127.0);
    }
}

#[test]
fn zeros_stay_zeros() {
    let (mut wide, mut narrow) = ([7; 4], [7; 4]);
    assert_eq!((quantize_row_i16(&[0.0, -0.0, 0.0, 0.0], &mut wide), wide), (0.0, [0; 4]));
    assert_eq!((quantize_row_i8(&[0.0, -0.0, 0.0, 0.0], &mut narrow), narrow), (0.0, [0; 4]));
    assert_eq!(quantize_block_q8_0(&[0.0; 32]), [0; 34]);
    assert_eq!(quantize_row_i16(&[], &mut []), 0.0);
}

#[test]
fn what_is_not_finite_is_found_in_every_result() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in 0..3 {
            let mut x = [1.0, -2.0, 3.0];
            x[place] = bad;
            let (mut wide, mut narrow) = ([7; 3], [7; 3]);
            assert!(quantize_row_i16(&x, &mut wide).is_nan());
            assert_eq!(wide, [0; 3]);
            assert!(quantize_row_i16_static(&x, 0.1, &mut wide).is_nan());
            assert!(quantize_row_i8(&x, &mut narrow).is_nan());
            assert_eq!(narrow, [0; 3]);
            let mut block = [1.0; 32];
            block[place * 10] = bad;
            let mut numbers = [0.0; 32];
            dequantize_row(Format::Q8_0, &quantize_block_q8_0(&block), &mut numbers);
            assert!(numbers.iter().all(|x| x.is_nan()));
            assert_eq!(calibrated_range(&mut x), None);
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn blocks_of_q8_0_are_those_of_gguf_py() {
    let (mut row, mut blocks) = (Vec::new(), Vec::new());
    for line in GOLDEN.lines() {
        let (numbers, expected) = line.split_once(' ').unwrap();
        let numbers: Vec<f32> =
            unhex(numbers).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(quantize_block_q8_0(numbers.as_slice().try_into().unwrap()).as_slice(), unhex(expected));
        row.extend(numbers);
        blocks.extend(unhex(expected));
    }
    assert_eq!(row.len(), 6 * Q8_0_LEN);
    let mut out = vec![0; 6 * Q8_0_BYTES];
    quantize_row_q8_0(&row, &mut out);
    assert_eq!(out, blocks);
}

/// The rule written down again: sort, take the ⌈0.99 n⌉-th magnitude, compare.
fn expected_range(samples: &[f32]) -> f32 {
    let mut sorted: Vec<f32> = samples.iter().map(|x| x.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    let percentile = sorted[(99 * sorted.len()).div_ceil(100) - 1];
    let most = sorted[sorted.len() - 1];
    if f64::from(most) > 4.0 * f64::from(percentile) { percentile } else { most }
}

#[test]
fn outliers_are_clipped_by_the_published_rule() {
    for len in [1, 2, 99, 100, 101, 199, 200, 201, 1000, 12345] {
        for outlier in [0.5, 3.9, 4.1, 1000.0] {
            let mut samples = numbers(len as u64, len, 1.0);
            samples[len / 2] = -outlier;
            let expected = expected_range(&samples);
            assert_eq!(calibrated_range(&mut samples), Some(expected), "{len} samples, outlier {outlier}");
        }
    }
    // The 99th of 100 magnitudes is 1: four times as much stays, more is cut off.
    let mut samples = [1.0; 100];
    samples[3] = -4.0;
    assert_eq!(calibrated_range(&mut samples.clone()), Some(4.0));
    samples[3] = -4.5;
    assert_eq!(calibrated_range(&mut samples.clone()), Some(1.0));
    // Two of 100 are no outliers: the 99th is one of them.
    samples[90] = 4.5;
    assert_eq!(calibrated_range(&mut samples), Some(4.5));
}

#[test]
fn a_range_is_never_zero_where_there_is_something() {
    let mut samples = [0.0; 1000];
    samples[500] = 2.0;
    assert_eq!(calibrated_range(&mut samples), Some(2.0));
    assert_eq!(calibrated_range(&mut [0.0; 10]), Some(0.0));
    assert_eq!(calibrated_range(&mut []), None);
}
