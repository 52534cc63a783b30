//! The host's device: the same operations with SIMD kernels, on rayon's threads. Owns its memory, which is counted in advance.
//!
//! The bits are those of the scalar device, on every level and with any number of threads: threads share out channels and
//! rows, never a sum.

use core::ops::Range;

use std::boxed::Box;
use std::collections::TryReserveError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::vec::Vec;

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::model::ModelConfig;
use mobiedit_backends::op::{Activation, Op};
use mobiedit_backends::weights::Matrix;
use rayon::prelude::*;

use crate::dispatch::Level;
use crate::error::CpuError;
use crate::kernels::Kernels;
use crate::kernels::panel::{CHANNELS, Lanes, Panel, dequantize};
use crate::kernels::portable::Portable;
use crate::kernels::tiles::Tiles;
use crate::scalar::integer::BLOCK;
use crate::scalar::linear::add_terms;
use crate::scalar::product::is_integer;
use crate::scalar::readout::{CHUNK, Statistics};
use crate::scratch::ScratchLens;
use mobiedit_backends::checked::{AttentionInputs, Checked, Linear, Readout, clean_row};
use mobiedit_backends::moving;

/// Multiplications that are worth a thread.
const WORTH: usize = 1 << 16;
/// Blocks of inputs whose panel, at most 32 KiB, stays in the first cache while all rows are multiplied by it.
const DEPTH: usize = 16;
/// Bytes of activations that stay in the second cache, beside products.
const CACHED: usize = 1 << 19;
/// Panels that a thread multiplies with the same inputs, one after the other.
const GROUP: usize = 4;
/// Channels of a linear layer that are multiplied before their products are collected.
const LINEAR_CHUNK: usize = 512;
/// Channels that are dequantised at once.
const FLOATS: usize = 8;

/// A device with SIMD kernels and threads: those of the rayon pool it is called in.
pub struct FastCpu {
    level: Level,
    kernels: Box<dyn Kernels>,
    batch: Batch,
    /// Products, `(panels, rows)`.
    products: Vec<Lanes>,
    statistics: Vec<Statistics>,
    rooms: Vec<Mutex<Room>>,
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
        Self {
            level,
            kernels,
            batch: Batch::default(),
            products: Vec::new(),
            statistics: Vec::new(),
            rooms: Vec::new(),
        }
    }

    /// Bytes of memory that a device uses for a model, beside the caller's, for batches of up to `rows` rows on `threads` threads.
    pub const fn bytes(config: &ModelConfig, rows: usize, threads: usize) -> usize {
        rows.saturating_mul(Self::bytes_of_a_row(config))
            .saturating_add(threads.saturating_mul(Self::bytes_of_a_thread(config)))
    }

    /// The share of each row in [`bytes`](Self::bytes).
    pub const fn bytes_of_a_row(config: &ModelConfig) -> usize {
        let of_tiles = Tiles::bytes_of_a_row(ScratchLens::of(config, 1).activations);
        let of_products = (LINEAR_CHUNK / CHANNELS) * size_of::<Lanes>();
        of_tiles.saturating_add(of_products + size_of::<f32>() + size_of::<Statistics>())
    }

    const fn bytes_of_a_thread(config: &ModelConfig) -> usize {
        let lens = ScratchLens::of(config, 1);
        let floats = lens.weights.saturating_mul(FLOATS).saturating_add(lens.scores);
        let fixed = Panel::bytes(DEPTH) + size_of::<Mutex<Room>>();
        floats.saturating_mul(size_of::<f32>()).saturating_add(fixed)
    }

    /// Takes the memory that [`bytes`](Self::bytes) counts for the rayon pool this is called in, so that none is taken later. Without
    /// this call it is taken as it is needed.
    ///
    /// # Errors
    /// Memory that cannot be had.
    pub fn reserve(&mut self, config: &ModelConfig, rows: usize) -> Result<(), TryReserveError> {
        let lens = ScratchLens::of(config, 1);
        self.batch.tiles.reserve(rows, lens.activations)?;
        self.batch.scales.try_reserve_exact(rows)?;
        self.products.try_reserve_exact(rows.saturating_mul(LINEAR_CHUNK / CHANNELS))?;
        self.statistics.try_reserve_exact(rows)?;
        let missing = rayon::current_num_threads().saturating_sub(self.rooms.len());
        self.rooms.try_reserve_exact(missing)?;
        self.make_rooms();
        for room in &mut self.rooms {
            let Room { panel, weights, scores } = room.get_mut().unwrap_or_else(PoisonError::into_inner);
            panel.reserve(DEPTH)?;
            weights.try_reserve_exact(FLOATS.saturating_mul(lens.weights))?;
            scores.try_reserve_exact(lens.scores)?;
        }
        Ok(())
    }

    /// A room for each thread of the pool.
    fn make_rooms(&mut self) {
        let threads = rayon::current_num_threads();
        if self.rooms.len() < threads {
            self.rooms.resize_with(threads, Mutex::default);
        }
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
        self.make_rooms();
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
            Checked::Attention { inputs, out } => attention(kernels, &self.rooms, &inputs, out),
            Checked::Linear(op) => self.linear(op),
            Checked::Readout(op) => self.readout(op),
            Checked::Moving(op) => moving::run(op),
        }
    }

    fn linear(&mut self, op: Linear<'_>) {
        let Self { kernels, batch, products, rooms, .. } = self;
        let (inputs, outputs) = (op.weight.cols(), op.weight.rows());
        batch.prepare(&**kernels, op.x, op.weight, op.activation);
        // Some channels at a time: their products are still in cache when they are put where they belong.
        for first in (0..outputs).step_by(LINEAR_CHUNK) {
            let channels = first..outputs.min(first + LINEAR_CHUNK);
            batch.multiply(&**kernels, rooms, op.x, op.weight, channels.clone(), products);
            let rows = op.out.par_chunks_exact_mut(outputs).enumerate();
            rows.with_min_len(WORTH.div_ceil(16 * channels.len())).for_each(|(row, out)| {
                batch.collect(products, row, out.get_mut(channels.clone()).unwrap_or_default());
            });
        }
        let bias = op.bias.map_or(&[][..], |bias| bias.bytes());
        if !bias.is_empty() || !op.side.is_empty() {
            let rows = op.out.par_chunks_exact_mut(outputs).zip(op.x.par_chunks_exact(inputs));
            rows.with_min_len(WORTH.div_ceil(16 * outputs)).for_each(|(out, x)| add_terms(bias, op.side, x, out));
        }
    }

    fn readout(&mut self, op: Readout<'_>) {
        let Self { kernels, batch, products, statistics, rooms, .. } = self;
        batch.prepare(&**kernels, op.x, op.head, op.activation);
        statistics.clear();
        statistics.resize(batch.rows(), Statistics::default());
        let read = |row: usize| op.reads.get(row % op.reads.len().max(1)).copied();
        for first in (0..op.head.rows()).step_by(CHUNK) {
            let channels = first..op.head.rows().min(first + CHUNK);
            batch.multiply(&**kernels, rooms, op.x, op.head, channels.clone(), products);
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

fn attention(kernels: &dyn Kernels, rooms: &[Mutex<Room>], inputs: &AttentionInputs<'_>, out: &mut [f32]) {
    let (width, positions) = (inputs.heads * inputs.head_dim, inputs.most_positions());
    let rows = out.par_chunks_exact_mut(width).enumerate();
    let worth = WORTH.div_ceil(2 * width * positions.max(1));
    rows.with_min_len(worth).for_each(|(row, out)| {
        let mut room = my_room(rooms);
        room.scores.resize(positions, 0.0);
        kernels.attend(inputs, row, &mut room.scores, out);
    });
}

/// The calling thread's. Whoever holds it calls nothing that other work could be done in.
fn my_room(rooms: &[Mutex<Room>]) -> MutexGuard<'_, Room> {
    let which = rayon::current_thread_index().unwrap_or(0) % rooms.len().max(1);
    rooms[which].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A batch of activation rows as the kernels want them.
#[derive(Default)]
struct Batch {
    /// Whether the rows are in `tiles`, or left in f32.
    is_integer: bool,
    tiles: Tiles,
    /// Scales of the rows; 1 for rows left in f32.
    scales: Vec<f32>,
}

impl Batch {
    fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Rounds the rows of `x` to int16 where `weight` is multiplied in integers.
    fn prepare(&mut self, kernels: &dyn Kernels, x: &[f32], weight: Matrix<'_>, activation: Activation) {
        self.scales.clear();
        self.scales.resize(x.len() / weight.cols(), 1.0);
        self.is_integer = is_integer(weight.format(), activation);
        if self.is_integer {
            self.tiles.fill(kernels, x, activation, DEPTH, &mut self.scales);
        }
    }

    /// Products of the rows with some channels, `(panels, rows)`, before the rows' scales.
    fn multiply(
        &self,
        kernels: &dyn Kernels,
        rooms: &[Mutex<Room>],
        x: &[f32],
        weight: Matrix<'_>,
        channels: Range<usize>,
        products: &mut Vec<Lanes>,
    ) {
        let (rows, width) = (self.rows().max(1), weight.cols());
        let panels = channels.len().div_ceil(CHANNELS);
        products.resize(rows * panels, Lanes::ZERO);
        // Several panels on a thread share the activations in its cache.
        let group = (panels / rayon::current_num_threads()).clamp(1, GROUP);
        let groups = products.par_chunks_mut(group * rows).enumerate();
        let groups = groups.with_min_len(WORTH.div_ceil(group * rows * width * CHANNELS));
        groups.for_each(|(index, out)| {
            let first = channels.start + index * group * CHANNELS;
            let room = &mut *my_room(rooms);
            if self.is_integer {
                self.integer(kernels, weight, first, out, &mut room.panel);
            } else {
                room.weights.resize(FLOATS * width, 0.0);
                for (out, channel) in out.chunks_exact_mut(rows).zip((first..).step_by(CHANNELS)) {
                    for at in (0..CHANNELS).step_by(FLOATS) {
                        dequantize(weight, channel + at, &mut room.weights);
                        kernels.float(&room.weights, x, width, at, out);
                    }
                }
            }
        });
    }

    /// Products with panels of integer weights from channel `first` on, `out`, `(panels, rows)`. Each panel's next part is fetched
    /// while all rows are multiplied by the last.
    fn integer(&self, kernels: &dyn Kernels, weight: Matrix<'_>, first: usize, out: &mut [Lanes], panel: &mut Panel) {
        out.fill(Lanes::ZERO);
        let rows = self.rows().max(1);
        let (count, parts) = (out.len() / rows, self.tiles.parts());
        // A part of all panels while the cache has that part of the activations; panel by panel if it has them all.
        let part_by_part = self.tiles.bytes() > CACHED;
        let at = |step: usize| {
            let (which, part) = if part_by_part { (step % count, step / count) } else { (step / parts, step % parts) };
            (which, first + which * CHANNELS, part)
        };
        for step in 0..count * parts {
            let (which, channel, part) = at(step);
            let Some(out) = out.get_mut(which * rows..(which + 1) * rows) else { continue };
            kernels.pack(weight, channel, self.tiles.blocks(part), panel);
            let tiles = self.tiles.of_part(part).zip(out.chunks_mut(self.tiles.tile_rows()));
            let (_, next, part) = at(step + 1);
            let blocks = self.tiles.blocks(part);
            let fetched = CHANNELS.div_ceil(tiles.len());
            for ((tile, totals), first) in tiles.zip((0..).step_by(fetched)) {
                for channel in first..(first + fetched).min(CHANNELS) {
                    kernels.fetch(bytes_of(weight, next + channel, blocks.clone()));
                }
                kernels.integer(panel, tile, totals);
            }
        }
    }

    /// One row's products, times its scale, into `out`, `(channels)`.
    fn collect(&self, products: &[Lanes], row: usize, out: &mut [f32]) {
        let scale = self.scales.get(row).copied().unwrap_or_default();
        let of_row = products.iter().skip(row).step_by(self.rows());
        for (out, products) in out.chunks_mut(CHANNELS).zip(of_row) {
            for (out, product) in out.iter_mut().zip(&products.0) {
                *out = product * scale;
            }
        }
    }
}

/// A channel's bytes of some blocks of 32.
fn bytes_of(weight: Matrix<'_>, channel: usize, blocks: Range<usize>) -> &[u8] {
    let (in_block, bytes) = (weight.format().block_len() / BLOCK, weight.format().block_bytes());
    weight.row(channel).get(blocks.start / in_block * bytes..blocks.end.div_ceil(in_block) * bytes).unwrap_or(&[])
}

/// What one thread works in.
#[derive(Default)]
struct Room {
    panel: Panel,
    /// Dequantised weights, `(8, width)`.
    weights: Vec<f32>,
    /// Of one head, `(positions)`.
    scores: Vec<f32>,
}
