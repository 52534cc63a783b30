//! The contract of a hardware abstraction layer: one required method that runs a list of operations.

use mobiedit_core::backend::BackendError;

use crate::op::Op;

/// The memory a run works on, lent by the caller.
#[derive(Debug)]
pub struct Memory<'m> {
    /// [`Pool::Work`](crate::op::Pool::Work).
    pub work: &'m mut [f32],
    /// [`Pool::Cache`](crate::op::Pool::Cache).
    pub cache: &'m mut [f32],
}

/// What a device can do beyond the required minimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Capabilities {
    /// Most rows of one run; `None` for no limit but memory. A larger batch is split, with the same results.
    pub max_rows: Option<usize>,
    /// Results do not depend on how rows are batched, to the last bit.
    pub exact_batching: bool,
}

/// Hardware that runs operations.
pub trait Device {
    /// What can go wrong.
    type Error: BackendError;

    /// What this device can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Runs `ops` in their order. On an error the content of `memory` is undefined, and the device can be used again.
    ///
    /// # Errors
    /// Slots outside the memory, overlapping slots, shapes that do not fit each other, and unsupported formats are errors,
    /// found before anything is written by the operation concerned.
    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), Self::Error>;
}

impl<T: Device + ?Sized> Device for &mut T {
    type Error = T::Error;

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), Self::Error> {
        (**self).run(memory, ops)
    }
}
