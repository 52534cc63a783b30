//! `mobiedit-backends`: what every backend shares. no_std, no allocation.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "conformance"))]
extern crate std;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dequant;
pub mod device;
pub mod editing;
pub mod generate;
pub mod gguf;
pub mod model;
pub mod op;
pub mod patches;
pub mod quant;
pub mod transformer;
pub mod weights;
