//! The loss of equation (3) and the editor's gradient estimate against PyTorch's exact ones, on the shipped model: the same
//! loss, the same gradient by dense differences, and estimates that are unbiased and as good as theory says.
//!
//! The exact gradients are in `fixtures/golden_gradients.json`, which `fixtures/golden_gradients.py` writes. No search is made.

use std::fs;
use std::path::Path;

use mobiedit::backends::transformer::Transformer;
use mobiedit::core::backend::Loss;
use mobiedit::core::config::{Combine, Config, Directions, Minibatch, Rule};
use mobiedit::core::prefix_cache::CacheLayout;
use mobiedit::core::problem::{Prompt, PromptSet, Role};
use mobiedit::core::{EditStorage, Editor, Footprint, ForwardBackend, Problem, Statistics};
use mobiedit::host::device::HostDevice;
use mobiedit::host::session::{Activations, SessionError, SessionOptions, with_session};
use serde::Deserialize;

/// Golden gradients of some edits.
#[derive(Deserialize)]
struct Golden {
    layer: usize,
    edits: Vec<GoldenEdit>,
}

#[derive(Deserialize)]
struct GoldenEdit {
    subject: String,
    /// How many prefixes its prompts stand behind, besides the bare one.
    prefixes: usize,
    /// The rewrite prompts, then the essence prompts.
    ids: Vec<Vec<u32>>,
    subject_last: Vec<usize>,
    target_ids: Vec<u32>,
    /// ‖v0‖.
    value_norm: f64,
    points: Vec<Point>,
}

/// A δ, and what PyTorch says there.
#[derive(Deserialize)]
struct Point {
    at: String,
    delta: Vec<f32>,
    loss: f64,
    nll: f64,
    kl: f64,
    hits: u32,
    gradient: Vec<f64>,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden_gradients.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn inner(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    inner(x, y) / (inner(x, x) * inner(y, y)).sqrt()
}

/// A golden edit on the shipped model, prefilled.
struct Prefilled<'t, 'm> {
    transformer: &'t mut Transformer<'m, HostDevice>,
    problem: Problem<'t>,
    cache: Vec<f32>,
    keys: Vec<f32>,
    value: Vec<f32>,
}

/// Poses each of `edits` to the shipped model.
fn with_each(
    float: bool,
    layer: usize,
    edits: &[&GoldenEdit],
    check: impl Fn(&mut Prefilled<'_, '_>, &GoldenEdit) + Sync,
) {
    let activations = if float { Activations::Float } else { Activations::Dynamic };
    let options = SessionOptions { activations, ..SessionOptions::default() };
    let done = with_session(&options, |session| -> Result<(), SessionError> {
        let spec = session.transformer.spec();
        for edit in edits {
            let rewrites = edit.prefixes + 1;
            let role = |i| if i < rewrites { Role::Rewrite } else { Role::Essence };
            let prompts = edit.ids.iter().zip(&edit.subject_last).enumerate();
            let prompts: Vec<Prompt<'_>> =
                prompts.map(|(i, (tokens, &subject_last))| Prompt { tokens, subject_last, role: role(i) }).collect();
            let problem = Problem::new(&spec, layer, &prompts, &edit.target_ids).unwrap();
            let mut prefilled = Prefilled {
                transformer: &mut session.transformer,
                problem,
                cache: vec![0.0; CacheLayout::new(spec, problem).len()],
                keys: vec![0.0; problem.key_rows() * spec.d_ff],
                value: vec![0.0; spec.d_model],
            };
            let Prefilled { transformer, cache, keys, value, .. } = &mut prefilled;
            transformer.prefill(&problem, cache, keys, value).unwrap();
            check(&mut prefilled, edit);
        }
        Ok(())
    });
    done.unwrap();
}

impl Prefilled<'_, '_> {
    fn losses(&mut self, deltas: &[f32]) -> Vec<Loss> {
        let mut out = vec![Loss::default(); deltas.len() / self.value.len()];
        self.transformer.losses(&self.problem, PromptSet::ALL, &mut self.cache, deltas, &mut out).unwrap();
        out
    }

    /// Equation (3) at each of `deltas`, written down once more.
    fn objectives(&mut self, deltas: &[f32]) -> Vec<f64> {
        let square: f64 = self.value.iter().map(|x| f64::from(*x).powi(2)).sum();
        let length = |delta: &[f32]| delta.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let losses = self.losses(deltas).into_iter().zip(deltas.chunks_exact(self.value.len()));
        losses.map(|(l, delta)| f64::from(l.nll) + 0.0625 * f64::from(l.kl) + 1e-3 * length(delta) / square).collect()
    }

    /// Central differences along every `stride`th basis vector, `h` to each side.
    fn dense_gradient(&mut self, delta: &[f32], h: f32, stride: usize) -> Vec<f64> {
        let moved = |i: usize, h: f32| {
            let mut moved = delta.to_vec();
            moved[i] += h;
            moved
        };
        let indices: Vec<usize> = (0..delta.len()).step_by(stride).collect();
        let part = |part: &[usize]| {
            let deltas: Vec<f32> = part.iter().flat_map(|&i| [moved(i, h), moved(i, -h)].concat()).collect();
            let differences = self.objectives(&deltas);
            differences.chunks_exact(2).map(|pair| (pair[0] - pair[1]) / f64::from(2.0 * h)).collect::<Vec<_>>()
        };
        indices.chunks(32).flat_map(part).collect()
    }

    /// What the editor takes for the gradient at δ = 0: its first plain step of length 1 is minus that.
    fn estimate(&mut self, kind: Directions, directions: usize, seed: u64) -> Vec<f64> {
        let config = Config {
            directions,
            kind,
            readers: 0.0,
            minibatch: Minibatch::All,
            combine: Combine::Mean,
            centre: false,
            rule: Rule::Plain { rate: 1.0 },
            bank: false,
            batch: 64,
            ..Config::DEFAULT
        };
        let config = config.check(&self.transformer.spec()).unwrap();
        let need = Footprint::for_problem(&config, &self.problem);
        let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
        let mut losses = vec![Loss::default(); need.losses];
        let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
        let mut editor = Editor::new(config, self.problem, Statistics::default(), seed, storage).unwrap();
        while editor.step(self.transformer).unwrap().step == 0 {}
        editor.delta().iter().map(|x| -f64::from(*x)).collect()
    }
}

/// Largest difference of nll, kl and L from PyTorch's, in nats.
const LOSS_BOUND: f64 = 1e-4;
/// Where differences are taken, as a part of ‖v0‖.
const SPACING: f64 = 0.01;
/// How much longer or shorter than the exact gradient dense differences may be, as a part of it.
const LENGTH_BOUND: f64 = 0.01;
/// Least cosine of dense differences in W8A16 with the exact gradient.
const W8A16_BOUND: f64 = 0.997;

#[test]
fn the_loss_in_float_is_pytorchs() {
    let golden = golden();
    let all: Vec<&GoldenEdit> = golden.edits.iter().collect();
    with_each(true, golden.layer, &all, |prefilled, edit| {
        let norm = prefilled.value.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((norm / edit.value_norm - 1.0).abs() < 1e-5, "{}: ‖v0‖ {norm}", edit.subject);
        for point in &edit.points {
            let what = format!("{} at {}", edit.subject, point.at);
            let (loss, objective) = (prefilled.losses(&point.delta)[0], prefilled.objectives(&point.delta)[0]);
            let ours = [f64::from(loss.nll), f64::from(loss.kl), objective];
            for (ours, theirs) in ours.into_iter().zip([point.nll, point.kl, point.loss]) {
                assert!((ours - theirs).abs() < LOSS_BOUND, "{what}: {ours} instead of {theirs}");
            }
            assert_eq!(loss.hits, point.hits, "{what}");
        }
    });
}

/// Dense differences along basis vectors against the exact gradient.
fn dense_differences_are_the_gradient(float: bool, bound: f64) {
    let golden = golden();
    let edits: Vec<&GoldenEdit> = golden.edits.iter().filter(|e| e.points.iter().any(|p| asked(e, p))).collect();
    assert!(edits.len() >= 2);
    with_each(float, golden.layer, &edits, |prefilled, edit| {
        for point in edit.points.iter().filter(|point| asked(edit, point)) {
            // Float arithmetic is slow, and a part of a long edit's components tells as much.
            let stride = if float && edit.prefixes > 0 { 4 } else { 1 };
            let dense = prefilled.dense_gradient(&point.delta, (SPACING * edit.value_norm) as f32, stride);
            let exact: Vec<f64> = point.gradient.iter().copied().step_by(stride).collect();
            let length = (inner(&dense, &dense) / inner(&exact, &exact)).sqrt();
            let cosine = cosine(&dense, &exact);
            let what = format!("{} behind {} prefixes, at {}", edit.subject, edit.prefixes, point.at);
            println!("{what}: cosine {cosine:.6}, length {length:.4}");
            assert!(cosine >= bound, "{what}: cosine {cosine}");
            assert!((length - 1.0).abs() < LENGTH_BOUND, "{what}: {length} times the length");
        }
    });
}

/// All points of the shortest edit, and one each of the others: a gradient takes 512 losses.
fn asked(edit: &GoldenEdit, point: &Point) -> bool {
    edit.prefixes == 0 || point.at == "near the end"
}

#[test]
fn dense_differences_in_float_are_the_exact_gradient() {
    dense_differences_are_the_gradient(true, 0.999);
}

#[test]
fn dense_differences_in_w8a16_are_the_exact_gradient() {
    dense_differences_are_the_gradient(false, W8A16_BOUND);
}

/// How the cosine of an estimate from N directions with the exact gradient g of d numbers is distributed, if differences were
/// exact: its square has a beta distribution with parameters N/2 and b/2.
///
/// - Gaussian: b = d − 1. The estimate is Uᵀ(Ug)/N for N rows U. With g along the first axis and a = U g/‖g‖, its first
///   component is ‖a‖², and each of the d − 1 others is a normal number times ‖a‖: cos² = ‖a‖² / (‖a‖² + χ²(d − 1)), where
///   ‖a‖² is χ²(N), independent of the other.
/// - Orthogonal: b = d − N. The estimate is g's projection onto a random subspace of N dimensions, and cos² is the share of ‖g‖²
///   that lies there.
///
/// So E cos² = N / (N + d − 1), and N / d.
struct Theory {
    /// E cos.
    mean: f64,
    /// Standard deviation of cos.
    deviation: f64,
}

impl Theory {
    fn new(kind: Directions, directions: usize, width: usize) -> Self {
        let all = if kind == Directions::Orthogonal { width } else { directions + width - 1 };
        let mean = gamma_ratio(directions) / gamma_ratio(all);
        let variance = directions as f64 / all as f64 - mean * mean;
        Self { mean, deviation: variance.max(0.0).sqrt() }
    }
}

/// Γ((n + 1) / 2) / Γ(n / 2), from Γ(x + 1) = x Γ(x).
fn gamma_ratio(n: usize) -> f64 {
    (1..n).fold(1.0 / std::f64::consts::PI.sqrt(), |ratio, n| n as f64 / 2.0 / ratio)
}

/// Numbers of directions, and how many estimates are made of each.
const DRAWS: [(usize, u64); 5] = [(1, 96), (4, 48), (16, 24), (64, 8), (256, 2)];
/// Standard errors that a mean may be off. All draws have fixed seeds: a run does not differ from the next.
const ERRORS: f64 = 4.0;
/// What differences of finite width and W8A16 may take of the cosine.
const ROUNDING: f64 = 0.01;

/// The editor's estimates at δ = 0 of the shortest edit: as near the exact gradient as theory says, and on the mean equal to it.
fn estimates_are_as_good_as_theory(kind: Directions) {
    let golden = golden();
    let shortest: Vec<&GoldenEdit> = golden.edits.iter().filter(|edit| edit.prefixes == 0).collect();
    assert_eq!(shortest.len(), 1);
    with_each(false, golden.layer, &shortest, |prefilled, edit| {
        let point = edit.points.iter().find(|point| point.delta.iter().all(|x| *x == 0.0)).unwrap();
        let (exact, width) = (&point.gradient, point.gradient.len());
        let (mut sum, mut drawn) = (vec![0.0; width], 0);
        println!("{kind:?}, {width} dimensions\n   N  estimates  cosine  theory  standard error");
        for (directions, count) in DRAWS {
            let mut cosines = 0.0;
            for seed in 0..count {
                let estimate = prefilled.estimate(kind, directions, 1000 * directions as u64 + seed);
                cosines += cosine(&estimate, exact);
                sum.iter_mut().zip(&estimate).for_each(|(sum, x)| *sum += directions as f64 * x);
                drawn += directions;
            }
            let (mean, theory) = (cosines / count as f64, Theory::new(kind, directions, width));
            let error = theory.deviation / (count as f64).sqrt();
            println!("{directions:4}  {count:9}  {mean:.4}  {:.4}  {error:.4}", theory.mean);
            assert!((mean - theory.mean).abs() < ERRORS * error + ROUNDING, "{kind:?}, {directions}: {mean}");
        }
        // Along g, a direction gives ‖g‖² times the square of a number of variance 1: mean 1, variance at most 2.
        let along = inner(&sum, exact) / drawn as f64 / inner(exact, exact);
        let error = (2.0 / drawn as f64).sqrt();
        let (all, theory) = (cosine(&sum, exact), Theory::new(Directions::Gaussian, drawn, width));
        println!("{drawn:4}  all       {all:.4}  {:.4}  along the gradient {along:.4}, error {error:.4}", theory.mean);
        assert!((along - 1.0).abs() < ERRORS * error + ROUNDING, "{kind:?}: {along} along the gradient");
        // Orthogonal ones are better than as many independent ones.
        assert!(all > theory.mean - ERRORS * theory.deviation - ROUNDING, "{kind:?}: {all} of all");
    });
}

#[test]
fn gaussian_estimates_are_unbiased_and_as_good_as_theory_says() {
    estimates_are_as_good_as_theory(Directions::Gaussian);
}

#[test]
fn orthogonal_estimates_are_unbiased_and_as_good_as_theory_says() {
    estimates_are_as_good_as_theory(Directions::Orthogonal);
}
