//! The operations a decoder needs, cut so that accelerators can fuse them. Describes; runs nothing.
//!
//! Activations are f32 and row-major. They live in two pools, named by [`Slot`]s: the work memory of a run and the editor's
//! prefix cache. A run's rows are `copies` repetitions (one per candidate) of the same rows-per-copy pattern.

use mobiedit_core::rank_one::RankOne;

use crate::weights::Matrix;

/// Which lent memory a [`Slot`] lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Activations of the current run.
    Work,
    /// The prefix cache: keys, values and hidden states kept between runs.
    Cache,
}

/// A run of f32 in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The pool it lies in.
    pub pool: Pool,
    /// Index of its first element.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
}

/// How a linear layer's input is treated, and its product on devices where that is rounded too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Left in f32: weights are dequantised. For the edited `down_proj`, and for comparison.
    F32,
    /// Rounded to int16 with one scale per row, max|x| / 32767, and multiplied as integers, with weights in Q8_0 or Q4_0.
    /// With float weights it means the same as [`Activation::F32`]; with K-quants a device may choose either.
    A16,
    /// Rounded to int16 with this scale, saturating: what an NPU with calibrated scales does.
    A16Static {
        /// Size of one step of the input.
        scale: f32,
        /// Size of one step of W x, before the bias, on devices whose products are 16 bits too; others leave it aside.
        product: f32,
    },
}

/// Rows of one sequence inside a copy: they follow `cached` positions whose keys and values lie in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First row inside the copy.
    pub row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Positions before the first row, all in the cache.
    pub cached: usize,
    /// Start in [`Pool::Cache`] of the keys, `(cache layers, stride / kv_dim, kv_dim)`.
    pub keys: usize,
    /// Start in [`Pool::Cache`] of the values, laid out like the keys.
    pub values: usize,
    /// Elements from one cache layer to the next.
    pub stride: usize,
}

/// The rows of a run: `copies` times the rows of `segments`, which follow each other without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Number of candidates.
    pub copies: usize,
    /// Sequences of one copy.
    pub segments: &'a [Segment],
}

impl Rows<'_> {
    /// Rows of one copy.
    pub fn per_copy(&self) -> usize {
        self.segments.last().map_or(0, |s| s.row + s.rows)
    }

    /// Rows of all copies.
    pub fn total(&self) -> usize {
        self.copies * self.per_copy()
    }
}

/// What [`Op::Readout`] reads at a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The probability of this token.
    Target(u32),
    /// The divergence from the row of this index in the clean logits, KL(P ‖ P_clean).
    Divergence(u32),
}

/// f32s that [`Op::Readout`] writes per row: log Σ exp(logits), the target's logit, the largest logit, its index (the
/// lowest among equals; exact in f32 up to 2²⁴ tokens), the divergence. What a row does not read is 0.
pub const READOUT_WIDTH: usize = 5;

/// One operation. Widths follow from slots' lengths divided by the number of rows, and from matrices' shapes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Op<'a> {
    /// `out[r] = table[ids[r]]`, dequantised.
    Embed {
        /// The embedding, `(vocab, d_model)`.
        table: Matrix<'a>,
        /// One id per row.
        ids: &'a [u32],
        /// `(ids, d_model)`.
        out: Slot,
    },
    /// `out[r] = x[r] / √(mean(x[r]²) + eps) · weight`.
    RmsNorm {
        /// `(rows, width)`.
        x: Slot,
        /// `(1, width)`, F32.
        weight: Matrix<'a>,
        /// Added to the mean square.
        eps: f32,
        /// `(rows, width)`.
        out: Slot,
    },
    /// `out[r] = W x[r] + bias + Σ Λ (uᵀ x[r])` over the side terms.
    Linear {
        /// `(rows, cols)`.
        x: Slot,
        /// `(rows of out, cols)`.
        weight: Matrix<'a>,
        /// `(1, width of out)`, F32.
        bias: Option<Matrix<'a>>,
        /// Rank-one patches of this matrix, added in f32 in this order.
        side: &'a [RankOne<'a>],
        /// Treatment of `x`.
        activation: Activation,
        /// `(rows, rows of weight)`.
        out: Slot,
    },
    /// Turns pairs of each head of `x` in place by the angles in `table`.
    Rope {
        /// `(rows, heads, head_dim)`.
        x: Slot,
        /// `(rows, head_dim)`: cosines of the head_dim / 2 angles, then their sines.
        table: Slot,
        /// Elements of a head.
        head_dim: usize,
        /// Which elements make a pair.
        pairs: RopePairs,
    },
    /// Causal attention of each row over its segment's cached positions, then over the segment's rows up to itself.
    /// Scores are `q·k / √head_dim`; query head h uses KV head `h · kv_heads / heads`. All slots lie in [`Pool::Work`].
    Attention {
        /// `(rows, heads, head_dim)`.
        q: Slot,
        /// Keys of the rows themselves, `(rows, kv_heads, head_dim)`.
        k: Slot,
        /// Values of the rows themselves, `(rows, kv_heads, head_dim)`.
        v: Slot,
        /// The rows' sequences.
        rows: Rows<'a>,
        /// Layer inside the cache: added to the segments' addresses as `cache_layer · stride`.
        cache_layer: usize,
        /// Number of query heads.
        heads: usize,
        /// Number of key/value heads; divides `heads`.
        kv_heads: usize,
        /// Elements of a head.
        head_dim: usize,
        /// `(rows, heads, head_dim)`.
        out: Slot,
    },
    /// `gate ← silu(gate) · up`, with silu(x) = x / (1 + e⁻ˣ).
    SwiGlu {
        /// `(rows, d_ff)`, overwritten.
        gate: Slot,
        /// `(rows, d_ff)`.
        up: Slot,
    },
    /// `x ← x + y`.
    Add {
        /// Overwritten.
        x: Slot,
        /// As long as `x`.
        y: Slot,
    },
    /// Nothing reads what `x` holds, until it is written again: a device need not have it there after the list. What is there
    /// is undefined; debug builds make it NaN.
    Discard {
        /// Of any length.
        x: Slot,
    },
    /// `out ← x`, possibly from pool to pool.
    Copy {
        /// What is copied.
        x: Slot,
        /// As long as `x`.
        out: Slot,
    },
    /// For each copy c and each row r of `rows`: `x[c · per_copy + r] += delta[c]`.
    Inject {
        /// `(copies · per_copy, width)`.
        x: Slot,
        /// Rows of one copy.
        per_copy: usize,
        /// Number of copies.
        copies: usize,
        /// Rows inside a copy that receive the δ.
        rows: &'a [u32],
        /// `(copies, width)`.
        delta: &'a [f32],
    },
    /// For each copy c: `out[c · rows.len() + i] = x[c · per_copy + rows[i]]`.
    Gather {
        /// `(copies · per_copy, width)`.
        x: Slot,
        /// Rows of one copy.
        per_copy: usize,
        /// Rows inside a copy that are taken.
        rows: &'a [u32],
        /// Number of copies.
        copies: usize,
        /// `(copies · rows.len(), width)`.
        out: Slot,
    },
    /// Softmax statistics of `head · x[r]`, without keeping the logits: row r reads `reads[r mod reads.len()]`.
    Readout {
        /// `(rows, d_model)`, already normalised.
        x: Slot,
        /// The output head, `(vocab, d_model)`.
        head: Matrix<'a>,
        /// Treatment of `x`.
        activation: Activation,
        /// What each row of a copy reads.
        reads: &'a [Read],
        /// Clean logits, `(n, vocab)`, for [`Read::Divergence`]; may be empty if none reads it.
        clean: Slot,
        /// `(rows, READOUT_WIDTH)`.
        out: Slot,
    },
}

/// Which two elements of a head RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RopePairs {
    /// i and i + head_dim / 2 (Qwen2; "NEOX").
    Halves,
    /// 2i and 2i + 1 (Llama in GGUF; "NORM").
    Neighbours,
}
