//! Which exponential, root and logarithm the kernels call. Computes none of them.
//!
//! All builds have the same, and so the same bits, but one: with the feature `fast-math` and without `std`, which is meant for
//! a CPU without a floating-point unit, a function is replaced by what is clearly faster there and near enough: `micromath`'s,
//! or integers of our own. `std` wins over the feature: cargo unifies features, and neither `--all-features` nor another crate
//! of a program may change results on a host, where the SIMD levels promise the scalar bits.
//!
//! Instructions a call on a Cortex-M3 (`tests/firmware/fast-math`, without link-time optimisation) and `micromath`'s largest
//! error:
//!
//! | function, on | usual | `libm` | `micromath` | its error | with `fast-math` |
//! |---|---|---|---|---|---|
//! | eˣ, −20 to 0 | 1545 | 1358 | 1470 | 2.4e-3, relative | 60: `exp_integer`, 6.9e-8 off |
//! | 1 / √x, 0.1 to 10 | 216 | 216 | 2; 524 with two of Newton's steps | 3.4e-2; 4.7e-6, relative | 216: `libm` |
//! | ln x, 1 to 1000 | 2910 | 2910 | 1030 | 6.3e-5, absolute | 1030: `micromath` |
//!
//! - The exponential of `micromath` is 5 % faster than the usual one and slower than `libm`'s, which is right to f32. Only
//!   link-time optimisation at opt-level 3 unrolls its loop: 1148. Its error jumps where x / ln 2 is whole; it makes ∞ of NaN,
//!   and NaN of 88.73 to 89.4. In integers it is as near as the usual one, and SwiGLU takes 73,970 instructions, not 451,155.
//! - The root's estimate alone is too far off. With the steps that make it good it is slower than `libm`'s root, which works in
//!   integers, and a division.
//! - The logarithm is off by less than the conformance suite allows a readout in f32, 1e-4. It is called once or twice a row of
//!   a readout, so that little comes of it: 0.006 % of the edit of `tests/c/edit.c`, where the exponential saves 20.7 %.

pub(crate) use libm::sqrtf as sqrt;

#[cfg(all(feature = "fast-math", not(feature = "std")))]
pub(crate) use super::{exp_integer::exp, fast_math::ln};
#[cfg(any(feature = "std", not(feature = "fast-math")))]
pub(crate) use {super::exp::exp, libm::log as ln};

#[cfg(test)]
mod tests {
    #[cfg(feature = "std")]
    #[test]
    fn std_wins_over_fast_math() {
        assert_eq!((super::ln(3.0), super::exp(-0.7)), (libm::log(3.0), super::super::exp::exp(-0.7)));
    }

    #[cfg(all(feature = "fast-math", not(feature = "std")))]
    #[test]
    fn fast_math_is_in_effect() {
        assert_ne!(super::ln(3.0), libm::log(3.0));
    }
}
