//! Weights of 16 output channels side by side, so that one SIMD lane works on one channel: the sums over inputs keep the
//! scalar order, and with it the bits.

use mobiedit_backends::dequant::{dequantize_row, group_of_32};
use mobiedit_backends::weights::{Format, Matrix};

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

/// 16 channels, packed.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'p> {
    /// `(blocks)`.
    pub(crate) blocks: &'p [PanelBlock],
    /// Of the channels of each block, or empty.
    pub(crate) minima: &'p [Lanes],
}

/// Activations as pairs of int16.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<'x> {
    /// `(rows, blocks, 16)`.
    pub(crate) pairs: &'x [[i32; BLOCK / 2]],
    /// Sums of the blocks, `(rows, blocks)`, or empty: minima are multiplied by them.
    pub(crate) sums: &'x [f32],
}

impl<'x> Pairs<'x> {
    /// The first `blocks`, and the rest.
    #[inline(always)]
    pub(crate) fn split_at(self, blocks: usize) -> (Self, Self) {
        let (pairs, pairs_rest) = self.pairs.split_at(blocks);
        let (sums, sums_rest) = self.sums.split_at(blocks.min(self.sums.len()));
        (Self { pairs, sums }, Self { pairs: pairs_rest, sums: sums_rest })
    }

    /// Parts of so many blocks.
    #[inline(always)]
    pub(crate) fn parts(self, blocks: usize) -> impl Iterator<Item = Self> {
        let mut sums = self.sums.chunks_exact(blocks);
        self.pairs.chunks_exact(blocks).map(move |pairs| Self { pairs, sums: sums.next().unwrap_or(&[]) })
    }
}

impl PanelBlock {
    pub(crate) const ZERO: Self = Self { pairs: [[[0; 2]; CHANNELS]; BLOCK / 2], scales: [0.0; CHANNELS] };
}

/// Packs the channels from `first` on; those behind the last are zero. `panel` has a block per 32 columns of `weight`, and so does
/// `minima` where the format has them, in which case it is not empty.
#[inline(always)]
pub(crate) fn pack(weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock], minima: &mut [Lanes]) {
    let format = weight.format();
    let mut rows = [&[][..]; CHANNELS];
    for (row, channel) in rows.iter_mut().zip(first..) {
        *row = weight.row(channel);
    }
    if !minima.is_empty() {
        return pack_groups(format, &rows, panel, minima);
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

/// The same for formats whose blocks of 256 are groups of 32.
#[inline(always)]
fn pack_groups(format: Format, rows: &[&[u8]; CHANNELS], panel: &mut [PanelBlock], minima: &mut [Lanes]) {
    const GROUPS: usize = 8;
    for (index, (packed, minima)) in panel.iter_mut().zip(minima).enumerate() {
        let mut levels = [[0; BLOCK]; CHANNELS];
        let start = index / GROUPS * format.block_bytes();
        let numbers = packed.scales.iter_mut().zip(minima);
        for ((row, levels), (scale, minimum)) in rows.iter().zip(&mut levels).zip(numbers) {
            let block = row.get(start..start + format.block_bytes()).unwrap_or(&[]);
            [*scale, *minimum] = group_of_32(format, block, index % GROUPS, levels);
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
