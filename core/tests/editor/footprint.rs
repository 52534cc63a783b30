//! Footprints never say too little: exhaustively over small sizes against the formula of `core/DESIGN.md`, at random up to the
//! largest numbers there are, and by edits in exactly as much memory.

use mobiedit_core::backend::ModelSpec;
use mobiedit_core::config::{Covariance, Directions, Keys, Minibatch};
use mobiedit_core::prefix_cache::CacheLayout;
use mobiedit_core::problem::{Problem, Prompt, Role};
use mobiedit_core::storage::{Part, StorageError};
use mobiedit_core::{Config, Editor, Footprint, Limits, SetupError, Statistics, f16};

use crate::model::{self, Edit, Memory, Model, STRIDE, finish};

const TOKENS: [u32; 3] = [0, 1, 0];

/// Every prompt of up to three tokens with every place for its subject.
fn shapes(role: Role) -> Vec<Prompt<'static>> {
    let of_length =
        |len: usize| (0..len).map(move |subject_last| Prompt { tokens: &TOKENS[..len], subject_last, role });
    (1..=TOKENS.len()).flat_map(of_length).collect()
}

/// Every problem of one or two rewrite prompts and up to one essence prompt of these shapes.
fn problems() -> Vec<Vec<Prompt<'static>>> {
    let (rewrites, essences) = (shapes(Role::Rewrite), shapes(Role::Essence));
    let second = || rewrites.iter().copied().map(Some).chain([None]);
    let third = || essences.iter().copied().map(Some).chain([None]);
    let mut all = Vec::new();
    for first in &rewrites {
        for second in second() {
            all.extend(third().map(|third| [Some(*first), second, third].into_iter().flatten().collect()));
        }
    }
    all
}

/// `core/DESIGN.md`, "Memory", in numbers that do not overflow; cut off where a `usize` ends.
fn documented(spec: &ModelSpec, config: &Config, limits: &Limits) -> Footprint {
    let wide = |n: usize| n as u128;
    let cut = |n: u128| usize::try_from(n).unwrap_or(usize::MAX);
    let (d, ff) = (wide(spec.d_model), wide(spec.d_ff));
    let stored = if config.kind == Directions::Orthogonal { wide(config.directions) } else { 1 };
    let candidates = wide(config.directions) * if config.centre { 3 } else { 2 };
    let narrow = (6 + wide(config.batch) + stored).saturating_mul(d);
    let floats = narrow.saturating_add((6 + wide(limits.prompts)).saturating_mul(ff)).saturating_add(candidates);
    let above = wide(spec.layers).saturating_sub(wide(limits.layer) + 1);
    let tokens = wide(limits.tokens);
    let kept = (2 * above).saturating_mul(tokens).saturating_mul(wide(spec.kv_dim));
    let one = tokens.saturating_mul(d).saturating_add(kept);
    let logits = wide(limits.essences).saturating_mul(wide(spec.vocab));
    let cache = wide(limits.prompts).saturating_mul(one).saturating_add(logits);
    Footprint { floats: cut(floats), cache: cut(cache), losses: config.batch }
}

fn at_least(more: Footprint, less: Footprint) -> bool {
    more.floats >= less.floats && more.cache >= less.cache && more.losses >= less.losses
}

/// An editor takes what its problem's footprint says, and refuses one element less, of every part by name.
fn is_exact(config: Config, spec: &ModelSpec, problem: Problem<'_>) {
    let checked = config.check(spec).unwrap();
    let need = Footprint::for_problem(&checked, &problem);
    let begin = |size: Footprint| {
        let mut memory = Memory::sized(size);
        Editor::new(checked, problem, Statistics::default(), 1, memory.lend()).map(|_| ())
    };
    assert_eq!(begin(need), Ok(()), "{need:?}");
    let short = [
        (Part::Floats, need.floats, Footprint { floats: need.floats - 1, ..need }),
        (Part::Cache, need.cache, Footprint { cache: need.cache - 1, ..need }),
        (Part::Losses, need.losses, Footprint { losses: need.losses - 1, ..need }),
    ];
    for (part, need, size) in short {
        assert_eq!(begin(size), Err(SetupError::Storage(StorageError { part, need, have: need - 1 })));
    }
}

#[test]
fn no_small_problem_needs_more_than_its_footprint_or_than_that_of_its_limits() {
    let mut tried = 0;
    for (index, prompts) in problems().iter().enumerate().step_by(STRIDE) {
        for [layers, d_model, d_ff, kv_dim] in [[2, 1, 1, 1], [3, 2, 3, 1], [4, 3, 1, 2]] {
            let spec = ModelSpec { d_model, d_ff, layers, kv_dim, vocab: 2, max_tokens: 3 };
            for layer in 0..layers - 1 {
                let problem = Problem::new(&spec, layer, prompts, &[1]).unwrap();
                let essences = problem.essences().len();
                let tokens = prompts.iter().map(|p| p.tokens.len()).max().unwrap();
                let limits = Limits { layer, prompts: prompts.len(), essences, tokens };
                for kind in [Directions::Gaussian, Directions::Orthogonal] {
                    for (directions, centre, batch) in [(1, false, 1), (d_model, true, 2), (1, true, 7)] {
                        let config = Config { kind, directions, centre, batch, ..Config::DEFAULT };
                        let exact = Footprint::for_problem(&config.check(&spec).unwrap(), &problem);
                        let of_limits = Footprint::of(&spec, &config, &limits);
                        assert!(at_least(of_limits, exact), "{problem:?}: {exact:?}, of its limits {of_limits:?}");
                        assert_eq!(of_limits, documented(&spec, &config, &limits));
                        let roomier = Limits { prompts: limits.prompts + 1, tokens: tokens + 1, ..limits };
                        assert!(at_least(Footprint::of(&spec, &config, &roomier), of_limits));
                        assert_eq!(exact.cache, CacheLayout::new(spec, problem).len());
                        tried += 1;
                    }
                }
                if index % 7 == 0 {
                    is_exact(Config { directions: 1, batch: 2, ..Config::DEFAULT }, &spec, problem);
                }
            }
        }
    }
    println!("{tried} footprints of small problems");
}

/// Memory that is larger than needed, or just enough: the same bits. Where the editor divided too little, it would read less.
#[test]
fn an_edit_in_exactly_its_footprint_has_the_bits_of_one_in_plenty() {
    let samples: Vec<f16> =
        (0..5 * model::SPEC.d_ff).map(|i| f16::from_f32((i as f32 * 0.61).sin() * 0.7 + 0.1)).collect();
    let bank: Vec<f16> = (0..3 * model::SPEC.d_model).map(|i| f16::from_f32((i as f32 * 0.31).sin())).collect();
    let statistics = Statistics { samples: &samples, bank: &bank, readers: &bank };
    let kinds = [Directions::Gaussian, Directions::Rademacher, Directions::Orthogonal];
    let keys = [Keys::Mean, Keys::Balanced { ridge: 0.01 }];
    let covariances = [Covariance::Identity, Covariance::Samples { ridge: 1.0, iterations: 4 }];
    let mut tried = 0;
    for (kind, keys, covariance, batch, minibatch) in kinds
        .iter()
        .flat_map(|kind| keys.iter().map(move |keys| (kind, keys)))
        .flat_map(|(kind, keys)| covariances.iter().map(move |covariance| (kind, keys, covariance)))
        .flat_map(|(kind, keys, covariance)| [1, 3, 64].map(|batch| (kind, keys, covariance, batch)))
        .flat_map(|(kind, keys, covariance, batch)| {
            [Minibatch::All, Minibatch::Rewrites(1)].map(|minibatch| (*kind, *keys, *covariance, batch, minibatch))
        })
        .step_by(STRIDE)
    {
        let config = Config { max_steps: 2, kind, keys, covariance, batch, minibatch, ..Config::DEFAULT };
        let checked = config.check(&model::SPEC).unwrap();
        // The second has an echo: a key more.
        for with_echo in [false, true] {
            let run = |problem: Problem<'_>, size: Footprint| {
                let mut memory = Memory::sized(size);
                let mut editor = Editor::new(checked, problem, statistics, 3, memory.lend()).unwrap();
                finish(&mut editor, &mut Model::new()).unwrap()
            };
            Edit::new(if with_echo { 20 } else { 6 }).with(|problem| {
                assert_eq!(problem.echo().is_some(), with_echo);
                let exact = Footprint::for_problem(&checked, &problem);
                let Footprint { floats, cache, losses } = exact;
                let plenty = Footprint { floats: 2 * floats + 7, cache: 2 * cache + 7, losses: 2 * losses + 7 };
                assert_eq!(run(problem, exact), run(problem, plenty), "{config:?}");
                tried += 1;
            });
        }
    }
    println!("{tried} edits in exactly their memory");
}

#[cfg(not(target_arch = "hexagon"))]
mod random {
    use proptest::prelude::*;

    use super::*;

    /// Sizes of all magnitudes.
    fn size() -> impl Strategy<Value = usize> {
        (any::<usize>(), 0..usize::BITS).prop_map(|(bits, shift)| bits >> shift)
    }

    fn spec() -> impl Strategy<Value = ModelSpec> {
        (size(), size(), size(), size(), size()).prop_map(|(d_model, d_ff, layers, kv_dim, vocab)| ModelSpec {
            d_model,
            d_ff,
            layers,
            kv_dim,
            vocab,
            max_tokens: usize::MAX,
        })
    }

    fn config() -> impl Strategy<Value = Config> {
        (size(), size(), any::<bool>(), any::<bool>()).prop_map(|(directions, batch, centre, orthogonal)| Config {
            directions,
            batch,
            centre,
            kind: if orthogonal { Directions::Orthogonal } else { Directions::Gaussian },
            ..Config::DEFAULT
        })
    }

    fn limits() -> impl Strategy<Value = Limits> {
        let all = (size(), size(), size(), size());
        all.prop_map(|(layer, prompts, essences, tokens)| Limits { layer, prompts, essences, tokens })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_footprint_of_any_size_is_the_documented_one_or_the_largest_number(
            spec in spec(), config in config(), limits in limits(),
        ) {
            let footprint = Footprint::of(&spec, &config, &limits);
            prop_assert_eq!(footprint, documented(&spec, &config, &limits));
            let bytes = 4 * (footprint.floats as u128 + footprint.cache as u128);
            prop_assert!(footprint.bytes() as u128 >= bytes.min(usize::MAX as u128));
        }
    }
}
