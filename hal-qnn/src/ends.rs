//! The ends of graphs: inputs filled from the memory that operations work on, outputs taken back into it. It runs nothing but the
//! graph that it is given.

use alloc::vec::Vec;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use mobiedit_backends::device::Memory;
use mobiedit_backends::op::{Op, Pool, Rows, Slot};
use mobiedit_backends::rows::by_rows_mut;
use mobiedit_core::rank_one::RankOne;

use crate::error::Reason;
use crate::lower::{HIDDEN, Input, Output, Sizes};
use crate::plan::Segment;
use crate::program::{Built, timed};
use crate::sys::{Graph, Profile};

/// Buffers of ends, kept from one execution to the next.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    pub(crate) inputs: Vec<Vec<u16>>,
    pub(crate) outputs: Vec<Vec<u16>>,
    pub(crate) mask: Vec<f32>,
    pub(crate) row: Vec<f32>,
}

impl Staging {
    /// Buffers of a graph's sizes, the inputs' zero.
    pub(crate) fn take_ends(&mut self, graph: &Graph) {
        let resize = |buffers: &mut Vec<Vec<u16>>, lens: &mut dyn ExactSizeIterator<Item = usize>| {
            buffers.resize_with(lens.len(), Vec::new);
            for (buffer, len) in buffers.iter_mut().zip(lens) {
                buffer.clear();
                buffer.resize(len, 0);
            }
        };
        resize(&mut self.inputs, &mut graph.inputs().map(|end| end.shape.numbers().unwrap_or(0)));
        resize(&mut self.outputs, &mut graph.outputs().map(|end| end.shape.numbers().unwrap_or(0)));
    }

    pub(crate) fn execute(&mut self, built: &mut Built, profile: Option<&Profile>) -> Result<(), Reason> {
        let inputs: Vec<&[u16]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [u16]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let (done, us) = timed(|| built.graph.execute(&inputs, &mut outputs, profile));

        built.cost.executed += 1;
        built.cost.execute_us += us;
        // Without them the table lacks numbers, and the run lacks nothing.
        if let Some(events) = profile.and_then(|profile| profile.events().ok()) {
            built.measured(&events);
        }
        Ok(done?)
    }
}

/// As many numbers as both have, in half precision.
pub(crate) fn to_halves(numbers: &[f32], halves: &mut [u16]) {
    let len = numbers.len().min(halves.len());
    if let (Some(numbers), Some(halves)) = (numbers.get(..len), halves.get_mut(..len)) {
        halves.reinterpret_cast_mut::<f16>().convert_from_f32_slice(numbers);
    }
}

fn numbers<'m>(memory: &'m Memory<'_>, slot: Slot) -> &'m [f32] {
    let pool: &[f32] = if slot.pool == Pool::Work { memory.work } else { memory.cache };
    pool.get(slot.start..slot.start + slot.len).unwrap_or(&[])
}

/// Fills a buffer of zeros.
pub(crate) fn fill(
    input: Input,
    segment: &Segment<'_>,
    sizes: Sizes,
    memory: &Memory<'_>,
    buffer: &mut [u16],
    mask: &mut Vec<f32>,
) {
    let op = |at: usize| segment.ops.get(at).copied();
    match input {
        Input::Slot(number) => {
            let slot = segment.slots.get(number).copied();
            to_halves(slot.map_or(&[], |slot| numbers(memory, slot)), buffer);
        }
        Input::CachedKeys(at) | Input::CachedValues(at) => {
            let Some(Op::Attention { rows, cache_layer, kv_heads, head_dim, .. }) = op(at) else { return };
            let mut rest = buffer;
            for kept in rows.segments {
                let start = if matches!(input, Input::CachedKeys(_)) { kept.keys } else { kept.values };
                let (start, len) = (start + cache_layer * kept.stride, kept.cached * kv_heads * head_dim);
                let Some((here, behind)) = core::mem::take(&mut rest).split_at_mut_checked(len) else { return };
                to_halves(memory.cache.get(start..start + len).unwrap_or(&[]), here);
                rest = behind;
            }
        }
        Input::Mask(at) => {
            let Some(Op::Attention { rows, .. }) = op(at) else { return };
            fill_mask(rows, sizes, mask);
            to_halves(mask, buffer);
        }
        Input::SideU(at) | Input::SideLambda(at) => {
            let Some(Op::Linear { side, weight, .. }) = op(at) else { return };
            let of_u = matches!(input, Input::SideU(_));
            let width = if of_u { weight.cols() } else { weight.rows() };
            for (patch, halves) in side.iter().zip(by_rows_mut(buffer, width)) {
                let factor = balance(patch);
                let (numbers, factor) = if of_u { (patch.u, factor) } else { (patch.lambda, 1.0 / factor) };
                for (half, number) in halves.iter_mut().zip(numbers) {
                    *half = f16::from_f32(number * factor).to_bits();
                }
            }
        }
    }
}

/// A power of two that `u` is multiplied by and `Λ` divided by: it brings u's numbers near 1, where halves are exact to 11 bits.
fn balance(patch: &RankOne<'_>) -> f32 {
    let most = patch.u.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    if most > 0.0 && most.is_finite() { libm::exp2f(-libm::floorf(libm::log2f(most)).clamp(-14.0, 14.0)) } else { 1.0 }
}

/// Which positions each row sees, `(rows, cached + rows)`: its sequence's cached ones, its copy's own up to itself. Rows that are
/// padding see themselves.
fn fill_mask(rows: Rows<'_>, sizes: Sizes, mask: &mut Vec<f32>) {
    let positions = sizes.cached + sizes.rows;
    mask.clear();
    mask.resize(sizes.rows * positions, HIDDEN);
    let per_copy = rows.per_copy().max(1);
    for (row, seen) in by_rows_mut(mask, positions).enumerate() {
        let (kept, own) = seen.split_at_mut(sizes.cached);
        let (copy, inside) = (row / per_copy, row % per_copy);
        let first = if copy < rows.copies {
            let mut start = 0;
            let mut first = row;
            for segment in rows.segments {
                if (segment.row..segment.row + segment.rows).contains(&inside) {
                    kept.get_mut(start..start + segment.cached).unwrap_or_default().fill(0.0);
                    first = copy * per_copy + segment.row;
                }
                start += segment.cached;
            }
            first
        } else {
            row
        };
        own.get_mut(first..=row).unwrap_or_default().fill(0.0);
    }
}

/// Takes the rows of an output that are no padding.
pub(crate) fn take(output: Output, segment: &Segment<'_>, memory: &mut Memory<'_>, halves: &[u16], row: &mut Vec<f32>) {
    let (Output::Store(number) | Output::Add(number)) = output;
    let Some(slot) = segment.slots.get(number) else { return };
    let pool = if slot.pool == Pool::Work { &mut *memory.work } else { &mut *memory.cache };
    let (Some(out), Some(halves)) = (pool.get_mut(slot.start..slot.start + slot.len), halves.get(..slot.len)) else {
        return;
    };
    let halves = halves.reinterpret_cast::<f16>();
    match output {
        Output::Store(_) => halves.convert_to_f32_slice(out),
        Output::Add(_) => {
            row.clear();
            row.resize(slot.len, 0.0);
            halves.convert_to_f32_slice(row);
            out.iter_mut().zip(row.iter()).for_each(|(x, y)| *x += y);
        }
    }
}
