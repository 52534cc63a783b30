//! QNN's interface as far as it is used here: declarations, and the code that calls them. It knows no operation of ours.
//!
//! It is the only module of the crate with `unsafe` code. Layers, top down:
//! - [`Graph`], which [`Builder`] makes in a [`Context`]: what is executed;
//! - [`Burst`]: a vote for the highest clocks;
//! - [`Session`]: a log, a backend and a device of one library, given back in order;
//! - [`Interface`]: a library that was found to be the NPU's, in a version whose layout is known here. `library` opens one
//!   by its path (feature `std`), with `stdout` kept clean meanwhile;
//! - [`table`], [`tensor`], [`config`]: the declarations, in our words, of the layouts that the SDK's header of core API
//!   2.32 has; `layout` compares sizes and offsets when the crate is compiled for 64 bits.
//!
//! What C has as an enumeration is a `u32` with constants here: a library may know values that this crate does not.
#![allow(unsafe_code)]

pub mod config;
mod context;
#[cfg(test)]
pub(crate) mod fake;
mod graph;
mod interface;
#[cfg(target_pointer_width = "64")]
mod layout;
#[cfg(all(feature = "std", unix))]
mod library;
mod log;
mod power;
mod profile;
mod session;
mod shared;
#[cfg(all(feature = "std", unix))]
mod stdout;
pub mod table;
pub mod tensor;
#[cfg(all(test, feature = "std", unix))]
mod trial;

pub use context::Context;
pub use graph::{Builder, Constant, End, Graph, Node, Quantize, Shape, TensorId, Value};
pub use interface::{Interface, Versions};
pub use log::LogConfig;
pub use power::{Burst, Clocks, Infrastructure, PowerConfig};
pub use profile::{Event, Profile, ProfileLevel, Unit};
pub use session::{Session, SessionConfig};
pub use shared::{MemDescriptor, MemShape, SharedBuffers, SharedMemory};
