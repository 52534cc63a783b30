//! Numbers that have the same bits on every target: their fingerprints are written down here, as an x86-64 computed them.

use alloc::vec;

use mobiedit_core::{f16, rng};

/// FNV-1a over the bits of numbers.
fn fingerprint(numbers: impl IntoIterator<Item = f32>) -> u64 {
    numbers
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The directions' ground: normal numbers of a stream.
pub(crate) fn random_numbers() {
    let mut numbers = vec![0.0; 4097];
    rng::gaussian(&mut rng::stream(42, 3, 1), &mut numbers);
    assert_eq!(fingerprint(numbers), 11_328_319_051_144_747_437);
}

/// Those that the crates call, over what they are called with and more.
pub(crate) fn functions() {
    let sweep = |from: f32, to: f32| (0..=4000).map(move |i| from + (to - from) * (i as f32 / 4000.0));
    let of = |from, to, f: fn(f32) -> f32| fingerprint(sweep(from, to).map(f));
    let found = [
        of(0.0, 1e6, libm::sqrtf),
        of(-100.0, 100.0, libm::expf),
        of(1e-9, 1e4, libm::logf),
        of(-300.0, 300.0, libm::sinf),
        of(-300.0, 300.0, libm::cosf),
        of(-1.0, 0.0, |x| libm::powf(1e6, x)),
        of(1e-9, 1e4, |x| libm::log(f64::from(x)) as f32),
    ];
    assert_eq!(
        found,
        [
            7_780_934_807_993_064_108,
            11_822_363_307_894_645_750,
            459_630_442_371_800_099,
            16_475_644_235_313_757_744,
            13_873_563_713_906_466_738,
            5_666_919_756_141_563_963,
            6_943_139_082_183_947_829,
        ]
    );
}

/// Conversions from f32 to f16 and back, subnormal and infinite results among them.
pub(crate) fn halves() {
    let numbers = (0..=4000).map(|i| libm::powf(2.0, i as f32 / 100.0 - 26.0) * if i % 2 == 0 { 1.0 } else { -1.0 });
    assert_eq!(fingerprint(numbers.map(|x| f16::from_f32(x).to_f32())), 16_971_451_655_882_950_083);
}
