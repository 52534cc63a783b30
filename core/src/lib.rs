//! `mobiedit-core`: the editor. no_std, no allocation, no unsafe.
#![no_std]
#![forbid(unsafe_code)]

pub mod backend;
pub mod prefix_cache;
pub mod problem;
pub mod rank_one;
