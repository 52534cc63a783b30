//! `mobiedit-backends`: what every backend shares. no_std, no allocation.
#![no_std]
#![forbid(unsafe_code)]

pub mod device;
pub mod model;
pub mod op;
pub mod weights;
