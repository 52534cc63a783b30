//! Round trips: every combination of tags, states at random, and bytes at random. Whole edits that are left and gone on with:
//! `core/tests/editor/resume.rs` and `machine.rs`.

extern crate std;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::optimizer::Memory;

const D: usize = 3;
const FINGERPRINT: u64 = 0x0123_4567_89AB_CDEF;

fn written(seed: u64, state: State, vectors: [[f32; D]; 3]) -> Vec<u8> {
    let [delta, best, gradient] = &vectors;
    let snapshot = Snapshot { fingerprint: FINGERPRINT, seed, state, vectors: [&delta[..], &best[..], &gradient[..]] };
    let mut bytes = vec![0xAA; checkpoint_len(D)];
    assert_eq!(snapshot.write(&mut bytes), Ok(bytes.len()));
    bytes
}

/// Seed, state and vectors; on an error it is asserted that nothing was changed.
fn read(bytes: &[u8]) -> Result<(u64, State, [[f32; D]; 3]), CheckpointError> {
    let mut vectors = [[7.5; D]; 3];
    let [delta, best, gradient] = &mut vectors;
    let before = State::new(Phase::Search);
    let lent = [&mut delta[..], &mut best[..], &mut gradient[..]];
    let mut snapshot = Snapshot { fingerprint: FINGERPRINT, seed: 99, state: before, vectors: lent };
    let result = snapshot.read(bytes);
    let (seed, state) = (snapshot.seed, snapshot.state);
    if result.is_err() {
        assert_eq!((seed, state, vectors), (99, before, [[7.5; D]; 3]));
    }
    result.map(|()| (seed, state, vectors))
}

/// What a checkpoint makes of the cache: it is not kept.
fn left(cache: Validity) -> Validity {
    if cache == Validity::Fresh { Validity::Lost } else { cache }
}

#[test]
fn of_all_tags_those_of_an_edit_come_back_and_the_others_are_refused() {
    let phases = [Phase::Prefill, Phase::Bank, Phase::Search, Phase::Verify, Phase::Done];
    let outcomes = [None, Some(Outcome::Success), Some(Outcome::Exhausted)];
    let mut back = 0;
    for phase in phases {
        for outcome in outcomes {
            for cache in [Validity::Empty, Validity::Fresh, Validity::Stale, Validity::Lost] {
                let state = State { outcome, cache, ..State::new(phase) };
                let bytes = written(5, state, [[0.5; D]; 3]);
                let ended = phase == Phase::Done;
                if phase != Phase::Prefill && ended == outcome.is_some() {
                    let expected = State { cache: left(cache), ..state };
                    assert_eq!(read(&bytes), Ok((5, expected, [[0.5; D]; 3])));
                    back += 1;
                } else {
                    assert_eq!(read(&bytes), Err(CheckpointError::Content), "{phase:?}, {outcome:?}, {cache:?}");
                }
            }
        }
    }
    assert_eq!(back, (3 + 2) * 4);
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let bytes = written(1, State::new(Phase::Search), [[0.0; D]; 3]);
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(read(&[&bytes[..], &[0]].concat()).is_err());
}

#[cfg(not(target_arch = "hexagon"))]
mod random {
    use proptest::prelude::*;

    use super::*;

    fn real() -> impl Strategy<Value = f32> {
        any::<u32>().prop_map(f32::from_bits)
    }

    fn vector() -> impl Strategy<Value = [f32; D]> {
        [real(), real(), real()]
    }

    fn state() -> impl Strategy<Value = State> {
        let running = prop_oneof![Just(Phase::Bank), Just(Phase::Search), Just(Phase::Verify)].prop_map(|p| (p, None));
        let ended = prop_oneof![Just(Outcome::Success), Just(Outcome::Exhausted)].prop_map(|o| (Phase::Done, Some(o)));
        let cache = prop_oneof![Just(Validity::Empty), Just(Validity::Fresh), Just(Validity::Stale)];
        let counters = any::<[u32; 7]>();
        let reals = proptest::collection::vec(real(), 8);
        (prop_oneof![running, ended], cache, counters, reals, any::<[u64; 2]>()).prop_map(
            |((phase, outcome), cache, counters, reals, [evaluations, rows])| {
                let [step, starts, best_start, first_verified, cache_refreshes, since, stale_since] = counters;
                let real = |i: usize| reals[i];
                State {
                    phase,
                    outcome,
                    cache,
                    step,
                    starts,
                    best_start,
                    best_loss: real(0),
                    first_verified,
                    best_written: real(1),
                    evaluations,
                    rows,
                    cache_refreshes,
                    memory: Memory { shrunk: real(2), plateau: Plateau { mark: real(3), since } },
                    staleness: Plateau { mark: real(4), since: stale_since },
                    seen: Seen { loss: real(5), nll: real(6), kl: real(7) },
                }
            },
        )
    }

    fn reals(state: &State) -> [f32; 8] {
        let Seen { loss, nll, kl } = state.seen;
        let marks = [state.memory.plateau.mark, state.staleness.mark];
        [state.best_loss, state.best_written, state.memory.shrunk, marks[0], marks[1], loss, nll, kl]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_state_of_numbers_comes_back_and_no_other(state in state(), vectors in [vector(), vector(), vector()], seed: u64) {
            let bytes = written(seed, state, vectors);
            let finite = vectors.as_flattened().iter().all(|x| x.is_finite());
            if finite && !reals(&state).iter().any(|x| x.is_nan()) {
                let expected = State { cache: left(state.cache), ..state };
                let back = read(&bytes);
                prop_assert_eq!(back, Ok((seed, expected, vectors)));
                // To the last bit: what was read is written again.
                prop_assert_eq!(written(seed, expected, vectors), bytes);
            } else {
                prop_assert_eq!(read(&bytes), Err(CheckpointError::Content));
            }
        }

        #[test]
        fn a_changed_bit_is_found_wherever_it_is(state in state(), vectors in [vector(), vector(), vector()], at: usize) {
            let mut bytes = written(3, state, vectors);
            let bit = at % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn bytes_at_random_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2 * checkpoint_len(D))) {
            let begun = [&MAGIC[..], &CHECKPOINT_VERSION.to_le_bytes(), &bytes].concat();
            prop_assert!(read(&bytes).is_err() && read(&begun).is_err());
        }
    }
}
