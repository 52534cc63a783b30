//! Which instruction set the threaded device uses: found out once, or forced. Does nothing else.

use std::boxed::Box;

use crate::kernels::Kernels;
use crate::kernels::portable::Portable;

/// An instruction set. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Plain Rust, nothing beyond the target's baseline.
    Scalar,
    /// AArch64, all of which have NEON.
    Neon,
    /// AArch64 with `sdot`.
    NeonDot,
    /// AArch64 with `smmla`.
    NeonI8mm,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
}

impl Level {
    /// All levels, slowest first.
    pub const ALL: [Self; 6] = [Self::Scalar, Self::Neon, Self::NeonDot, Self::NeonI8mm, Self::Avx2, Self::Avx512];

    /// The fastest level that this CPU has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().rfind(|level| level.kernels().is_some()).unwrap_or(Self::Scalar)
    }

    /// The level's arithmetic; `None` where the CPU lacks the instructions.
    pub(crate) fn kernels(self) -> Option<Box<dyn Kernels>> {
        match self {
            Self::Scalar => Some(Box::new(Portable)),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => Some(Box::new(crate::kernels::neon::Neon)),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::NeonDot => crate::kernels::neon::NeonDot::new().map(|proof| Box::new(proof) as Box<dyn Kernels>),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::NeonI8mm => crate::kernels::neon::NeonI8mm::new().map(|proof| Box::new(proof) as Box<dyn Kernels>),
            #[cfg(not(all(target_arch = "aarch64", target_endian = "little")))]
            Self::Neon | Self::NeonDot | Self::NeonI8mm => None,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::kernels::x86::Avx2::new().map(|proof| Box::new(proof) as Box<dyn Kernels>),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::kernels::x86::Avx512::new().map(|proof| Box::new(proof) as Box<dyn Kernels>),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => None,
        }
    }
}
