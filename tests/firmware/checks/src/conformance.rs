//! The conformance suite on the scalar device, less what takes an emulator minutes: its oracles compute in f64, which most
//! microcontrollers do in software.

use alloc::vec;

use mobiedit_backends::conformance::{Case, Fill, Profile, cases, check, check_case};
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens, Statistics};

const PROFILE: Profile<'_> =
    Profile { name: "scalar", slack: 1.0, rounding: 0.0, floor: 0.0, unsupported: &[], most_products: 20_000 };

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

/// Every operation in its small cases, and the contract of `ForwardBackend` on small decoders: determinism, the exact cache,
/// batches, patches and undo.
pub(crate) fn suite() {
    let report = with_device(|device| check(device, &PROFILE, None));
    assert!(report.is_clean(), "{report}");
}

/// The worst case of the integer product, at the width of a 3B model's `down_proj`.
pub(crate) fn largest() {
    with_device(|device| {
        let wide = |case: &Case| matches!(case, Case::Linear(p) if p.fill == Fill::Largest && p.inputs == 11008);
        let case = cases().into_iter().find(wide).expect("a case with the largest sums");
        assert_eq!(check_case(&case, device, &PROFILE), Ok(()), "{}", case.id());
    });
}
