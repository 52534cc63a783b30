//! What needs an operating system: model files, tokenizer, edits folder, exports. The editing itself is below, in `core`
//! and `backends`.
//!
//! - A model: [`map`], [`model_file`], [`vocabulary`], [`tokenizer`]; and all of it ready to run: [`session`].
//! - An edit: [`prompts`] from its words, [`statistics`] from calibration, [`search`] to its end.
//! - What many edits did to a model beside what they were made for: [`health`].
//! - What is measured once: [`calibration`], over a [`text`].
//! - Many edits to measure: [`eval`]; what steps cost as they grow: [`growth`]; both drawn with [`plot`].
//! - What the process takes: [`memory`].
//! - What is kept: [`edits`] in a [`journal`](mobiedit_backends::journal), a [`checkpoint`] of a running one, each with its model's
//!   [`identity`](mobiedit_backends::identity).
//! - Where a fact lies: [`trace`], drawn by [`heat_map`].
//! - What leaves: [`export`], written by [`gguf_file`] and [`atomic_file`]; models of random weights to measure on, by [`synthetic`].

pub mod atomic_file;
pub mod calibration;
pub mod checkpoint;
pub mod device;
pub mod edits;
pub mod eval;
pub mod export;
pub mod gguf_file;
pub mod growth;
pub mod health;
pub mod heat_map;
mod journal;
mod locked;
pub mod map;
pub mod memory;
pub mod model_file;
pub mod multiplied;
pub mod plot;
pub mod prompts;
mod scored_bpe;
pub mod search;
pub mod session;
pub mod statistics;
pub mod synthetic;
pub mod text;
pub mod tokenizer;
pub mod trace;
pub mod vocabulary;
