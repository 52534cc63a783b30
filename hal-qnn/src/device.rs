//! The device: finds or builds the graphs of a list of operations, fills their inputs, and takes their outputs. Whatever changes
//! between the steps of an edit is an input, so that no step builds a graph.

use alloc::collections::BTreeMap;
use alloc::ffi::CString;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use mobiedit_backends::checked::{Checked, Refusal, clean_row};
use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::moving;
use mobiedit_backends::op::{Op, Pool, Rows, Slot};
use mobiedit_backends::rows::{by_rows, by_rows_mut};
use mobiedit_core::rank_one::RankOne;

use crate::error::{DeviceError, Reason};
use crate::lower::{HIDDEN, Input, Output, Sizes, lower, lower_head};
use crate::plan::{Key, Part, Segment, has_side, head_key, parts};
use crate::readout::readout;
use crate::sys::{Builder, Context, Graph, Session};

/// What graphs are built for. Larger ones are built where they are needed, but for the rows: a batch is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QnnConfig {
    /// Rows of the graphs, ascending: an execution takes the smallest that its rows fit. Not empty.
    pub rows: Vec<usize>,
    /// Positions in the cache that a graph sees, over all sequences of a run; doubled where that is not enough.
    pub cached: usize,
    /// Patches of one layer; doubled where that is not enough.
    pub patches: usize,
}

impl Default for QnnConfig {
    fn default() -> Self {
        Self { rows: [16, 64].into(), cached: 128, patches: 4 }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Graphs that were finalised.
    pub finalized: u64,
    /// Executions of graphs.
    pub executed: u64,
}

impl Counters {
    /// Counts a graph that was finalised.
    fn built(&mut self, graph: Graph, rows: usize, operations: usize, finalize_us: u64) -> Built {
        let cost = GraphCost { number: self.finalized as usize, operations, rows, finalize_us, ..GraphCost::default() };
        self.finalized += 1;
        Built { rows, graph, cost }
    }
}

/// The NPU. It serves one model: a graph is found again by the place of its weights, which have to stay what they are.
#[derive(Debug)]
pub struct Qnn {
    programs: BTreeMap<(Key, Sizes), Program>,
    session: Rc<Session>,
    config: QnnConfig,
    counters: Counters,
    staging: Staging,
}

/// Graphs of the same operations in one context, by their rows.
#[derive(Debug)]
struct Program {
    graphs: Vec<Built>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
}

/// A graph for so many rows.
#[derive(Debug)]
struct Built {
    rows: usize,
    graph: Graph,
    cost: GraphCost,
}

/// What a graph has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphCost {
    /// Its place among all that the device was asked to build.
    pub number: usize,
    /// Operations of this project in it.
    pub operations: usize,
    /// Rows that it computes.
    pub rows: usize,
    /// Microseconds of building and finalising.
    pub finalize_us: u64,
    /// Executions.
    pub executed: u64,
    /// Microseconds of them all, as the caller of the library sees them.
    pub execute_us: u64,
}

impl Program {
    /// The graph of so many rows.
    fn of_rows(&mut self, rows: usize) -> Option<&mut Built> {
        self.graphs.iter_mut().find(|built| built.rows == rows)
    }
}

/// Runs `work`, and says how many microseconds that took; 0 without a clock.
fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    #[cfg(feature = "std")]
    {
        let start = std::time::Instant::now();
        let result = work();
        (result, start.elapsed().as_micros().try_into().unwrap_or(u64::MAX))
    }
    #[cfg(not(feature = "std"))]
    (work(), 0)
}

/// Buffers of ends, kept from one execution to the next.
#[derive(Debug, Default)]
struct Staging {
    inputs: Vec<Vec<u16>>,
    outputs: Vec<Vec<u16>>,
    mask: Vec<f32>,
    row: Vec<f32>,
}

impl Qnn {
    /// A device of this session.
    pub fn new(session: Session, config: QnnConfig) -> Self {
        Self {
            programs: BTreeMap::new(),
            session: Rc::new(session),
            config,
            counters: Counters::default(),
            staging: Staging::default(),
        }
    }

    /// What was done so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What each graph has cost so far, in the order in which they were built.
    pub fn costs(&self) -> Vec<GraphCost> {
        let mut costs: Vec<_> = self.programs.values().flat_map(|p| p.graphs.iter().map(|built| built.cost)).collect();
        costs.sort_by_key(|cost| cost.number);
        costs
    }

    fn most_rows(&self) -> usize {
        self.config.rows.last().copied().unwrap_or(0)
    }

    /// The rows of the smallest graph that so many fit.
    fn fitting(&self, rows: usize) -> Result<usize, Reason> {
        let fits = self.config.rows.iter().find(|fits| **fits >= rows);
        fits.copied().ok_or(Reason::Rows { need: rows, most: self.most_rows() })
    }

    /// Runs a segment. An error names the operation in the list.
    fn segment(&mut self, memory: &mut Memory<'_>, segment: &Segment<'_>) -> Result<(), DeviceError> {
        if segment.rows == 0 {
            return Ok(());
        }
        let at = |op: usize| move |reason| DeviceError { op: segment.first + op, reason };
        let sizes = Sizes {
            rows: self.fitting(segment.rows).map_err(at(0))?,
            cached: if segment.ops.iter().any(|op| matches!(op, Op::Attention { .. })) {
                doubled(self.config.cached, segment.cached())
            } else {
                0
            },
            patches: if segment.ops.iter().any(has_side) { doubled(self.config.patches, segment.patches()) } else { 0 },
        };
        let key = (segment.key(), Sizes { rows: 0, ..sizes });
        if !self.programs.contains_key(&key) {
            let program = self.build(segment, sizes)?;
            self.programs.insert(key.clone(), program);
        }
        let Some(program) = self.programs.get_mut(&key) else { return Ok(()) };
        let Some(built) = program.graphs.iter_mut().find(|built| built.rows == sizes.rows) else { return Ok(()) };
        self.staging.take_ends(&built.graph);
        for (input, buffer) in program.inputs.iter().zip(&mut self.staging.inputs) {
            fill(*input, segment, sizes, memory, buffer, &mut self.staging.mask);
        }
        self.staging.execute(built).map_err(at(0))?;
        self.counters.executed += 1;
        for (output, halves) in program.outputs.iter().zip(&self.staging.outputs) {
            take(*output, segment, memory, halves, &mut self.staging.row);
        }
        Ok(())
    }

    fn build(&mut self, segment: &Segment<'_>, sizes: Sizes) -> Result<Program, DeviceError> {
        let at = |op: usize| move |reason| DeviceError { op: segment.first + op, reason };
        let first = |error| at(0)(Reason::Library(error));
        let context = Context::create(&self.session).map_err(first)?;
        let mut program = Program { graphs: Vec::new(), inputs: Vec::new(), outputs: Vec::new() };
        for &rows in &self.config.rows {
            let build = || {
                let mut builder = Builder::new(&context, &graph_name(rows)).map_err(first)?;
                let ends = lower(&mut builder, segment, Sizes { rows, ..sizes });
                (program.inputs, program.outputs) = ends.map_err(|(op, reason)| at(op)(reason))?;
                builder.finalize().map_err(first)
            };
            let (graph, us) = timed(build);
            program.graphs.push(self.counters.built(graph?, rows, segment.ops.len(), us));
        }
        Ok(program)
    }

    /// Runs a readout: logits by a graph, statistics here.
    fn readout(&mut self, memory: &mut Memory<'_>, op: &Op<'_>) -> Result<(), Reason> {
        let (Op::Readout { head, activation, .. }, Checked::Readout(checked)) = (*op, Checked::new(op, memory)?) else {
            return Err(Reason::Unsupported);
        };
        let key = (head_key(&head, activation), Sizes { rows: 0, cached: 0, patches: 0 });
        if !self.programs.contains_key(&key) {
            let context = Context::create(&self.session)?;
            let mut graphs = Vec::new();
            for &rows in &self.config.rows {
                let build = || -> Result<Graph, Reason> {
                    let mut builder = Builder::new(&context, &graph_name(rows))?;
                    lower_head(&mut builder, &head, activation, rows)?;
                    Ok(builder.finalize()?)
                };
                let (graph, us) = timed(build);
                graphs.push(self.counters.built(graph?, rows, 1, us));
            }
            self.programs.insert(key.clone(), Program { graphs, inputs: Vec::new(), outputs: Vec::new() });
        }
        let (width, vocab, most) = (head.cols(), head.rows(), self.most_rows().max(1));
        let mut logits = vec![0.0; vocab];
        let mut reads = checked.reads.iter().copied().cycle();
        let mut out = checked.out.as_chunks_mut().0.iter_mut();
        for x in checked.x.chunks(most * width) {
            let rows = x.len() / width;
            let fits = self.fitting(rows)?;
            let Some(built) = self.programs.get_mut(&key).and_then(|program| program.of_rows(fits)) else { break };
            self.staging.take_ends(&built.graph);
            if let Some(buffer) = self.staging.inputs.first_mut() {
                to_halves(x, buffer);
            }
            self.staging.execute(built)?;
            self.counters.executed += 1;
            let halves = self.staging.outputs.first().map_or(&[][..], Vec::as_slice);
            for (halves, (read, out)) in by_rows(halves, vocab).take(rows).zip(reads.by_ref().zip(out.by_ref())) {
                halves.reinterpret_cast::<f16>().convert_to_f32_slice(&mut logits);
                *out = readout(&logits, read, clean_row(checked.clean, read, vocab));
            }
        }
        Ok(())
    }
}

impl Device for Qnn {
    type Error = DeviceError;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_rows = Some(self.most_rows());
        capabilities
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), DeviceError> {
        for (index, op) in ops.iter().enumerate() {
            let refused = |refusal: Refusal| DeviceError { op: index, reason: refusal.into() };
            Checked::new(op, memory).map_err(refused)?;
        }
        for part in parts(ops) {
            match part {
                Part::Segment(segment) => self.segment(memory, &segment)?,
                Part::Moving(index) | Part::Readout(index) => {
                    let Some(op) = ops.get(index) else { continue };
                    let done = match Checked::new(op, memory) {
                        Ok(Checked::Moving(moved)) => {
                            moving::run(moved);
                            Ok(())
                        }
                        Ok(_) => self.readout(memory, op),
                        Err(refusal) => Err(refusal.into()),
                    };
                    done.map_err(|reason| DeviceError { op: index, reason })?;
                }
            }
        }
        Ok(())
    }
}

impl Staging {
    /// Buffers of a graph's sizes, the inputs' zero.
    fn take_ends(&mut self, graph: &Graph) {
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

    fn execute(&mut self, built: &mut Built) -> Result<(), Reason> {
        let inputs: Vec<&[u16]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [u16]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let (done, us) = timed(|| built.graph.execute(&inputs, &mut outputs));
        built.cost.executed += 1;
        built.cost.execute_us += us;
        Ok(done?)
    }
}

/// The smallest `least · 2ⁿ` that is enough.
fn doubled(least: usize, need: usize) -> usize {
    let mut size = least.max(1);
    while size < need {
        size = size.saturating_mul(2);
    }
    size
}

fn graph_name(rows: usize) -> CString {
    CString::new(format!("rows{rows}")).unwrap_or_default()
}

/// As many numbers as both have, in half precision.
fn to_halves(numbers: &[f32], halves: &mut [u16]) {
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
fn fill(
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
fn take(output: Output, segment: &Segment<'_>, memory: &mut Memory<'_>, halves: &[u16], row: &mut Vec<f32>) {
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
