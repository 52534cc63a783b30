//! Tests that run where there is no libtest: a list of functions, which a firmware calls one after the other, and which a PC runs
//! as ordinary tests. The first one that panics ends the list. Needs a heap of 2 MiB; prints nothing.
//!
//! The long tests of the crates run under libtest on Linux targets; here are those that say whether a target computes what the
//! others compute.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bits;
mod conformance;
mod edit;

/// A check by its name.
pub type Check = (&'static str, fn());

/// All checks.
pub const CHECKS: [Check; 7] = [
    ("random numbers have their bits", bits::random_numbers),
    ("functions of libm have their bits", bits::functions),
    ("halves are rounded as everywhere", bits::halves),
    ("the scalar device conforms", conformance::suite),
    ("the largest sums do not wrap", conformance::largest),
    ("a damaged model is refused", edit::damaged_model),
    ("an edit goes on from its checkpoint to the same bits", edit::resumed),
];

#[cfg(test)]
mod tests {
    use super::CHECKS;

    #[test]
    fn all_of_them_pass_here() {
        for (_, check) in CHECKS {
            check();
        }
    }
}
