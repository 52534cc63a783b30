//! A device that goes wrong at one of its operations, counted from 1. Judges nothing: the tests do.

use std::time::Duration;

use mobiedit::backends::device::{Capabilities, Device, Memory};
use mobiedit::backends::op::{Op, Pool, Slot};
use mobiedit::core::backend::{BackendError, BackendErrorKind};
use mobiedit::hal_cpu::FastCpu;

/// The last place of whatever is written.
pub(crate) const LAST: usize = usize::MAX;

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// An error, and nothing is written.
    Refused,
    /// An error, and the first half is written.
    HalfDone,
    /// An error, and another one when the work is tried again.
    Twice,
    /// Success is reported, and of the numbers written the one at this place (if need be counted on from the first again) is
    /// this one.
    Number(f32, usize),
    /// Success is reported, and nothing is written: what is there is what was there.
    Stale,
    /// Only later than others.
    Slow,
}

/// The device went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the device was lost")
    }
}

impl std::error::Error for Lost {}

impl BackendError for Lost {
    fn kind(&self) -> BackendErrorKind {
        BackendErrorKind::Device
    }
}

/// The CPU, but for one operation.
#[derive(Debug)]
pub(crate) struct Faulty {
    device: FastCpu,
    fault: Fault,
    at: usize,
    operations: usize,
    struck: usize,
    readouts: Vec<(usize, usize)>,
}

impl Faulty {
    /// Goes wrong at operation `at`.
    pub(crate) fn new(fault: Fault, at: usize) -> Self {
        Self { device: FastCpu::detect(), fault, at, operations: 0, struck: 0, readouts: Vec::new() }
    }

    /// Never goes wrong.
    pub(crate) fn healthy() -> Self {
        Self::new(Fault::Slow, 0)
    }

    /// How it goes wrong.
    pub(crate) fn fault(&self) -> Fault {
        self.fault
    }

    /// Operations that were asked for so far.
    pub(crate) fn operations(&self) -> usize {
        self.operations
    }

    /// Times that it went wrong.
    pub(crate) fn struck(&self) -> usize {
        self.struck
    }

    /// The operations that gave statistics of logits, and how many numbers.
    pub(crate) fn readouts(&self) -> &[(usize, usize)] {
        &self.readouts
    }

    fn run_one(&mut self, memory: &mut Memory<'_>, op: &Op<'_>) -> Result<(), Lost> {
        self.device.run(memory, core::slice::from_ref(op)).map_err(|_| Lost)
    }

    fn run_wrong(&mut self, memory: &mut Memory<'_>, op: &Op<'_>) -> Result<(), Lost> {
        let slot = written(op);
        match self.fault {
            Fault::Refused | Fault::Twice => Err(Lost),
            Fault::HalfDone => {
                let before = slice(memory, slot).to_vec();
                self.run_one(memory, op)?;
                let half = before.len() / 2;
                slice(memory, slot)[half..].copy_from_slice(&before[half..]);
                Err(Lost)
            }
            Fault::Number(number, place) => {
                self.run_one(memory, op)?;
                let out = slice(memory, slot);
                let last = out.len().saturating_sub(1);
                let place = if place == LAST { last } else { place % (last + 1) };
                out.iter_mut().skip(place).take(1).for_each(|x| *x = number);
                Ok(())
            }
            Fault::Stale => Ok(()),
            Fault::Slow => {
                std::thread::sleep(Duration::from_micros(500));
                self.run_one(memory, op)
            }
        }
    }
}

impl Device for Faulty {
    type Error = Lost;

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), Lost> {
        for op in ops {
            self.operations += 1;
            if let Op::Readout { out, .. } = op {
                self.readouts.push((self.operations, out.len));
            }
            let again = self.fault == Fault::Twice && self.operations == self.at + 1;
            if self.operations == self.at || again {
                self.struck += 1;
                self.run_wrong(memory, op)?;
            } else {
                self.run_one(memory, op)?;
            }
        }
        Ok(())
    }
}

/// What an operation writes.
fn written(op: &Op<'_>) -> Slot {
    match *op {
        Op::Embed { out, .. }
        | Op::RmsNorm { out, .. }
        | Op::Linear { out, .. }
        | Op::Attention { out, .. }
        | Op::Copy { out, .. }
        | Op::Gather { out, .. }
        | Op::Readout { out, .. } => out,
        Op::Rope { x, .. } | Op::Add { x, .. } | Op::Discard { x } | Op::Inject { x, .. } => x,
        Op::SwiGlu { gate, .. } => gate,
        _ => panic!("an operation that this test does not know: {op:?}"),
    }
}

fn slice<'m>(memory: &'m mut Memory<'_>, slot: Slot) -> &'m mut [f32] {
    let pool = match slot.pool {
        Pool::Work => &mut *memory.work,
        Pool::Cache => &mut *memory.cache,
    };
    &mut pool[slot.start..slot.start + slot.len]
}
