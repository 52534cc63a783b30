//! A device that counts what another one multiplies, and for how many rows.

use mobiedit_backends::device::{Capabilities, Device, Memory};
use mobiedit_backends::op::Op;

/// Counts multiply-accumulates of matrix products and attention.
#[derive(Debug)]
pub struct Multiplied<D> {
    device: D,
    count: u64,
    rows: u64,
}

impl<D> Multiplied<D> {
    /// None yet.
    pub fn new(device: D) -> Self {
        Self { device, count: 0, rows: 0 }
    }

    /// Multiply-accumulates so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Rows that went through a layer, over all layers.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

fn rows(op: &Op<'_>) -> u64 {
    if let Op::Attention { rows, .. } = op { rows.total() as u64 } else { 0 }
}

fn products(op: &Op<'_>) -> u64 {
    let count = match op {
        Op::Linear { x, weight, .. } => x.len * weight.rows(),
        Op::Readout { x, head, .. } => x.len * head.rows(),
        Op::Attention { rows, heads, head_dim, .. } => {
            // Each row sees what is cached, and the rows up to itself; once for scores and once for values.
            let seen = rows.segments.iter().map(|s| s.rows * s.cached + s.rows * (s.rows + 1) / 2).sum::<usize>();
            2 * rows.copies * seen * heads * head_dim
        }
        _ => 0,
    };
    count as u64
}

impl<D: Device> Device for Multiplied<D> {
    type Error = D::Error;

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), D::Error> {
        self.count += ops.iter().map(products).sum::<u64>();
        self.rows += ops.iter().map(rows).sum::<u64>();
        self.device.run(memory, ops)
    }
}
