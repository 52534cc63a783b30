//! `mobiedit-core`: the editor. It changes what a language model knows by a rank-one patch of one MLP matrix, found with
//! forward passes only. no_std, no allocation, no unsafe; it knows no hardware, no file, no transformer.
//!
//! Read it in this order.
//!
//! 1. **The contract.** [`problem`]: what is asked for, in tokens. [`backend`]: the one trait the editor drives.
//!    [`prefix_cache`]: how the memory between them is laid out. [`rank_one`]: what comes out.
//! 2. **The edit.** [`editor`]: a state machine; each call of [`Editor::step`] does one unit of work: prefill, a batch of
//!    starts, an optimiser step, or a verification. [`config`]: its settings, each number with its source, and two
//!    presets. [`storage`]: its memory, sized at compile time if need be. [`checkpoint`]: a running edit as bytes, `fingerprint`:
//!    what they are known by. `error`: what can go wrong.
//! 3. **The method**, a file per noun of the paper: `key` (equation 2), `value` (3), `directions` and `estimator` (4, 5),
//!    `optimizer`, `early_stop`, `covariance` and `rank_one` (6); `statistics` is what calibration lends to them.
//! 4. **The ground.** `rng` and `math`: random numbers and sums that have the same bits on every target. [`checksum`]: of what is
//!    kept.
//!
//! `DESIGN.md` beside this crate says why it is so.
#![no_std]
#![forbid(unsafe_code)]

pub mod backend;
pub mod checkpoint;
pub mod checksum;
pub mod config;
mod covariance;
mod directions;
mod early_stop;
pub mod editor;
mod error;
mod estimator;
mod fingerprint;
mod key;
mod math;
mod optimizer;
mod plateau;
pub mod prefix_cache;
pub mod problem;
mod progress;
pub mod rank_one;
pub mod rng;
mod statistics;
pub mod storage;
mod value;

pub use backend::{ForwardBackend, ModelSpec};
pub use config::{CheckedConfig, Config};
pub use editor::Editor;
pub use error::{SetupError, StepError};
pub use half::f16;
pub use problem::{Problem, PromptSet};
pub use progress::{Outcome, Phase, Progress};
pub use rank_one::RankOne;
pub use statistics::{Statistics, StatisticsError};
pub use storage::{EditStorage, Footprint, Limits, OwnedStorage};
