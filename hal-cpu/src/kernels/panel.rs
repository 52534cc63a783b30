//! Weights of 32 output channels side by side, so that one SIMD lane works on one channel: the sums over inputs keep the
//! scalar order, and with it the bits. A panel holds some of the inputs only, as many as stay in the first cache.

use core::ops::Range;

use std::collections::TryReserveError;
use std::vec::Vec;

use half::f16;
use half::slice::HalfFloatSliceExt;
use mobiedit_backends::dequant::{Scale, dequantize_row, group_of_32, groups_of_16};
use mobiedit_backends::weights::{Format, Matrix};

use crate::scalar::integer::{BLOCK, has_minima, unpack_block};

/// Output channels of a panel.
pub(crate) const CHANNELS: usize = 32;

/// One number per channel of a panel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub(crate) [f32; CHANNELS]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; CHANNELS]);
}

/// Four bytes of each channel: two inputs as int16, side by side, as multiply-and-add-pairs instructions want them, or what
/// another level's instructions want.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Words(pub(crate) [[i16; 2]; CHANNELS]);

/// 32 channels, packed.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    /// `(blocks, words of a block)`.
    pub(crate) words: Vec<Words>,
    /// Of the channels of each block, `(blocks)`.
    pub(crate) scales: Vec<Lanes>,
    /// The same, or empty where the format has none.
    pub(crate) minima: Vec<Lanes>,
    /// What a level that works on bytes adds to its sums, `(blocks)`; empty at others.
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    pub(crate) offsets: Vec<[i32; CHANNELS]>,
}

/// A panel's block.
#[derive(Clone, Copy)]
pub(crate) struct PanelBlock<'p> {
    /// Those of 32 inputs or of 16.
    pub(crate) words: &'p [Words],
    pub(crate) scales: &'p Lanes,
    pub(crate) minima: Option<&'p Lanes>,
}

impl Panel {
    /// Bytes of so many blocks, of whatever format.
    pub(crate) const fn bytes(blocks: usize) -> usize {
        let offsets = if cfg!(all(target_arch = "aarch64", target_endian = "little")) { 2 } else { 0 };
        blocks * (BLOCK / 2 * size_of::<Words>() + (3 + offsets) * size_of::<Lanes>())
    }

    /// Takes the memory for so many blocks, of whatever format.
    pub(crate) fn reserve(&mut self, blocks: usize) -> Result<(), TryReserveError> {
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        self.offsets.try_reserve_exact(2 * blocks)?;
        self.words.try_reserve_exact(blocks * BLOCK / 2)?;
        self.scales.try_reserve_exact(2 * blocks)?;
        self.minima.try_reserve_exact(blocks)
    }

    /// Its blocks in ascending order.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = PanelBlock<'_>> {
        let words = self.words.chunks_exact((self.words.len() / self.scales.len().max(1)).max(1));
        let mut minima = self.minima.iter();
        words.zip(&self.scales).map(move |(words, scales)| PanelBlock { words, scales, minima: minima.next() })
    }
}

/// Packs the channels from `first` on, their inputs of `blocks` of 32; channels behind the last are zero. `interleave` puts
/// 32 inputs of all channels side by side, in so many words as the level needs: [`interleave`], or another.
#[inline(always)]
pub(crate) fn pack<const WORDS: usize>(
    weight: Matrix<'_>,
    first: usize,
    blocks: Range<usize>,
    panel: &mut Panel,
    interleave: impl Fn(&[[i8; BLOCK]; CHANNELS], &mut [Words; WORDS]),
) {
    let format = weight.format();
    let mut rows = [&[][..]; CHANNELS];
    for (row, channel) in rows.iter_mut().zip(first..) {
        *row = weight.row(channel);
    }
    panel.words.resize(blocks.len() * WORDS, Words([[0; 2]; CHANNELS]));
    panel.scales.resize(blocks.len() * if format == Format::Q6K { 2 } else { 1 }, Lanes::ZERO);
    panel.minima.resize(if has_minima(format) { blocks.len() } else { 0 }, Lanes::ZERO);
    // A closure for each format: inside of them, the format is known.
    let source = Source { rows, format, blocks };
    match format {
        Format::Q8_0 => source.pack(panel, interleave, |block, _, levels| [of_32(Format::Q8_0, block, levels)]),
        Format::Q4K => {
            source.pack(panel, interleave, |block, group, levels| group_of_32(Format::Q4K, block, group, levels))
        }
        Format::Q5K => {
            source.pack(panel, interleave, |block, group, levels| group_of_32(Format::Q5K, block, group, levels))
        }
        Format::Q6K => source.pack(panel, interleave, groups_of_16),
        _ => source.pack(panel, interleave, |block, _, levels| [of_32(format, block, levels)]),
    }
}

#[inline(always)]
fn of_32(format: Format, block: &[u8], levels: &mut [i8; BLOCK]) -> Scale {
    Scale { half: unpack_block(format, block, levels), factor: 1 }
}

/// What a panel is packed from.
struct Source<'w> {
    rows: [&'w [u8]; CHANNELS],
    format: Format,
    blocks: Range<usize>,
}

impl Source<'_> {
    /// `unpack` writes a row's 32 levels of a block's part and returns their scale, and their minimum or the scale of the second half.
    #[inline(always)]
    fn pack<const WORDS: usize, const SCALES: usize>(
        self,
        panel: &mut Panel,
        interleave: impl Fn(&[[i8; BLOCK]; CHANNELS], &mut [Words; WORDS]),
        unpack: impl Fn(&[u8], usize, &mut [i8; BLOCK]) -> [Scale; SCALES],
    ) {
        let Self { rows, format, blocks } = self;
        let (in_block, block_bytes) = (format.block_len() / BLOCK, format.block_bytes());
        let scales_of_block = panel.scales.len() / blocks.len().max(1);
        let scales = panel.scales.chunks_exact_mut(scales_of_block.max(1));
        let mut minima = panel.minima.iter_mut();
        let mut levels = [[0; BLOCK]; CHANNELS];
        for ((words, scales), index) in panel.words.as_chunks_mut().0.iter_mut().zip(scales).zip(blocks) {
            let (start, part) = (index / in_block * block_bytes, index % in_block);
            let mut halves = [[f16::ZERO; CHANNELS]; SCALES];
            let mut factors = [[0.0; CHANNELS]; SCALES];
            for (channel, (row, levels)) in rows.iter().zip(&mut levels).enumerate() {
                let unpacked = unpack(row.get(start..start + block_bytes).unwrap_or(&[]), part, levels);
                for ((halves, factors), scale) in halves.iter_mut().zip(&mut factors).zip(unpacked) {
                    (halves[channel], factors[channel]) = (scale.half, f32::from(scale.factor));
                }
            }
            let places = scales.iter_mut().chain(minima.next());
            for ((place, halves), factors) in places.zip(&halves).zip(&factors) {
                halves.convert_to_f32_slice(&mut place.0);
                for (number, factor) in place.0.iter_mut().zip(factors) {
                    *number *= factor;
                }
            }
            interleave(&levels, words);
        }
    }
}

/// Pairs of inputs side by side for all channels, sign-extended: five perfect shuffles transpose 32 by 16 pairs of bytes.
pub(crate) fn interleave(levels: &[[i8; BLOCK]; CHANNELS], words: &mut [Words; BLOCK / 2]) {
    let mut matrix = [[0; 2]; CHANNELS * BLOCK / 2];
    for (pair, levels) in matrix.iter_mut().zip(levels.as_flattened().as_chunks().0) {
        *pair = *levels;
    }
    for _ in 0..CHANNELS.ilog2() {
        let mut shuffled = [[0; 2]; CHANNELS * BLOCK / 2];
        let (first, second) = matrix.split_at(matrix.len() / 2);
        for ((pair, first), second) in shuffled.as_chunks_mut().0.iter_mut().zip(first).zip(second) {
            *pair = [*first, *second];
        }
        matrix = shuffled;
    }
    for (wide, narrow) in words.iter_mut().zip(matrix.as_chunks::<CHANNELS>().0) {
        for (wide, narrow) in wide.0.iter_mut().zip(narrow) {
            *wide = [i16::from(narrow[0]), i16::from(narrow[1])];
        }
    }
}

/// Dequantises the channels from `first` on to `out`, `(channels, columns)`; those behind the last are zero.
pub(crate) fn dequantize(weight: Matrix<'_>, first: usize, out: &mut [f32]) {
    for (channel, out) in out.chunks_exact_mut(weight.cols()).enumerate() {
        if first + channel < weight.rows() {
            dequantize_row(weight.format(), weight.row(first + channel), out);
        } else {
            out.fill(0.0);
        }
    }
}
