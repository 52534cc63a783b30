//! `mobiedit-hal-cpu`: the operations of `mobiedit-backends` on a CPU.
//!
//! Layers, top down: the devices ([`Cpu`], the scalar reference in lent memory); `checked`, where an operation's slots become
//! slices and its shapes are found to fit; `scalar`, the arithmetic. Every level gives the same bits.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod checked;
mod cpu;
mod error;
mod scalar;
mod scratch;

pub use cpu::Cpu;
pub use error::{CpuError, Reason};
pub use scalar::readout::Statistics;
pub use scratch::{Scratch, ScratchLens};
