//! `mobiedit-hal-qnn`: a `Device` of `mobiedit-backends` on Qualcomm's Hexagon NPU. It computes nothing yet.
//!
//! What there is, top down:
//!
//! - [`sys`], the only module with `unsafe` code: the subset of QNN's interface that a device needs, declared as
//!   `#[repr(C)]` types, so that building this crate needs no vendor SDK; a library opened at run time (`libQnnHtp.so`,
//!   feature `std`), or, for firmware without a dynamic loader, an interface pointer; a backend and a device of it;
//! - [`QnnError`], what goes wrong there.
//!
//! What it will be:
//!
//! - A list of operations becomes one graph per shape, finalised once and then executed. Everything that changes between
//!   the steps of an edit (the value vector, masks, the prefix cache, patches) is an input written by the application,
//!   so no step finalises a graph again.
//! - Weights are int8 per output channel and activations are 16 bits with static scales. The residual stream, norms,
//!   softmax, the edited layer's `down_proj` and the value vector stay in floating point.
//! - Finalised graphs are cached on disk under a checksum of our own, and the size of every output buffer is checked
//!   here before the library sees it.
//!
//! How it will be tested: the conformance suite on the x86-64 emulator of the NPU. What was never run on a phone will be
//! named as such, here and in the README.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod device;
mod ends;
mod error;
#[cfg(test)]
mod faults;
mod lower;
mod plan;
mod product;
mod program;
mod readout;
mod saved;
pub mod sys;

pub use device::{Counters, Qnn, QnnConfig, Store};
pub use error::{DeviceError, QnnError, Reason, Status, Text};
pub use program::GraphCost;
