//! The arithmetic that the threaded device calls, once per instruction set. All of them give the same bits.
//!
//! Chooses nothing: `dispatch` does.

use core::ops::Range;

use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use self::attention::attend;
use crate::scalar::product::quantize_row;
use crate::scalar::readout::Statistics;
use crate::scalar::rms_norm::rms_norm;
use crate::scalar::swiglu::swiglu;
use mobiedit_backends::checked::AttentionInputs;

pub(crate) mod attention;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(crate) mod neon;
pub(crate) mod panel;
pub(crate) mod portable;
pub(crate) mod tiles;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use panel::{Lanes, Panel};
use tiles::Tile;

/// One level's arithmetic. Each has a product of its own, and what that reads; the rest is plain Rust unless a level compiles it
/// with its instructions.
pub(crate) trait Kernels: Send + Sync {
    /// Rows of a whole tile.
    fn tile_rows(&self) -> usize;

    /// Rounds one row to int16 and returns its scale.
    fn quantize(&self, x: &[f32], activation: Activation, out: &mut [i16]) -> f32 {
        quantize_row(x, activation, out)
    }

    /// Makes a tile of some columns of int16: `levels`, `(rows, width)`; `words`, `(blocks, 16 · rows)`; `sums`, `(blocks, rows)`.
    fn arrange(&self, levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]);

    /// Begins to fetch bytes that are read soon, or does nothing.
    fn fetch(&self, _bytes: &[u8]) {}

    /// Packs 32 channels of integer weights from `first` on, their inputs of some blocks of 32.
    fn pack(&self, weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel);

    /// Adds the products of a panel's channels and a tile's rows to `totals`, `(rows)`: those of one block after the other.
    fn integer(&self, panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]);

    /// Products of some channels, those from lane `first` on, with rows: `weights`, `(channels, width)`; `x`, `(out, width)`.
    fn float(&self, weights: &[f32], x: &[f32], width: usize, first: usize, out: &mut [Lanes]) {
        portable::float(weights, x, width, first, out);
    }

    /// RMSNorm of one row.
    fn rms_norm(&self, x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) {
        rms_norm(x, weight, eps, out);
    }

    /// SwiGLU of a run of numbers.
    fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        swiglu(gate, up);
    }

    /// Attention of one row.
    fn attend(&self, inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) {
        attend(inputs, row, scores, out);
    }

    /// Multiplies and adds `rounds` times in registers alone, by the instructions of the integer product, and says how many
    /// products that were: what the machine can do at most.
    fn spin(&self, rounds: usize) -> u64;

    /// Takes a chunk of logits into a row's statistics.
    fn update(&self, row: &mut Statistics, read: Read, first: usize, logits: &[f32], clean: &[f32]) {
        row.update(read, first, logits, clean);
    }
}

/// Calls `$tile` with a tile's rows as a constant.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! for_rows {
    ($tile:ident, [$($rows:literal)*], $panel:expr, $x:expr, $totals:expr) => {
        match $x.rows {
            $($rows => if let Some(totals) = $totals.first_chunk_mut() { $tile::<$rows>($panel, $x, totals) },)*
            _ => debug_assert!(false, "a tile of {} rows", $x.rows),
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use for_rows;

/// Without threads, so that Miri can run it: `RUSTFLAGS="-C target-feature=+avx2" cargo +nightly miri test -p mobiedit-hal-cpu
/// --features std kernels`.
#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use mobiedit_backends::weights::Format;

    use super::portable::Portable;
    use super::*;
    use crate::dispatch::Level;
    use crate::scalar::integer::BLOCK;

    const BLOCKS: usize = 8;
    const WIDTH: usize = BLOCKS * BLOCK;

    /// A tile of so many rows times a panel of 30 channels and two that are not there.
    fn product(kernels: &dyn Kernels, format: Format, rows: usize) -> Vec<Lanes> {
        let number = |seed: usize| (seed * 7919 % 65_521) as u8;
        let mut bytes: Vec<u8> = (0..30 * WIDTH / format.block_len() * format.block_bytes()).map(number).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            let last = block.len() - 1;
            for at in [1, 3, last] {
                block[at] = block[at] & 0x9f | 0x18;
            }
        }
        let weight = Matrix::new(format, 30, WIDTH, &bytes).unwrap();
        let levels: Vec<i16> = (0..rows * WIDTH).map(|at| (at * 31_337 % 65_535) as i16).collect();
        // Two blocks more than are multiplied, of a wider row.
        let columns = BLOCK..WIDTH - BLOCK;
        let (mut words, mut sums) = (vec![0; rows * columns.len() / 2], vec![0.0; rows * columns.len() / BLOCK]);
        kernels.arrange(&levels, WIDTH, columns, &mut words, &mut sums);
        let mut panel = Panel::default();
        kernels.pack(weight, 0, 1..BLOCKS - 1, &mut panel);
        let mut totals = vec![Lanes::ZERO; rows];
        kernels.integer(&panel, Tile { rows, words: &words, sums: &sums }, &mut totals);
        totals
    }

    #[test]
    fn every_level_multiplies_a_tile_to_the_same_bits() {
        for format in [Format::Q8_0, Format::Q4_0, Format::Q4K, Format::Q5K, Format::Q6K] {
            for kernels in Level::ALL.into_iter().filter_map(Level::kernels) {
                // Miri takes minutes for what is a millisecond here.
                for rows in if cfg!(miri) { [2; 1].to_vec() } else { [1, 2, kernels.tile_rows()].to_vec() } {
                    let bits = |lanes: Vec<Lanes>| lanes.iter().map(|l| l.0.map(f32::to_bits)).collect::<Vec<_>>();
                    let [got, expected] = [&*kernels, &Portable].map(|k| bits(product(k, format, rows)));
                    assert!(
                        got.as_flattened().iter().any(|bits| *bits != 0) && got == expected,
                        "{format:?}, {rows} rows"
                    );
                }
            }
        }
    }
}
