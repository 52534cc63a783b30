//! Operations whose slots have become slices and whose shapes fit: what a device's arithmetic works on.
//!
//! Parses, and computes nothing. Whatever [`Checked::new`] refuses has not been touched.

use core::fmt;

use mobiedit_core::backend::BackendErrorKind;
use mobiedit_core::rank_one::RankOne;

use crate::device::Memory;
use crate::op::{Activation, Op, Pool, READOUT_WIDTH, Read, RopePairs, Rows, Slot};
use crate::weights::{Format, Matrix};

/// Why an operation is refused on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// A slot, or a segment's part of the cache, ends outside its pool.
    OutOfMemory,
    /// Two slots of the operation overlap.
    Overlap,
    /// A slot lies in a pool that this operation does not work in.
    Pool,
    /// Lengths and shapes do not fit each other, or a width is zero.
    Shape,
    /// A token id or a row index is outside of what it indexes.
    Index,
    /// A vector is in another format than f32.
    Format(Format),
    /// A static scale is not a positive number.
    Scale,
}

impl Refusal {
    /// The kind of a device's error for this reason.
    pub const fn kind(self) -> BackendErrorKind {
        match self {
            Self::OutOfMemory => BackendErrorKind::TooSmall,
            _ => BackendErrorKind::Unsupported,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => write!(f, "a slot ends outside its pool"),
            Self::Overlap => write!(f, "two slots overlap"),
            Self::Pool => write!(f, "a slot lies in the wrong pool"),
            Self::Shape => write!(f, "shapes do not fit each other"),
            Self::Index => write!(f, "an index is out of range"),
            Self::Format(format) => write!(f, "a vector is in format {format:?}, not in f32"),
            Self::Scale => write!(f, "a static scale is not a positive number"),
        }
    }
}

/// One operation, ready to run. Shapes are those of [`Op`].
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Op`, as slices")]
pub enum Checked<'s> {
    RmsNorm { x: &'s [f32], weight: Matrix<'s>, eps: f32, out: &'s mut [f32] },
    Linear(Linear<'s>),
    Attention { inputs: AttentionInputs<'s>, out: &'s mut [f32] },
    SwiGlu { gate: &'s mut [f32], up: &'s [f32] },
    Readout(Readout<'s>),
    Moving(Moving<'s>),
}

/// The operations that do next to no arithmetic: no level has its own code for them.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Op`, as slices")]
pub enum Moving<'s> {
    Embed { table: Matrix<'s>, ids: &'s [u32], out: &'s mut [f32] },
    Rope { x: &'s mut [f32], table: &'s [f32], head_dim: usize, pairs: RopePairs },
    Add { x: &'s mut [f32], y: &'s [f32] },
    Copy { x: &'s [f32], out: &'s mut [f32] },
    Discard { x: &'s mut [f32] },
    Inject { x: &'s mut [f32], per_copy: usize, rows: &'s [u32], width: usize, delta: &'s [f32] },
    Gather { x: &'s [f32], per_copy: usize, rows: &'s [u32], width: usize, out: &'s mut [f32] },
}

/// [`Op::Linear`].
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Op`, as slices")]
pub struct Linear<'s> {
    pub x: &'s [f32],
    pub weight: Matrix<'s>,
    pub bias: Option<Matrix<'s>>,
    pub side: &'s [RankOne<'s>],
    pub activation: Activation,
    pub out: &'s mut [f32],
}

/// [`Op::Readout`].
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Op`, as slices")]
pub struct Readout<'s> {
    pub x: &'s [f32],
    pub head: Matrix<'s>,
    pub activation: Activation,
    pub reads: &'s [Read],
    pub clean: &'s [f32],
    pub out: &'s mut [f32],
}

/// Of the clean logits, `(n, vocab)`, those that a row is compared with.
pub fn clean_row(clean: &[f32], read: Read, vocab: usize) -> &[f32] {
    match read {
        Read::Target(_) => &[],
        Read::Divergence(row) => clean.chunks_exact(vocab.max(1)).nth(row as usize).unwrap_or(&[]),
    }
}

/// What [`Op::Attention`] reads.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Op::Attention`")]
pub struct AttentionInputs<'s> {
    q: &'s [f32],
    k: &'s [f32],
    v: &'s [f32],
    rows: Rows<'s>,
    cache: &'s [f32],
    cache_layer: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

/// What one row attends to: its query, `(heads, head_dim)`, and keys and values, `(positions, kv_heads, head_dim)`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the text above says them")]
pub struct View<'s> {
    pub q: &'s [f32],
    pub cached_keys: &'s [f32],
    pub cached_values: &'s [f32],
    pub keys: &'s [f32],
    pub values: &'s [f32],
}

impl<'s> AttentionInputs<'s> {
    /// What the row with this index, over all copies, attends to.
    pub fn view(&self, row: usize) -> View<'s> {
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
    pub fn most_positions(&self) -> usize {
        self.rows.segments.iter().map(|s| s.cached + s.rows).max().unwrap_or(0)
    }

    /// The rows lie behind each other without gaps, and what they read of the cache lies inside it.
    fn check(&self) -> Result<(), Refusal> {
        let mut next = 0;
        for segment in self.rows.segments {
            require(segment.row == next && segment.rows > 0, Refusal::Shape)?;
            next = segment.row.checked_add(segment.rows).ok_or(Refusal::Shape)?;
            let cached = area(&[segment.cached, self.kv_heads, self.head_dim])?;
            let layer = area(&[self.cache_layer, segment.stride])?;
            for start in [segment.keys, segment.values] {
                let end = start.checked_add(layer).and_then(|s| s.checked_add(cached)).ok_or(Refusal::OutOfMemory)?;
                require(cached == 0 || end <= self.cache.len(), Refusal::OutOfMemory)?;
            }
        }
        let rows = area(&[self.rows.copies, next])?;
        // Without a row, no slot's length would hold segments and heads to numbers that are there.
        require(rows > 0, Refusal::Shape)?;
        let (q, kv) = (area(&[rows, self.heads, self.head_dim])?, area(&[rows, self.kv_heads, self.head_dim])?);
        require(self.q.len() == q && self.k.len() == kv && self.v.len() == kv, Refusal::Shape)?;
        require(self.head_dim > 0 && self.heads > 0, Refusal::Shape)?;
        divided(self.heads, self.kv_heads).map(|_| ())
    }
}

impl<'s> Checked<'s> {
    /// Checks `op` against `memory`.
    pub fn new(op: &'s Op<'s>, memory: &'s mut Memory<'_>) -> Result<Self, Refusal> {
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
                require(whole && (x.is_empty() || divided(x.len(), table.len()).is_ok()), Refusal::Shape)?;
                Ok(Self::Moving(Moving::Rope { x, table, head_dim, pairs }))
            }
            Op::Attention { q, k, v, rows, cache_layer, heads, kv_heads, head_dim, out } => {
                require([q, k, v, out].iter().all(|s| s.pool == Pool::Work), Refusal::Pool)?;
                let [q, k, v, out] = slots(work, &mut [], [q, k, v, out])?;
                let inputs = AttentionInputs { q, k, v, rows, cache, cache_layer, heads, kv_heads, head_dim };
                require(out.len() == inputs.q.len(), Refusal::Shape)?;
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
            Op::Discard { x } => {
                let [x] = slots(work, cache, [x])?;
                Ok(Self::Moving(Moving::Discard { x }))
            }
            Op::Copy { x, out } => {
                let [x, out] = same_len(slots(work, cache, [x, out])?)?;
                Ok(Self::Moving(Moving::Copy { x, out }))
            }
            Op::Inject { x, per_copy, copies, rows, delta } => {
                let [x] = slots(work, cache, [x])?;
                let width = divided(delta.len(), copies)?;
                require(x.len() == area(&[copies, per_copy, width])? && !x.is_empty(), Refusal::Shape)?;
                require(rows.iter().all(|&r| (r as usize) < per_copy), Refusal::Index)?;
                Ok(Self::Moving(Moving::Inject { x, per_copy, rows, width, delta }))
            }
            Op::Gather { x, per_copy, rows, copies, out } => {
                let [x, out] = slots(work, cache, [x, out])?;
                let width = divided(x.len(), area(&[copies, per_copy])?)?;
                require(out.len() == area(&[copies, rows.len(), width])? && width > 0, Refusal::Shape)?;
                require(rows.iter().all(|&r| (r as usize) < per_copy), Refusal::Index)?;
                Ok(Self::Moving(Moving::Gather { x, per_copy, rows, width, out }))
            }
            Op::Readout { x, head, activation, reads, clean, out } => {
                let [x, clean, out] = slots(work, cache, [x, clean, out])?;
                readout(Readout { x, head, activation, reads, clean, out })
            }
        }
    }
}

fn embed<'s>(table: Matrix<'s>, ids: &'s [u32], [out]: [&'s mut [f32]; 1]) -> Result<Checked<'s>, Refusal> {
    require(ids.iter().all(|&id| (id as usize) < table.rows()), Refusal::Index)?;
    require(table.cols() > 0 && out.len() == area(&[ids.len(), table.cols()])?, Refusal::Shape)?;
    Ok(Checked::Moving(Moving::Embed { table, ids, out }))
}

fn rms_norm<'s>(weight: Matrix<'s>, eps: f32, [x, out]: [&'s mut [f32]; 2]) -> Result<Checked<'s>, Refusal> {
    vector(weight, weight.cols())?;
    divided(x.len(), weight.cols())?;
    require(x.len() == out.len(), Refusal::Shape)?;
    Ok(Checked::RmsNorm { x, weight, eps, out })
}

fn linear(op: Linear<'_>) -> Result<Checked<'_>, Refusal> {
    multipliable(op.activation)?;
    let (outputs, inputs) = (op.weight.rows(), op.weight.cols());
    let rows = divided(op.x.len(), inputs)?;
    require(outputs > 0 && op.out.len() == area(&[rows, outputs])?, Refusal::Shape)?;
    op.bias.map_or(Ok(()), |bias| vector(bias, outputs))?;
    require(op.side.iter().all(|s| s.u.len() == inputs && s.lambda.len() == outputs), Refusal::Shape)?;
    Ok(Checked::Linear(op))
}

fn readout(op: Readout<'_>) -> Result<Checked<'_>, Refusal> {
    multipliable(op.activation)?;
    let vocab = op.head.rows();
    let rows = divided(op.x.len(), op.head.cols())?;
    require(vocab > 0 && op.out.len() == area(&[rows, READOUT_WIDTH])?, Refusal::Shape)?;
    require(rows == 0 || divided(rows, op.reads.len()).is_ok(), Refusal::Shape)?;
    for read in op.reads {
        match *read {
            Read::Target(token) => require((token as usize) < vocab, Refusal::Index)?,
            Read::Divergence(row) => {
                let rows = divided(op.clean.len(), vocab)?;
                require((row as usize) < rows, Refusal::Index)?;
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
) -> Result<[&'s mut [f32]; N], Refusal> {
    for slot in slots {
        let pool = if slot.pool == Pool::Work { work.len() } else { cache.len() };
        require(slot.start.checked_add(slot.len).is_some_and(|end| end <= pool), Refusal::OutOfMemory)?;
    }
    let in_pool = |pool| slots.map(|s| if s.pool == pool && s.len > 0 { s.start..s.start + s.len } else { 0..0 });
    let mut work = work.get_disjoint_mut(in_pool(Pool::Work)).map_err(|_| Refusal::Overlap)?.into_iter();
    let mut cache = cache.get_disjoint_mut(in_pool(Pool::Cache)).map_err(|_| Refusal::Overlap)?.into_iter();
    Ok(slots.map(|slot| {
        let (in_work, in_cache) = (work.next(), cache.next());
        if slot.pool == Pool::Work { in_work } else { in_cache }.unwrap_or_default()
    }))
}

fn same_len(slots: [&mut [f32]; 2]) -> Result<[&mut [f32]; 2], Refusal> {
    let [a, b] = &slots;
    require(a.len() == b.len(), Refusal::Shape)?;
    Ok(slots)
}

/// How often `part`, which is not 0, goes into `whole`, without a rest.
fn divided(whole: usize, part: usize) -> Result<usize, Refusal> {
    if part > 0 && whole.is_multiple_of(part) { Ok(whole / part) } else { Err(Refusal::Shape) }
}

fn area(sides: &[usize]) -> Result<usize, Refusal> {
    sides.iter().try_fold(1usize, |area, &side| area.checked_mul(side)).ok_or(Refusal::Shape)
}

fn vector(matrix: Matrix<'_>, width: usize) -> Result<(), Refusal> {
    require(matrix.format() == Format::F32, Refusal::Format(matrix.format()))?;
    require(matrix.rows() == 1 && matrix.cols() == width, Refusal::Shape)
}

fn multipliable(activation: Activation) -> Result<(), Refusal> {
    match activation {
        Activation::A16Static { scale, product } => {
            require([scale, product].iter().all(|step| step.is_finite() && *step > 0.0), Refusal::Scale)
        }
        Activation::F32 | Activation::A16 => Ok(()),
    }
}

fn require(condition: bool, reason: Refusal) -> Result<(), Refusal> {
    if condition { Ok(()) } else { Err(reason) }
}
