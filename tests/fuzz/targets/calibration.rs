//! A calibration from anywhere: what is read has the lengths that it says, and its scales are what a device takes.

use mobiedit::backends::calibration::{Calibration, MAGIC, VERSION};
use mobiedit::backends::scales::{StaticScales, scale_count};
use mobiedit::core::backend::ModelSpec;
use mobiedit::core::checksum::crc32;

use super::limit;

/// Reads the bytes as they are, and again with a right checksum behind them.
pub fn run(bytes: &[u8]) {
    read(bytes);
    let content = [&MAGIC[..], bytes.get(MAGIC.len()..).unwrap_or(&[])].concat();
    read(&[&content[..], &crc32(&content).to_le_bytes()].concat());
    let content = content.get(..content.len() - 4).unwrap_or(&[]);
    read(&[content, &crc32(content).to_le_bytes()].concat());
}

fn read(bytes: &[u8]) {
    let Ok(read) = limit::within(0, "reading", || Calibration::parse(bytes)) else { return };
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    let [layers, d_model, d_ff, layer, samples, bank] = [12, 16, 20, 24, 28, 32].map(word);
    assert_eq!(read.ranges().count(), scale_count(layers));
    assert_eq!((read.samples().iter().count(), read.bank().iter().count()), (samples * d_ff, bank * d_model));
    assert!(read.layer() == layer && layer < layers);
    for halves in [read.samples(), read.bank()] {
        if let Some(lent) = halves.in_place() {
            assert!(lent.iter().map(|x| x.to_bits()).eq(halves.iter().map(|x| x.to_bits())));
        }
    }
    let spec = ModelSpec { d_model, d_ff, layers, kv_dim: 1, vocab: 1, max_tokens: 1 };
    assert!(read.of_sizes(&spec).is_ok());
    for clip in [false, true] {
        let scales: Vec<f32> = read.scales(clip).collect();
        assert_eq!(scales.len(), scale_count(layers));
        let sound = scales.iter().all(|scale| *scale > 0.0 && scale.is_finite());
        assert_eq!(StaticScales::new(layers, &scales).is_ok(), sound);
        let ranges = || read.ranges().flat_map(|range| [range.most, range.percentile]);
        assert!(sound || ranges().any(|x| x.is_sign_negative() || !x.is_finite()), "{scales:?}");
    }
}

/// A file of one layer, and headers with counts that no file has.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let file = |numbers: [u32; 6], scales: usize, halves: usize| {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(std::iter::once(VERSION).chain(numbers).flat_map(|number| number.to_le_bytes()));
        bytes.extend([77_u64, 99].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend((0..2 * scales).flat_map(|i| (0.5 * i as f32).to_le_bytes()));
        bytes.extend((0..halves).flat_map(|i| half::f16::from_f32(i as f32).to_le_bytes()));
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    };
    vec![
        ("one-layer", file([1, 2, 3, 0, 2, 1], scale_count(1), 8)),
        ("two-layers", file([2, 4, 4, 1, 0, 0], scale_count(2), 0)),
        ("most-layers", file([u32::MAX, 2, 3, 0, 2, 1], scale_count(1), 8)),
        ("most-samples", file([1, u32::MAX, u32::MAX, 0, u32::MAX, u32::MAX], scale_count(1), 8)),
        ("no-width", file([1, 0, 0, 0, u32::MAX, u32::MAX], scale_count(1), 0)),
    ]
}
