//! A patch as one number, to compare targets by. No checksum for storage.

use mobiedit_core::RankOne;

/// FNV-1a over the bits of u, then of Λ, each number in little-endian bytes: the same as `tests/c/edit.c`.
pub(crate) fn fingerprint(patch: RankOne<'_>) -> u64 {
    let bytes = patch.u.iter().chain(patch.lambda).flat_map(|number| number.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
