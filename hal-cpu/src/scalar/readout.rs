//! Softmax statistics of the output head's logits, 256 of the vocabulary at a time. No `(rows, vocab)` buffer exists.

use mobiedit_backends::op::{READOUT_WIDTH, Read};

use super::functions::{exp, ln};
use super::product::{multiply, prepare};
use super::sums::{LANES, fold, max};
use crate::scratch::Scratch;
use mobiedit_backends::checked::{Readout, clean_row};

/// Logits that are computed, summed in f32 and then added to the f64 totals at once.
pub(crate) const CHUNK: usize = 256;

/// Softmax statistics of the logits seen so far of one row. Start from `Default`.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    max: f32,
    /// Σ e^(logit − max).
    sum: f64,
    /// Σ e^(logit − max) · (logit − clean).
    difference: f64,
    /// The first index with the largest logit.
    best: usize,
    target: f32,
    clean_max: f32,
    /// Σ e^(clean − clean_max).
    clean_sum: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self::NEW
    }
}

impl Statistics {
    /// Nothing seen yet.
    pub const NEW: Self = Self {
        max: f32::NEG_INFINITY,
        sum: 0.0,
        difference: 0.0,
        best: 0,
        target: 0.0,
        clean_max: f32::NEG_INFINITY,
        clean_sum: 0.0,
    };

    /// Takes in the next chunk of logits, whose first has the index `first`; `clean` are the row's clean logits.
    #[inline(always)]
    pub(crate) fn update(&mut self, read: Read, first: usize, logits: &[f32], clean: &[f32]) {
        let most = max(logits);
        if most > self.max {
            self.best = first + logits.iter().position(|&l| l == most).unwrap_or(0);
            let shrink = f64::from(exp(self.max - most));
            (self.max, self.sum, self.difference) = (most, self.sum * shrink, self.difference * shrink);
        }
        self.sum += f64::from(exp_sum(logits, self.max));
        match read {
            Read::Target(token) => {
                if let Some(&logit) = (token as usize).checked_sub(first).and_then(|i| logits.get(i)) {
                    self.target = logit;
                }
            }
            Read::Divergence(_) => self.compare(logits, clean.get(first..first + logits.len()).unwrap_or(&[])),
        }
    }

    #[inline(always)]
    fn compare(&mut self, logits: &[f32], clean: &[f32]) {
        let most = max(clean);
        if most > self.clean_max {
            self.clean_sum *= f64::from(exp(self.clean_max - most));
            self.clean_max = most;
        }
        self.clean_sum += f64::from(exp_sum(clean, self.clean_max));
        let mut lanes = [0.0; LANES];
        for (logits, clean) in logits.chunks(LANES).zip(clean.chunks(LANES)) {
            for ((lane, logit), clean) in lanes.iter_mut().zip(logits).zip(clean) {
                *lane += exp(logit - self.max) * (logit - clean);
            }
        }
        self.difference += f64::from(fold(lanes));
    }

    /// The row's readout.
    pub(crate) fn finish(&self, read: Read) -> [f32; READOUT_WIDTH] {
        let log_sum_exp = f64::from(self.max) + ln(self.sum);
        let clean = || f64::from(self.clean_max) + ln(self.clean_sum);
        let (target, divergence) = match read {
            Read::Target(_) => (self.target, 0.0),
            Read::Divergence(_) => (0.0, self.difference / self.sum - (log_sum_exp - clean())),
        };
        [log_sum_exp as f32, target, self.max, self.best as f32, divergence as f32]
    }
}

/// Σ e^(x − max), in 16 partial sums.
#[inline(always)]
fn exp_sum(x: &[f32], max: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for x in x.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += exp(x - max);
        }
    }
    fold(lanes)
}

/// Runs a readout, as many rows at a time as the scratch holds.
pub(crate) fn readout(op: Readout<'_>, scratch: &mut Scratch<'_>) {
    let (inputs, vocab) = (op.head.cols(), op.head.rows());
    let tile = scratch.tile_rows(inputs).min(scratch.statistics.len()).min(scratch.logits.len() / CHUNK);
    let mut reads = op.reads.iter().copied().cycle();
    for (x, out) in op.x.chunks((tile * inputs).max(1)).zip(op.out.chunks_mut((tile * READOUT_WIDTH).max(1))) {
        let (room, logits, statistics) = scratch.split();
        let rows = statistics.get_mut(..x.len() / inputs.max(1)).unwrap_or_default();
        rows.fill(Statistics::default());
        let (tile, mut weights) = prepare(x, op.head, op.activation, room);
        for first in (0..vocab).step_by(CHUNK) {
            let channels = CHUNK.min(vocab - first);
            for i in 0..channels {
                let column = logits.iter_mut().skip(i).step_by(CHUNK).take(rows.len());
                multiply(op.head, first + i, &tile, &mut weights, column);
            }
            for ((row, logits), read) in rows.iter_mut().zip(logits.chunks_exact(CHUNK)).zip(reads.clone()) {
                row.update(read, first, logits.get(..channels).unwrap_or(&[]), clean_row(op.clean, read, vocab));
            }
        }
        for ((row, out), read) in rows.iter().zip(out.as_chunks_mut().0).zip(reads.by_ref()) {
            *out = row.finish(read);
        }
    }
}
