//! The conformance suite on every level of this crate. The arithmetic's own expectations are the suite's, none are here.
//!
//! `MOBIEDIT_CASE=text` runs the cases whose ids contain the text.

use mobiedit_backends::conformance::{self, Profile};
use mobiedit_backends::device::Device;
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens, Statistics};

/// The bounds of f32 arithmetic, for `fast-math` without `std` too: micromath's logarithm is off by 6.3e-5, less than a readout
/// may be.
fn profile(name: &str) -> Profile<'_> {
    Profile { name, slack: 1.0, rounding: 0.0, floor: 0.0, unsupported: &[], most_products: MOST_PRODUCTS }
}

/// QEMU multiplies an oracle's f64 for a Hexagon some hundred times more slowly than this machine does, and AArch64's vectors some
/// ten times; that target is QEMU's where its C library is musl.
const MOST_PRODUCTS: usize = if cfg!(target_arch = "hexagon") {
    20_000
} else if cfg!(all(target_arch = "aarch64", target_env = "musl")) {
    500_000
} else {
    usize::MAX
};

fn conforms(name: &str, device: &mut impl Device) {
    let filter = std::env::var("MOBIEDIT_CASE").ok();
    let report = conformance::check(device, &profile(name), filter.as_deref());
    println!("{report}");
    assert!(report.is_clean() || filter.is_some() && report.failures.is_empty(), "{name}: {report}");
}

/// Calls `f` with a scalar device that multiplies this many rows at once.
fn with_scalar<R>(tile_rows: usize, f: impl FnOnce(&mut Cpu<'_>) -> R) -> R {
    let lens = ScratchLens::with(11008, 100, tile_rows);
    f(&mut Cpu::new(Scratch {
        activations: &mut vec![0; lens.activations],
        scales: &mut vec![0.0; lens.scales],
        levels: &mut vec![0; lens.levels],
        weights: &mut vec![0.0; lens.weights],
        scores: &mut vec![0.0; lens.scores],
        logits: &mut vec![0.0; lens.logits],
        statistics: &mut vec![Statistics::default(); lens.statistics],
    }))
}

#[test]
fn scalar_conforms() {
    with_scalar(8, |cpu| conforms("scalar", cpu));
}

#[test]
fn scratch_of_another_size_gives_the_same_bits() {
    let most = profile("scalar").most_products;
    for case in conformance::cases().into_iter().filter(|case| case.products() <= most) {
        let one = with_scalar(1, |cpu| conformance::bits(&case, cpu));
        let many = with_scalar(100, |cpu| conformance::bits(&case, cpu));
        assert!(one.is_ok() && one == many, "{}", case.id());
    }
}

#[test]
fn too_little_scratch_is_an_error_before_anything_is_written() {
    use mobiedit_backends::device::Memory;
    use mobiedit_backends::op::{Activation, Op, Pool, Slot};
    use mobiedit_backends::weights::{Format, Matrix};
    use mobiedit_hal_cpu::{CpuError, Reason};

    let (x, out) = (Slot { pool: Pool::Work, start: 0, len: 8 }, Slot { pool: Pool::Work, start: 8, len: 2 });
    let weight = Matrix::new(Format::F32, 2, 8, &[0; 64]).unwrap();
    let add = Op::Add { x: Slot { len: 2, ..x }, y: out };
    let linear = Op::Linear { x, weight, bias: None, side: &[], activation: Activation::F32, out };
    let mut work = [1.0; 10];
    let error = Cpu::new(Scratch::default()).run(&mut Memory { work: &mut work, cache: &mut [] }, &[add, linear]);
    assert_eq!(error, Err(CpuError { op: 1, reason: Reason::Scratch { need: 8, given: 0 } }));
    assert_eq!(work, [2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
}

#[cfg(feature = "std")]
mod fast {
    use super::*;
    use mobiedit_hal_cpu::{FastCpu, Level};

    /// Calls `f` with each level of this CPU, on 1 and on 2 threads.
    fn each(mut f: impl FnMut(&str, &mut FastCpu) + Send) {
        for level in Level::ALL {
            let Some(mut cpu) = FastCpu::with_level(level) else {
                println!("not run: {level:?} (this CPU lacks the instructions)");
                continue;
            };
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| f(&format!("{level:?} on {threads} threads"), &mut cpu));
            }
        }
    }

    #[test]
    fn every_level_conforms() {
        each(conforms);
    }

    #[test]
    fn every_level_gives_the_scalar_bits() {
        let most = profile("scalar").most_products;
        let cases: Vec<_> = conformance::cases().into_iter().filter(|case| case.products() <= most).collect();
        let expected: Vec<_> =
            with_scalar(8, |cpu| cases.iter().map(|case| conformance::bits(case, cpu).unwrap()).collect());
        each(|name, cpu| {
            for (case, expected) in cases.iter().zip(&expected) {
                assert_eq!(&conformance::bits(case, cpu).unwrap(), expected, "{name}: {}", case.id());
            }
        });
    }
}
