//! The arithmetic that the threaded device calls, once per instruction set. All of them give the same bits.
//!
//! Chooses nothing: `dispatch` does.

use mobiedit_backends::op::{Activation, Read};
use mobiedit_backends::weights::Matrix;

use crate::scalar::readout::Statistics;
use mobiedit_backends::checked::AttentionInputs;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(crate) mod neon;
pub(crate) mod panel;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use panel::{Lanes, Pairs, Panel, PanelBlock};

/// One level's arithmetic.
pub(crate) trait Kernels: Send + Sync {
    /// Rounds one row to int16 and returns its scale.
    fn quantize(&self, x: &[f32], activation: Activation, out: &mut [i16]) -> f32;

    /// Packs 16 channels of integer weights; `minima` is empty where the format has none.
    fn pack(&self, weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock], minima: &mut [Lanes]);

    /// Products of 16 channels with rows of int16 pairs, before the rows' scales.
    fn integer(&self, panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]);

    /// Products of 16 channels with rows: `weights`, `(16, width)`; `x`, `(out, width)`.
    fn float(&self, weights: &[f32], x: &[f32], out: &mut [Lanes]);

    /// RMSNorm of one row.
    fn rms_norm(&self, x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]);

    /// SwiGLU of a run of numbers.
    fn swiglu(&self, gate: &mut [f32], up: &[f32]);

    /// Attention of one row.
    fn attend(&self, inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]);

    /// Multiplies and adds `rounds` times in registers alone, by the instructions of the integer product, and says how many
    /// products that were: what the machine can do at most.
    fn spin(&self, rounds: usize) -> u64;

    /// Takes a chunk of logits into a row's statistics.
    fn update(&self, row: &mut Statistics, read: Read, first: usize, logits: &[f32], clean: &[f32]);
}
