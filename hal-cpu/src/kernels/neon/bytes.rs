//! What instructions for int8 multiply: weights as they are, an activation as two bytes, x = 256 · high + low. The sum of a block's
//! products with high bytes is shifted by eight bits, then those with low bytes are added: exact, as the whole is in i32.
//!
//! Multiplies nothing. `UNIT` is how many words of four bytes an instruction takes of a channel or a row at once.

use core::ops::Range;

use crate::kernels::panel::{CHANNELS, Words};
use crate::scalar::integer::{BLOCK, sum_of};

/// Inputs whose high bytes lie before their low bytes: the shortest block.
const SHORTEST: usize = 16;

/// Where an activation's high byte is, and its low one.
pub(super) const HIGH: usize = 0;
pub(super) const LOW: usize = 1;

/// Puts some columns of rows of int16, `(rows, width)`, side by side as bytes, `(blocks of 16, high and low, units, rows, UNIT)`, and
/// sums their blocks of 32. `flip` is added to low bytes, from 0 to 255, by exclusive or: with 128 they are less by as much, and
/// signed.
#[inline(always)]
pub(super) fn arrange<const UNIT: usize>(
    levels: &[i16],
    width: usize,
    columns: Range<usize>,
    flip: u8,
    words: &mut [i32],
    sums: &mut [f32],
) {
    let rows = levels.len() / width.max(1);
    for (row, levels) in levels.chunks_exact(width.max(1)).enumerate() {
        let blocks = levels.get(columns.clone()).unwrap_or(&[]).as_chunks::<BLOCK>().0;
        let places = words.chunks_exact_mut(BLOCK / 2 * rows).zip(sums.chunks_exact_mut(rows));
        for (block, (words, sums)) in blocks.iter().zip(places) {
            let mut places = words.chunks_exact_mut(UNIT * rows);
            for levels in block.as_chunks::<SHORTEST>().0 {
                let (high, low) = (levels.map(|level| (level >> 8) as u8), levels.map(|level| level as u8 ^ flip));
                let bytes = [high, low];
                let units = bytes.as_flattened().as_chunks::<4>().0.as_chunks::<UNIT>().0;
                for (unit, places) in units.iter().zip(&mut places) {
                    places.as_chunks_mut::<UNIT>().0[row] = unit.map(i32::from_le_bytes);
                }
            }
            sums[row] = sum_of(block);
        }
    }
}

/// Puts inputs of all channels side by side: `(units, channels, UNIT)`.
#[inline(always)]
pub(super) fn interleave<const UNIT: usize>(levels: &[[i8; BLOCK]; CHANNELS], words: &mut [Words; BLOCK / 4]) {
    for (index, words) in words.chunks_exact_mut(UNIT).enumerate() {
        for (words, levels) in words.iter_mut().zip(levels.chunks_exact(CHANNELS / UNIT)) {
            for (unit, levels) in words.0.as_chunks_mut::<UNIT>().0.iter_mut().zip(levels) {
                for (word, bytes) in unit.iter_mut().zip(&levels.as_chunks::<4>().0[index * UNIT..]) {
                    let [first, second, third, fourth] = bytes.map(|level| level as u8);
                    *word = [i16::from_le_bytes([first, second]), i16::from_le_bytes([third, fourth])];
                }
            }
        }
    }
}
