//! One operation with all that it borrows, the memory it runs in, and what should come out. Knows no device.

use alloc::vec::Vec;

use mobiedit_core::rank_one::RankOne;

use super::random::Random;
use super::tensor::Tensor;
use crate::device::Memory;
use crate::op::{Activation, Op, Pool, Read, RopePairs, Rows, Segment, Slot};

/// Rounding of one f32 operation, relative.
pub(super) const EPSILON: f64 = 1.0 / 16_777_216.0;

/// Relative error allowed to a sum of `n` products, of the sum of their absolute values: that of 8 partial sums or more.
pub(super) fn sum_error(n: usize) -> f64 {
    (n as f64 / 8.0 + 8.0) * EPSILON
}

/// An [`Op`] that owns what the original borrows.
pub(super) enum Owned {
    Embed {
        table: Tensor,
        ids: Vec<u32>,
        out: Slot,
    },
    RmsNorm {
        x: Slot,
        weight: Tensor,
        eps: f32,
        out: Slot,
    },
    Linear {
        x: Slot,
        weight: Tensor,
        bias: Option<Tensor>,
        side: Vec<(Vec<f32>, Vec<f32>)>,
        activation: Activation,
        out: Slot,
    },
    Rope {
        x: Slot,
        table: Slot,
        head_dim: usize,
        pairs: RopePairs,
    },
    Attention {
        qkv: [Slot; 3],
        copies: usize,
        segments: Vec<Segment>,
        cache_layer: usize,
        heads: [usize; 3],
        out: Slot,
    },
    Discard {
        x: Slot,
    },
    SwiGlu {
        gate: Slot,
        up: Slot,
    },
    Add {
        x: Slot,
        y: Slot,
    },
    Copy {
        x: Slot,
        out: Slot,
    },
    Inject {
        x: Slot,
        per_copy: usize,
        copies: usize,
        rows: Vec<u32>,
        delta: Vec<f32>,
    },
    Gather {
        x: Slot,
        per_copy: usize,
        rows: Vec<u32>,
        copies: usize,
        out: Slot,
    },
    Readout {
        x: Slot,
        head: Tensor,
        activation: Activation,
        reads: Vec<Read>,
        clean: Slot,
        out: Slot,
    },
}

impl Owned {
    /// Hands `f` the operation.
    pub(super) fn with<R>(&self, f: impl FnOnce(Op<'_>) -> R) -> R {
        match *self {
            Self::Embed { ref table, ref ids, out } => f(Op::Embed { table: table.matrix(), ids, out }),
            Self::RmsNorm { x, ref weight, eps, out } => f(Op::RmsNorm { x, weight: weight.matrix(), eps, out }),
            Self::Linear { x, ref weight, ref bias, ref side, activation, out } => {
                let side: Vec<_> = side.iter().map(|(u, lambda)| RankOne { layer: 0, u, lambda }).collect();
                let bias = bias.as_ref().map(Tensor::matrix);
                f(Op::Linear { x, weight: weight.matrix(), bias, side: &side, activation, out })
            }
            Self::Rope { x, table, head_dim, pairs } => f(Op::Rope { x, table, head_dim, pairs }),
            Self::Attention { qkv: [q, k, v], copies, ref segments, cache_layer, heads, out } => {
                let ([heads, kv_heads, head_dim], rows) = (heads, Rows { copies, segments });
                f(Op::Attention { q, k, v, rows, cache_layer, heads, kv_heads, head_dim, out })
            }
            Self::SwiGlu { gate, up } => f(Op::SwiGlu { gate, up }),
            Self::Add { x, y } => f(Op::Add { x, y }),
            Self::Copy { x, out } => f(Op::Copy { x, out }),
            Self::Discard { x } => f(Op::Discard { x }),
            Self::Inject { x, per_copy, copies, ref rows, ref delta } => {
                f(Op::Inject { x, per_copy, copies, rows, delta })
            }
            Self::Gather { x, per_copy, ref rows, copies, out } => f(Op::Gather { x, per_copy, rows, copies, out }),
            Self::Readout { x, ref head, activation, ref reads, clean, out } => {
                f(Op::Readout { x, head: head.matrix(), activation, reads, clean, out })
            }
        }
    }
}

/// The two pools while they are filled; slots are kept apart by a few numbers that nothing may touch.
pub(super) struct Pools {
    pub(super) work: Vec<f32>,
    pub(super) cache: Vec<f32>,
}

impl Pools {
    /// Pools whose first numbers belong to no slot.
    pub(super) fn new() -> Self {
        Self { work: alloc::vec![7.5; 3], cache: alloc::vec![7.5; 5] }
    }

    /// Adds a slot with these numbers.
    pub(super) fn put(&mut self, pool: Pool, numbers: &[f32]) -> Slot {
        let to = if pool == Pool::Work { &mut self.work } else { &mut self.cache };
        let start = to.len();
        to.extend(numbers);
        to.extend([7.5; 3]);
        Slot { pool, start, len: numbers.len() }
    }

    /// Adds a slot for results, filled with NaNs that must be overwritten.
    pub(super) fn room(&mut self, len: usize) -> Slot {
        self.put(Pool::Work, &alloc::vec![f32::NAN; len])
    }

    /// Adds normal numbers.
    pub(super) fn normals(&mut self, len: usize, random: &mut Random) -> (Slot, Vec<f32>) {
        let numbers = random.normals(len);
        (self.put(Pool::Work, &numbers), numbers)
    }

    /// The memory that operations run in.
    pub(super) fn memory(&mut self) -> Memory<'_> {
        Memory { work: &mut self.work, cache: &mut self.cache }
    }

    /// The numbers of a slot.
    pub(super) fn slice(&self, slot: Slot) -> &[f32] {
        let pool = if slot.pool == Pool::Work { &self.work } else { &self.cache };
        &pool[slot.start..slot.start + slot.len]
    }
}

/// A number that should come out, and how far off it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) value: f64,
    pub(super) bound: f64,
}

/// An operation to be run and judged.
pub(super) struct Trial {
    pub(super) op: Owned,
    pub(super) pools: Pools,
    /// What the operation writes; everything else has to stay.
    pub(super) out: Slot,
    /// One per number of `out`.
    pub(super) expected: Vec<Expected>,
}
