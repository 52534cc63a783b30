//! The reference: every operation in plain Rust, row by row, in the stated order of sums. No threads, no allocation.
//!
//! A row's bits depend on that row alone, never on which other rows are computed with it.

pub(crate) mod attention;
#[cfg(any(test, feature = "std", not(feature = "fast-math")))]
pub(crate) mod exp;
#[cfg(all(feature = "fast-math", any(test, not(feature = "std"))))]
pub(crate) mod exp_integer;
#[cfg(all(feature = "fast-math", any(test, not(feature = "std"))))]
pub(crate) mod fast_math;
pub(crate) mod functions;
pub mod integer;
pub(crate) mod linear;
pub(crate) mod product;
pub(crate) mod readout;
pub(crate) mod rms_norm;
pub(crate) mod sums;
pub(crate) mod swiglu;
