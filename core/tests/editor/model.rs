//! The oracle: a one-layer softmax model in f64 (on a host), a pose of random edits on it, and a way to run them. It has what an edit
//! meets (a value added to a residual, a norm, several prompts, several target tokens, a clean distribution), and no more.

use core::fmt;

use mobiedit_core::backend::{BackendError, BackendErrorKind, ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit_core::config::CheckedConfig;
use mobiedit_core::prefix_cache::CacheLayout;
use mobiedit_core::problem::{Problem, Prompt, PromptSet, Role};
use mobiedit_core::{Config, EditStorage, Editor, Footprint, Progress, RankOne, Statistics, StepError};

pub(crate) const SPEC: ModelSpec = ModelSpec { d_model: 96, d_ff: 64, layers: 3, kv_dim: 4, vocab: 40, max_tokens: 16 };
pub(crate) const LAYER: usize = 1;
/// What the model computes in. Not f64 on a Hexagon: QEMU computes that some five hundred times more slowly than f32 here.
#[cfg(not(target_arch = "hexagon"))]
type Real = f64;
#[cfg(target_arch = "hexagon")]
type Real = f32;
/// Sweeps look at every so-manyth case: QEMU is slow.
pub(crate) const STRIDE: usize = if cfg!(target_arch = "hexagon") { 64 } else { 1 };
/// Of the two target positions and of the essence prompts, which ask for less.
const HEAD_SCALES: [Real; 3] = [0.6, 0.6, 0.2];
const ESSENCE: usize = 2;

/// Pseudo-random numbers in −1..1 that depend on all of `name`.
fn noise(name: impl IntoIterator<Item = u64>) -> Real {
    let hash = name.into_iter().fold(0x51_7CC1_B727_2202_u64, |hash, x| {
        let x = (hash ^ x).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        (x ^ (x >> 32)).wrapping_mul(0xC4CE_B9FE_1A85_EC53)
    });
    (hash >> 11) as Real / (1u64 << 52) as Real - 1.0
}

fn vector(len: usize, name: &[u64]) -> Vec<Real> {
    (0..len as u64).map(|i| noise(name.iter().copied().chain([i]))).collect()
}

/// What went wrong in a [`Model`] or around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the test's model failed")
    }
}

impl core::error::Error for Failure {}

impl BackendError for Failure {
    fn kind(&self) -> BackendErrorKind {
        BackendErrorKind::Device
    }
}

/// value = W key (+ patches, + δ); hidden = residual + value; logits of target position t = head_t · hidden / rms(hidden).
pub(crate) struct Model {
    w: Vec<Vec<Real>>,
    heads: Vec<Vec<Vec<Real>>>,
    patches: Vec<(PatchId, Vec<f32>, Vec<f32>)>,
    next_patch: u32,
    /// Evaluations of a candidate at a prompt.
    pub(crate) evaluated: u64,
    /// Evaluations of the model as it stands, at all prompts.
    pub(crate) whole: u64,
    /// Rows computed.
    pub(crate) rows: u64,
    pub(crate) prefills: u32,
}

impl Model {
    pub(crate) fn new() -> Self {
        let (d, wide) = (SPEC.d_model, SPEC.d_ff);
        let w = (0..d as u64).map(|i| vector(wide, &[1, i])).collect();
        let row = |t, i| vector(d, &[2, t, i]).iter().map(|x| HEAD_SCALES[t as usize] * x).collect();
        let heads = (0..3).map(|t| (0..SPEC.vocab as u64).map(|i| row(t, i)).collect()).collect();
        Self { w, heads, patches: Vec::new(), next_patch: 7, evaluated: 0, whole: 0, rows: 0, prefills: 0 }
    }

    /// Mostly the subject's, a little the prefix's.
    fn key(&self, prompt: &Prompt<'_>) -> Vec<Real> {
        let (before, subject) = prompt.tokens[..=prompt.subject_last].split_at(prompt.subject_last);
        let mut key = vector(SPEC.d_ff, &[3, u64::from(subject[0])]);
        for (i, &token) in before.iter().enumerate() {
            let other = vector(SPEC.d_ff, &[4, i as u64, u64::from(token)]);
            key.iter_mut().zip(other).for_each(|(k, o)| *k += 0.05 * o);
        }
        key
    }

    fn value(&self, key: &[Real]) -> Vec<Real> {
        let mut value: Vec<Real> =
            self.w.iter().map(|row| 0.9 * row.iter().zip(key).map(|(w, k)| w * k).sum::<Real>()).collect();
        for (_, u, lambda) in &self.patches {
            let along: Real = u.iter().zip(key).map(|(u, k)| Real::from(*u) * k).sum();
            value.iter_mut().zip(lambda).for_each(|(v, l)| *v += along * Real::from(*l));
        }
        value
    }

    fn residual(&self, prompt: &Prompt<'_>) -> Vec<Real> {
        let name = [5, u64::from(prompt.tokens[0]), prompt.tokens.len() as u64];
        vector(SPEC.d_model, &name).iter().map(|x| 3.0 * x).collect()
    }

    fn log_probabilities(&self, hidden: &[Real], position: usize) -> Vec<Real> {
        let rms = (hidden.iter().map(|x| x * x).sum::<Real>() / hidden.len() as Real).sqrt();
        let products = |row: &Vec<Real>| row.iter().zip(hidden).map(|(w, h)| w * h).sum::<Real>();
        let logits: Vec<Real> = self.heads[position].iter().map(|row| products(row) / rms).collect();
        let total = logits.iter().map(|l| l.exp()).sum::<Real>().ln();
        logits.iter().map(|l| l - total).collect()
    }

    /// Adds one of `rewrites` prompts' losses.
    fn add(&self, problem: &Problem<'_>, rewrites: usize, hidden: &[Real], loss: &mut Loss) {
        let count = (rewrites * problem.target().len()) as Real;
        for (position, &token) in problem.target().iter().enumerate() {
            let log_p = self.log_probabilities(hidden, position);
            let best = (0..log_p.len()).max_by(|&a, &b| log_p[a].total_cmp(&log_p[b])).unwrap();
            loss.nll += (-log_p[token as usize] / count) as f32;
            loss.targets += 1;
            loss.hits += u32::from(best == token as usize);
        }
    }
}

impl ForwardBackend for Model {
    type Error = Failure;

    fn spec(&self) -> ModelSpec {
        SPEC
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Failure> {
        let layout = CacheLayout::new(SPEC, *problem);
        assert_eq!((cache.len(), value.len()), (layout.len(), SPEC.d_model));
        assert_eq!(keys.len(), problem.key_rows() * SPEC.d_ff);
        for (i, prompt) in problem.prompts().iter().enumerate() {
            let key = self.key(prompt);
            let clean = self.value(&key);
            if let Some(row) = keys.chunks_exact_mut(SPEC.d_ff).nth(i) {
                row.iter_mut().zip(&key).for_each(|(to, k)| *to = *k as f32);
            }
            if i == 0 {
                value.iter_mut().zip(&clean).for_each(|(to, v)| *to = *v as f32);
            }
            let hidden = &mut cache[layout.hidden(i)];
            hidden
                .iter_mut()
                .zip(clean.iter().zip(self.residual(prompt)))
                .for_each(|(to, (v, r))| *to = (v + r) as f32);
        }
        let echo = problem.echo().map(|echo| self.key(&Prompt { subject_last: echo, ..problem.prompts()[0] }));
        for (key, row) in echo.iter().zip(keys.chunks_exact_mut(SPEC.d_ff).skip(problem.prompts().len())) {
            row.iter_mut().zip(key).for_each(|(to, k)| *to = *k as f32);
        }
        self.prefills += 1;
        self.rows += problem.total_rows() as u64;
        Ok(())
    }

    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Failure> {
        assert_eq!(deltas.len(), out.len() * SPEC.d_model);
        let layout = CacheLayout::new(SPEC, *problem);
        let rewrites = problem.chosen(which).filter(|(_, prompt)| prompt.role == Role::Rewrite).count();
        let essences = problem.chosen(which).count() - rewrites;
        for (delta, loss) in deltas.chunks_exact(SPEC.d_model).zip(out) {
            *loss = Loss::default();
            for (i, prompt) in problem.chosen(which) {
                let clean: Vec<Real> = cache[layout.hidden(i)][..SPEC.d_model].iter().map(|x| Real::from(*x)).collect();
                let hidden: Vec<Real> = clean.iter().zip(delta).map(|(h, d)| h + Real::from(*d)).collect();
                match prompt.role {
                    Role::Rewrite => self.add(problem, rewrites, &hidden, loss),
                    Role::Essence => {
                        let (p, q) =
                            (self.log_probabilities(&hidden, ESSENCE), self.log_probabilities(&clean, ESSENCE));
                        let kl = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<Real>();
                        loss.kl += (kl / essences as Real) as f32;
                    }
                }
            }
            self.evaluated += problem.chosen(which).count() as u64;
            self.rows += problem.suffix_rows(which) as u64;
        }
        Ok(())
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Failure> {
        let mut loss = Loss::default();
        for prompt in problem.rewrites() {
            let value = self.value(&self.key(prompt));
            let hidden: Vec<Real> = value.iter().zip(self.residual(prompt)).map(|(v, r)| v + r).collect();
            self.add(problem, problem.rewrites().len(), &hidden, &mut loss);
        }
        self.whole += 1;
        self.rows += problem.total_rows() as u64;
        Ok(loss)
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Failure> {
        assert_eq!(layer, LAYER);
        let key: Vec<Real> = key.iter().map(|k| Real::from(*k)).collect();
        out.iter_mut().zip(self.value(&key)).for_each(|(to, v)| *to = v as f32);
        Ok(())
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Failure> {
        assert_eq!((patch.layer, patch.u.len(), patch.lambda.len()), (LAYER, SPEC.d_ff, SPEC.d_model));
        self.next_patch += 1;
        self.patches.push((PatchId(self.next_patch), patch.u.to_vec(), patch.lambda.to_vec()));
        Ok(PatchId(self.next_patch))
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Failure> {
        let before = self.patches.len();
        self.patches.retain(|(id, ..)| *id != patch);
        if self.patches.len() < before { Ok(()) } else { Err(Failure) }
    }

    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        self.patches.get(index).map(|(_, u, lambda)| RankOne { layer, u, lambda })
    }
}

/// The tokens of one edit: four rewrite prompts with different prefixes, two essence prompts, a target of two tokens.
pub(crate) struct Edit {
    tokens: Vec<Vec<u32>>,
    target: [u32; 2],
}

impl Edit {
    /// Different numbers are different subjects and targets.
    pub(crate) fn new(number: u32) -> Self {
        let subject = number % 40;
        let prefixes: [&[u32]; 4] = [&[], &[3], &[4, 9, 12], &[1, 30]];
        let target = [(7 * number + 3) % 40, (11 * number + 19) % 40];
        let suffix = [20, 21, target[0]];
        let rewrites = prefixes.iter().map(|prefix| [prefix, &[subject][..], &suffix].concat());
        let tokens = rewrites.chain([vec![subject, 5], vec![8, subject, 6]]).collect();
        Self { tokens, target }
    }

    /// Calls `run` with the problem.
    pub(crate) fn with<T>(&self, run: impl FnOnce(Problem<'_>) -> T) -> T {
        let rewrites = self.tokens.len() - 2;
        let prompt = |(i, tokens)| {
            let tokens: &Vec<u32> = tokens;
            let (role, after) = if i < rewrites { (Role::Rewrite, 4) } else { (Role::Essence, 2) };
            Prompt { tokens, subject_last: tokens.len() - after, role }
        };
        let prompts: Vec<Prompt<'_>> = self.tokens.iter().enumerate().map(prompt).collect();
        run(Problem::new(&SPEC, LAYER, &prompts, &self.target).unwrap())
    }
}

/// Memory for one edit, full of numbers that would show if they were ever read.
pub(crate) struct Memory {
    floats: Vec<f32>,
    cache: Vec<f32>,
    losses: Vec<Loss>,
}

impl Memory {
    pub(crate) fn new(config: &CheckedConfig, problem: &Problem<'_>) -> Self {
        Self::sized(Footprint::for_problem(config, problem))
    }

    pub(crate) fn sized(need: Footprint) -> Self {
        let poison = Loss { nll: f32::NAN, kl: f32::NAN, hits: 9, targets: 9 };
        Self {
            floats: vec![f32::NAN; need.floats],
            cache: vec![f32::NAN; need.cache],
            losses: vec![poison; need.losses],
        }
    }

    pub(crate) fn lend(&mut self) -> EditStorage<'_> {
        EditStorage { floats: &mut self.floats, cache: &mut self.cache, losses: &mut self.losses }
    }
}

/// Everything that a run shows, floats as bits.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) last: Progress,
    pub(crate) delta: Vec<u32>,
    pub(crate) u: Vec<u32>,
    pub(crate) lambda: Vec<u32>,
}

pub(crate) fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|x| x.to_bits()).collect()
}

/// Steps until there is an outcome.
pub(crate) fn finish<B: ForwardBackend>(editor: &mut Editor<'_>, backend: &mut B) -> Result<Run, StepError<B::Error>> {
    loop {
        let last = editor.step(backend)?;
        if last.outcome.is_some() {
            let patch = editor.patch().unwrap();
            let (u, lambda) = (bits(patch.u), bits(patch.lambda));
            return Ok(Run { last, delta: bits(editor.delta()), u, lambda });
        }
    }
}

/// A whole edit on a fresh model; also gives the model.
pub(crate) fn edit(config: Config, number: u32, statistics: Statistics<'_>, seed: u64) -> (Run, Model) {
    let mut model = Model::new();
    let config = config.check(&SPEC).unwrap();
    let run = Edit::new(number).with(|problem| {
        let mut memory = Memory::new(&config, &problem);
        let mut editor = Editor::new(config, problem, statistics, seed, memory.lend()).unwrap();
        finish(&mut editor, &mut model).unwrap()
    });
    (run, model)
}
