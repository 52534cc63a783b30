//! The host's device: the same operations with SIMD kernels, on rayon's threads. Owns its memory, and grows it.
//!
//! The bits are those of the scalar device, on every level and with any number of threads: threads share out channels and
//! rows, never a sum.

use core::ops::Range;

use std::boxed::Box;
use std::time::Instant;
use std::vec;
use std::vec::Vec;

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::{Activation, Op};
use mobiedit_backends::weights::Matrix;
use rayon::prelude::*;

use crate::dispatch::Level;
use crate::error::CpuError;
use crate::kernels::Kernels;
use crate::kernels::panel::{CHANNELS, Lanes, Pairs, Panel, PanelBlock, dequantize, pair};
use crate::kernels::portable::Portable;
use crate::scalar::integer::{BLOCK, has_minima};
use crate::scalar::linear::add_terms;
use crate::scalar::product::is_integer;
use crate::scalar::readout::{CHUNK, Statistics};
use mobiedit_backends::checked::{AttentionInputs, Checked, Linear, Readout, clean_row};
use mobiedit_backends::moving;

/// Multiplications that are worth a thread.
const WORTH: usize = 1 << 16;

/// A device with SIMD kernels and threads: those of the rayon pool it is called in.
pub struct FastCpu {
    level: Level,
    kernels: Box<dyn Kernels>,
    batch: Batch,
    /// Products, `(panels, rows, 16)`.
    products: Vec<Lanes>,
    statistics: Vec<Statistics>,
}

impl core::fmt::Debug for FastCpu {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FastCpu").field("level", &self.level).finish_non_exhaustive()
    }
}

impl FastCpu {
    /// With the fastest level that this CPU has.
    pub fn detect() -> Self {
        Self::with_level(Level::detect()).unwrap_or_else(|| Self::new(Level::Scalar, Box::new(Portable)))
    }

    /// With this level; `None` where the CPU lacks the instructions.
    pub fn with_level(level: Level) -> Option<Self> {
        Some(Self::new(level, level.kernels()?))
    }

    fn new(level: Level, kernels: Box<dyn Kernels>) -> Self {
        Self { level, kernels, batch: Batch::default(), products: Vec::new(), statistics: Vec::new() }
    }

    /// Products of int16 pairs and int8 weights per second that this CPU can do at most on each of the pool's threads, all
    /// together: measured in registers alone, for about `seconds`.
    pub fn peak(&self, seconds: f64) -> f64 {
        const ROUNDS: usize = 1 << 16;
        let one = || {
            let start = Instant::now();
            let mut best = 0.0_f64;
            while start.elapsed().as_secs_f64() < seconds {
                let round = Instant::now();
                let products = self.kernels.spin(ROUNDS);
                best = best.max(products as f64 / round.elapsed().as_secs_f64());
            }
            best
        };
        rayon::broadcast(|_| one()).iter().sum()
    }

    /// The level in use.
    pub fn level(&self) -> Level {
        self.level
    }
}

impl Device for FastCpu {
    type Error = CpuError;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.exact_batching = true;
        capabilities
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), CpuError> {
        // One step into the pool for the whole list, not one for each operation.
        rayon::scope(|_| {
            for (index, op) in ops.iter().enumerate() {
                let checked =
                    Checked::new(op, memory).map_err(|refusal| CpuError { op: index, reason: refusal.into() })?;
                self.run_one(checked);
            }
            Ok(())
        })
    }
}

impl FastCpu {
    fn run_one(&mut self, op: Checked<'_>) {
        let kernels = &*self.kernels;
        match op {
            Checked::RmsNorm { x, weight, eps, out } => {
                let width = weight.cols();
                let rows = out.par_chunks_exact_mut(width).zip(x.par_chunks_exact(width));
                rows.with_min_len(WORTH.div_ceil(width))
                    .for_each(|(out, x)| kernels.rms_norm(x, weight.bytes(), eps, out));
            }
            Checked::SwiGlu { gate, up } => {
                let parts = gate.par_chunks_mut(WORTH / 16).zip(up.par_chunks(WORTH / 16));
                parts.for_each(|(gate, up)| kernels.swiglu(gate, up));
            }
            Checked::Attention { inputs, out } => attention(kernels, &inputs, out),
            Checked::Linear(op) => self.linear(op),
            Checked::Readout(op) => self.readout(op),
            Checked::Moving(op) => moving::run(op),
        }
    }

    fn linear(&mut self, op: Linear<'_>) {
        let Self { kernels, batch, products, .. } = self;
        let (inputs, outputs) = (op.weight.cols(), op.weight.rows());
        batch.prepare(&**kernels, op.x, op.weight, op.activation);
        batch.multiply(&**kernels, op.x, op.weight, 0..outputs, products);
        let bias = op.bias.map_or(&[][..], |bias| bias.bytes());
        let rows = op.out.par_chunks_exact_mut(outputs).zip(op.x.par_chunks_exact(inputs)).enumerate();
        rows.with_min_len(WORTH.div_ceil(outputs)).for_each(|(row, (out, x))| {
            batch.collect(products, row, out);
            add_terms(bias, op.side, x, out);
        });
    }

    fn readout(&mut self, op: Readout<'_>) {
        let Self { kernels, batch, products, statistics, .. } = self;
        batch.prepare(&**kernels, op.x, op.head, op.activation);
        statistics.clear();
        statistics.resize(batch.rows(), Statistics::default());
        let read = |row: usize| op.reads.get(row % op.reads.len().max(1)).copied();
        for first in (0..op.head.rows()).step_by(CHUNK) {
            let channels = first..op.head.rows().min(first + CHUNK);
            batch.multiply(&**kernels, op.x, op.head, channels.clone(), products);
            statistics.par_iter_mut().enumerate().with_min_len(8).for_each(|(row, statistics)| {
                let mut logits = [0.0; CHUNK];
                let logits = logits.get_mut(..channels.len()).unwrap_or_default();
                batch.collect(products, row, logits);
                if let Some(read) = read(row) {
                    kernels.update(statistics, read, first, logits, clean_row(op.clean, read, op.head.rows()));
                }
            });
        }
        for ((row, statistics), out) in statistics.iter().enumerate().zip(op.out.as_chunks_mut().0) {
            if let Some(read) = read(row) {
                *out = statistics.finish(read);
            }
        }
    }
}

fn attention(kernels: &dyn Kernels, inputs: &AttentionInputs<'_>, out: &mut [f32]) {
    let (width, positions) = (inputs.heads * inputs.head_dim, inputs.most_positions());
    let rows = out.par_chunks_exact_mut(width).enumerate();
    let worth = WORTH.div_ceil(2 * width * positions.max(1));
    rows.with_min_len(worth)
        .for_each_init(|| vec![0.0; positions], |scores, (row, out)| kernels.attend(inputs, row, scores, out));
}

/// A batch of activation rows as the kernels want them.
#[derive(Default)]
struct Batch {
    /// Pairs of int16, `(rows, blocks, 16)`; empty for rows left in f32.
    pairs: Vec<[i32; BLOCK / 2]>,
    /// Sums of the blocks, `(rows, blocks)`; empty where weights have no minima.
    sums: Vec<f32>,
    /// Scales of the rows; 1 for rows left in f32.
    scales: Vec<f32>,
}

impl Batch {
    fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Rounds the rows of `x` to int16 where `weight` is multiplied in integers.
    fn prepare(&mut self, kernels: &dyn Kernels, x: &[f32], weight: Matrix<'_>, activation: Activation) {
        let width = weight.cols();
        self.scales.clear();
        self.scales.resize(x.len() / width, 1.0);
        self.pairs.clear();
        self.sums.clear();
        if !is_integer(weight.format(), activation) {
            return;
        }
        self.pairs.resize(x.len() / BLOCK, [0; BLOCK / 2]);
        let rows = self.pairs.par_chunks_exact_mut(width / BLOCK).zip(&mut self.scales).zip(x.par_chunks_exact(width));
        rows.with_min_len(WORTH.div_ceil(16 * width)).for_each_init(
            || vec![0; width],
            |levels, ((pairs, scale), x)| {
                *scale = kernels.quantize(x, activation, levels);
                for (packed, levels) in pairs.as_flattened_mut().iter_mut().zip(levels.as_chunks().0) {
                    *packed = pair(*levels);
                }
            },
        );
        if has_minima(weight.format()) {
            let of_pair = |pair: &i32| i32::from(*pair as i16) + (pair >> 16);
            self.sums.extend(self.pairs.iter().map(|pairs| pairs.iter().map(of_pair).sum::<i32>() as f32));
        }
    }

    /// Products of the rows with some channels, `(panels, rows, 16)`, before the rows' scales.
    fn multiply(
        &self,
        kernels: &dyn Kernels,
        x: &[f32],
        weight: Matrix<'_>,
        channels: Range<usize>,
        products: &mut Vec<Lanes>,
    ) {
        let (rows, width) = (self.rows(), weight.cols());
        products.resize(rows * channels.len().div_ceil(CHANNELS), [0.0; CHANNELS]);
        let panels = products.par_chunks_exact_mut(rows.max(1)).enumerate();
        let panels = panels.with_min_len(WORTH.div_ceil(rows.max(1) * width * CHANNELS));
        let first = |panel: usize| channels.start + panel * CHANNELS;
        if self.pairs.is_empty() {
            let room = || vec![0.0; CHANNELS * width];
            panels.for_each_init(room, |weights, (panel, out)| {
                dequantize(weight, first(panel), weights);
                kernels.float(weights, x, out);
            });
        } else {
            let minima = if has_minima(weight.format()) { width / BLOCK } else { 0 };
            let room = || (vec![PanelBlock::ZERO; width / BLOCK], vec![[0.0; CHANNELS]; minima]);
            panels.for_each_init(room, |(blocks, minima), (panel, out)| {
                kernels.pack(weight, first(panel), blocks, minima);
                kernels.integer(Panel { blocks, minima }, Pairs { pairs: &self.pairs, sums: &self.sums }, out);
            });
        }
    }

    /// One row's products, times its scale, into `out`, `(channels)`.
    fn collect(&self, products: &[Lanes], row: usize, out: &mut [f32]) {
        let scale = self.scales.get(row).copied().unwrap_or_default();
        let of_row = products.iter().skip(row).step_by(self.rows());
        for (out, products) in out.chunks_mut(CHANNELS).zip(of_row) {
            for (out, product) in out.iter_mut().zip(products) {
                *out = product * scale;
            }
        }
    }
}
