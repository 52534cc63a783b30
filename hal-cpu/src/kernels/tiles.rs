//! Rows of int16 activations as the integer product reads them: some rows side by side, so that a tile is read from front to back.

use core::ops::Range;

use std::collections::TryReserveError;
use std::vec::Vec;

use rayon::prelude::*;

use super::Kernels;
use crate::scalar::integer::BLOCK;
use mobiedit_backends::op::Activation;

/// Words of a row's block.
const WORDS: usize = BLOCK / 2;
/// Numbers that are worth a thread.
const WORTH: usize = 1 << 14;

/// A batch of rows, in parts of some blocks each: a part of all rows is read from front to back.
#[derive(Debug, Default)]
pub(crate) struct Tiles {
    rows: usize,
    /// Of a whole tile; the last one has the rest.
    tile_rows: usize,
    /// Of a whole part; the last one has the rest.
    part_blocks: usize,
    /// Levels, `(rows, width)`.
    levels: Vec<i16>,
    /// Two activations a word, `(parts, tiles, blocks of the part, 16 · rows of the tile)`; the level says in which order.
    words: Vec<i32>,
    /// Sums of the blocks, `(parts, tiles, blocks of the part, rows of the tile)`: minima are multiplied by them.
    sums: Vec<f32>,
}

/// Some rows, and some blocks of each.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'x> {
    pub(crate) rows: usize,
    /// `(blocks, 16 · rows)`.
    pub(crate) words: &'x [i32],
    /// `(blocks, rows)`.
    pub(crate) sums: &'x [f32],
}

impl Tiles {
    /// Bytes of a row with so many inputs.
    pub(crate) const fn bytes_of_a_row(width: usize) -> usize {
        let levels = width.saturating_mul(2 * size_of::<i16>());
        levels.saturating_add(width / BLOCK * size_of::<f32>())
    }

    /// Takes the memory for so many rows of so many inputs.
    pub(crate) fn reserve(&mut self, rows: usize, width: usize) -> Result<(), TryReserveError> {
        let all = rows.saturating_mul(width);
        self.levels.try_reserve_exact(all)?;
        self.words.try_reserve_exact(all / 2)?;
        self.sums.try_reserve_exact(all / BLOCK)
    }

    /// Rounds rows of `x`, `(scales, width)`, to int16 and writes their scales.
    pub(crate) fn fill(
        &mut self,
        kernels: &dyn Kernels,
        x: &[f32],
        activation: Activation,
        part_blocks: usize,
        scales: &mut [f32],
    ) {
        // Without rows there is no width to divide by.
        if scales.is_empty() {
            return *self = Self::default();
        }
        let (rows, tile_rows) = (scales.len(), kernels.tile_rows());
        let width = x.len() / rows;
        (self.rows, self.tile_rows, self.part_blocks) = (rows, tile_rows, part_blocks);
        self.levels.resize(x.len(), 0);
        self.words.resize(x.len() / 2, 0);
        self.sums.resize(x.len() / BLOCK, 0.0);
        let of_rows = self.levels.par_chunks_exact_mut(width).zip(scales).zip(x.par_chunks_exact(width));
        of_rows
            .with_min_len(WORTH.div_ceil(width))
            .for_each(|((levels, scale), x)| *scale = kernels.quantize(x, activation, levels));
        let (levels, part) = (&self.levels, part_blocks * rows);
        let parts = self.words.par_chunks_mut(part * WORDS).zip(self.sums.par_chunks_mut(part)).enumerate();
        parts.for_each(|(part, (words, sums))| {
            let columns = part * part_blocks * BLOCK..width.min((part + 1) * part_blocks * BLOCK);
            let tile = tile_rows * columns.len() / BLOCK;
            let tiles = words.par_chunks_mut(tile * WORDS).zip(sums.par_chunks_mut(tile));
            let tiles = tiles.zip(levels.par_chunks(tile_rows * width));
            tiles.with_min_len(WORTH.div_ceil(tile * BLOCK)).for_each(|((words, sums), levels)| {
                kernels.arrange(levels, width, columns.clone(), words, sums);
            });
        });
    }

    /// Bytes of all parts.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.sums.len().div_ceil((self.part_blocks * self.rows).max(1))
    }

    /// A part's blocks.
    pub(crate) fn blocks(&self, part: usize) -> Range<usize> {
        let first = part * self.part_blocks;
        let blocks = self.sums.len() / self.rows.max(1);
        first.min(blocks)..(first + self.part_blocks).min(blocks)
    }

    /// A part's tiles.
    pub(crate) fn of_part(&self, part: usize) -> impl ExactSizeIterator<Item = Tile<'_>> {
        let Range { start, end } = self.blocks(part);
        let tile = self.tile_rows * (end - start);
        let words = self.words.get(start * self.rows * WORDS..end * self.rows * WORDS).unwrap_or(&[]);
        let sums = self.sums.get(start * self.rows..end * self.rows).unwrap_or(&[]);
        let tiles = words.chunks(tile * WORDS).zip(sums.chunks(tile));
        tiles.map(move |(words, sums)| Tile { rows: sums.len() / (end - start), words, sums })
    }

    /// Rows of a whole tile.
    pub(crate) fn tile_rows(&self) -> usize {
        self.tile_rows
    }
}

/// Puts some columns of rows of int16, `(rows, width)`, side by side as pairs, `(blocks, 16, rows)`, the first in the low bits, and
/// sums their blocks.
#[inline(always)]
pub(crate) fn arrange(levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) {
    let rows = levels.len() / width.max(1);
    for (row, levels) in levels.chunks_exact(width.max(1)).enumerate() {
        let blocks = levels.get(columns.clone()).unwrap_or(&[]).as_chunks::<BLOCK>().0;
        let places = words.chunks_exact_mut(WORDS * rows).zip(sums.chunks_exact_mut(rows));
        for (block, (words, sums)) in blocks.iter().zip(places) {
            for (words, [first, second]) in words.chunks_exact_mut(rows).zip(block.as_chunks().0) {
                words[row] = i32::from(*second) << 16 | i32::from(*first as u16);
            }
            sums[row] = block.iter().map(|level| i32::from(*level)).sum::<i32>() as f32;
        }
    }
}
