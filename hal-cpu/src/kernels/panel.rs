//! Weights of 16 output channels side by side, so that one SIMD lane works on one channel: the sums over inputs keep the
//! scalar order, and with it the bits.

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::weights::Matrix;

use crate::scalar::product::{BLOCK, unpack_row};

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
pub(crate) fn pack(weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock]) {
    let block_bytes = weight.format().block_bytes();
    for channel in 0..CHANNELS {
        let blocks = weight.row(first + channel).chunks_exact(block_bytes).map(Some).chain(core::iter::repeat(None));
        for (packed, bytes) in panel.iter_mut().zip(blocks) {
            let (mut levels, mut scale) = ([0; BLOCK], [0.0]);
            if let Some(bytes) = bytes {
                unpack_row(weight.format(), bytes, &mut levels, &mut scale);
            }
            for (pair, levels) in packed.pairs.iter_mut().zip(levels.as_chunks().0) {
                pair[channel] = levels.map(i16::from);
            }
            packed.scales[channel] = scale[0];
        }
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
