//! A segment of operations as a graph of the library's own: which nodes, in which types. It executes nothing.
//!
//! Every tensor between nodes is half precision, `(rows, width)` with the rows padded; only integer products have levels of 16 bits
//! around them. The residual stream never is a tensor of the graph: `x ← x + y` becomes the sum of the y's, which the host adds in
//! f32, so that layers do not add up their rounding.

use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;

use half::f16;
use mobiedit_backends::op::{Activation, Op, RopePairs, Slot};
use mobiedit_backends::weights::Matrix;

use crate::error::Reason;
use crate::plan::{Segment, has_side, slots};
use crate::product::{floats, fractions, halves, product_of_halves, product_of_levels, steps, u16s};
use crate::sys::tensor::{DataType, TensorType};
use crate::sys::{Builder, Constant, Node, Quantize, Shape, TensorId, Value};

/// What a graph's input is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The numbers of the slot with this number, `(rows, width)`.
    Slot(usize),
    /// Keys in the cache for the attention at this place in the segment, `(cached, kv_dim)`.
    CachedKeys(usize),
    /// Its values.
    CachedValues(usize),
    /// 0 where a row sees a position of `(cached + rows)`, else [`HIDDEN`].
    Mask(usize),
    /// `u` of the patches at this operation, `(patches, inputs)`.
    SideU(usize),
    /// Their `Λ`, `(patches, outputs)`.
    SideLambda(usize),
}

/// What becomes of a graph's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// It is the slot's numbers.
    Store(usize),
    /// It is added to the slot's numbers.
    Add(usize),
}

impl Input {
    /// As numbers, for a file.
    pub(crate) fn code(self) -> (usize, usize) {
        match self {
            Self::Slot(index) => (0, index),
            Self::CachedKeys(index) => (1, index),
            Self::CachedValues(index) => (2, index),
            Self::Mask(index) => (3, index),
            Self::SideU(index) => (4, index),
            Self::SideLambda(index) => (5, index),
        }
    }

    /// From such numbers.
    pub(crate) fn of_code((kind, index): (u32, u32)) -> Option<Self> {
        let index = index as usize;
        Some(match kind {
            0 => Self::Slot(index),
            1 => Self::CachedKeys(index),
            2 => Self::CachedValues(index),
            3 => Self::Mask(index),
            4 => Self::SideU(index),
            5 => Self::SideLambda(index),
            _ => return None,
        })
    }
}

impl Output {
    /// As numbers, for a file.
    pub(crate) fn code(self) -> (usize, usize) {
        match self {
            Self::Store(index) => (0, index),
            Self::Add(index) => (1, index),
        }
    }

    /// From such numbers.
    pub(crate) fn of_code((kind, index): (u32, u32)) -> Option<Self> {
        match kind {
            0 => Some(Self::Store(index as usize)),
            1 => Some(Self::Add(index as usize)),
            _ => None,
        }
    }
}

/// Added to scores of positions that a row does not see. More than any score, and far from the largest half.
pub(crate) const HIDDEN: f32 = -30_000.0;

/// Raised whenever the same operations become other nodes: what was kept of older ones is not taken any more.
pub(crate) const LOWERING: u32 = 2;

/// Sizes of a graph that a segment's key leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) cached: usize,
    pub(crate) patches: usize,
}

/// An operation, by its place in the segment, that could not be made a node.
type Refused = (usize, Reason);

/// A built graph's ends.
pub(crate) type Ends = (Vec<Input>, Vec<Output>);

/// Builds the nodes of a segment. The error names the operation in the segment.
pub(crate) fn lower(builder: &mut Builder, segment: &Segment<'_>, sizes: Sizes) -> Result<Ends, Refused> {
    let mut last = vec![None; segment.slots.len()];
    for (index, op) in segment.ops.iter().enumerate() {
        if let Some(place) = last.get_mut(segment.number(slots(op).1)) {
            *place = Some(index);
        }
    }
    let held = vec![Held::Nothing; segment.slots.len()];
    let mut lowering = Lowering {
        builder,
        segment,
        sizes,
        last,
        held,
        at: 0,
        inputs: Vec::new(),
        outputs: Vec::new(),
        angles: Vec::new(),
        levels: Vec::new(),
    };
    for (index, op) in segment.ops.iter().enumerate() {
        lowering.at = index;
        lowering.builder.group(index);
        lowering.op(op).map_err(|reason| (index, reason))?;
    }
    Ok((lowering.inputs, lowering.outputs))
}

/// What a slot holds while a graph is built.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// What it held before.
    Nothing,
    /// A tensor.
    Tensor(TensorId),
    /// Levels of 16 bits of this step, and what they stand for in halves, once that was asked for.
    Levels { levels: TensorId, step: f32, halves: Option<TensorId> },
    /// What it held before, as an input, and what was added to that.
    Sum { before: Option<TensorId>, added: TensorId, total: Option<TensorId> },
}

struct Lowering<'b, 's> {
    builder: &'b mut Builder,
    segment: &'s Segment<'s>,
    sizes: Sizes,
    /// Which operation writes a slot last.
    last: Vec<Option<usize>>,
    held: Vec<Held>,
    /// The operation being lowered.
    at: usize,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Cosines and sines of RoPE's tables by their slots.
    angles: Vec<(usize, [TensorId; 2])>,
    /// Levels that were made of tensors, with their steps.
    levels: Vec<(TensorId, f32, TensorId)>,
}

/// Parameters of a product with the second factor as it lies, or transposed.
fn transposed(second: bool) -> [(&'static CStr, Value); 2] {
    [(c"transpose_in0", Value::Bool(false)), (c"transpose_in1", Value::Bool(second))]
}

impl Lowering<'_, '_> {
    fn op(&mut self, op: &Op<'_>) -> Result<(), Reason> {
        match *op {
            Op::RmsNorm { x, weight, eps, out } => self.rms_norm(x, weight, eps, out),
            Op::Linear { x, weight, bias, activation, out, .. } => {
                self.linear(x, weight, bias, activation, out, has_side(op))
            }
            Op::Rope { x, table, head_dim, pairs } => self.rope(x, table, head_dim, pairs),
            Op::Attention { q, k, v, heads, kv_heads, head_dim, out, .. } => {
                self.attention([q, k, v], [heads, kv_heads, head_dim], out)
            }
            Op::SwiGlu { gate, up } => self.swiglu(gate, up),
            Op::Add { x, y } => self.add(x, y),
            _ => Err(Reason::Unsupported),
        }
    }

    /// An input that the host fills.
    fn input(&mut self, what: Input, dimensions: &[usize]) -> Result<TensorId, Reason> {
        self.inputs.push(what);
        Ok(self.builder.tensor(TensorType::APP_WRITE, floats(dimensions))?)
    }

    /// A tensor between nodes.
    fn between(&mut self, dimensions: &[usize]) -> Result<TensorId, Reason> {
        Ok(self.builder.tensor(TensorType::NATIVE, floats(dimensions))?)
    }

    fn node(
        &mut self,
        kind: &'static CStr,
        params: &[(&'static CStr, Value)],
        inputs: &[TensorId],
        output: TensorId,
    ) -> Result<(), Reason> {
        Ok(self.builder.node(&Node { kind, params, inputs, output })?)
    }

    /// A node whose output is only read by other nodes.
    fn made(
        &mut self,
        kind: &'static CStr,
        params: &[(&'static CStr, Value)],
        inputs: &[TensorId],
        dimensions: &[usize],
    ) -> Result<TensorId, Reason> {
        let output = self.between(dimensions)?;
        self.node(kind, params, inputs, output)?;
        Ok(output)
    }

    fn shape(&self, slot: Slot) -> [usize; 2] {
        [self.sizes.rows, self.segment.width(slot)]
    }

    fn held(&self, slot: Slot) -> Held {
        self.held.get(self.segment.number(slot)).copied().unwrap_or(Held::Nothing)
    }

    fn hold(&mut self, slot: Slot, held: Held) {
        let number = self.segment.number(slot);
        self.angles.retain(|(table, _)| *table != number);
        if let Some(place) = self.held.get_mut(number) {
            *place = held;
        }
    }

    /// The tensor of what a slot holds.
    fn read(&mut self, slot: Slot) -> Result<TensorId, Reason> {
        let shape = self.shape(slot);
        match self.held(slot) {
            Held::Tensor(tensor)
            | Held::Levels { halves: Some(tensor), .. }
            | Held::Sum { total: Some(tensor), .. } => Ok(tensor),
            Held::Levels { levels, step, halves: None } => {
                let tensor = self.made(c"Dequantize", &[], &[levels], &shape)?;
                self.hold(slot, Held::Levels { levels, step, halves: Some(tensor) });
                Ok(tensor)
            }
            Held::Nothing => {
                let tensor = self.input(Input::Slot(self.segment.number(slot)), &shape)?;
                self.hold(slot, Held::Tensor(tensor));
                Ok(tensor)
            }
            Held::Sum { before, added, total: None } => {
                let before = match before {
                    Some(before) => before,
                    None => self.input(Input::Slot(self.segment.number(slot)), &shape)?,
                };
                let total = self.made(c"ElementWiseAdd", &[], &[before, added], &shape)?;
                self.hold(slot, Held::Sum { before: Some(before), added, total: Some(total) });
                Ok(total)
            }
        }
    }

    /// The levels of this step of what a slot holds.
    fn read_levels(&mut self, slot: Slot, wanted: f32) -> Result<TensorId, Reason> {
        if let Held::Levels { levels, step, .. } = self.held(slot)
            && step.to_bits() == wanted.to_bits()
        {
            return Ok(levels);
        }
        let x = self.read(slot)?;
        let known = self.levels.iter().find(|(of, step, _)| *of == x && step.to_bits() == wanted.to_bits());
        if let Some((.., levels)) = known {
            return Ok(*levels);
        }
        let levels = self.builder.tensor(TensorType::NATIVE, u16s(&self.shape(slot), wanted))?;
        self.node(c"Quantize", &[], &[x], levels)?;
        self.levels.push((x, wanted, levels));
        Ok(levels)
    }

    /// Whether what the operation being lowered writes to the slot may be read after the graph.
    fn is_end(&self, slot: Slot) -> bool {
        let number = self.segment.number(slot);
        let live = self.segment.live.get(number).copied().unwrap_or(true);
        live && self.last.get(number).copied().flatten() == Some(self.at)
    }

    /// The tensor for what the slot holds next: an output of the graph if it may be read after that.
    fn write(&mut self, slot: Slot) -> Result<TensorId, Reason> {
        let shape = self.shape(slot);
        let tensor = if self.is_end(slot) {
            self.outputs.push(Output::Store(self.segment.number(slot)));
            self.builder.tensor(TensorType::APP_READ, floats(&shape))?
        } else {
            self.between(&shape)?
        };
        self.hold(slot, Held::Tensor(tensor));
        Ok(tensor)
    }

    /// The weight is a product of its own: with it inside, the emulator loses rows where levels of 16 bits are made of the result.
    fn rms_norm(&mut self, x: Slot, weight: Matrix<'_>, eps: f32, out: Slot) -> Result<(), Reason> {
        let shape = self.shape(out);
        let x = self.read(x)?;
        let ones = vec![f16::ONE.to_bits(); weight.cols()];
        let ones = self.builder.constant(floats(&[weight.cols()]), Constant::U16(ones.into()))?;
        let axes = self.whole_numbers(&[1])?;
        let params = [(c"epsilon", Value::F32(eps)), (c"axes", Value::Tensor(axes))];
        let normalised = self.made(c"RmsNorm", &params, &[x, ones], &shape)?;
        let weight = self.builder.constant(floats(&[1, weight.cols()]), halves(weight))?;
        let out = self.write(out)?;
        self.node(c"ElementWiseMultiply", &[], &[normalised, weight], out)
    }

    fn whole_numbers(&mut self, numbers: &[u32]) -> Result<TensorId, Reason> {
        let shape =
            Shape { data_type: DataType::UINT_32, quantize: Quantize::None, dimensions: [numbers.len() as u32].into() };
        Ok(self.builder.constant(shape, Constant::U32(numbers.into()))?)
    }

    fn linear(
        &mut self,
        x: Slot,
        weight: Matrix<'_>,
        bias: Option<Matrix<'_>>,
        activation: Activation,
        out: Slot,
        has_side: bool,
    ) -> Result<(), Reason> {
        let (rows, outputs, inputs) = (self.sizes.rows, weight.rows(), weight.cols());
        if let (Some([before, after]), false) = (steps(weight, activation), has_side) {
            let levels = self.read_levels(x, before)?;
            let levels = product_of_levels(self.builder, levels, weight, after, rows)?;
            return match bias {
                None if !self.is_end(out) => {
                    self.hold(out, Held::Levels { levels, step: after, halves: None });
                    Ok(())
                }
                None => {
                    let out = self.write(out)?;
                    self.node(c"Dequantize", &[], &[levels], out)
                }
                Some(bias) => {
                    let plain = self.made(c"Dequantize", &[], &[levels], &[rows, outputs])?;
                    let bias = self.builder.constant(floats(&[1, outputs]), halves(bias))?;
                    let out = self.write(out)?;
                    self.node(c"ElementWiseAdd", &[], &[plain, bias], out)
                }
            };
        }
        let x = self.read(x)?;
        if !has_side {
            let out = self.write(out)?;
            return product_of_halves(self.builder, x, weight, bias, activation, out);
        }
        let patches = self.sizes.patches;
        let plain = self.between(&[rows, outputs])?;
        product_of_halves(self.builder, x, weight, bias, activation, plain)?;
        let u = self.input(Input::SideU(self.at), &[patches, inputs])?;
        let lambda = self.input(Input::SideLambda(self.at), &[patches, outputs])?;
        let seen = self.made(c"MatMul", &transposed(true), &[x, u], &[rows, patches])?;
        let side = self.made(c"MatMul", &transposed(false), &[seen, lambda], &[rows, outputs])?;
        let out = self.write(out)?;
        self.node(c"ElementWiseAdd", &[], &[plain, side], out)
    }

    /// The part of the last axis that `range` (begin, end, step) takes, of a tensor of rank 3 or 4.
    fn slice(&mut self, x: TensorId, dimensions: &[usize], range: [usize; 3]) -> Result<TensorId, Reason> {
        let [begin, end, step] = range;
        let (front, rank) = (dimensions.len().saturating_sub(1), dimensions.len());
        let mut ranges: Vec<i32> = dimensions.iter().flat_map(|side| [0, *side as i32, 1]).collect();
        ranges.truncate(3 * front);
        ranges.extend([begin as i32, end as i32, step as i32]);
        let shape =
            Shape { data_type: DataType::INT_32, quantize: Quantize::None, dimensions: [rank as u32, 3].into() };
        let ranges = self.builder.constant(shape, Constant::I32(ranges.into()))?;
        let mut sliced = dimensions.to_vec();
        sliced.truncate(front);
        sliced.push((end - begin).div_ceil(step));
        self.made(c"StridedSlice", &[(c"ranges", Value::Tensor(ranges))], &[x], &sliced)
    }

    fn reshape(&mut self, x: TensorId, dimensions: &[usize]) -> Result<TensorId, Reason> {
        self.made(c"Reshape", &[], &[x], dimensions)
    }

    fn transpose(&mut self, x: TensorId, order: &[u32], dimensions: &[usize]) -> Result<TensorId, Reason> {
        let order = self.whole_numbers(order)?;
        self.made(c"Transpose", &[(c"perm", Value::Tensor(order))], &[x], dimensions)
    }

    /// Cosines and sines of a table, `(rows, 1, half)` each.
    fn angles(&mut self, table: Slot, head_dim: usize) -> Result<[TensorId; 2], Reason> {
        let number = self.segment.number(table);
        if let Some((_, angles)) = self.angles.iter().find(|(known, _)| *known == number) {
            return Ok(*angles);
        }
        let whole = self.read(table)?;
        let dimensions = [self.sizes.rows, 1, head_dim];
        let whole = self.reshape(whole, &dimensions)?;
        let half = head_dim / 2;
        let angles =
            [self.slice(whole, &dimensions, [0, half, 1])?, self.slice(whole, &dimensions, [half, head_dim, 1])?];
        self.angles.push((number, angles));
        Ok(angles)
    }

    fn rope(&mut self, x: Slot, table: Slot, head_dim: usize, pairs: RopePairs) -> Result<(), Reason> {
        let [rows, width] = self.shape(x);
        let (heads, half) = (width / head_dim.max(1), head_dim / 2);
        let [cosines, sines] = self.angles(table, head_dim)?;
        let part = [rows, heads, half];
        let whole = self.read(x)?;
        let [a, b] = match pairs {
            RopePairs::Halves => {
                let dimensions = [rows, heads, head_dim];
                let whole = self.reshape(whole, &dimensions)?;
                [self.slice(whole, &dimensions, [0, half, 1])?, self.slice(whole, &dimensions, [half, head_dim, 1])?]
            }
            RopePairs::Neighbours => {
                let dimensions = [rows, heads * half, 2];
                let whole = self.reshape(whole, &dimensions)?;
                let [a, b] = [self.slice(whole, &dimensions, [0, 1, 1])?, self.slice(whole, &dimensions, [1, 2, 1])?];
                [self.reshape(a, &part)?, self.reshape(b, &part)?]
            }
        };
        let mut times = |x, angle| self.made(c"ElementWiseMultiply", &[], &[x, angle], &part);
        let (a_cosine, b_sine) = (times(a, cosines)?, times(b, sines)?);
        let (a_sine, b_cosine) = (times(a, sines)?, times(b, cosines)?);
        let first = self.made(c"ElementWiseSubtract", &[], &[a_cosine, b_sine], &part)?;
        let second = self.made(c"ElementWiseAdd", &[], &[a_sine, b_cosine], &part)?;
        let turned = match pairs {
            RopePairs::Halves => {
                self.made(c"Concat", &[(c"axis", Value::U32(2))], &[first, second], &[rows, heads, head_dim])?
            }
            RopePairs::Neighbours => {
                let single = [rows, heads * half, 1];
                let [first, second] = [self.reshape(first, &single)?, self.reshape(second, &single)?];
                self.made(c"Concat", &[(c"axis", Value::U32(2))], &[first, second], &[rows, heads * half, 2])?
            }
        };
        let out = self.write(x)?;
        self.node(c"Reshape", &[], &[turned], out)
    }

    fn attention(&mut self, qkv: [Slot; 3], sides: [usize; 3], out: Slot) -> Result<(), Reason> {
        let Sizes { rows, cached, .. } = self.sizes;
        let [heads, kv_heads, head_dim] = sides;
        let (group, positions, kv_dim) = (heads / kv_heads.max(1), cached + rows, kv_heads * head_dim);
        let [q, k, v] = [self.read(qkv[0])?, self.read(qkv[1])?, self.read(qkv[2])?];
        // Queries before their product, not scores after it: those would leave the range of halves.
        let factor = f16::from_f32(1.0 / libm::sqrtf(head_dim as f32)).to_bits();
        let factor = self.builder.constant(floats(&[1, 1]), Constant::U16([factor].into()))?;
        let q = self.made(c"ElementWiseMultiply", &[], &[q, factor], &[rows, heads * head_dim])?;
        let q = self.reshape(q, &[rows, kv_heads, group, head_dim])?;
        let q = self.transpose(q, &[1, 2, 0, 3], &[kv_heads, group, rows, head_dim])?;
        let q = self.reshape(q, &[kv_heads, group * rows, head_dim])?;
        let at = self.at;
        let mut all = |kept: Input, own: TensorId| {
            let whole = if cached > 0 {
                let kept = self.input(kept, &[cached, kv_dim])?;
                self.made(c"Concat", &[(c"axis", Value::U32(0))], &[kept, own], &[positions, kv_dim])?
            } else {
                own
            };
            let whole = self.reshape(whole, &[positions, kv_heads, head_dim])?;
            self.transpose(whole, &[1, 0, 2], &[kv_heads, positions, head_dim])
        };
        let (keys, values) = (all(Input::CachedKeys(at), k)?, all(Input::CachedValues(at), v)?);
        let mask = self.input(Input::Mask(at), &[1, rows, positions])?;
        let scores = self.made(c"MatMul", &transposed(true), &[q, keys], &[kv_heads, group * rows, positions])?;
        let scores = self.reshape(scores, &[heads, rows, positions])?;
        let scores = self.made(c"ElementWiseAdd", &[], &[scores, mask], &[heads, rows, positions])?;
        let softmax = [(c"axis", Value::U32(2)), (c"beta", Value::F32(1.0))];
        let weights = self.made(c"Softmax", &softmax, &[scores], &[heads, rows, positions])?;
        let weights = self.reshape(weights, &[kv_heads, group * rows, positions])?;
        let mixed =
            self.made(c"MatMul", &transposed(false), &[weights, values], &[kv_heads, group * rows, head_dim])?;
        let mixed = self.reshape(mixed, &[kv_heads, group, rows, head_dim])?;
        let mixed = self.transpose(mixed, &[2, 0, 1, 3], &[rows, kv_heads, group, head_dim])?;
        let out = self.write(out)?;
        self.node(c"Reshape", &[], &[mixed], out)
    }

    /// `silu(gate) · up`: of levels if it is, and is wanted as levels.
    fn swiglu(&mut self, gate: Slot, up: Slot) -> Result<(), Reason> {
        let shape = self.shape(gate);
        if let (Held::Levels { levels: x, step, .. }, Held::Levels { levels: up, .. }, Some(wanted), false) =
            (self.held(gate), self.held(up), self.wanted_step(gate), self.is_end(gate))
        {
            let mut made = |kind, inputs: &[TensorId], shape| -> Result<TensorId, Reason> {
                let output = self.builder.tensor(TensorType::NATIVE, shape)?;
                self.node(kind, &[], inputs, output)?;
                Ok(output)
            };
            let sigmoid = made(c"Sigmoid", &[x], fractions(&shape))?;
            // No larger than `x` anywhere.
            let silu = made(c"ElementWiseMultiply", &[x, sigmoid], u16s(&shape, step))?;
            let levels = made(c"ElementWiseMultiply", &[silu, up], u16s(&shape, wanted))?;
            self.hold(gate, Held::Levels { levels, step: wanted, halves: None });
            return Ok(());
        }
        let (x, up) = (self.read(gate)?, self.read(up)?);
        let sigmoid = self.made(c"Sigmoid", &[], &[x], &shape)?;
        let silu = self.made(c"ElementWiseMultiply", &[], &[x, sigmoid], &shape)?;
        let out = self.write(gate)?;
        self.node(c"ElementWiseMultiply", &[], &[silu, up], out)
    }

    /// The step of the levels that the next operation makes of the slot.
    fn wanted_step(&self, slot: Slot) -> Option<f32> {
        match self.segment.ops.get(self.at + 1)? {
            next @ Op::Linear { x, weight, activation, .. } if *x == slot && !has_side(next) => {
                steps(*weight, *activation).map(|[before, _]| before)
            }
            _ => None,
        }
    }

    fn add(&mut self, x: Slot, y: Slot) -> Result<(), Reason> {
        let y = self.read(y)?;
        let before = match self.held(x) {
            Held::Nothing => None,
            Held::Sum { before, added, .. } => {
                let output = self.sum(x)?;
                self.node(c"ElementWiseAdd", &[], &[added, y], output)?;
                self.hold(x, Held::Sum { before, added: output, total: None });
                return Ok(());
            }
            Held::Tensor(tensor) if self.inputs_slot(x) => Some(tensor),
            Held::Tensor(_) | Held::Levels { .. } => {
                let tensor = self.read(x)?;
                let out = self.write(x)?;
                return self.node(c"ElementWiseAdd", &[], &[tensor, y], out);
            }
        };
        let added = if self.is_end(x) {
            // An end of the graph of its own: `y` may be another one.
            let output = self.sum(x)?;
            self.node(c"Reshape", &[], &[y], output)?;
            output
        } else {
            y
        };
        self.hold(x, Held::Sum { before, added, total: None });
        Ok(())
    }

    /// Whether what the slot holds is an input of the graph.
    fn inputs_slot(&self, slot: Slot) -> bool {
        let number = self.segment.number(slot);
        let written = self.segment.ops.iter().take(self.at).any(|op| slots(op).1 == slot);
        !written && self.inputs.contains(&Input::Slot(number))
    }

    /// The tensor for what was added to a slot so far.
    fn sum(&mut self, slot: Slot) -> Result<TensorId, Reason> {
        let shape = self.shape(slot);
        if self.is_end(slot) {
            self.outputs.push(Output::Add(self.segment.number(slot)));
            Ok(self.builder.tensor(TensorType::APP_READ, floats(&shape))?)
        } else {
            self.between(&shape)
        }
    }
}
