//! The conformance suite on the scalar device, less what takes an emulator minutes: its oracles compute in f64, which most
//! microcontrollers do in software.

use alloc::vec;

use mobiedit_backends::conformance::{Case, Fill, Profile, REQUIRED, cases, check, check_case};
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens, Statistics};

const PROFILE: Profile<'_> = Profile { name: "scalar", slack: 1.0, rounding: 0.0, unsupported: &[] };
/// Cases of more products are left to the targets with libtest.
const MOST_PRODUCTS: usize = 20_000;

fn with_device<R>(run: impl FnOnce(&mut Cpu<'_>) -> R) -> R {
    let lens = ScratchLens::with(11008, 100, 4);
    run(&mut Cpu::new(Scratch {
        activations: &mut vec![0; lens.activations],
        scales: &mut vec![0.0; lens.scales],
        levels: &mut vec![0; lens.levels],
        weights: &mut vec![0.0; lens.weights],
        scores: &mut vec![0.0; lens.scores],
        logits: &mut vec![0.0; lens.logits],
        statistics: &mut vec![Statistics::default(); lens.statistics],
    }))
}

/// Every operation, in its small cases.
pub(crate) fn operations() {
    with_device(|device| {
        let small = cases().into_iter().filter(|case| case.products() <= MOST_PRODUCTS);
        let mut ran = vec![0; REQUIRED.len()];
        for case in small {
            let id = case.id();
            assert_eq!(check_case(&case, device, &PROFILE), Ok(()), "{id}");
            REQUIRED.iter().zip(&mut ran).filter(|(op, _)| id.starts_with(*op)).for_each(|(_, ran)| *ran += 1);
        }
        assert!(ran.iter().all(|ran| *ran > 0), "an operation has no small case: {ran:?}");
    });
}

/// The worst case of the integer product, at the width of a 3B model's `down_proj`.
pub(crate) fn largest() {
    with_device(|device| {
        let wide = |case: &Case| matches!(case, Case::Linear(p) if p.fill == Fill::Largest && p.inputs == 11008);
        let case = cases().into_iter().find(wide).expect("a case with the largest sums");
        assert_eq!(check_case(&case, device, &PROFILE), Ok(()), "{}", case.id());
    });
}

/// The contract of `ForwardBackend` on a small decoder: determinism, the exact cache, batches, patches and undo.
pub(crate) fn decoder() {
    let report = with_device(|device| check(device, &PROFILE, Some("forward/qwen2-W8A16")));
    assert!(report.failures.is_empty() && report.ran.len() >= 8, "{report}");
}
