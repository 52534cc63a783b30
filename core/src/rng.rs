//! One random stream per (seed, step, index), with the same bits on every target. Not for secrets.
//!
//! The generator is xoshiro256++, its 256 bits filled by SplitMix64 from `mix(seed ^ mix(step · 2³² + index))`. So any
//! stream can be made again at any time, and none has to be stored.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One step of SplitMix64: a bijection of the 64-bit numbers that leaves no pattern of its input.
pub(crate) const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The stream of direction `index` of step `step`.
pub fn stream(seed: u64, step: u32, index: u32) -> impl Rng {
    Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix((u64::from(step) << 32) | u64::from(index))))
}

/// Standard normal numbers by Box–Muller in f32: each 64 random bits give one pair.
///
/// u₁ = (upper 24 bits + 1) / 2²⁴ in (0, 1], u₂ = (24 bits below the middle) / 2²⁴; the pair is √(−2 ln u₁) times
/// (cos 2πu₂, sin 2πu₂), by `libm`. Nothing is rejected, so element i always comes from the same bits; |x| < 5.77.
pub fn gaussian(rng: &mut impl Rng, out: &mut [f32]) {
    const STEP: f32 = 1.0 / (1 << 24) as f32;
    for pair in out.chunks_mut(2) {
        let bits = rng.next_u64();
        let u1 = ((bits >> 40) as f32 + 1.0) * STEP;
        let u2 = ((bits as u32) >> 8) as f32 * STEP;
        let radius = libm::sqrtf(-2.0 * libm::logf(u1));
        let angle = core::f32::consts::TAU * u2;
        for (out, unit) in pair.iter_mut().zip([libm::cosf(angle), libm::sinf(angle)]) {
            *out = radius * unit;
        }
    }
}

/// Numbers that are 1 or −1, from one random bit each, lowest bit first.
pub(crate) fn rademacher(rng: &mut impl Rng, out: &mut [f32]) {
    for block in out.chunks_mut(64) {
        let bits = rng.next_u64();
        for (i, out) in block.iter_mut().enumerate() {
            *out = if (bits >> i) & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    #[test]
    fn the_mix_is_splitmix64() {
        // First outputs of the reference implementation, https://prng.di.unimi.it/splitmix64.c, from state 0.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn the_moments_are_those_of_a_standard_normal() {
        const N: usize = 200_000;
        let mut out = vec![0.0; N + 1];
        gaussian(&mut stream(7, 3, 1), &mut out);
        let moment = |p: i32| out.iter().map(|x| f64::from(*x).powi(p)).sum::<f64>() / out.len() as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.12, "fourth moment {}", moment(4));
        let tail = out.iter().filter(|x| x.abs() > 1.96).count() as f64 / N as f64;
        assert!((tail - 0.05).abs() < 0.003, "tail {tail}");
    }

    #[test]
    fn neighbouring_streams_have_nothing_in_common() {
        let draw = |seed, step, index| {
            let mut out = vec![0.0; 4096];
            gaussian(&mut stream(seed, step, index), &mut out);
            out
        };
        let one = draw(1, 1, 1);
        for other in [draw(2, 1, 1), draw(1, 2, 1), draw(1, 1, 2), draw(1, 0, 1), draw(0, 1, 1)] {
            let correlation = crate::math::dot(&one, &other) / 4096.0;
            assert!(correlation.abs() < 0.08, "correlation {correlation}");
        }
        assert_eq!(one, draw(1, 1, 1));
    }
}
