//! Operations whose slots have become slices and whose shapes fit: what the arithmetic works on, on every level.
//!
//! Parses, and computes nothing. Whatever [`Checked::new`] refuses has not been touched.

use mobiedit_backends::device::Memory;
use mobiedit_backends::op::{Activation, Op, Pool, READOUT_WIDTH, Read, RopePairs, Rows, Slot};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_core::rank_one::RankOne;

use crate::error::Reason;

/// One operation, ready to run. Shapes are those of [`Op`].
pub(crate) enum Checked<'s> {
    RmsNorm { x: &'s [f32], weight: Matrix<'s>, eps: f32, out: &'s mut [f32] },
    Linear(Linear<'s>),
    Attention { inputs: AttentionInputs<'s>, out: &'s mut [f32] },
    SwiGlu { gate: &'s mut [f32], up: &'s [f32] },
    Readout(Readout<'s>),
    Moving(Moving<'s>),
}

/// The operations that do next to no arithmetic: no level has its own code for them.
pub(crate) enum Moving<'s> {
    Embed { table: Matrix<'s>, ids: &'s [u32], out: &'s mut [f32] },
    Rope { x: &'s mut [f32], table: &'s [f32], head_dim: usize, pairs: RopePairs },
    Add { x: &'s mut [f32], y: &'s [f32] },
    Copy { x: &'s [f32], out: &'s mut [f32] },
    Inject { x: &'s mut [f32], per_copy: usize, rows: &'s [u32], width: usize, delta: &'s [f32] },
    Gather { x: &'s [f32], per_copy: usize, rows: &'s [u32], width: usize, out: &'s mut [f32] },
}

/// [`Op::Linear`].
pub(crate) struct Linear<'s> {
    pub(crate) x: &'s [f32],
    pub(crate) weight: Matrix<'s>,
    pub(crate) bias: Option<Matrix<'s>>,
    pub(crate) side: &'s [RankOne<'s>],
    pub(crate) activation: Activation,
    pub(crate) out: &'s mut [f32],
}

/// [`Op::Readout`].
pub(crate) struct Readout<'s> {
    pub(crate) x: &'s [f32],
    pub(crate) head: Matrix<'s>,
    pub(crate) activation: Activation,
    pub(crate) reads: &'s [Read],
    pub(crate) clean: &'s [f32],
    pub(crate) out: &'s mut [f32],
}

/// Of the clean logits, `(n, vocab)`, those that a row is compared with.
pub(crate) fn clean_row(clean: &[f32], read: Read, vocab: usize) -> &[f32] {
    match read {
        Read::Target(_) => &[],
        Read::Divergence(row) => clean.chunks_exact(vocab.max(1)).nth(row as usize).unwrap_or(&[]),
    }
}

/// What [`Op::Attention`] reads.
pub(crate) struct AttentionInputs<'s> {
    q: &'s [f32],
    k: &'s [f32],
    v: &'s [f32],
    rows: Rows<'s>,
    cache: &'s [f32],
    cache_layer: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// What one row attends to: its query, `(heads, head_dim)`, and keys and values, `(positions, kv_heads, head_dim)`.
pub(crate) struct View<'s> {
    pub(crate) q: &'s [f32],
    pub(crate) cached_keys: &'s [f32],
    pub(crate) cached_values: &'s [f32],
    pub(crate) keys: &'s [f32],
    pub(crate) values: &'s [f32],
}

impl<'s> AttentionInputs<'s> {
    /// What the row with this index, over all copies, attends to.
    pub(crate) fn view(&self, row: usize) -> View<'s> {
        let per_copy = self.rows.per_copy().max(1);
        let (copy, inside) = (row / per_copy, row % per_copy);
        let segment = self.rows.segments.iter().rfind(|s| s.row <= inside).copied().unwrap_or_default();
        let kv_dim = self.kv_heads * self.head_dim;
        let own = (copy * per_copy + segment.row) * kv_dim..(row + 1) * kv_dim;
        let cached = |start: usize| {
            let start = start + self.cache_layer * segment.stride;
            self.cache.get(start..start + segment.cached * kv_dim).unwrap_or(&[])
        };
        let width = self.heads * self.head_dim;
        View {
            q: self.q.get(row * width..(row + 1) * width).unwrap_or(&[]),
            cached_keys: cached(segment.keys),
            cached_values: cached(segment.values),
            keys: self.k.get(own.clone()).unwrap_or(&[]),
            values: self.v.get(own).unwrap_or(&[]),
        }
    }

    /// Most positions that a row sees.
    pub(crate) fn most_positions(&self) -> usize {
        self.rows.segments.iter().map(|s| s.cached + s.rows).max().unwrap_or(0)
    }

    /// The rows lie behind each other without gaps, and what they read of the cache lies inside it.
    fn check(&self) -> Result<(), Reason> {
        let mut next = 0;
        for segment in self.rows.segments {
            require(segment.row == next && segment.rows > 0, Reason::Shape)?;
            next = segment.row.checked_add(segment.rows).ok_or(Reason::Shape)?;
            let cached = area(&[segment.cached, self.kv_heads, self.head_dim])?;
            let layer = area(&[self.cache_layer, segment.stride])?;
            for start in [segment.keys, segment.values] {
                let end = start.checked_add(layer).and_then(|s| s.checked_add(cached)).ok_or(Reason::OutOfMemory)?;
                require(cached == 0 || end <= self.cache.len(), Reason::OutOfMemory)?;
            }
        }
        let rows = area(&[self.rows.copies, next])?;
        let (q, kv) = (area(&[rows, self.heads, self.head_dim])?, area(&[rows, self.kv_heads, self.head_dim])?);
        require(self.q.len() == q && self.k.len() == kv && self.v.len() == kv, Reason::Shape)?;
        require(self.head_dim > 0 && self.heads > 0, Reason::Shape)?;
        divided(self.heads, self.kv_heads).map(|_| ())
    }
}

impl<'s> Checked<'s> {
    /// Checks `op` against `memory`.
    pub(crate) fn new(op: &'s Op<'s>, memory: &'s mut Memory<'_>) -> Result<Self, Reason> {
        let (work, cache) = (&mut *memory.work, &mut *memory.cache);
        match *op {
            Op::Embed { table, ids, out } => embed(table, ids, slots(work, cache, [out])?),
            Op::RmsNorm { x, weight, eps, out } => rms_norm(weight, eps, slots(work, cache, [x, out])?),
            Op::Linear { x, weight, bias, side, activation, out } => {
                let [x, out] = slots(work, cache, [x, out])?;
                linear(Linear { x, weight, bias, side, activation, out })
            }
            Op::Rope { x, table, head_dim, pairs } => {
                let [x, table] = slots(work, cache, [x, table])?;
                let whole = head_dim > 0 && head_dim.is_multiple_of(2) && table.len().is_multiple_of(head_dim);
                require(whole && (x.is_empty() || divided(x.len(), table.len()).is_ok()), Reason::Shape)?;
                Ok(Self::Moving(Moving::Rope { x, table, head_dim, pairs }))
            }
            Op::Attention { q, k, v, rows, cache_layer, heads, kv_heads, head_dim, out } => {
                require([q, k, v, out].iter().all(|s| s.pool == Pool::Work), Reason::Pool)?;
                let [q, k, v, out] = slots(work, &mut [], [q, k, v, out])?;
                let inputs = AttentionInputs { q, k, v, rows, cache, cache_layer, heads, kv_heads, head_dim };
                require(out.len() == inputs.q.len(), Reason::Shape)?;
                inputs.check()?;
                Ok(Self::Attention { inputs, out })
            }
            Op::SwiGlu { gate, up } => {
                let [gate, up] = same_len(slots(work, cache, [gate, up])?)?;
                Ok(Self::SwiGlu { gate, up })
            }
            Op::Add { x, y } => {
                let [x, y] = same_len(slots(work, cache, [x, y])?)?;
                Ok(Self::Moving(Moving::Add { x, y }))
            }
            Op::Copy { x, out } => {
                let [x, out] = same_len(slots(work, cache, [x, out])?)?;
                Ok(Self::Moving(Moving::Copy { x, out }))
            }
            Op::Inject { x, per_copy, copies, rows, delta } => {
                let [x] = slots(work, cache, [x])?;
                let width = divided(delta.len(), copies)?;
                require(x.len() == area(&[copies, per_copy, width])? && !x.is_empty(), Reason::Shape)?;
                require(rows.iter().all(|&r| (r as usize) < per_copy), Reason::Index)?;
                Ok(Self::Moving(Moving::Inject { x, per_copy, rows, width, delta }))
            }
            Op::Gather { x, per_copy, rows, copies, out } => {
                let [x, out] = slots(work, cache, [x, out])?;
                let width = divided(x.len(), area(&[copies, per_copy])?)?;
                require(out.len() == area(&[copies, rows.len(), width])? && width > 0, Reason::Shape)?;
                require(rows.iter().all(|&r| (r as usize) < per_copy), Reason::Index)?;
                Ok(Self::Moving(Moving::Gather { x, per_copy, rows, width, out }))
            }
            Op::Readout { x, head, activation, reads, clean, out } => {
                let [x, clean, out] = slots(work, cache, [x, clean, out])?;
                readout(Readout { x, head, activation, reads, clean, out })
            }
            _ => Err(Reason::UnknownOp),
        }
    }
}

fn embed<'s>(table: Matrix<'s>, ids: &'s [u32], [out]: [&'s mut [f32]; 1]) -> Result<Checked<'s>, Reason> {
    supported(table)?;
    require(ids.iter().all(|&id| (id as usize) < table.rows()), Reason::Index)?;
    require(table.cols() > 0 && out.len() == area(&[ids.len(), table.cols()])?, Reason::Shape)?;
    Ok(Checked::Moving(Moving::Embed { table, ids, out }))
}

fn rms_norm<'s>(weight: Matrix<'s>, eps: f32, [x, out]: [&'s mut [f32]; 2]) -> Result<Checked<'s>, Reason> {
    vector(weight, weight.cols())?;
    divided(x.len(), weight.cols())?;
    require(x.len() == out.len(), Reason::Shape)?;
    Ok(Checked::RmsNorm { x, weight, eps, out })
}

fn linear(op: Linear<'_>) -> Result<Checked<'_>, Reason> {
    multipliable(op.weight, op.activation)?;
    let (outputs, inputs) = (op.weight.rows(), op.weight.cols());
    let rows = divided(op.x.len(), inputs)?;
    require(outputs > 0 && op.out.len() == area(&[rows, outputs])?, Reason::Shape)?;
    op.bias.map_or(Ok(()), |bias| vector(bias, outputs))?;
    require(op.side.iter().all(|s| s.u.len() == inputs && s.lambda.len() == outputs), Reason::Shape)?;
    Ok(Checked::Linear(op))
}

fn readout(op: Readout<'_>) -> Result<Checked<'_>, Reason> {
    multipliable(op.head, op.activation)?;
    let vocab = op.head.rows();
    let rows = divided(op.x.len(), op.head.cols())?;
    require(vocab > 0 && op.out.len() == area(&[rows, READOUT_WIDTH])?, Reason::Shape)?;
    require(rows == 0 || divided(rows, op.reads.len()).is_ok(), Reason::Shape)?;
    for read in op.reads {
        match *read {
            Read::Target(token) => require((token as usize) < vocab, Reason::Index)?,
            Read::Divergence(row) => {
                let rows = divided(op.clean.len(), vocab)?;
                require((row as usize) < rows, Reason::Index)?;
            }
        }
    }
    Ok(Checked::Readout(op))
}

/// Slices for slots that lie inside the memory and do not overlap; empty slots overlap nothing.
fn slots<'s, const N: usize>(
    work: &'s mut [f32],
    cache: &'s mut [f32],
    slots: [Slot; N],
) -> Result<[&'s mut [f32]; N], Reason> {
    for slot in slots {
        let pool = if slot.pool == Pool::Work { work.len() } else { cache.len() };
        require(slot.start.checked_add(slot.len).is_some_and(|end| end <= pool), Reason::OutOfMemory)?;
    }
    let in_pool = |pool| slots.map(|s| if s.pool == pool && s.len > 0 { s.start..s.start + s.len } else { 0..0 });
    let mut work = work.get_disjoint_mut(in_pool(Pool::Work)).map_err(|_| Reason::Overlap)?.into_iter();
    let mut cache = cache.get_disjoint_mut(in_pool(Pool::Cache)).map_err(|_| Reason::Overlap)?.into_iter();
    Ok(slots.map(|slot| {
        let (in_work, in_cache) = (work.next(), cache.next());
        if slot.pool == Pool::Work { in_work } else { in_cache }.unwrap_or_default()
    }))
}

fn same_len(slots: [&mut [f32]; 2]) -> Result<[&mut [f32]; 2], Reason> {
    let [a, b] = &slots;
    require(a.len() == b.len(), Reason::Shape)?;
    Ok(slots)
}

/// How often `part`, which is not 0, goes into `whole`, without a rest.
fn divided(whole: usize, part: usize) -> Result<usize, Reason> {
    if part > 0 && whole.is_multiple_of(part) { Ok(whole / part) } else { Err(Reason::Shape) }
}

fn area(sides: &[usize]) -> Result<usize, Reason> {
    sides.iter().try_fold(1usize, |area, &side| area.checked_mul(side)).ok_or(Reason::Shape)
}

fn vector(matrix: Matrix<'_>, width: usize) -> Result<(), Reason> {
    require(matrix.format() == Format::F32, Reason::Format(matrix.format()))?;
    require(matrix.rows() == 1 && matrix.cols() == width, Reason::Shape)
}

fn multipliable(weight: Matrix<'_>, activation: Activation) -> Result<(), Reason> {
    supported(weight)?;
    match activation {
        Activation::A16Static { scale } => require(scale.is_finite() && scale > 0.0, Reason::Scale),
        Activation::F32 | Activation::A16 => Ok(()),
    }
}

fn supported(matrix: Matrix<'_>) -> Result<(), Reason> {
    match matrix.format() {
        Format::F32 | Format::F16 | Format::Bf16 => Ok(()),
        Format::Q8_0 | Format::Q4_0 | Format::Q4K | Format::Q5K | Format::Q6K => Ok(()),
        other => Err(Reason::Format(other)),
    }
}

fn require(condition: bool, reason: Reason) -> Result<(), Reason> {
    if condition { Ok(()) } else { Err(reason) }
}
