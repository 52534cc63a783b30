//! The scalar device: the reference on every target, and all there is on a microcontroller. No threads, no allocation.

use mobiedit_backends::checked::Checked;
use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::moving;
use mobiedit_backends::op::Op;
use mobiedit_backends::rows::{by_rows, by_rows_mut};

use crate::error::{CpuError, Reason};
use crate::scalar::{attention, linear, readout, rms_norm, swiglu};
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
        #[cfg(feature = "defmt")]
        defmt::trace!("{} operations, cache of {} f32", ops.len(), memory.cache.len());
        for (index, op) in ops.iter().enumerate() {
            let done = self.run_one(op, memory).map_err(|reason| CpuError { op: index, reason });
            #[cfg(feature = "defmt")]
            if let Err(error) = &done {
                defmt::warn!("refused, of {} operations: {}", ops.len(), error);
            }
            done?;
        }
        Ok(())
    }
}

/// Runs one operation whose scratch is known to suffice.
fn run(op: Checked<'_>, scratch: &mut Scratch<'_>) {
    match op {
        Checked::RmsNorm { x, weight, eps, out } => {
            for (x, out) in by_rows(x, weight.cols()).zip(by_rows_mut(out, weight.cols())) {
                rms_norm::rms_norm(x, weight.bytes(), eps, out);
            }
        }
        Checked::Linear(op) => linear::linear(op, scratch),
        Checked::Attention { inputs, out } => {
            for (row, out) in by_rows_mut(out, inputs.heads * inputs.head_dim).enumerate() {
                attention::attend(&inputs, row, scratch.scores, out);
            }
        }
        Checked::SwiGlu { gate, up } => swiglu::swiglu(gate, up),
        Checked::Readout(op) => readout::readout(op, scratch),
        Checked::Moving(op) => moving::run(op),
    }
}
