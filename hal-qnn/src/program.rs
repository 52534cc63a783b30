//! The graphs of the same operations, for each number of rows: built and finalised, or read from where they were kept. It knows
//! nothing of the operations but their number.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::device::{Counters, Store};
use crate::error::Reason;
use crate::lower::{Ends, Input, Output};
use crate::saved::{Saved, SavedGraph};
use crate::sys::{Builder, Context, Event, Graph, Session};

/// Graphs of the same operations in one context, by their rows.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) graphs: Vec<Built>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
}

/// A graph for so many rows.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) rows: usize,
    pub(crate) graph: Graph,
    pub(crate) cost: GraphCost,
}

impl Built {
    /// Adds what the library has measured of an execution.
    pub(crate) fn measured(&mut self, events: &[Event]) {
        let cost = &mut self.cost;
        let mut seen = |event: &Event| {
            cost.accelerator_us += event.accelerator_us().unwrap_or(0);
            if let Some((op, cycles)) = event.node_cycles()
                && let Some(op) = cost.operations.get_mut(op)
            {
                op.cycles += cycles;
            }
        };
        events.iter().for_each(|event| event.visit(&mut seen));
    }
}

/// What an operation has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpCost {
    /// Which it is.
    pub name: &'static str,
    /// Cycles of the NPU, of all executions; 0 where the library does not tell.
    pub cycles: u64,
}

/// What a graph has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphCost {
    /// Its place among all that the device was asked for.
    pub number: usize,
    /// The operations in it, in their order.
    pub operations: Vec<OpCost>,
    /// Rows that it computes.
    pub rows: usize,
    /// Microseconds of building and finalising, or of reading; 0 without the feature `std`.
    pub made_us: u64,
    /// Executions.
    pub executed: u64,
    /// Microseconds of them all, as the caller of the library sees them.
    pub execute_us: u64,
    /// Microseconds of them all on the NPU; 0 where the library does not tell.
    pub accelerator_us: u64,
}

/// What a program is asked to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// Rows of its graphs.
    pub(crate) rows: &'w [usize],
    /// The operations in each.
    pub(crate) operations: &'w [OpCost],
    /// Where it is kept under which key.
    pub(crate) key: Option<u64>,
}

/// Builds a graph's nodes for so many rows; an error names the operation among the program's.
pub(crate) type Lower<'l> = &'l dyn Fn(&mut Builder, usize) -> Result<Ends, (usize, Reason)>;

impl Program {
    /// Reads the program from the store, or builds it and keeps it there.
    pub(crate) fn make(
        session: &Rc<Session>,
        wanted: Wanted<'_>,
        store: Option<&mut Box<dyn Store>>,
        counters: &mut Counters,
        lower: Lower<'_>,
    ) -> Result<Self, (usize, Reason)> {
        let Some((store, key)) = store.zip(wanted.key) else {
            return Self::build(session, wanted, counters, lower).map(|(program, _)| program);
        };
        if let Some(bytes) = store.load(key) {
            match Self::restore(session, wanted, key, &bytes, counters) {
                Some(program) => return Ok(program),
                None => counters.rejected += 1,
            }
        }
        let (program, context) = Self::build(session, wanted, counters, lower)?;
        // Without a binary nothing is kept; the program runs.
        if let Ok(binary) = context.binary() {
            store.store(key, &program.saved(binary).to_bytes(key));
        }
        Ok(program)
    }

    fn build(
        session: &Rc<Session>,
        wanted: Wanted<'_>,
        counters: &mut Counters,
        lower: Lower<'_>,
    ) -> Result<(Self, Rc<Context>), (usize, Reason)> {
        let first = |error| (0, Reason::Library(error));
        let context = Context::create(session).map_err(first)?;
        let mut program = Self { graphs: Vec::new(), inputs: Vec::new(), outputs: Vec::new() };
        for &rows in wanted.rows {
            let build = || {
                let mut builder = Builder::new(&context, &graph_name(rows)).map_err(first)?;
                let ends = lower(&mut builder, rows)?;
                Ok((builder.finalize().map_err(first)?, ends))
            };
            let (built, made_us) = timed(build);
            let (graph, ends) = built?;
            (program.inputs, program.outputs) = ends;
            let number = counters.made();
            counters.finalized += 1;
            let cost =
                GraphCost { number, operations: wanted.operations.to_vec(), rows, made_us, ..GraphCost::default() };
            program.graphs.push(Built { rows, graph, cost });
        }
        Ok((program, context))
    }

    /// `None` where the bytes are not what was kept, and where the library does not take them.
    fn restore(
        session: &Rc<Session>,
        wanted: Wanted<'_>,
        key: u64,
        bytes: &[u8],
        counters: &mut Counters,
    ) -> Option<Self> {
        let Saved { inputs, outputs, graphs, binary } = Saved::from_bytes(key, bytes)?;
        if !graphs.iter().map(|graph| &graph.rows).eq(wanted.rows) {
            return None;
        }
        let context = Context::from_binary(session, &binary).ok()?;
        let mut program = Self { graphs: Vec::new(), inputs, outputs };
        for SavedGraph { rows, inputs, outputs } in graphs {
            let (graph, made_us) = timed(|| Graph::retrieve(&context, &graph_name(rows), inputs, outputs));
            let number = counters.made() + program.graphs.len();
            let cost =
                GraphCost { number, operations: wanted.operations.to_vec(), rows, made_us, ..GraphCost::default() };
            program.graphs.push(Built { rows, graph: graph.ok()?, cost });
        }
        counters.restored += program.graphs.len() as u64;
        Some(program)
    }

    fn saved(&self, binary: Vec<u8>) -> Saved {
        let graph = |built: &Built| SavedGraph {
            rows: built.rows,
            inputs: built.graph.inputs().collect(),
            outputs: built.graph.outputs().collect(),
        };
        Saved {
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            graphs: self.graphs.iter().map(graph).collect(),
            binary,
        }
    }

    /// The graph of so many rows.
    pub(crate) fn of_rows(&mut self, rows: usize) -> Option<&mut Built> {
        self.graphs.iter_mut().find(|built| built.rows == rows)
    }
}

fn graph_name(rows: usize) -> CString {
    CString::new(format!("rows{rows}")).unwrap_or_default()
}

/// Runs `work`, and says how many microseconds that took; 0 without a clock.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    #[cfg(feature = "std")]
    {
        let start = std::time::Instant::now();
        let result = work();
        (result, start.elapsed().as_micros().try_into().unwrap_or(u64::MAX))
    }
    #[cfg(not(feature = "std"))]
    (work(), 0)
}
