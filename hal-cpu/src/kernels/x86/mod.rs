//! AVX2 and AVX-512. A value of [`Avx2`] or [`Avx512`] exists only on a CPU that has the instructions: the proof for every
//! `unsafe` here.
//!
//! Only the integer product is written in intrinsics; the rest is the scalar arithmetic, compiled with these instructions.
#![allow(unsafe_code)]

mod avx2;
mod avx512;
mod interleave;

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::ops::Range;

use mobiedit_backends::weights::Matrix;

use super::panel::{self, Panel};

pub(crate) use avx2::Avx2;
pub(crate) use avx512::Avx512;

#[target_feature(enable = "avx2")]
fn fetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
}

#[target_feature(enable = "avx2")]
fn pack(weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) {
    panel::pack(weight, first, blocks, panel, |levels, words| interleave::interleave(levels, words));
}

/// Implements [`Kernels`](crate::kernels::Kernels) for a proof type: each method is the named function inside a function
/// with the level's target features.
macro_rules! kernels {
    ($level:ty, $features:tt, $tile_rows:expr, $integer:path, $spin:path) => {
        impl $crate::kernels::Kernels for $level {
            fn tile_rows(&self) -> usize {
                $tile_rows
            }

            $crate::kernels::x86::kernels!(@ $features, fetch(bytes: &[u8]) -> () = $crate::kernels::x86::fetch);
            $crate::kernels::x86::kernels!(@ $features,
                quantize(x: &[f32], activation: Activation, out: &mut [i16]) -> f32 = quantize_row);
            $crate::kernels::x86::kernels!(@ $features,
                arrange(levels: &[i16], width: usize, columns: Range<usize>, words: &mut [i32], sums: &mut [f32]) -> ()
                    = arrange);
            $crate::kernels::x86::kernels!(@ $features,
                pack(weight: Matrix<'_>, first: usize, blocks: Range<usize>, panel: &mut Panel) -> () = $crate::kernels::x86::pack);
            $crate::kernels::x86::kernels!(@ $features,
                integer(panel: &Panel, x: Tile<'_>, totals: &mut [Lanes]) -> () = $integer);
            $crate::kernels::x86::kernels!(@ $features,
                float(weights: &[f32], x: &[f32], width: usize, first: usize, out: &mut [Lanes]) -> () = float);
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
