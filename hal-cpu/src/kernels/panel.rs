//! Weights of 16 output channels side by side, so that one SIMD lane works on one channel: the sums over inputs keep the
//! scalar order, and with it the bits.

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::weights::Matrix;

use crate::scalar::integer::{BLOCK, unpack_row};

/// Output channels of a panel.
pub(crate) const CHANNELS: usize = 16;

/// One number per channel of a panel.
pub(crate) type Lanes = [f32; CHANNELS];

/// 32 inputs of 16 channels.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct PanelBlock {
    /// `(input pairs, channels, 2)`: two int16 levels side by side, as multiply-and-add-pairs instructions want them.
    pub(crate) pairs: [[[i16; 2]; CHANNELS]; BLOCK / 2],
    /// `(channels)`.
    pub(crate) scales: Lanes,
}

impl PanelBlock {
    pub(crate) const ZERO: Self = Self { pairs: [[[0; 2]; CHANNELS]; BLOCK / 2], scales: [0.0; CHANNELS] };
}

/// Packs the channels from `first` on; those behind the last are zero. `panel` has a block per 32 columns of `weight`.
#[inline(always)]
pub(crate) fn pack(weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock]) {
    let format = weight.format();
    let mut rows = [&[][..]; CHANNELS];
    for (row, channel) in rows.iter_mut().zip(first..) {
        *row = weight.row(channel);
    }
    for (index, packed) in panel.iter_mut().enumerate() {
        let mut levels = [[0; BLOCK]; CHANNELS];
        let channels = rows.iter().zip(&mut levels).zip(packed.scales.as_chunks_mut().0);
        for ((row, levels), scale) in channels {
            let start = index * format.block_bytes();
            *scale = [0.0];
            unpack_row(format, row.get(start..start + format.block_bytes()).unwrap_or(&[]), levels, scale);
        }
        transpose(&levels, &mut packed.pairs);
    }
}

/// Pairs of inputs side by side for all channels, sign-extended. Four perfect shuffles transpose 16 by 16 pairs of bytes;
/// compilers turn each into interleaving instructions.
#[inline(always)]
fn transpose(levels: &[[i8; BLOCK]; CHANNELS], pairs: &mut [[[i16; 2]; CHANNELS]; BLOCK / 2]) {
    let mut matrix = [[0; 2]; CHANNELS * BLOCK / 2];
    for (pair, levels) in matrix.iter_mut().zip(levels.as_flattened().as_chunks().0) {
        *pair = *levels;
    }
    for _ in 0..4 {
        let mut shuffled = [[0; 2]; CHANNELS * BLOCK / 2];
        let (first, second) = matrix.split_at(matrix.len() / 2);
        for ((pair, first), second) in shuffled.as_chunks_mut().0.iter_mut().zip(first).zip(second) {
            *pair = [*first, *second];
        }
        matrix = shuffled;
    }
    for (wide, narrow) in pairs.as_flattened_mut().iter_mut().zip(&matrix) {
        *wide = [i16::from(narrow[0]), i16::from(narrow[1])];
    }
}

/// Dequantises the channels from `first` on to `out`, `(16, columns)`; those behind the last are zero.
pub(crate) fn dequantize(weight: Matrix<'_>, first: usize, out: &mut [f32]) {
    for (channel, out) in out.chunks_exact_mut(weight.cols()).enumerate() {
        if first + channel < weight.rows() {
            dequantize_row(weight.format(), weight.row(first + channel), out);
        } else {
            out.fill(0.0);
        }
    }
}

/// Two int16 side by side, the first in the low bits.
pub(crate) fn pair([first, second]: [i16; 2]) -> i32 {
    i32::from(second) << 16 | i32::from(first as u16)
}
