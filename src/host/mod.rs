//! What needs an operating system: model files, tokenizer, edits folder, exports. The editing itself is below, in `core`
//! and `backends`.

pub mod atomic_file;
pub mod checkpoint;
pub mod edits;
pub mod identity;
pub mod journal;
pub mod map;
pub mod prompts;
mod scored_bpe;
pub mod statistics;
pub mod tokenizer;
pub mod vocabulary;
