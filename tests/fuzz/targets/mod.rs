//! What is fuzzed: functions of bytes that panic where something is wrong, and only there. They choose no bytes.
//!
//! The crate around this folder gives them libFuzzer's bytes, and `tests/fuzz_corpus.rs` the committed seeds and mutations of
//! them. Layers: [`input`] turns bytes into choices, [`limit`] watches the heap, [`moment`] lends folders, [`tiny`] makes small models
//! and edits, and each other file is one target.
#![allow(unreachable_pub, reason = "a library in one place, a module of a test in the other")]

pub mod adapter;
#[cfg(feature = "capi")]
pub mod c_calls;
pub mod calibration;
pub mod checkpoint;
pub mod dataset;
mod flash;
pub mod gguf;
#[path = "../../heap/mod.rs"]
pub mod heap;
pub mod input;
pub mod journal;
pub mod limit;
pub mod moment;
pub mod ops;
mod ops_drawn;
pub mod patches;
pub mod tiny;
pub mod tokenizer;

/// A target and its seeds.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file, of its binary and of its folder of seeds.
    pub name: &'static str,
    /// Panics where something is wrong.
    pub run: fn(&[u8]),
    /// Seeds, as their names and bytes: `tests/fuzz/corpus` holds them, beside those that were found.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "gguf", run: gguf::run, seeds: gguf::seeds },
    Target { name: "journal", run: journal::run, seeds: journal::seeds },
    Target { name: "checkpoint", run: checkpoint::run, seeds: checkpoint::seeds },
    Target { name: "calibration", run: calibration::run, seeds: calibration::seeds },
    Target { name: "dataset", run: dataset::run, seeds: dataset::seeds },
    Target { name: "patches", run: patches::run, seeds: patches::seeds },
    Target { name: "adapter", run: adapter::run, seeds: adapter::seeds },
    Target { name: "tokenizer", run: tokenizer::run, seeds: tokenizer::seeds },
    Target { name: "ops", run: ops::run, seeds: ops::seeds },
    #[cfg(feature = "capi")]
    Target { name: "c_calls", run: c_calls::run, seeds: c_calls::seeds },
];
