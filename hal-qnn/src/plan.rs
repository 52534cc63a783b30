//! A list of operations, cut into what one graph computes, what the host moves, and readouts; and the key under which a graph is
//! found again. It builds nothing.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher;

use mobiedit_backends::identity::Fnv;
use mobiedit_backends::op::{Activation, Op, Pool, RopePairs, Slot};
use mobiedit_backends::weights::{Format, Matrix};

/// A part of a list.
#[derive(Debug)]
pub(crate) enum Part<'o> {
    /// The host moves rows.
    Moving(usize),
    /// The head's logits are a graph's, their statistics the host's.
    Readout(usize),
    /// One graph.
    Segment(Segment<'o>),
}

/// Operations of one graph: they have the same number of rows, and their slots are the same or apart.
#[derive(Debug)]
pub(crate) struct Segment<'o> {
    /// Index of the first operation in the list.
    pub(crate) first: usize,
    pub(crate) ops: &'o [Op<'o>],
    pub(crate) rows: usize,
    /// Every slot once, in the order in which the operations name them.
    pub(crate) slots: Vec<Slot>,
    /// Of each slot, whether what it holds afterwards may be read.
    pub(crate) live: Vec<bool>,
}

/// What makes two segments the same graph but for its sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) Vec<u64>);

/// The slots that an operation of a graph names: what it only reads, and what it writes.
pub(crate) fn slots(op: &Op<'_>) -> (Vec<Slot>, Slot) {
    match *op {
        Op::RmsNorm { x, out, .. } | Op::Linear { x, out, .. } => ([x].into(), out),
        Op::Rope { x, table, .. } => ([table].into(), x),
        Op::Attention { q, k, v, out, .. } => ([q, k, v].into(), out),
        Op::SwiGlu { gate, up } => ([up].into(), gate),
        Op::Add { x, y } => ([y].into(), x),
        Op::Embed { out, .. } => (Vec::new(), out),
        Op::Copy { x, out } | Op::Gather { x, out, .. } => ([x].into(), out),
        Op::Inject { x, .. } => (Vec::new(), x),
        Op::Readout { x, clean, out, .. } => ([x, clean].into(), out),
        _ => (Vec::new(), EMPTY),
    }
}

/// What an operation is called in messages and in tables of costs.
pub(crate) const fn name(op: &Op<'_>) -> &'static str {
    match op {
        Op::RmsNorm { .. } => "RmsNorm",
        Op::Linear { .. } => "Linear",
        Op::Rope { .. } => "Rope",
        Op::Attention { .. } => "Attention",
        Op::SwiGlu { .. } => "SwiGlu",
        Op::Add { .. } => "Add",
        Op::Embed { .. } => "Embed",
        Op::Discard { .. } => "Discard",
        Op::Copy { .. } => "Copy",
        Op::Inject { .. } => "Inject",
        Op::Gather { .. } => "Gather",
        Op::Readout { .. } => "Readout",
        _ => "unknown",
    }
}

const EMPTY: Slot = Slot { pool: Pool::Work, start: 0, len: 0 };

/// The rows that an operation has by its own shapes; `None` where any number that divides its length will do.
fn rows(op: &Op<'_>) -> Option<usize> {
    match *op {
        Op::RmsNorm { x, weight, .. } | Op::Linear { x, weight, .. } => x.len.checked_div(weight.cols()),
        Op::Rope { table, head_dim, .. } => table.len.checked_div(head_dim),
        Op::Attention { rows, .. } => Some(rows.total()),
        _ => None,
    }
}

/// A linear operation that has patches, or whose matrix may be edited: its graph has inputs for them.
pub(crate) fn has_side(op: &Op<'_>) -> bool {
    matches!(op, Op::Linear { side, activation, .. } if !side.is_empty() || *activation == Activation::F32)
}

/// Cuts a list whose shapes were found to fit.
pub(crate) fn parts<'o>(ops: &'o [Op<'o>]) -> Vec<Part<'o>> {
    let mut parts = Vec::new();
    let mut open: Option<Open> = None;
    for (index, op) in ops.iter().enumerate() {
        let alone = match op {
            Op::Embed { .. } | Op::Copy { .. } | Op::Inject { .. } | Op::Gather { .. } | Op::Discard { .. } => {
                Some(Part::Moving(index))
            }
            Op::Readout { .. } => Some(Part::Readout(index)),
            _ => None,
        };
        if let Some(part) = alone {
            parts.extend(open.take().map(|open| open.close(ops, index)));
            parts.push(part);
        } else if !open.as_mut().is_some_and(|open| open.take_in(op)) {
            parts.extend(open.take().map(|open| open.close(ops, index)));
            let mut next = Open { first: index, rows: None, slots: Vec::new() };
            next.take_in(op);
            open = Some(next);
        }
    }
    parts.extend(open.map(|open| open.close(ops, ops.len())));
    parts
}

/// A segment that may go on.
struct Open {
    first: usize,
    rows: Option<usize>,
    slots: Vec<Slot>,
}

impl Open {
    /// Whether the operation belongs to the same graph; then it does.
    fn take_in(&mut self, op: &Op<'_>) -> bool {
        let (mut all, written) = slots(op);
        all.push(written);
        let wanted = rows(op);
        let agreed = self.rows.or(wanted);
        if wanted.is_some_and(|rows| Some(rows) != agreed) {
            return false;
        }
        let whole = |slot: &Slot| agreed.is_none_or(|rows| rows > 0 && slot.len.is_multiple_of(rows));
        let clear = |slot: &Slot| self.slots.iter().all(|known| known == slot || !overlap(known, slot));
        if !self.slots.iter().all(whole) || !all.iter().all(|slot| whole(slot) && clear(slot)) {
            return self.slots.is_empty() && self.start(wanted, &all);
        }
        self.start(agreed, &all)
    }

    fn start(&mut self, rows: Option<usize>, slots: &[Slot]) -> bool {
        self.rows = rows;
        for slot in slots {
            if !self.slots.contains(slot) {
                self.slots.push(*slot);
            }
        }
        true
    }

    fn close<'o>(self, ops: &'o [Op<'o>], end: usize) -> Part<'o> {
        let (own, after) = (ops.get(self.first..end).unwrap_or(&[]), ops.get(end..).unwrap_or(&[]));
        let live = self.slots.iter().map(|slot| is_live(slot, after)).collect();
        Part::Segment(Segment { live, ..self.segment(own) })
    }

    fn segment<'o>(self, ops: &'o [Op<'o>]) -> Segment<'o> {
        let live = vec![true; self.slots.len()];
        Segment { first: self.first, ops, rows: self.rows.unwrap_or(1), slots: self.slots, live }
    }
}

/// Whether what the slot holds may be read by these operations, or after them.
fn is_live(slot: &Slot, after: &[Op<'_>]) -> bool {
    for op in after {
        if let Op::Discard { x } = op {
            if x.pool == slot.pool && x.start <= slot.start && slot.start + slot.len <= x.start + x.len {
                return false;
            }
            continue;
        }
        let (reads, written) = slots(op);
        if reads.iter().chain([&written]).any(|other| overlap(slot, other)) {
            return true;
        }
    }
    true
}

fn overlap(a: &Slot, b: &Slot) -> bool {
    a.pool == b.pool && a.start < b.start.saturating_add(b.len) && b.start < a.start.saturating_add(a.len)
}

impl<'o> Segment<'o> {
    /// All of a list that is one graph.
    pub(crate) fn of(ops: &'o [Op<'o>]) -> Self {
        let mut open = Open { first: 0, rows: None, slots: Vec::new() };
        ops.iter().for_each(|op| {
            open.take_in(op);
        });
        open.segment(ops)
    }

    /// The slot's number in this segment.
    pub(crate) fn number(&self, slot: Slot) -> usize {
        self.slots.iter().position(|known| *known == slot).unwrap_or(usize::MAX)
    }

    /// Numbers in a row of the slot.
    pub(crate) fn width(&self, slot: Slot) -> usize {
        slot.len.checked_div(self.rows).unwrap_or(0)
    }

    /// Positions in the cache that its attention sees, over all sequences.
    pub(crate) fn cached(&self) -> usize {
        let all = self.ops.iter().filter_map(|op| match op {
            Op::Attention { rows, .. } => Some(rows.segments.iter().map(|segment| segment.cached).sum()),
            _ => None,
        });
        all.max().unwrap_or(0)
    }

    /// Most patches of one operation.
    pub(crate) fn patches(&self) -> usize {
        let all = self.ops.iter().map(|op| if let Op::Linear { side, .. } = op { side.len() } else { 0 });
        all.max().unwrap_or(0)
    }

    /// The same for the same operations on the same weights, whatever the rows, the cache, the patches. `matrix` tells which
    /// weights.
    pub(crate) fn key(&self, matrix: impl Fn(&Matrix<'_>) -> [u64; 5]) -> Key {
        let mut key: Vec<u64> = self.live.iter().map(|live| u64::from(*live)).collect();
        for op in self.ops {
            let (reads, written) = slots(op);
            key.push(u64::MAX);
            for slot in reads.iter().chain([&written]) {
                key.extend([self.number(*slot) as u64, self.width(*slot) as u64]);
            }
            match *op {
                Op::RmsNorm { weight, eps, .. } => {
                    key.extend([1, u64::from(eps.to_bits())]);
                    key.extend(matrix(&weight));
                }
                Op::Linear { weight, bias, activation, .. } => {
                    key.extend([2, u64::from(has_side(op))]);
                    key.extend(treatment(activation));
                    key.extend(matrix(&weight));
                    key.extend(bias.iter().flat_map(&matrix));
                }
                Op::Rope { head_dim, pairs, .. } => {
                    key.extend([3, head_dim as u64, u64::from(pairs == RopePairs::Halves)]);
                }
                Op::Attention { heads, kv_heads, head_dim, .. } => {
                    key.extend([4, heads as u64, kv_heads as u64, head_dim as u64]);
                }
                Op::SwiGlu { .. } => key.push(5),
                Op::Add { .. } => key.push(6),
                _ => {}
            }
        }
        Key(key)
    }
}

fn treatment(activation: Activation) -> [u64; 2] {
    match activation {
        Activation::F32 => [1, 0],
        Activation::A16 => [2, 0],
        Activation::A16Static { scale, product } => {
            [3, u64::from(scale.to_bits()) << 32 | u64::from(product.to_bits())]
        }
    }
}

/// Weights by where they lie, their shape, and samples of what they are: others may come to lie in the same place.
pub(crate) fn by_place(matrix: &Matrix<'_>) -> [u64; 5] {
    const SAMPLES: usize = 64;
    let bytes = matrix.bytes();
    let step = bytes.len().div_ceil(8 * SAMPLES).max(1) * 8;
    let mut sample = Fnv::default();
    bytes.chunks(step).for_each(|chunk| sample.write(chunk.get(..8).unwrap_or(chunk)));
    shaped(matrix, bytes.as_ptr().addr() as u64, sample.finish())
}

/// Weights by what they are, wherever they lie.
pub(crate) fn by_content(matrix: &Matrix<'_>) -> [u64; 5] {
    let mut content = Fnv::default();
    content.write(matrix.bytes());
    shaped(matrix, 0, content.finish())
}

fn shaped(matrix: &Matrix<'_>, place: u64, content: u64) -> [u64; 5] {
    let format = match matrix.format() {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Bf16 => 2,
        Format::Q8_0 => 3,
        Format::Q4_0 => 4,
        Format::Q4K => 5,
        Format::Q5K => 6,
        Format::Q6K => 7,
        _ => 8,
    };
    [place, format, matrix.rows() as u64, matrix.cols() as u64, content]
}
