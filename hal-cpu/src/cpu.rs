//! The scalar device: the reference on every target, and all there is on a microcontroller. No threads, no allocation.

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::Op;

use crate::checked::Checked;
use crate::error::{CpuError, Reason};
use crate::scalar::dequantize::dequantize_row;
use crate::scalar::{attention, linear, readout, rms_norm, rope, rows, swiglu};
use crate::scratch::Scratch;

/// A device that runs operations one after the other in lent memory.
///
/// ```
/// use mobiedit_backends::device::{Device, Memory};
/// use mobiedit_backends::op::{Op, Pool, Slot};
/// use mobiedit_hal_cpu::{Cpu, Scratch};
///
/// let slot = |start| Slot { pool: Pool::Work, start, len: 2 };
/// let mut work = [1.0, 2.0, 10.0, 20.0];
/// let mut memory = Memory { work: &mut work, cache: &mut [] };
/// Cpu::new(Scratch::default()).run(&mut memory, &[Op::Add { x: slot(0), y: slot(2) }])?;
/// assert_eq!(work, [11.0, 22.0, 10.0, 20.0]);
/// # Ok::<(), mobiedit_hal_cpu::CpuError>(())
/// ```
#[derive(Debug)]
pub struct Cpu<'a> {
    scratch: Scratch<'a>,
}

impl<'a> Cpu<'a> {
    /// A device with this scratch; [`ScratchLens`](crate::ScratchLens) says how much a model needs.
    pub fn new(scratch: Scratch<'a>) -> Self {
        Self { scratch }
    }

    fn run_one(&mut self, op: &Op<'_>, memory: &mut Memory<'_>) -> Result<(), Reason> {
        let checked = Checked::new(op, memory)?;
        self.scratch.check(&checked)?;
        run(checked, &mut self.scratch);
        Ok(())
    }
}

impl Device for Cpu<'_> {
    type Error = CpuError;

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.exact_batching = true;
        capabilities
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), CpuError> {
        for (index, op) in ops.iter().enumerate() {
            self.run_one(op, memory).map_err(|reason| CpuError { op: index, reason })?;
        }
        Ok(())
    }
}

/// Runs one operation whose scratch is known to suffice.
fn run(op: Checked<'_>, scratch: &mut Scratch<'_>) {
    match op {
        Checked::Embed { table, ids, out } => {
            for (id, out) in ids.iter().zip(out.chunks_exact_mut(table.cols())) {
                dequantize_row(table.format(), table.row(*id as usize), out);
            }
        }
        Checked::RmsNorm { x, weight, eps, out } => {
            for (x, out) in x.chunks_exact(weight.cols()).zip(out.chunks_exact_mut(weight.cols())) {
                rms_norm::rms_norm(x, weight.bytes(), eps, out);
            }
        }
        Checked::Linear(op) => linear::linear(op, scratch),
        Checked::Rope { x, table, head_dim, pairs } => {
            let width = x.len() / (table.len() / head_dim).max(1);
            for (x, table) in x.chunks_exact_mut(width.max(1)).zip(table.chunks_exact(head_dim)) {
                rope::rope(x, table, pairs);
            }
        }
        Checked::Attention { inputs, out } => {
            for (row, out) in out.chunks_exact_mut(inputs.heads * inputs.head_dim).enumerate() {
                attention::attend(&inputs, row, scratch.scores, out);
            }
        }
        Checked::SwiGlu { gate, up } => swiglu::swiglu(gate, up),
        Checked::Add { x, y } => rows::add(x, y),
        Checked::Copy { x, out } => out.copy_from_slice(x),
        Checked::Inject { x, per_copy, rows, width, delta } => rows::inject(x, per_copy, rows, width, delta),
        Checked::Gather { x, per_copy, rows, width, out } => rows::gather(x, per_copy, rows, width, out),
        Checked::Readout(op) => readout::readout(op, scratch),
    }
}
