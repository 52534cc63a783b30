//! The device: finds or makes the graphs of a list of operations, fills their inputs, and takes their outputs. Whatever changes
//! between the steps of an edit is an input, so that no step makes a graph.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::hash::Hasher;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use mobiedit_backends::checked::{Checked, Refusal, clean_row};
use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::identity::Fnv;
use mobiedit_backends::moving;
use mobiedit_backends::op::{Op, Pool, Slot};
use mobiedit_backends::rows::by_rows;

use crate::ends::{Staging, fill, take, to_halves};
use crate::error::{DeviceError, QnnError, Reason};
use crate::lower::{LOWERING, Sizes, lower};
use crate::plan::{Key, Part, Segment, by_content, by_place, has_side, name, parts};
use crate::program::{GraphCost, OpCost, Program, Wanted};
use crate::readout::readout;
use crate::sys::{Burst, Profile, ProfileLevel, Session, SharedBuffers};

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
        Self { rows: [16, 64].into(), cached: 64, patches: 4 }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Graphs that were finalised.
    pub finalized: u64,
    /// Graphs that were read from the store instead.
    pub restored: u64,
    /// What the store had of a program and was damaged, or not taken by the library: it was built anew.
    pub rejected: u64,
    /// Graphs whose ends are in memory that the NPU shares.
    pub shared: u64,
    /// Executions of graphs.
    pub executed: u64,
}

impl Counters {
    /// Graphs made so far, whichever way.
    pub(crate) const fn made(&self) -> usize {
        (self.finalized + self.restored) as usize
    }
}

/// Keeps finalised graphs from one process to the next. What it gives back is checked: it may lose or damage what it has.
pub trait Store: fmt::Debug {
    /// What was kept under this key; `None` if that is nothing.
    fn load(&mut self, key: u64) -> Option<Vec<u8>>;

    /// Keeps bytes under this key, or does not: they are made again where they are missing.
    fn store(&mut self, key: u64, bytes: &[u8]);
}

/// In memory, for as long as that lives: for devices that are opened anew.
impl Store for Rc<RefCell<BTreeMap<u64, Vec<u8>>>> {
    fn load(&mut self, key: u64) -> Option<Vec<u8>> {
        self.borrow().get(&key).cloned()
    }

    fn store(&mut self, key: u64, bytes: &[u8]) {
        self.borrow_mut().insert(key, bytes.to_vec());
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
    store: Option<Box<dyn Store>>,
    profile: Option<Profile>,
    shared: Option<SharedBuffers>,
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
            store: None,
            profile: None,
            shared: None,
        }
    }

    /// Graphs are looked for here before they are built, and kept here.
    pub fn with_store(self, store: Box<dyn Store>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Graphs have their ends in these buffers from now on, but those whose context does not take them.
    pub fn with_shared(self, buffers: SharedBuffers) -> Self {
        Self { shared: Some(buffers), ..self }
    }

    /// Takes into [`costs`](Self::costs) what the library measures of each execution from now on. It changes no result.
    ///
    /// # Errors
    /// A library that does not measure.
    pub fn profile(&mut self, level: ProfileLevel) -> Result<(), QnnError> {
        self.profile = Some(Profile::create(&self.session, level)?);
        Ok(())
    }

    /// What was done so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What each graph has cost so far, in the order in which they were made.
    pub fn costs(&self) -> Vec<GraphCost> {
        let mut costs: Vec<_> =
            self.programs.values().flat_map(|p| p.graphs.iter().map(|built| built.cost.clone())).collect();
        costs.sort_by_key(|cost| cost.number);
        costs
    }

    /// Votes for the highest clocks, until what is returned is dropped. It changes no result.
    ///
    /// # Errors
    /// A library or a device that has no such votes.
    pub fn burst(&self) -> Result<Burst, QnnError> {
        Burst::vote(&self.session)
    }

    fn most_rows(&self) -> usize {
        self.config.rows.last().copied().unwrap_or(0)
    }

    /// The rows of the smallest graph that so many fit.
    fn fitting(&self, rows: usize) -> Result<usize, Reason> {
        let fits = self.config.rows.iter().find(|fits| **fits >= rows);
        fits.copied().ok_or(Reason::Rows { need: rows, most: self.most_rows() })
    }

    /// The key under which a program is kept: all that its graphs depend on. `None` without a store.
    fn store_key(&self, segment: &Segment<'_>, sizes: Sizes) -> Result<Option<u64>, QnnError> {
        if self.store.is_none() {
            return Ok(None);
        }
        let versions = self.session.interface().versions()?;
        let Sizes { cached, patches, .. } = sizes;
        let mut key = Fnv::default();
        key.write(versions.build_id.as_str().as_bytes());
        let sizes = [LOWERING as usize, self.session.soc().map_or(0, |soc| soc as usize + 1), cached, patches];
        let words = sizes.iter().chain(&self.config.rows).map(|size| *size as u64).chain(segment.key(by_content).0);
        words.for_each(|word| key.write(&word.to_le_bytes()));
        Ok(Some(key.finish()))
    }

    /// The sizes of a segment's graph, but for its rows.
    fn sizes(&self, segment: &Segment<'_>) -> Sizes {
        let has_attention = segment.ops.iter().any(|op| matches!(op, Op::Attention { .. }));
        Sizes {
            rows: 0,
            cached: if has_attention { doubled(self.config.cached, segment.cached()) } else { 0 },
            patches: if segment.ops.iter().any(has_side) { doubled(self.config.patches, segment.patches()) } else { 0 },
        }
    }

    /// The key of the segment's program, which is made if need be. An error names the operation in the segment.
    fn made(&mut self, segment: &Segment<'_>) -> Result<(Key, Sizes), (usize, Reason)> {
        let sizes = self.sizes(segment);
        let key = (segment.key(by_place), sizes);
        if !self.programs.contains_key(&key) {
            let kept = self.store_key(segment, sizes).map_err(|error| (0, error.into()))?;
            let operations: Vec<_> = segment.ops.iter().map(|op| OpCost { name: name(op), cycles: 0 }).collect();
            let wanted = Wanted { rows: &self.config.rows, operations: &operations, key: kept };
            let lower = |builder: &mut _, rows| lower(builder, segment, Sizes { rows, ..sizes });
            let mut program = Program::make(&self.session, wanted, self.store.as_mut(), &mut self.counters, &lower)?;
            for built in &mut program.graphs {
                // Refused, the graph's ends are in plain memory, as they would be without shared buffers.
                let shared = self.shared.as_ref().is_some_and(|buffers| built.graph.share(buffers).is_ok());
                self.counters.shared += u64::from(shared);
            }
            self.programs.insert(key.clone(), program);
        }
        Ok(key)
    }

    /// Runs a segment. An error names the operation in the list.
    fn segment(&mut self, memory: &mut Memory<'_>, segment: &Segment<'_>) -> Result<(), DeviceError> {
        if segment.rows == 0 {
            return Ok(());
        }
        let ops = segment.ops;
        let at = |op: usize| {
            move |reason| DeviceError { op: segment.first + op, name: ops.get(op).map_or("", name), reason }
        };
        let rows = self.fitting(segment.rows).map_err(at(0))?;
        let key = self.made(segment).map_err(|(op, reason)| at(op)(reason))?;
        let sizes = Sizes { rows, ..key.1 };
        let Some(program) = self.programs.get_mut(&key) else { return Ok(()) };
        let Some(built) = program.graphs.iter_mut().find(|built| built.rows == rows) else { return Ok(()) };
        self.staging.take_ends(&built.graph);
        for (input, buffer) in program.inputs.iter().zip(&mut self.staging.inputs) {
            fill(*input, segment, sizes, memory, buffer, &mut self.staging.mask);
        }
        self.staging.execute(built, self.profile.as_ref()).map_err(at(0))?;
        self.counters.executed += 1;
        for (output, halves) in program.outputs.iter().zip(&self.staging.outputs) {
            take(*output, segment, memory, halves, &mut self.staging.row);
        }
        Ok(())
    }

    /// Runs a readout: logits by a graph, statistics here.
    fn readout(&mut self, memory: &mut Memory<'_>, op: &Op<'_>) -> Result<(), Reason> {
        let (Op::Readout { head, activation, .. }, Checked::Readout(checked)) = (*op, Checked::new(op, memory)?) else {
            return Err(Reason::Unsupported);
        };
        // The graph of a linear operation, which computes the clean logits too.
        let (x, out) = (Slot { len: head.cols(), ..FIRST }, Slot { start: head.cols(), len: head.rows(), ..FIRST });
        let ops = [Op::Linear { x, weight: head, bias: None, side: &[], activation, out }];
        let key = self.made(&Segment::of(&ops)).map_err(|(_, reason)| reason)?;
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
            self.staging.execute(built, self.profile.as_ref())?;
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
            let refused = |refusal: Refusal| DeviceError { op: index, name: name(op), reason: refusal.into() };
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
                    done.map_err(|reason| DeviceError { op: index, name: name(op), reason })?;
                }
            }
        }
        Ok(())
    }
}

const FIRST: Slot = Slot { pool: Pool::Work, start: 0, len: 0 };

/// The smallest `least · 2ⁿ` that is enough.
fn doubled(least: usize, need: usize) -> usize {
    let mut size = least.max(1);
    while size < need {
        size = size.saturating_mul(2);
    }
    size
}
