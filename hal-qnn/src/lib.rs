//! `mobiedit-hal-qnn`: a `Device` of `mobiedit-backends` on Qualcomm's Hexagon NPU. It allocates, as the library that it drives does.
//!
//! Layers, top down:
//!
//! - [`Qnn`], the device: finds the graphs of a list of operations, or makes them; `program` makes them, or reads them from a
//!   [`Store`], in `saved`'s format;
//! - `plan`, which cuts a list into graphs and what the host moves; `lower`, which makes operations nodes, with `product` for weights;
//!   `ends`, which fills inputs and takes outputs; `readout`, the statistics of logits;
//! - [`sys`], the only module with `unsafe` code: the subset of QNN's interface that is used, declared as `#[repr(C)]` types, so that
//!   building this crate needs no vendor SDK; a library opened at run time (`libQnnHtp.so`, feature `std`), or, for firmware
//!   without a dynamic loader, an interface pointer;
//! - [`DeviceError`] and [`QnnError`], what goes wrong.
//!
//! Weights are int8 per output channel, and activations 16 bits with static scales, or halves. The residual stream stays in f32 on
//! the host; norms, softmax, the edited layer's `down_proj` and the value vector are in floating point. What ran where, and how it is
//! run on a phone: `README.md` beside this crate.
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
pub use program::{GraphCost, OpCost};
