//! The memory that the scalar device computes in, lent once. Keeps nothing between operations.

#[cfg(feature = "std")]
use std::{vec, vec::Vec};

use mobiedit_backends::model::ModelConfig;

use crate::error::Reason;
use crate::scalar::product::{Room, WeightRow};
use crate::scalar::readout::{CHUNK, Statistics};
use mobiedit_backends::checked::Checked;

/// Lent buffers. More tile rows mean that weights are read less often; results are the same bits with any number.
#[derive(Debug, Default)]
pub struct Scratch<'a> {
    /// int16 activations, `(tile rows, widest input)`.
    pub activations: &'a mut [i16],
    /// Their scales, `(tile rows)`.
    pub scales: &'a mut [f32],
    /// One row of integer weights, `(widest input)`.
    pub levels: &'a mut [i8],
    /// One row of dequantised weights, or of its blocks' scales, `(widest input)`.
    pub weights: &'a mut [f32],
    /// One head's attention, `(most tokens)`.
    pub scores: &'a mut [f32],
    /// A part of the logits, `(tile rows, 256)`.
    pub logits: &'a mut [f32],
    /// Running softmax statistics, `(tile rows)`.
    pub statistics: &'a mut [Statistics],
}

/// Elements of [`Scratch`]'s buffers, by the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[expect(missing_docs, reason = "the fields are Scratch's")]
pub struct ScratchLens {
    pub activations: usize,
    pub scales: usize,
    pub levels: usize,
    pub weights: usize,
    pub scores: usize,
    pub logits: usize,
    pub statistics: usize,
}

impl ScratchLens {
    /// What a model needs with this many tile rows, at least 1.
    pub const fn of(config: &ModelConfig, tile_rows: usize) -> Self {
        let mut widest = config.spec.d_model;
        if widest < config.spec.d_ff {
            widest = config.spec.d_ff;
        }
        if widest < config.heads.saturating_mul(config.head_dim) {
            widest = config.heads.saturating_mul(config.head_dim);
        }
        Self::with(widest, config.spec.max_tokens, tile_rows)
    }

    /// The same from the widest input of a linear layer and the most positions that a row sees.
    pub const fn with(widest: usize, positions: usize, tile_rows: usize) -> Self {
        Self {
            activations: tile_rows.saturating_mul(widest),
            scales: tile_rows,
            levels: widest,
            weights: widest,
            scores: positions,
            logits: tile_rows.saturating_mul(CHUNK),
            statistics: tile_rows,
        }
    }
}

/// Owned buffers for a host: [`Scratch`]'s, by the same names.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct ScratchBuffers {
    activations: Vec<i16>,
    scales: Vec<f32>,
    levels: Vec<i8>,
    weights: Vec<f32>,
    scores: Vec<f32>,
    logits: Vec<f32>,
    statistics: Vec<Statistics>,
}

#[cfg(feature = "std")]
impl ScratchBuffers {
    /// Buffers of these lengths.
    pub fn new(lens: ScratchLens) -> Self {
        Self {
            activations: vec![0; lens.activations],
            scales: vec![0.0; lens.scales],
            levels: vec![0; lens.levels],
            weights: vec![0.0; lens.weights],
            scores: vec![0.0; lens.scores],
            logits: vec![0.0; lens.logits],
            statistics: vec![Statistics::default(); lens.statistics],
        }
    }

    /// The buffers, to be lent to a device.
    pub fn lend(&mut self) -> Scratch<'_> {
        Scratch {
            activations: &mut self.activations,
            scales: &mut self.scales,
            levels: &mut self.levels,
            weights: &mut self.weights,
            scores: &mut self.scores,
            logits: &mut self.logits,
            statistics: &mut self.statistics,
        }
    }
}

impl Scratch<'_> {
    /// Rows of `width` inputs that are multiplied at once.
    pub(crate) fn tile_rows(&self, width: usize) -> usize {
        (self.activations.len() / width.max(1)).min(self.scales.len())
    }

    /// Room for a product, for a part of the logits, and for running statistics.
    pub(crate) fn split(&mut self) -> (Room<'_>, &mut [f32], &mut [Statistics]) {
        let weights = WeightRow { levels: self.levels, numbers: self.weights };
        let room = Room { activations: self.activations, scales: self.scales, weights };
        (room, self.logits, self.statistics)
    }

    /// The operation fits this scratch with at least one tile row.
    pub(crate) fn check(&self, op: &Checked<'_>) -> Result<(), Reason> {
        match op {
            Checked::Linear(op) => self.check_product(op.weight.cols()),
            Checked::Readout(op) => {
                self.check_product(op.head.cols())?;
                check_len(self.logits.len(), CHUNK)?;
                check_len(self.statistics.len(), 1)
            }
            Checked::Attention { inputs, .. } => check_len(self.scores.len(), inputs.most_positions()),
            _ => Ok(()),
        }
    }

    fn check_product(&self, width: usize) -> Result<(), Reason> {
        check_len(self.activations.len(), width)?;
        check_len(self.scales.len(), 1)?;
        check_len(self.levels.len(), width)?;
        check_len(self.weights.len(), width)
    }
}

fn check_len(given: usize, need: usize) -> Result<(), Reason> {
    if given < need { Err(Reason::Scratch { need, given }) } else { Ok(()) }
}
