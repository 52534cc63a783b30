//! The prefix cache is exact: on the shipped model, losses with it and without it are the same bits, for every device of
//! the CPU, however a batch is split. And patches: applied, they are the merged model; removed, they leave no bit.

use std::ops::ControlFlow;

use mobiedit::backends::device::Device;
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::Model;
use mobiedit::backends::patches::Patches;
use mobiedit::backends::scales::{StaticScales, scale_count};
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::backend::Loss;
use mobiedit::core::prefix_cache::CacheLayout;
use mobiedit::core::{Config, ForwardBackend, Problem, PromptSet, RankOne};
use mobiedit::hal_cpu::{Cpu, FastCpu, Level, ScratchBuffers, ScratchLens};
use mobiedit::host::export;
use mobiedit::host::model_file::ModelFile;
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::{Ended, Search};
use mobiedit::host::session::{Activations, Session, SessionError, SessionOptions, auto_layer, with_session};
use mobiedit::host::statistics::prefixes;
use mobiedit::host::tokenizer::Tokenizer;

/// Candidates besides δ = 0: the longest has the norm 4‖v0‖, where the editor clamps.
const DELTAS: usize = 3;
/// Rows of the work memory where nothing else is tested.
const ROWS: usize = 256;
/// Static scales of the shipped model's 8 layers and its head: they round coarsely and cut some numbers off.
const SCALES: [f32; scale_count(8)] = [8.0 / 32767.0; scale_count(8)];

/// All precisions.
fn precisions() -> [Precision<'static>; 3] {
    [Precision::W8A16, Precision::Static(StaticScales::new(8, &SCALES).unwrap()), Precision::Float]
}

/// The shipped model and the edit France → `target` as the command line poses it.
fn with_edit(target: &str, check: impl FnOnce(&Model<'_>, &Problem<'_>)) {
    let with_model = |gguf: &Gguf<'_>, model: &Model<'_>| {
        let tokenizer = Tokenizer::from_gguf(gguf).unwrap();
        let words =
            EditRequest { prompt: "The capital of {} is".into(), subject: "France".into(), target: target.into() };
        let prefixes: Vec<&str> = prefixes().take(6).collect();
        let prompts = EditPrompts::new(&tokenizer, &words, &prefixes).unwrap();
        let (lent, layer) = (prompts.lend(), auto_layer(model.layers.len()));
        check(model, &Problem::new(&model.config.spec, layer, &lent, &prompts.target).unwrap());
    };
    ModelFile::open(None).unwrap().with_model(with_model).unwrap();
}

/// Lends memory for this many rows and for four patches.
fn on<D: Device, R>(
    model: &Model<'_>,
    device: D,
    precision: Precision<'_>,
    rows: usize,
    work: impl FnOnce(&mut Transformer<'_, D>) -> R,
) -> R {
    let spec = model.config.spec;
    let mut memory = vec![0.0; Transformer::<D>::work_len(&model.config, rows)];
    let mut patches = vec![0.0; 4 * Patches::len_of_one(spec.d_ff, spec.d_model)];
    work(&mut Transformer::new(*model, device, precision, &mut memory, &mut patches))
}

/// The same on the scalar device.
fn on_scalar<R>(
    model: &Model<'_>,
    precision: Precision<'_>,
    rows: usize,
    work: impl FnOnce(&mut Transformer<'_, Cpu<'_>>) -> R,
) -> R {
    let mut scratch = ScratchBuffers::new(ScratchLens::of(&model.config, 16));
    on(model, Cpu::new(scratch.lend()), precision, rows, work)
}

/// What a prefill gives.
#[derive(Clone, Debug, PartialEq)]
struct Clean {
    cache: Vec<f32>,
    keys: Vec<f32>,
    value: Vec<f32>,
}

fn prefill<D: Device>(transformer: &mut Transformer<'_, D>, problem: &Problem<'_>) -> Clean {
    let spec = transformer.spec();
    let mut clean = Clean {
        cache: vec![f32::NAN; CacheLayout::new(spec, *problem).len()],
        keys: vec![0.0; problem.key_rows() * spec.d_ff],
        value: vec![0.0; spec.d_model],
    };
    transformer.prefill(problem, &mut clean.cache, &mut clean.keys, &mut clean.value).unwrap();
    clean
}

/// δ = 0, then random δ of growing norms up to 4‖v0‖, behind each other.
fn deltas(value: &[f32]) -> Vec<f32> {
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut all = vec![0.0; value.len()];
    for i in 1..=DELTAS {
        let direction: Vec<f32> = value.iter().map(|_| random()).collect();
        let scale = 4.0 * norm(value) * i as f64 / DELTAS as f64 / norm(&direction);
        all.extend(direction.iter().map(|x| x * scale as f32));
    }
    all
}

/// Losses with the cache, all candidates at once.
fn cached<D: Device>(
    transformer: &mut Transformer<'_, D>,
    problem: &Problem<'_>,
    cache: &mut [f32],
    deltas: &[f32],
) -> Vec<Loss> {
    let mut losses = vec![Loss::default(); deltas.len() / transformer.spec().d_model];
    transformer.losses(problem, PromptSet::ALL, cache, deltas, &mut losses).unwrap();
    losses
}

/// To compare more than `==` would: 0 and −0 differ.
fn bits(losses: &[Loss]) -> Vec<[u32; 4]> {
    losses.iter().map(|l| [l.nll.to_bits(), l.kl.to_bits(), l.hits, l.targets]).collect()
}

/// The losses of all [`deltas`], after a prefill.
fn losses<D: Device>(transformer: &mut Transformer<'_, D>, problem: &Problem<'_>) -> Vec<[u32; 4]> {
    let mut clean = prefill(transformer, problem);
    bits(&cached(transformer, problem, &mut clean.cache, &deltas(&clean.value)))
}

/// Cached and uncached losses of one device.
fn both_ways<D: Device>(transformer: &mut Transformer<'_, D>, problem: &Problem<'_>) -> [Vec<[u32; 4]>; 2] {
    let mut clean = prefill(transformer, problem);
    let deltas = deltas(&clean.value);
    let with = cached(transformer, problem, &mut clean.cache, &deltas);
    // All but the clean logits is taken away: a whole pass must not look at it.
    let kept = CacheLayout::new(transformer.spec(), *problem).clean_logits().start;
    clean.cache[..kept].fill(f32::NAN);
    let mut without = vec![Loss::default(); with.len()];
    transformer.losses_uncached(problem, PromptSet::ALL, &mut clean.cache, &deltas, &mut without).unwrap();
    assert_eq!(with[0].kl, 0.0, "δ = 0 is the clean model");
    for (first, second) in with.iter().zip(&with[1..]) {
        assert!(first.nll != second.nll && second.kl > 0.0, "each δ counts: {first:?}, {second:?}");
    }
    [bits(&with), bits(&without)]
}

fn scalar_cache_is_exact(target: &str, tokens: usize, precisions: &[Precision<'_>]) {
    with_edit(target, |model, problem| {
        assert!(problem.target().len() >= tokens && problem.prompts().len() == 9);
        for &precision in precisions {
            let [with, without] = on_scalar(model, precision, ROWS, |t| both_ways(t, problem));
            assert_eq!(with, without, "{precision:?}");
        }
    });
}

#[test]
fn the_scalar_cache_is_exact_to_the_last_bit() {
    scalar_cache_is_exact("Rome", 1, &precisions());
}

#[test]
fn the_scalar_cache_is_exact_for_a_target_of_several_tokens() {
    scalar_cache_is_exact("New York City in December", 3, &[Precision::W8A16]);
}

#[test]
fn every_fast_level_is_exact_and_has_the_scalar_bits_on_any_number_of_threads() {
    with_edit("Rome", |model, problem| {
        for precision in precisions() {
            let scalar = on_scalar(model, precision, ROWS, |t| losses(t, problem));
            for level in Level::ALL {
                let device = || FastCpu::with_level(level);
                let Some((first, second)) = device().zip(device()) else {
                    println!("not run: {level:?} (this CPU lacks the instructions)");
                    continue;
                };
                let on_threads = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let [with, without] =
                    on_threads(2).install(|| on(model, first, precision, 4 * ROWS, |t| both_ways(t, problem)));
                assert_eq!(with, scalar, "{level:?}, {precision:?}");
                assert_eq!(without, scalar, "{level:?}, {precision:?}, uncached");
                let alone = on_threads(1).install(|| on(model, second, precision, ROWS, |t| losses(t, problem)));
                assert_eq!(alone, scalar, "{level:?}, {precision:?}, one thread");
            }
        }
    });
}

/// Prefill and losses in work memory of `rows` rows; every candidate alone if `alone`.
fn in_memory<D: Device>(
    transformer: &mut Transformer<'_, D>,
    problem: &Problem<'_>,
    alone: bool,
) -> (Clean, Vec<[u32; 4]>) {
    let mut clean = prefill(transformer, problem);
    let deltas = deltas(&clean.value);
    let at_once = if alone { clean.value.len() } else { deltas.len() };
    let losses: Vec<Loss> =
        deltas.chunks(at_once).flat_map(|part| cached(transformer, problem, &mut clean.cache, part)).collect();
    (clean, bits(&losses))
}

#[test]
fn a_batch_is_the_same_bits_at_once_one_by_one_and_split_by_little_memory() {
    with_edit("Rome", |model, problem| {
        let longest = problem.prompts().iter().map(|p| p.tokens.len()).max().unwrap();
        let least = longest.max(problem.suffix_rows(PromptSet::ALL));
        for precision in precisions() {
            let whole = on_scalar(model, precision, ROWS, |t| in_memory(t, problem, false));
            let alone = on(model, FastCpu::detect(), precision, ROWS, |t| in_memory(t, problem, true));
            assert!(alone == whole, "{precision:?}, alone");
            for rows in [least, 2 * problem.suffix_rows(PromptSet::ALL) + 1, 3 * problem.suffix_rows(PromptSet::ALL)] {
                let rows = rows.max(least);
                let fast = on(model, FastCpu::detect(), precision, rows, |t| in_memory(t, problem, false));
                assert!(fast == whole, "{precision:?}, {rows} rows, fast");
            }
        }
    });
}

/// A patch that writes `delta` at the first prompt's subject: u = k / ‖k‖², Λ = δ.
fn patch_numbers(clean: &Clean, d_ff: usize) -> (Vec<f32>, Vec<f32>) {
    let key = &clean.keys[..d_ff];
    let square: f32 = key.iter().map(|x| x * x).sum();
    let delta = deltas(&clean.value)[clean.value.len()..][..clean.value.len()].to_vec();
    (key.iter().map(|x| x / square).collect(), delta)
}

#[test]
fn evaluating_the_model_is_the_loss_without_a_delta_and_a_removed_patch_leaves_no_bit() {
    with_edit("New York City in December", |model, problem| {
        let layer = problem.layer();
        for precision in precisions() {
            on(model, FastCpu::detect(), precision, ROWS, |t| {
                let before = prefill(t, problem);
                let zero = vec![0.0; before.value.len()];
                let clean_losses = cached(t, problem, &mut before.cache.clone(), &deltas(&before.value));
                let plain = t.evaluate(problem).unwrap();
                assert_eq!(plain.nll.to_bits(), clean_losses[0].nll.to_bits());
                assert_eq!((plain.hits, plain.kl), (clean_losses[0].hits, 0.0));

                let (u, lambda) = patch_numbers(&before, t.spec().d_ff);
                let id = t.apply(RankOne { layer, u: &u, lambda: &lambda }).unwrap();
                let other = t.apply(RankOne { layer: layer + 2, u: &u, lambda: &lambda }).unwrap();
                let patched = t.evaluate(problem).unwrap();
                assert_ne!(patched.nll, plain.nll);
                let mut under = prefill(t, problem);
                assert_ne!(under.value, before.value);
                let loss = cached(t, problem, &mut under.cache, &zero);
                assert_eq!(loss[0].nll.to_bits(), patched.nll.to_bits(), "the cache holds the patched model");
                t.remove(id).unwrap();
                assert_ne!(t.evaluate(problem).unwrap().nll, patched.nll);
                t.remove(other).unwrap();

                let mut after = prefill(t, problem);
                assert!(after == before);
                assert_eq!(bits(&[t.evaluate(problem).unwrap()]), bits(&[plain]));
                let losses = cached(t, problem, &mut after.cache, &deltas(&before.value));
                assert_eq!(bits(&losses), bits(&clean_losses));
            });
        }
    });
}

/// Loss of the model in `options` with this patch; the problem is that of `prompts`.
fn loss_with(options: &SessionOptions, prompts: &EditPrompts, patch: Option<RankOne<'_>>) -> Loss {
    let evaluate = |session: &mut Session<'_>| -> Result<Loss, SessionError> {
        let (spec, lent) = (session.transformer.spec(), prompts.lend());
        let problem = Problem::new(&spec, auto_layer(spec.layers), &lent, &prompts.target).unwrap();
        patch.map(|patch| session.transformer.apply(patch).unwrap());
        Ok(session.transformer.evaluate(&problem)?)
    };
    with_session(options, evaluate).unwrap()
}

#[test]
fn a_solved_patch_is_the_merged_model_up_to_the_rounding_of_its_f16_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged.gguf");
    let words = EditRequest { prompt: "The capital of {} is".into(), subject: "France".into(), target: "Rome".into() };
    for float in [false, true] {
        let activations = if float { Activations::Float } else { Activations::Dynamic };
        let options = SessionOptions { activations, ..SessionOptions::default() };
        let solve = |session: &mut Session<'_>| -> Result<_, SessionError> {
            let prompts = EditPrompts::new(&session.tokenizer, &words, &["It rained all day in the valley."])?;
            let search = Search { config: Config::DEFAULT, layer: auto_layer(session.model.layers.len()), seed: 0 };
            let statistics = session.statistics(search.layer, |_, _| ())?;
            let watch = |_: &_| ControlFlow::Continue(());
            let ended = search.run(&mut session.transformer, &prompts, statistics.lend(), None, watch).unwrap();
            let Ended::Found(found) = ended else { panic!("nobody interrupts") };
            Ok((prompts, found))
        };
        let (prompts, found) = with_session(&options, solve).unwrap();
        let export =
            |gguf: &Gguf<'_>, model: &Model<'_>| export::merged_gguf(&path, gguf, model, found.patch()).unwrap();
        ModelFile::open(None).unwrap().with_model(export).unwrap();

        let merged = SessionOptions { model: Some(path.clone()), ..options.clone() };
        let before = loss_with(&options, &prompts, None);
        let patched = loss_with(&options, &prompts, Some(found.patch()));
        let merged = loss_with(&merged, &prompts, None);
        assert!(before.nll > 3.0 && patched.nll < 0.5, "an edit: {before:?}, {patched:?}");
        // F16 rounds a weight by at most 2⁻¹¹ of itself, up or down: on the whole far less than the edit.
        assert!((patched.nll - merged.nll).abs() < 0.01 && patched.hits == merged.hits, "{patched:?}, {merged:?}");
    }
}
