//! The loss of equation (3) and the editor's gradient estimate against PyTorch's exact ones, on the shipped model: the same
//! loss, the same gradient by dense differences, and estimates that are unbiased and as good as theory says.
//!
//! The exact gradients are in `fixtures/golden_gradients.json`, which `fixtures/golden_gradients.py` writes. No search is made.

use std::fs;
use std::path::Path;

use mobiedit::backends::transformer::Transformer;
use mobiedit::core::backend::Loss;
use mobiedit::core::config::{Combine, Config, Directions, Rule};
use mobiedit::core::prefix_cache::CacheLayout;
use mobiedit::core::problem::{Prompt, Role};
use mobiedit::core::{EditStorage, Editor, Footprint, ForwardBackend, Problem, Statistics};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::session::{SessionError, SessionOptions, with_session};
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
    /// The rewrite prompts, then the essence prompt.
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
    transformer: &'t mut Transformer<'m, FastCpu>,
    problem: Problem<'t>,
    cache: Vec<f32>,
    keys: Vec<f32>,
    value: Vec<f32>,
}

/// Poses each of `edits` to the shipped model.
fn with_each(float: bool, layer: usize, edits: &[GoldenEdit], check: impl Fn(&mut Prefilled<'_, '_>, &GoldenEdit) + Sync) {
    let options = SessionOptions { float, ..SessionOptions::default() };
    let done = with_session(&options, |session| -> Result<(), SessionError> {
        let spec = session.transformer.spec();
        for edit in edits {
            let last = edit.ids.len() - 1;
            let role = |i| if i == last { Role::Essence } else { Role::Rewrite };
            let prompts = edit.ids.iter().zip(&edit.subject_last).enumerate();
            let prompts: Vec<Prompt<'_>> =
                prompts.map(|(i, (tokens, &subject_last))| Prompt { tokens, subject_last, role: role(i) }).collect();
            let problem = Problem::new(&spec, layer, &prompts, &edit.target_ids).unwrap();
            let mut prefilled = Prefilled {
                transformer: &mut session.transformer,
                problem,
                cache: vec![0.0; CacheLayout::new(spec, problem).len()],
                keys: vec![0.0; prompts.len() * spec.d_ff],
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
        self.transformer.losses(&self.problem, &mut self.cache, deltas, &mut out).unwrap();
        out
    }

    /// Equation (3) at each of `deltas`, written down once more.
    fn objectives(&mut self, deltas: &[f32]) -> Vec<f64> {
        let square: f64 = self.value.iter().map(|x| f64::from(*x).powi(2)).sum();
        let length = |delta: &[f32]| delta.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let losses = self.losses(deltas).into_iter().zip(deltas.chunks_exact(self.value.len()));
        losses.map(|(l, delta)| f64::from(l.nll) + 0.0625 * f64::from(l.kl) + 1e-3 * length(delta) / square).collect()
    }

    /// Central differences along every basis vector, `h` to each side.
    fn dense_gradient(&mut self, delta: &[f32], h: f32) -> Vec<f64> {
        let moved = |i: usize, h: f32| {
            let mut moved = delta.to_vec();
            moved[i] += h;
            moved
        };
        let indices: Vec<usize> = (0..delta.len()).collect();
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

#[test]
fn the_loss_in_float_is_pytorchs() {
    let golden = golden();
    with_each(true, golden.layer, &golden.edits, |prefilled, edit| {
        let norm = prefilled.value.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((norm / edit.value_norm - 1.0).abs() < 1e-5, "{}: ‖v0‖ {norm}", edit.subject);
        for point in &edit.points {
            let loss = prefilled.losses(&point.delta)[0];
            let objective = prefilled.objectives(&point.delta)[0];
            println!("{} {}: {:.1e} {:.1e} {:.1e}", edit.subject, point.at, (f64::from(loss.nll) - point.nll).abs(), (f64::from(loss.kl) - point.kl).abs(), (objective - point.loss).abs());
            assert!((f64::from(loss.nll) - point.nll).abs() < LOSS_BOUND, "{} {}: {loss:?}", edit.subject, point.at);
            assert!((f64::from(loss.kl) - point.kl).abs() < LOSS_BOUND, "{} {}: {loss:?}", edit.subject, point.at);
            assert!((objective - point.loss).abs() < LOSS_BOUND, "{} {}: {objective}", edit.subject, point.at);
            assert_eq!(loss.hits, point.hits, "{} {}", edit.subject, point.at);
        }
    });
}

/// Largest difference of nll, kl and L from PyTorch's, in nats.
const LOSS_BOUND: f64 = 1e-4;

/// Dense differences along all basis vectors against the exact gradient, at every golden point.
fn dense_differences_are_the_gradient(float: bool, bound: f64) {
    let golden = golden();
    let short: Vec<GoldenEdit> = golden.edits;
    with_each(float, golden.layer, &short, |prefilled, edit| {
        for point in &edit.points {
            for part in [0.002, 0.005, 0.01, 0.02, 0.05] {
            let h = (part * edit.value_norm) as f32;
            let dense = prefilled.dense_gradient(&point.delta, h);
            let (cos, ratio) = (cosine(&dense, &point.gradient), inner(&dense, &point.gradient) / inner(&point.gradient, &point.gradient));
            println!("{part} {} {} ({} prefixes): cosine {cos:.6}, length {ratio:.4}", edit.subject, point.at, edit.prefixes);
            }
        }
    });
    let _ = bound;
}

#[test]
fn dense_differences_in_float_are_the_exact_gradient() {
    dense_differences_are_the_gradient(true, 0.999);
}

#[test]
fn dense_differences_in_w8a16_are_the_exact_gradient() {
    dense_differences_are_the_gradient(false, 0.99);
}
