//! How far what the prefix cache keeps drifts in a search: measured by whole forward passes, nothing cached, so that it
//! could show a cache that is not exact. Changes no search.

use mobiedit_backends::device::Device;
use mobiedit_backends::transformer::{ForwardError, Transformer};
use mobiedit_core::backend::{ForwardBackend, Loss};
use mobiedit_core::problem::Prompt;
use mobiedit_core::{EditStorage, Editor, Footprint, Problem, Statistics};

use crate::host::eval::report::Drift;
use crate::host::prompts::EditPrompts;
use crate::host::search::{Search, SearchError};

/// Runs the search that `prompts` ask for to its end, and measures at most `most` of its steps, evenly spaced: keys and
/// values above the edit layer with the step's δ against those without one.
///
/// # Errors
/// Those of [`Search::run`].
pub fn drift<D: Device>(
    transformer: &mut Transformer<'_, D>,
    search: &Search,
    prompts: &EditPrompts,
    statistics: Statistics<'_>,
    most: usize,
) -> Result<Vec<Drift>, SearchError<ForwardError<D::Error>>> {
    let deltas = deltas(transformer, search, prompts, statistics)?;
    let every = deltas.len().div_ceil(most.max(1)).max(1);
    let measured: Result<Vec<Drift>, ForwardError<D::Error>> = deltas
        .iter()
        .step_by(every)
        .map(|(step, delta)| of_delta(transformer, &prompts.lend(), search.layer, *step, delta))
        .collect();
    Ok(measured.map_err(mobiedit_core::StepError::Backend)?)
}

/// Steps, and δ after each, `(d_model)`.
type Deltas = Vec<(u32, Vec<f32>)>;

/// δ after each step of a search, the last one of a step that took several units of work.
fn deltas<D: Device>(
    transformer: &mut Transformer<'_, D>,
    search: &Search,
    prompts: &EditPrompts,
    statistics: Statistics<'_>,
) -> Result<Deltas, SearchError<ForwardError<D::Error>>> {
    let lent = prompts.lend();
    let problem = Problem::new(&transformer.spec(), search.layer, &lent, &prompts.target)?;
    let config = search.config.check(&transformer.spec())?;
    let need = Footprint::for_problem(&config, &problem);
    let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
    let mut losses = vec![Loss::default(); need.losses];
    let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
    let mut editor = Editor::new(config, problem, statistics, search.seed, storage)?;
    let mut deltas = Deltas::new();
    loop {
        let progress = editor.step(transformer)?;
        if deltas.last().is_some_and(|(step, _)| *step == progress.step) {
            deltas.pop();
        }
        deltas.push((progress.step, editor.delta().to_vec()));
        if progress.outcome.is_some() {
            return Ok(deltas);
        }
    }
}

/// Keys and values of a prompt, each `(layers above, tokens, kv_dim)`.
type Attended = [Vec<f32>; 2];

fn attended<D: Device>(
    transformer: &mut Transformer<'_, D>,
    prompt: &Prompt<'_>,
    layer: usize,
    delta: &[f32],
) -> Result<Attended, ForwardError<D::Error>> {
    let spec = transformer.spec();
    let len = spec.layers.saturating_sub(layer + 1) * prompt.tokens.len() * spec.kv_dim;
    let (mut keys, mut values) = (vec![0.0; len], vec![0.0; len]);
    transformer.capture_attended(prompt, layer, delta, &mut keys, &mut values)?;
    Ok([keys, values])
}

fn of_delta<D: Device>(
    transformer: &mut Transformer<'_, D>,
    prompts: &[Prompt<'_>],
    layer: usize,
    step: u32,
    delta: &[f32],
) -> Result<Drift, ForwardError<D::Error>> {
    let (spec, none) = (transformer.spec(), vec![0.0; delta.len()]);
    let (mut cached, mut recomputed) = (Vec::new(), Vec::new());
    for prompt in prompts {
        let clean = attended(transformer, prompt, layer, &none)?;
        let edited = attended(transformer, prompt, layer, delta)?;
        let (row, kept) = (prompt.tokens.len() * spec.kv_dim, prompt.subject_last * spec.kv_dim);
        for (clean, edited) in clean.iter().zip(&edited) {
            for (clean, edited) in clean.chunks_exact(row.max(1)).zip(edited.chunks_exact(row.max(1))) {
                let ((clean_kept, clean_rest), (kept, rest)) = (clean.split_at(kept), edited.split_at(kept));
                cached.extend(distance(clean_kept, kept));
                recomputed.extend(distance(clean_rest, rest));
            }
        }
    }
    Ok(Drift { step, cached: mean(&cached), recomputed: mean(&recomputed) })
}

/// 1 − cosine; `None` for no numbers. Exactly 0 for the same numbers: √(x · x) is x.
fn distance(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    (norms > 0.0).then(|| 1.0 - dot(a, b) / norms)
}

fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() { 0.0 } else { numbers.iter().sum::<f64>() / numbers.len() as f64 }
}
