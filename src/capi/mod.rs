//! The C interface: `libmobiedit.a` and `include/mobiedit.h`. no_std, no allocation, no panic; all memory is the caller's.
//!
//! In the shape of littlefs: a config with sizes and buffers whose zeros mean defaults, callbacks with a `void *context`, a
//! state that the caller allocates, negative codes. Token ids go in and out, no text but that of errors.
//!
//! Layers, top down: `editor` (an edit, one unit of work per call) and `patch` (what is done with it at its end); `journal` (edits
//! kept over a power-off) in a `flash` (the firmware's own, by callbacks); `request` (what C asks for, as the editor takes it) and `calibration` (a file of measurements, lent to it); `cpu` and `qnn` (a GGUF in memory or
//! flash on the built-in CPU backend, or on Qualcomm's NPU, which takes std and a heap): `model` is what both have in common, by
//! `model_callbacks` a [`mobiedit_backend`] like the firmware's own, in the memory that `model_memory` divides; `callbacks` (that struct as the editor's `ForwardBackend`); `memory` (the caller's bytes, divided);
//! `types` and `code` (what crosses).
//!
//! An editor alone links no backend: no file but those of `cpu`, `qnn` and `model` names one.

#![allow(non_camel_case_types, reason = "types are named as in the header")]
#![allow(unsafe_code, reason = "pointers from C; every block says who guarantees what")]

mod calibration;
mod callbacks;
mod code;
mod cpu;
mod editor;
mod flash;
mod journal;
mod memory;
mod model;
mod model_callbacks;
mod model_memory;
#[cfg(feature = "panic-handler")]
mod panic;
mod patch;
#[cfg(all(feature = "qnn", unix))]
mod qnn;
mod request;
mod types;

pub use calibration::*;
pub use code::*;
pub use cpu::*;
pub use editor::*;
pub use flash::*;
pub use journal::*;
pub use patch::*;
#[cfg(all(feature = "qnn", unix))]
pub use qnn::*;
pub use types::*;
