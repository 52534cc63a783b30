//! AVX2 and AVX-512. A value of [`Avx2`] or [`Avx512`] exists only on a CPU that has the instructions: the proof for every
//! `unsafe` here.
//!
//! Only the integer product is written in intrinsics; the rest is the scalar arithmetic, compiled with these instructions.
#![allow(unsafe_code)]

mod avx2;
mod avx512;

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;

/// Implements [`Kernels`](crate::kernels::Kernels) for a proof type: each method is the named function inside a function
/// with the level's target features.
macro_rules! kernels {
    ($level:ty, $features:tt, $integer:path, $spin:path) => {
        impl $crate::kernels::Kernels for $level {
            $crate::kernels::x86::kernels!(@ $features,
                quantize(x: &[f32], activation: Activation, out: &mut [i16]) -> f32 = quantize_row);
            $crate::kernels::x86::kernels!(@ $features,
                pack(weight: Matrix<'_>, first: usize, panel: &mut [PanelBlock], minima: &mut [Lanes]) -> () = pack);
            $crate::kernels::x86::kernels!(@ $features,
                integer(panel: Panel<'_>, x: Pairs<'_>, out: &mut [Lanes]) -> () = $integer);
            $crate::kernels::x86::kernels!(@ $features,
                float(weights: &[f32], x: &[f32], out: &mut [Lanes]) -> () = float);
            $crate::kernels::x86::kernels!(@ $features,
                rms_norm(x: &[f32], weight: &[u8], eps: f32, out: &mut [f32]) -> () = rms_norm);
            $crate::kernels::x86::kernels!(@ $features,
                swiglu(gate: &mut [f32], up: &[f32]) -> () = swiglu);
            $crate::kernels::x86::kernels!(@ $features,
                attend(inputs: &AttentionInputs<'_>, row: usize, scores: &mut [f32], out: &mut [f32]) -> () = attend);
            $crate::kernels::x86::kernels!(@ $features, spin(rounds: usize) -> u64 = $spin);
            $crate::kernels::x86::kernels!(@ $features,
                update(row: &mut Statistics, read: Read, first: usize, logits: &[f32], clean: &[f32]) -> ()
                    = Statistics::update);
        }
    };
    (@ $features:tt, $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:path) => {
        fn $name(&self, $($argument: $type),*) -> $result {
            #[target_feature(enable = $features)]
            fn with_features($($argument: $type),*) -> $result {
                $body($($argument),*)
            }
            // SAFETY: `self` exists, so `new` has found these features on this CPU.
            unsafe { with_features($($argument),*) }
        }
    };
}
use kernels;
