//! `mobiedit-hal-cpu`: the operations of `mobiedit-backends` on a CPU.
//!
//! Layers, top down:
//! - the devices: [`Cpu`], scalar and in lent memory, for every target; `FastCpu`, SIMD and threads (feature `std`);
//! - `dispatch`, where an instruction set is chosen for the threaded device, and `kernels`, what each has of its own;
//! - `hvx`, the scalar device's integer product on Hexagon (feature `hvx`, there alone);
//! - `scalar`, the arithmetic: every level has its bits. Of it, [`integer`] is public, to be compared with; its `functions` is
//!   where the feature `fast-math` changes them.
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(all(feature = "hvx", target_arch = "hexagon"), feature(stdarch_hexagon))]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod cpu;
#[cfg(feature = "std")]
mod dispatch;
mod error;
#[cfg(all(feature = "hvx", target_arch = "hexagon"))]
pub mod hvx;
#[cfg(feature = "std")]
mod kernels;
mod scalar;
mod scratch;
#[cfg(feature = "std")]
mod threaded;

pub use cpu::Cpu;
#[cfg(feature = "std")]
pub use dispatch::Level;
pub use error::{CpuError, Reason};
pub use scalar::integer;
pub use scalar::readout::Statistics;
#[cfg(feature = "std")]
pub use scratch::ScratchBuffers;
pub use scratch::{Scratch, ScratchLens};
#[cfg(feature = "std")]
pub use threaded::FastCpu;
