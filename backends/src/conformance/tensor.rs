//! Random weights in every format, with the numbers that they stand for. Encodes; shares no code with the decoders.

use alloc::vec::Vec;

use half::{bf16, f16};

use super::random::Random;
use crate::weights::{Format, Matrix};

/// A matrix and its numbers.
pub(super) struct Tensor {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    /// `(rows, cols)`.
    pub(super) values: Vec<f64>,
}

impl Tensor {
    /// Random numbers of about this magnitude.
    pub(super) fn random(format: Format, rows: usize, cols: usize, magnitude: f64, random: &mut Random) -> Self {
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for _ in 0..rows * cols / format.block_len() {
            encode_block(format, magnitude, random, &mut bytes, &mut values);
        }
        Self { format, rows, cols, bytes, values }
    }

    /// Q8_0 with the level −128 everywhere, and the scale 1/64: what sums of int16 products overflow with.
    pub(super) fn lowest(rows: usize, cols: usize) -> Self {
        let (mut bytes, values) = (Vec::new(), alloc::vec![-2.0; rows * cols]);
        for _ in 0..rows * cols / 32 {
            bytes.extend(f16::from_f64(1.0 / 64.0).to_le_bytes());
            bytes.extend([0x80; 32]);
        }
        Self { format: Format::Q8_0, rows, cols, bytes, values }
    }

    /// Makes row `to` the same as row `from`.
    pub(super) fn repeat_row(&mut self, from: usize, to: usize) {
        let len = self.bytes.len() / self.rows;
        self.bytes.copy_within(from * len..(from + 1) * len, to * len);
        self.values.copy_within(from * self.cols..(from + 1) * self.cols, to * self.cols);
    }

    /// The view that operations take.
    pub(super) fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.rows, self.cols, &self.bytes).expect("the encoder wrote whole blocks")
    }

    /// The numbers of one row.
    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.cols..(row + 1) * self.cols]
    }
}

fn encode_block(format: Format, magnitude: f64, random: &mut Random, bytes: &mut Vec<u8>, values: &mut Vec<f64>) {
    match format {
        Format::F32 => {
            let x = random.normal() * magnitude as f32;
            bytes.extend(x.to_le_bytes());
            values.push(f64::from(x));
        }
        Format::F16 => {
            let x = f16::from_f32(random.normal() * magnitude as f32);
            bytes.extend(x.to_le_bytes());
            values.push(x.to_f64());
        }
        Format::Bf16 => {
            let x = bf16::from_f32(random.normal() * magnitude as f32);
            bytes.extend(x.to_le_bytes());
            values.push(x.to_f64());
        }
        Format::Q8_0 => {
            let scale = scale(magnitude / 64.0, random, bytes);
            let levels: [u8; 32] = core::array::from_fn(|_| random.below(256) as u8);
            bytes.extend(levels);
            values.extend(levels.map(|l| scale * f64::from(l as i8)));
        }
        Format::Q4_0 => {
            let scale = scale(magnitude / 4.0, random, bytes);
            let levels: [u8; 32] = core::array::from_fn(|_| random.below(16) as u8);
            bytes.extend((0..16).map(|i| levels[i] | levels[i + 16] << 4));
            values.extend(levels.map(|l| scale * (f64::from(l) - 8.0)));
        }
        Format::Q4K => k_block(magnitude / 256.0, 16, random, bytes, values),
        Format::Q5K => k_block(magnitude / 512.0, 32, random, bytes, values),
        Format::Q6K => q6_block(magnitude / 1024.0, random, bytes, values),
    }
}

/// Writes an f16 scale of about `magnitude` and returns what it stands for.
fn scale(magnitude: f64, random: &mut Random, bytes: &mut Vec<u8>) -> f64 {
    let scale = f16::from_f64(magnitude * (0.5 + random.unit()));
    bytes.extend(scale.to_le_bytes());
    scale.to_f64()
}

/// Q4_K (16 levels) and Q5_K (32): 8 groups of 32 with 6-bit scales and minima.
fn k_block(magnitude: f64, levels: u32, random: &mut Random, bytes: &mut Vec<u8>, values: &mut Vec<f64>) {
    let step = scale(magnitude, random, bytes);
    let min_step = scale(magnitude * f64::from(levels) / 2.0, random, bytes);
    let scales: [u8; 8] = core::array::from_fn(|_| random.below(64) as u8);
    let minima: [u8; 8] = core::array::from_fn(|_| random.below(64) as u8);
    bytes.extend((0..4).map(|i| scales[i] | scales[i + 4] >> 4 << 6));
    bytes.extend((0..4).map(|i| minima[i] | minima[i + 4] >> 4 << 6));
    bytes.extend((4..8).map(|i| scales[i] & 15 | minima[i] << 4));
    let level: [[u8; 32]; 8] = core::array::from_fn(|_| core::array::from_fn(|_| random.below(levels) as u8));
    if levels == 32 {
        bytes.extend((0..32).map(|l| (0..8).fold(0, |bits, group| bits | level[group][l] >> 4 << group)));
    }
    for pair in level.chunks(2) {
        bytes.extend((0..32).map(|l| pair[0][l] & 15 | pair[1][l] << 4));
    }
    for (group, levels) in level.iter().enumerate() {
        let (scale, min) = (step * f64::from(scales[group]), min_step * f64::from(minima[group]));
        values.extend(levels.map(|l| scale * f64::from(l) - min));
    }
}

/// Q6_K: 16 groups of 16 with int8 scales; 128 numbers at a time share their packed bytes.
fn q6_block(magnitude: f64, random: &mut Random, bytes: &mut Vec<u8>, values: &mut Vec<f64>) {
    let level: [u8; 256] = core::array::from_fn(|_| random.below(64) as u8);
    let scales: [u8; 16] = core::array::from_fn(|_| random.below(256) as u8);
    for half in level.chunks(128) {
        bytes.extend((0..64).map(|l| half[l] & 15 | half[l + 64] << 4));
    }
    for half in level.chunks(128) {
        bytes.extend((0..32).map(|l| (0..4).fold(0, |bits, i| bits | half[l + 32 * i] >> 4 << (2 * i))));
    }
    bytes.extend(scales);
    let step = scale(magnitude, random, bytes);
    values.extend(level.iter().zip(0..).map(|(&l, i)| step * f64::from(scales[i / 16] as i8) * (f64::from(l) - 32.0)));
}
