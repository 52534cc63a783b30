//! The contract of [`ForwardBackend`]s: what holds for every model, whatever its numbers. No model is known here, so the
//! checks compare ways that must lead to the same place: cached and whole passes, an injected δ and a patch that writes it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mobiedit_core::backend::{BackendError, BackendErrorKind, ForwardBackend, Loss};
use mobiedit_core::prefix_cache::CacheLayout;
use mobiedit_core::problem::{Problem, Prompt, PromptSet, Role};
use mobiedit_core::rank_one::RankOne;

use super::random::Random;

/// What a backend claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForwardClaims {
    /// How far two ways to the same number may be apart, relative to 1 + its size.
    pub(super) tolerance: f64,
    /// A candidate's bits do not depend on its batch, nor on whether its prefix was cached.
    pub(super) exact: bool,
}

type Check = Result<(), String>;
type Contract<B> = fn(&mut Trial<'_, B>) -> Check;

/// Runs every check that `wanted` names on a backend without patches and with room for two. Its model must have two layers,
/// a context and a vocabulary of 7 tokens, and an inner layer of at least that width.
pub(super) fn check_forward<B: ForwardBackend>(
    backend: &mut B,
    claims: ForwardClaims,
    wanted: impl Fn(&str) -> bool,
) -> Vec<(&'static str, Check)> {
    let checks: [(&str, Contract<B>); 8] = [
        ("the same call gives the same bits", determinism),
        ("no δ is the clean model", clean),
        ("an injected δ is a patch that writes it", injection),
        ("the echo's key is that of its position", echo),
        ("a candidate does not depend on its batch", batches),
        ("losses at some prompts are parts of those at all", minibatches),
        ("patches add up and leave no bit", patches),
        ("what does not fit is refused", refusals),
    ];
    let spec = backend.spec();
    let random = &mut Random::of("forward backend");
    let vocab = spec.vocab as u32;
    // No token twice in a text: at its start, the same tokens would have the same keys.
    let mut text = |len: u32| {
        let first = random.below(vocab);
        (0..len).map(|i| (first + i) % vocab).collect::<Vec<u32>>()
    };
    // Both rewrite prompts end in the target's first token.
    let long = text(7);
    let target = [long[6], text(1)[0]];
    let texts = [long.clone(), long[2..].to_vec(), text(4), text(3)];
    let prompt = |index: usize, subject_last, role| Prompt { tokens: &texts[index], subject_last, role };
    let prompts = [
        prompt(0, 3, Role::Rewrite),
        prompt(1, 0, Role::Rewrite),
        prompt(2, 2, Role::Essence),
        prompt(3, 0, Role::Essence),
    ];
    let mut results = Vec::new();
    for (name, check) in checks.into_iter().filter(|(name, _)| wanted(name)) {
        for layer in [0, spec.layers - 2] {
            let problem = Problem::new(&spec, layer, &prompts, &target).expect("a model of the size that is asked for");
            let result = check(&mut Trial { backend, claims, problem });
            results.push((name, result.map_err(|how| format!("layer {layer}: {how}"))));
        }
    }
    results
}

/// A backend and an edit to be posed to it.
struct Trial<'t, B> {
    backend: &'t mut B,
    claims: ForwardClaims,
    problem: Problem<'t>,
}

/// What a prefill gives.
#[derive(Clone, PartialEq)]
struct Clean {
    cache: Vec<f32>,
    keys: Vec<f32>,
    value: Vec<f32>,
}

impl<B: ForwardBackend> Trial<'_, B> {
    fn prefill(&mut self, problem: &Problem<'_>) -> Result<Clean, String> {
        let spec = self.backend.spec();
        let mut clean = Clean {
            cache: alloc::vec![f32::NAN; CacheLayout::new(spec, *problem).len()],
            keys: alloc::vec![f32::NAN; problem.key_rows() * spec.d_ff],
            value: alloc::vec![f32::NAN; spec.d_model],
        };
        let Clean { cache, keys, value } = &mut clean;
        self.backend.prefill(problem, cache, keys, value).map_err(|e| format!("prefill failed: {e}"))?;
        let filled = keys.iter().chain(value.iter()).all(|x| x.is_finite());
        if filled { Ok(clean) } else { Err(String::from("a key or the value was not filled")) }
    }

    fn losses(&mut self, problem: &Problem<'_>, cache: &mut [f32], deltas: &[f32]) -> Result<Vec<Loss>, String> {
        self.losses_at(PromptSet::ALL, problem, cache, deltas)
    }

    fn losses_at(
        &mut self,
        which: PromptSet,
        problem: &Problem<'_>,
        cache: &mut [f32],
        deltas: &[f32],
    ) -> Result<Vec<Loss>, String> {
        let mut losses = alloc::vec![Loss::default(); deltas.len() / self.backend.spec().d_model];
        let result = self.backend.losses(problem, which, cache, deltas, &mut losses);
        result.map(|()| losses).map_err(|e| format!("losses failed: {e}"))
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, String> {
        self.backend.evaluate(problem).map_err(|e| format!("evaluate failed: {e}"))
    }

    fn project(&mut self, key: &[f32]) -> Result<Vec<f32>, String> {
        let mut out = alloc::vec![f32::NAN; self.backend.spec().d_model];
        let result = self.backend.project(self.problem.layer(), key, &mut out);
        result.map(|()| out).map_err(|e| format!("project failed: {e}"))
    }

    fn near(&self, what: &str, a: &[f32], b: &[f32]) -> Check {
        let (mut off, mut size) = (0.0, 1.0);
        for (a, b) in a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            off = f64::max(off, if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() });
            size = f64::max(size, 1.0 + b.abs());
        }
        if off <= self.claims.tolerance * size { Ok(()) } else { Err(format!("{what}: {off:e} apart")) }
    }

    /// Equal bits where that is claimed, else near.
    fn same(&self, what: &str, a: Loss, b: Loss) -> Check {
        if self.claims.exact && (a.nll.to_bits(), a.hits) != (b.nll.to_bits(), b.hits) {
            return Err(format!("{what}: {a:?} and {b:?} are not the same bits"));
        }
        let counted = if a.targets == b.targets { Ok(()) } else { Err(format!("{what}: {a:?} and {b:?}")) };
        counted.and(self.near(what, &[a.nll], &[b.nll]))
    }
}

/// δ = 0 and three random ones of lengths around ‖v0‖.
fn deltas(value: &[f32]) -> Vec<f32> {
    let random = &mut Random::of("deltas");
    let length = libm::sqrtf(value.iter().map(|x| x * x).sum::<f32>() / value.len() as f32);
    let scales = [0.0, 0.5, 1.0, 4.0];
    scales.iter().flat_map(|scale| value.iter().map(|_| random.normal() * scale * length).collect::<Vec<_>>()).collect()
}

fn is(holds: bool, otherwise: &str) -> Check {
    if holds { Ok(()) } else { Err(String::from(otherwise)) }
}

fn determinism<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let problem = trial.problem;
    let mut first = trial.prefill(&problem)?;
    let deltas = deltas(&first.value);
    let filled = first.cache.clone();
    let losses = trial.losses(&problem, &mut first.cache, &deltas)?;
    let loss = trial.evaluate(&problem)?;
    is(first.cache == filled, "losses changed the cache")?;
    is(trial.losses(&problem, &mut first.cache, &deltas)? == losses, "the losses differ the second time")?;
    is(trial.prefill(&problem)? == first, "the prefill differs the second time")?;
    is(trial.evaluate(&problem)? == loss, "the evaluation differs the second time")
}

fn clean<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let problem = trial.problem;
    let mut clean = trial.prefill(&problem)?;
    let deltas = deltas(&clean.value);
    let [first, rest @ ..] = &trial.losses(&problem, &mut clean.cache, &deltas)?[..] else { return Ok(()) };
    let whole = trial.evaluate(&problem)?;
    trial.same("cached and whole", *first, whole)?;
    is(whole.kl == 0.0, "an evaluation has nothing to diverge from")?;
    is(first.targets as usize == problem.rewrites().len() * problem.target().len(), "the targets are miscounted")?;
    trial.near("divergence without a δ", &[first.kl], &[0.0])?;
    is(rest.iter().all(|l| l.nll != first.nll && l.kl > 0.0), "a δ changes nothing")?;
    let mapped = trial.project(&clean.keys[..trial.backend.spec().d_ff])?;
    trial.near("W k and the value", &mapped, &clean.value)
}

/// `u` with uᵀk = 1 for the key at `subject` and 0 for the other `keys`: Σ c_i k_i with Gc = e, G the keys' products.
fn selector(keys: &[Vec<f64>], subject: usize) -> Vec<f32> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let count = keys.len();
    let unit = |i: usize| f64::from(u8::from(i == subject));
    let row = |i: usize| keys.iter().map(|k| dot(&keys[i], k)).chain([unit(i)]).collect();
    let mut system: Vec<Vec<f64>> = (0..count).map(row).collect();
    for pivot in 0..count {
        let by = system[pivot].clone();
        for (_, row) in system.iter_mut().enumerate().filter(|(i, _)| *i != pivot) {
            let factor = row[pivot] / by[pivot];
            row.iter_mut().zip(&by).for_each(|(x, y)| *x -= factor * y);
        }
    }
    let c: Vec<f64> = (0..count).map(|i| system[i][count] / system[i][i]).collect();
    (0..keys[0].len()).map(|j| c.iter().zip(keys).map(|(c, k)| c * k[j]).sum::<f64>() as f32).collect()
}

/// A patch that fires at the subject alone and writes δ there is the model with δ injected: the one by cached passes above
/// the edit layer, the other by whole passes through a patched matrix.
fn injection<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let spec = trial.backend.spec();
    let (layer, target) = (trial.problem.layer(), trial.problem.target());
    let prompt = trial.problem.prompts()[0];
    let everywhere: Vec<_> = (0..prompt.tokens.len()).map(|s| Prompt { subject_last: s, ..prompt }).collect();
    let posed = |e| format!("{e}");
    let keys = trial.prefill(&Problem::new(&spec, layer, &everywhere, &target[..1]).map_err(posed)?)?.keys;
    let keys: Vec<Vec<f64>> = keys.chunks_exact(spec.d_ff).map(|k| k.iter().map(|x| f64::from(*x)).collect()).collect();
    let u = selector(&keys, prompt.subject_last);

    let alone = [prompt];
    let problem = Problem::new(&spec, layer, &alone, target).map_err(posed)?;
    let mut clean = trial.prefill(&problem)?;
    let deltas = deltas(&clean.value);
    let losses = trial.losses(&problem, &mut clean.cache, &deltas)?;
    for (delta, loss) in deltas.chunks_exact(spec.d_model).zip(losses) {
        let id =
            trial.backend.apply(RankOne { layer, u: &u, lambda: delta }).map_err(|e| format!("apply failed: {e}"))?;
        let patched = trial.evaluate(&problem);
        trial.backend.remove(id).map_err(|e| format!("remove failed: {e}"))?;
        trial.near("injected and written", &[loss.nll], &[patched?.nll])?;
    }
    Ok(())
}

/// Where the subject's last token comes again, its key is the one it has as the subject of the same text.
fn echo<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let (spec, layer) = (trial.backend.spec(), trial.problem.layer());
    let mut tokens = trial.problem.prompts()[0].tokens.to_vec();
    tokens[5] = tokens[3];
    let mut keys = |subject_last| {
        let prompts = [Prompt { tokens: &tokens, subject_last, role: Role::Rewrite }];
        let target = &trial.problem.target()[..1];
        let problem = Problem::new(&spec, layer, &prompts, target).map_err(|e| format!("{e}"))?;
        trial.prefill(&problem).map(|clean| clean.keys)
    };
    let (with_echo, of_echo) = (keys(3)?, keys(5)?);
    is(with_echo.len() == 2 * spec.d_ff && of_echo.len() == spec.d_ff, "one echo, and none behind it")?;
    trial.near("the echo's key", &with_echo[spec.d_ff..], &of_echo)?;
    is(with_echo[..spec.d_ff] != of_echo[..], "the echo's key is the subject's")
}

fn batches<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let problem = trial.problem;
    let mut clean = trial.prefill(&problem)?;
    let deltas = deltas(&clean.value);
    let together = trial.losses(&problem, &mut clean.cache, &deltas)?;
    for (delta, expected) in deltas.chunks_exact(trial.backend.spec().d_model).zip(together) {
        let [alone] = trial.losses(&problem, &mut clean.cache, delta)?[..] else { return Ok(()) };
        trial.same("alone and together", alone, expected)?;
        trial.near("the divergence alone and together", &[alone.kl], &[expected.kl])?;
    }
    Ok(())
}

/// The losses at each prompt alone make up those at all of them.
fn minibatches<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let problem = trial.problem;
    let mut clean = trial.prefill(&problem)?;
    let deltas = deltas(&clean.value);
    let mut sums = alloc::vec![Loss::default(); deltas.len() / trial.backend.spec().d_model];
    for index in 0..problem.prompts().len() {
        let which = PromptSet::NONE.with(index);
        let alone = trial.losses_at(which, &problem, &mut clean.cache, &deltas)?;
        for (sum, loss) in sums.iter_mut().zip(alone) {
            sum.nll += loss.nll / problem.rewrites().len() as f32;
            sum.kl += loss.kl / problem.essences().len() as f32;
            (sum.hits, sum.targets) = (sum.hits + loss.hits, sum.targets + loss.targets);
        }
    }
    for (sum, all) in sums.iter().zip(trial.losses(&problem, &mut clean.cache, &deltas)?) {
        is((sum.hits, sum.targets) == (all.hits, all.targets), "the prompts' targets are not those of all prompts")?;
        trial.near("the prompts one by one and together", &[sum.nll, sum.kl], &[all.nll, all.kl])?;
    }
    is(trial.losses_at(PromptSet::NONE, &problem, &mut clean.cache, &deltas).is_err(), "no prompt has a loss")
}

fn patches<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let problem = trial.problem;
    let (before, loss) = (trial.prefill(&problem)?, trial.evaluate(&problem)?);
    let key = before.keys[..trial.backend.spec().d_ff].to_vec();
    let square: f32 = key.iter().map(|x| x * x).sum();
    let u: Vec<f32> = key.iter().map(|x| x / square).collect();
    let lambda: Vec<f32> = before.value.iter().rev().map(|x| 2.0 * x + 0.5).collect();
    let thrice: Vec<f32> = lambda.iter().map(|x| 3.0 * x).collect();
    let patch = RankOne { layer: problem.layer(), u: &u, lambda: &lambda };
    let sum = |times: f32| before.value.iter().zip(&lambda).map(|(v, l)| v + times * l).collect::<Vec<f32>>();

    let failed = |e: B::Error| format!("a patch was refused: {e}");
    is(trial.backend.applied(problem.layer(), 0).is_none(), "a clean model names a patch")?;
    let first = trial.backend.apply(patch).map_err(failed)?;
    is(trial.backend.applied(problem.layer(), 0) == Some(patch), "the applied patch is not named")?;
    is(trial.backend.applied(problem.layer(), 1).is_none(), "a second patch is named")?;
    let mapped = trial.project(&key)?;
    trial.near("W k with a patch", &mapped, &sum(1.0))?;
    let value = trial.prefill(&problem)?.value;
    trial.near("the value with a patch", &value, &sum(1.0))?;
    is(trial.evaluate(&problem)?.nll != loss.nll, "a patch changes nothing")?;
    let second = trial.backend.apply(RankOne { lambda: &thrice, ..patch }).map_err(failed)?;
    is(first != second, "two patches have one name")?;
    let mapped = trial.project(&key)?;
    trial.near("W k with two patches", &mapped, &sum(4.0))?;
    trial.backend.remove(first).map_err(failed)?;
    let mapped = trial.project(&key)?;
    trial.near("W k with the second patch alone", &mapped, &sum(3.0))?;
    trial.backend.remove(second).map_err(failed)?;
    is(trial.backend.remove(second).is_err(), "a patch can be removed twice")?;
    is(trial.prefill(&problem)? == before, "a removed patch has left something in the prefill")?;
    is(trial.evaluate(&problem)? == loss, "a removed patch has left something in the loss")
}

fn refusals<B: ForwardBackend>(trial: &mut Trial<'_, B>) -> Check {
    let (problem, spec) = (trial.problem, trial.backend.spec());
    let mut clean = trial.prefill(&problem)?;
    let loss = trial.evaluate(&problem)?;
    let Clean { mut cache, mut keys, mut value } = clean.clone();
    let (short_cache, short_keys) = (cache.len() - 1, problem.rewrites().len() * spec.d_ff - 1);
    let deltas = alloc::vec![0.0; 2 * spec.d_model];
    let backend = &mut *trial.backend;
    let too_small: [(&str, Result<(), B::Error>); 6] = [
        ("a cache", backend.prefill(&problem, &mut cache[..short_cache], &mut keys, &mut value)),
        ("room for keys", backend.prefill(&problem, &mut cache, &mut keys[..short_keys], &mut value)),
        ("room for the value", backend.prefill(&problem, &mut cache, &mut keys, &mut value[1..])),
        (
            "a cache of losses",
            backend.losses(&problem, PromptSet::ALL, &mut cache[..short_cache], &deltas, &mut [Loss::default()]),
        ),
        (
            "too few δ",
            backend.losses(&problem, PromptSet::ALL, &mut clean.cache, &deltas[1..], &mut [Loss::default(); 2]),
        ),
        ("a key", backend.project(problem.layer(), &keys[..spec.d_ff - 1], &mut value)),
    ];
    for (what, result) in too_small {
        let kind = result.err().map(|e| e.kind());
        is(kind == Some(BackendErrorKind::TooSmall), &format!("{what} that is too small: {kind:?}"))?;
    }
    let (u, lambda) = (alloc::vec![0.5; spec.d_ff], alloc::vec![0.5; spec.d_model]);
    let wrong =
        [RankOne { layer: problem.layer(), u: &lambda, lambda: &u }, RankOne { layer: 0, u: &u[1..], lambda: &lambda }];
    is(wrong.into_iter().all(|p| trial.backend.apply(p).is_err()), "a patch of another shape was taken")?;
    is(trial.backend.project(spec.layers, &keys[..spec.d_ff], &mut value).is_err(), "a layer too many was projected")?;
    is(trial.evaluate(&problem)? == loss, "a refusal has changed something")
}
