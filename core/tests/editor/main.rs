//! The editor, driven as a user drives it, on a small model whose losses are computed in f64. No transformer here.

mod faults;
mod footprint;
mod machine;
mod model;
mod resume;
mod search;
