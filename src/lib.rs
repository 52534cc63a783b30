//! MobiEdit: edits what a language model knows, on the device it runs on.
//!
//! The layers, lowest first:
//!
//! - [`core`]: the editor. Searches a value with forward passes alone and solves for the rank-one patch. no_std, no heap.
//! - [`backends`]: the transformer as a list of operations, and the traits that hardware implements. no_std, no heap.
//! - [`hal_cpu`]: those operations on a CPU.
//! - `hal_qnn` (feature `qnn`): the same on Qualcomm's NPU, which `npu` opens. Needs std.
//! - `capi` (feature `capi`): the C interface. no_std, no heap.
//! - `host` (feature `host`): model files, tokenizer, edits folder, exports: all that needs an operating system.
//!
//! The `mobiedit` command line (feature `cli`) is built of these and of nothing else.
#![cfg_attr(not(any(feature = "host", feature = "qnn")), no_std)]

pub use mobiedit_backends as backends;
pub use mobiedit_core as core;
pub use mobiedit_hal_cpu as hal_cpu;
#[cfg(feature = "qnn")]
pub use mobiedit_hal_qnn as hal_qnn;

#[cfg(feature = "capi")]
pub mod capi;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "qnn")]
pub mod npu;
