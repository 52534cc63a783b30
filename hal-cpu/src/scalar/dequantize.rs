//! Rows of weights as f32.

use half::{bf16, f16};
use mobiedit_backends::weights::Format;

/// Writes the numbers of one row.
pub(crate) fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_le_bytes(*b);
            }
        }
        Format::F16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f16::from_le_bytes(*b).to_f32();
            }
        }
        Format::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = bf16::from_le_bytes(*b).to_f32();
            }
        }
        _ => {
            for (out, block) in out.chunks_exact_mut(32).zip(bytes.as_chunks::<34>().0) {
                let [low, high, levels @ ..] = block;
                let scale = f16::from_le_bytes([*low, *high]).to_f32();
                for (out, level) in out.iter_mut().zip(levels) {
                    *out = scale * f32::from(*level as i8);
                }
            }
        }
    }
}
