//! `mobiedit-hal-qnn`: a `Device` of `mobiedit-backends` on Qualcomm's Hexagon NPU. It holds nothing yet.
//!
//! Why nothing: the device contract and its conformance suite are settled on the CPU first, where every result can be
//! compared with an f64 reference. A backend written before them would settle them by accident.
//!
//! What it will be:
//!
//! - The QNN library is opened at run time (`libQnnHtp.so`), so building this crate needs no vendor SDK. The subset of
//!   its interface that is used is declared here as `#[repr(C)]` types in `sys`, the only module with `unsafe` code.
//!   Firmware, which has no dynamic loader, hands in the interface pointer instead.
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
