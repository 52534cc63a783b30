//! What the search reaches, what it costs, and that its numbers are honest.

use mobiedit_core::backend::{ForwardBackend, ModelSpec};
use mobiedit_core::config::{Anchor, Covariance, Directions, EarlyStop, Minibatch};
use mobiedit_core::storage::{Part, StorageError};
use mobiedit_core::{Config, Editor, Footprint, Limits, Outcome, OwnedStorage, Phase, SetupError, Statistics};
use mobiedit_core::{StatisticsError, f16};

use crate::model::{Edit, LAYER, Memory, Model, Run, SPEC, STRIDE, edit, finish};

fn median(mut passes: Vec<u64>) -> u64 {
    passes.sort_unstable();
    passes[passes.len() / 2]
}

#[test]
fn both_presets_succeed_and_the_default_needs_an_eighth_of_the_passes() {
    let passes = |config| {
        let runs = (0..12).step_by(STRIDE).map(|number| edit(config, number, Statistics::default(), 1).0.last);
        runs.map(|last| {
            assert_eq!(last.outcome, Some(Outcome::Success), "{last:?}");
            last.forward_passes
        })
        .collect::<Vec<_>>()
    };
    let (paper, default) = (passes(Config::PAPER), passes(Config::DEFAULT));
    assert!(8 * median(default.clone()) <= median(paper.clone()), "default {default:?}, paper {paper:?}");
}

#[test]
fn the_written_model_says_the_target_and_undo_gives_the_old_one_back() {
    for config in [Config::DEFAULT, Config { anchor: Anchor::FirstPrompt, ..Config::DEFAULT }] {
        let config = config.check(&SPEC).unwrap();
        let mut model = Model::new();
        Edit::new(5).with(|problem| {
            let before = model.evaluate(&problem).unwrap();
            assert!(!before.is_greedy());
            let mut memory = Memory::new(&config, &problem);
            let mut editor = Editor::new(config, problem, Statistics::default(), 3, memory.lend()).unwrap();
            assert!(editor.patch().is_none());
            finish(&mut editor, &mut model).unwrap();
            assert_eq!(model.evaluate(&problem).unwrap(), before, "the editor leaves no patch behind");
            let patch = model.apply(editor.patch().unwrap()).unwrap();
            let after = model.evaluate(&problem).unwrap();
            assert!(after.is_greedy() && after.p_target() >= config.config().early_stop.min_probability, "{after:?}");
            model.remove(patch).unwrap();
            assert_eq!(model.evaluate(&problem).unwrap(), before);
        });
    }
}

#[test]
fn passes_and_rows_are_those_that_the_model_computed() {
    let bank = bank(17);
    let statistics = Statistics { bank: &bank, ..Statistics::default() };
    let rewrites = Edit::new(2).with(|problem| problem.rewrites().len());
    let ours = Config { max_steps: 9, ..Config::DEFAULT };
    let few = Config { minibatch: Minibatch::Rewrites(1), ..ours };
    let all = Config { minibatch: Minibatch::All, ..ours };
    for config in [Config { max_steps: 100, ..Config::PAPER }, all, few] {
        let (run, model) = edit(config, 2, statistics, 4);
        let prompts = (rewrites + config.essences) as u64;
        assert_eq!(
            (run.last.forward_passes, run.last.rows),
            (model.evaluated.div_ceil(prompts) + model.whole, model.rows)
        );
        assert_eq!(run.last.cache_refreshes + 1, model.prefills);
    }
}

#[test]
fn a_published_step_is_three_passes_a_direction_and_ours_two() {
    let all = Config { minibatch: Minibatch::All, ..Config::DEFAULT };
    for (config, passes) in [(Config::PAPER, 15), (all, 2 * all.directions as u64)] {
        let config = config.check(&SPEC).unwrap();
        Edit::new(1).with(|problem| {
            let mut memory = Memory::new(&config, &problem);
            let mut editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
            let mut model = Model::new();
            assert_eq!(editor.step(&mut model).unwrap().phase, Phase::Prefill);
            let progress = editor.step(&mut model).unwrap();
            assert_eq!((progress.phase, progress.step), (Phase::Search, 1));
            let prompts = (problem.rewrites().len() + config.config().essences) as u64;
            assert_eq!((progress.forward_passes, model.evaluated), (passes, passes * prompts));
        });
    }
}

#[test]
fn the_batch_size_changes_no_bit() {
    let bank = bank(8);
    let statistics = Statistics { bank: &bank, ..Statistics::default() };
    for base in [Config { max_steps: 30, ..Config::PAPER }, Config::DEFAULT] {
        let reference = edit(base, 6, statistics, 9).0;
        for batch in [3, 1, 4, 64].into_iter().step_by(STRIDE) {
            assert_eq!(edit(Config { batch, ..base }, 6, statistics, 9).0, reference, "batch {batch}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_other_ones() {
    for kind in [Directions::Gaussian, Directions::Rademacher, Directions::Orthogonal] {
        let config = Config { kind, ..Config::DEFAULT };
        let one = edit(config, 3, Statistics::default(), 5).0;
        assert_eq!(one.last.outcome, Some(Outcome::Success), "{kind:?}");
        assert_eq!(one, edit(config, 3, Statistics::default(), 5).0, "{kind:?}");
        assert_ne!(one.delta, edit(config, 3, Statistics::default(), 6).0.delta, "{kind:?}");
    }
}

#[test]
fn a_covariance_gives_another_key_that_edits_as_well() {
    let samples: Vec<f16> = (0..50 * SPEC.d_ff).map(|i| f16::from_f32((i as f32 * 0.7).sin() + 0.5)).collect();
    let statistics = Statistics { samples: &samples, ..Statistics::default() };
    let with = edit(Config::DEFAULT, 4, statistics, 1).0;
    let without = edit(Config { covariance: Covariance::Identity, ..Config::DEFAULT }, 4, statistics, 1).0;
    assert_eq!((with.last.outcome, without.last.outcome), (Some(Outcome::Success), Some(Outcome::Success)));
    assert_ne!(with.u, without.u);
}

#[test]
fn a_second_edit_keeps_off_the_first() {
    let wide = |run: &Run| -> Vec<f64> { run.u.iter().map(|bits| f64::from(f32::from_bits(*bits))).collect() };
    let inner = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let overlap = |apart: bool| {
        let config = Config { apart, covariance: Covariance::Identity, ..Config::DEFAULT };
        let (first, mut model) = edit(config, 4, Statistics::default(), 1);
        let numbers = |bits: &[u32]| -> Vec<f32> { bits.iter().map(|bits| f32::from_bits(*bits)).collect() };
        let (u, lambda) = (numbers(&first.u), numbers(&first.lambda));
        model.apply(mobiedit_core::RankOne { layer: LAYER, u: &u, lambda: &lambda }).unwrap();
        let checked = config.check(&SPEC).unwrap();
        let second = Edit::new(9).with(|problem| {
            let mut memory = Memory::new(&checked, &problem);
            let mut editor = Editor::new(checked, problem, Statistics::default(), 2, memory.lend()).unwrap();
            finish(&mut editor, &mut model).unwrap()
        });
        assert_eq!(second.last.outcome, Some(Outcome::Success));
        let (one, other) = (wide(&first), wide(&second));
        inner(&one, &other) / (inner(&one, &one) * inner(&other, &other)).sqrt()
    };
    assert!(overlap(true).abs() < 1e-5, "{}", overlap(true));
    assert!(overlap(false).abs() > 1e-2, "{}", overlap(false));
}

/// Values of other subjects, the way calibration would collect them.
fn bank(count: u32) -> Vec<f16> {
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    let values = (0..count).flat_map(|number| {
        Edit::new(number + 10).with(|problem| {
            let need = Footprint::for_problem(&config, &problem);
            let (mut cache, mut value) = (vec![0.0; need.cache], vec![0.0; SPEC.d_model]);
            let mut keys = vec![0.0; problem.key_rows() * SPEC.d_ff];
            Model::new().prefill(&problem, &mut cache, &mut keys, &mut value).unwrap();
            value
        })
    });
    values.map(f16::from_f32).collect()
}

#[test]
fn a_bank_that_holds_the_answer_saves_most_of_the_search() {
    let config = Config { weight_decay: 0.0, ..Config::DEFAULT };
    let plain = edit(config, 7, Statistics::default(), 2).0;
    // The bank: values of other subjects, and among them one that says the target.
    let checked = config.check(&SPEC).unwrap();
    let mut values = bank(20);
    let solved: Vec<f32> = plain.delta.iter().map(|x| f32::from_bits(*x)).collect();
    Edit::new(7).with(|problem| {
        let need = Footprint::for_problem(&checked, &problem);
        let (mut cache, mut value) = (vec![0.0; need.cache], vec![0.0; SPEC.d_model]);
        let mut keys = vec![0.0; problem.key_rows() * SPEC.d_ff];
        Model::new().prefill(&problem, &mut cache, &mut keys, &mut value).unwrap();
        let row = values.chunks_exact_mut(SPEC.d_model).nth(13).unwrap();
        row.iter_mut().zip(value.iter().zip(&solved)).for_each(|(to, (v, d))| *to = f16::from_f32(v + d));
    });
    let banked = edit(config, 7, Statistics { bank: &values, ..Statistics::default() }, 2).0;
    assert_eq!(banked.last.outcome, Some(Outcome::Success));
    assert!(3 * banked.last.step <= plain.last.step, "{} and {} steps", banked.last.step, plain.last.step);
    // 21 starts, and a step with a verification at most each time.
    assert!(banked.last.forward_passes <= 21 + 11 * u64::from(banked.last.step));
}

#[test]
fn an_exhausted_edit_keeps_the_best_value_and_its_patch() {
    let short = Config { max_steps: 5, ..Config::DEFAULT };
    let (run, mut model) = edit(short, 8, Statistics::default(), 1);
    assert_eq!((run.last.outcome, run.last.step), (Some(Outcome::Exhausted), 5));
    Edit::new(8).with(|problem| {
        let before = model.evaluate(&problem).unwrap();
        let floats = |bits: &[u32]| bits.iter().map(|x| f32::from_bits(*x)).collect::<Vec<_>>();
        let (u, lambda) = (floats(&run.u), floats(&run.lambda));
        model.apply(mobiedit_core::RankOne { layer: problem.layer(), u: &u, lambda: &lambda }).unwrap();
        let after = model.evaluate(&problem).unwrap();
        assert!(after.nll < before.nll, "{} and {}", after.nll, before.nll);
        assert_eq!(after.nll, run.last.nll, "what was reported is what is written");
    });
}

/// An aim that no δ reaches: the search ends when patience does, with the best δ that was verified.
#[test]
fn an_aim_out_of_reach_ends_with_the_best_that_was_written() {
    let early_stop = EarlyStop { aim: 0.999_999_9, patience: 12, ..Config::DEFAULT.early_stop };
    let config = Config { early_stop, ..Config::DEFAULT }.check(&SPEC).unwrap();
    Edit::new(8).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let mut editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
        let (mut model, mut written) = (Model::new(), Vec::new());
        let last = loop {
            let progress = editor.step(&mut model).unwrap();
            if progress.phase == Phase::Verify {
                written.push((progress.step, progress.p_target));
            }
            if progress.outcome.is_some() {
                break progress;
            }
        };
        let best = written.iter().map(|(_, p)| *p).fold(0.0, f32::max);
        assert_eq!((last.outcome, last.step), (Some(Outcome::Success), written[0].0 + 12), "{written:?}");
        assert!(written.len() > 2 && last.p_target == best && best > written[0].1, "{written:?}");
    });
}

#[test]
fn delta_never_leaves_the_ball() {
    let config = Config { clamp: 0.3, max_steps: 40, ..Config::DEFAULT }.check(&SPEC).unwrap();
    Edit::new(9).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let mut cache = vec![0.0; Footprint::for_problem(&config, &problem).cache];
        let (mut keys, mut value) = (vec![0.0; problem.key_rows() * SPEC.d_ff], vec![0.0; SPEC.d_model]);
        let mut model = Model::new();
        model.prefill(&problem, &mut cache, &mut keys, &mut value).unwrap();
        let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let longest = 0.3 * norm(&value) * 1.00001;
        let mut editor = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).unwrap();
        let mut on_the_edge = false;
        while editor.step(&mut model).unwrap().outcome.is_none() {
            assert!(norm(editor.delta()) <= longest);
            on_the_edge |= norm(editor.delta()) > 0.99 * longest;
        }
        assert!(on_the_edge, "the clamp was never needed: the test shows nothing");
    });
}

#[test]
fn the_published_rule_refreshes_the_cache_of_a_stalled_edit_and_ours_never() {
    // So far from the target that nothing moves: a tiny ball.
    let stalled = |config| edit(Config { clamp: 1e-6, max_steps: 20, ..config }, 1, Statistics::default(), 1).0.last;
    let (paper, default) = (stalled(Config::PAPER), stalled(Config::DEFAULT));
    assert!((5..=7).contains(&paper.cache_refreshes), "{} refreshes", paper.cache_refreshes);
    assert_eq!(default.cache_refreshes, 0);
}

#[test]
fn a_storage_that_is_too_small_is_named_before_any_work() {
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    Edit::new(0).with(|problem| {
        let need = Footprint::for_problem(&config, &problem);
        let check = |have: Footprint, part, need| {
            let mut memory = Memory::sized(have);
            let error = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).err();
            let expected = StorageError { part, need, have: need - 1 };
            assert_eq!(error, Some(SetupError::Storage(expected)));
        };
        check(Footprint { floats: need.floats - 1, ..need }, Part::Floats, need.floats);
        check(Footprint { cache: need.cache - 1, ..need }, Part::Cache, need.cache);
        check(Footprint { losses: need.losses - 1, ..need }, Part::Losses, need.losses);
    });
}

#[test]
fn sizes_beyond_memory_are_a_storage_too_small() {
    let vast = ModelSpec { layers: usize::MAX, kv_dim: usize::MAX, vocab: usize::MAX, ..SPEC };
    let many = Config { directions: usize::MAX, kind: Directions::Gaussian, ..Config::DEFAULT };
    Edit::new(0).with(|problem| {
        for (config, spec, part) in [(many, SPEC, Part::Floats), (Config::DEFAULT, vast, Part::Cache)] {
            let config = config.check(&spec).unwrap();
            let need = Footprint::for_problem(&config, &problem);
            assert_eq!(if part == Part::Floats { need.floats } else { need.cache }, usize::MAX);
            let mut memory = Memory::sized(Footprint { floats: 10_000, cache: 10_000, losses: 10 });
            let error = Editor::new(config, problem, Statistics::default(), 1, memory.lend()).err();
            assert_eq!(error, Some(SetupError::Storage(StorageError { part, need: usize::MAX, have: 10_000 })));
        }
    });
}

#[test]
fn a_static_sized_at_compile_time_does_for_every_problem_within_its_limits() {
    const NEED: Footprint =
        Footprint::of(&SPEC, &Config::DEFAULT, &Limits { layer: 1, prompts: 6, essences: 2, tokens: 7 });
    let mut storage = Box::new(OwnedStorage::<{ NEED.floats }, { NEED.cache }, { NEED.losses }>::new());
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    for number in [3, 4] {
        let reference = edit(Config::DEFAULT, number, Statistics::default(), 5).0;
        Edit::new(number).with(|problem| {
            let mut editor = Editor::new(config, problem, Statistics::default(), 5, storage.lend()).unwrap();
            assert_eq!(finish(&mut editor, &mut Model::new()).unwrap(), reference);
        });
    }
}

#[test]
fn statistics_of_the_wrong_shape_are_refused() {
    let config = Config::DEFAULT.check(&SPEC).unwrap();
    let zeros = vec![f16::ZERO; 65];
    let infinite = vec![f16::INFINITY; SPEC.d_model];
    let cases = [
        (Statistics { samples: &zeros, ..Statistics::default() }, StatisticsError::SamplesLength),
        (Statistics { bank: &zeros, ..Statistics::default() }, StatisticsError::BankLength),
        (Statistics { readers: &zeros, ..Statistics::default() }, StatisticsError::ReadersLength),
        (Statistics { bank: &infinite, ..Statistics::default() }, StatisticsError::NotFinite),
    ];
    for (statistics, expected) in cases {
        Edit::new(0).with(|problem| {
            let mut memory = Memory::new(&config, &problem);
            let error = Editor::new(config, problem, statistics, 1, memory.lend()).err();
            assert_eq!(error, Some(SetupError::Statistics(expected)));
        });
    }
}
