//! `mobiedit-backends`: what every backend shares. A model file as views, a decoder as a list of operations, and the contract
//! of the hardware that runs them. no_std, no allocation, no unsafe; it knows no instruction set, no file, no text.
//!
//! Read it in this order.
//!
//! 1. **The contract of the hardware.** [`op`]: the dozen operations a decoder needs, and the memory they name. [`device`]: the
//!    one trait that a HAL implements. [`weights`]: matrices as they lie in a file. [`checked`]: operations whose shapes were
//!    found to fit, for every HAL; [`moving`]: those that need no hardware; [`rows`]: rows of slices, without a panic.
//! 2. **The decoder.** [`model`]: its hyper-parameters and weights. [`transformer`]: Llama and Qwen2 on one page, a list of
//!    operations per layer. [`patches`]: the rank-one edits that its linear layers add.
//! 3. **What it is used for.** [`editing`]: the editor's `ForwardBackend`, with the exact prefix cache and all candidates of a
//!    step in one batch. [`generate`]: a sequence that grows by its likeliest token. [`score`]: how well a text is known.
//!    [`trace`]: causal tracing, which shows where a fact lies. [`readers`]: what the layers above an edit read.
//! 4. **The numbers.** [`gguf`]: a model file, every length and offset checked, and the decoder in it. [`dequant`]: its formats
//!    as f32. [`quant`]: the rules of W8A16. [`scales`]: a model's static ones, [`observer`]: what calibration sees of it,
//!    [`calibration`]: the file that keeps that, [`identity`]: which model it is of. [`journal`]: edits kept in a file or in flash,
//!    safe from power cuts.
//! 5. **The proof.** `conformance` (feature of that name, allocates): cases with f64 oracles that every [`device::Device`] has
//!    to pass, alone and with whole decoders.
//!
//! Arrows point down to `mobiedit-core` alone; a HAL builds on this crate and never the other way round.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod calibration;
pub mod checked;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cursor;
pub mod dequant;
pub mod device;
pub mod editing;
pub mod generate;
pub mod gguf;
pub mod identity;
pub mod journal;
pub mod model;
pub mod moving;
pub mod observer;
pub mod op;
pub mod patches;
pub mod quant;
pub mod readers;
pub mod rows;
pub mod scales;
pub mod score;
pub mod trace;
pub mod transformer;
pub mod weights;
