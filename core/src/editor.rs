//! The editor: an edit as a state machine that does one unit of work per call. It has no loop: the caller owns time,
//! threads, cancelling and checkpoints.

use crate::backend::{ForwardBackend, Loss, PatchId};
use crate::checkpoint::{CheckpointError, Snapshot, checkpoint_len};
use crate::config::{Anchor, CheckedConfig, Config, Covariance, Keys, Minibatch, Spacing};
use crate::directions::{Block, Readers};
use crate::error::{SetupError, StepError};
use crate::estimator::{self, Side};
use crate::fingerprint::fingerprint;
use crate::math::{axpy, copy, dot, norm};
use crate::optimizer::Now;
use crate::prefix_cache::Validity;
use crate::problem::{Problem, PromptSet};
use crate::progress::{Outcome, Phase, Progress, Seen, State};
use crate::rank_one::{self, RankOne};
use crate::statistics::Statistics;
use crate::storage::{Arena, EditStorage};
use crate::value::{self, Objective};
use crate::{covariance, key};

/// One edit on its way.
///
/// The phases: a prefill; the bank's values in batches, if there are any; then search steps, with a verification in between
/// whenever one is due; after the last step a verification of the best δ. The same seed, inputs and backend give the same
/// bits, whatever the batch size.
#[derive(Debug)]
pub struct Editor<'a> {
    config: CheckedConfig,
    problem: Problem<'a>,
    statistics: Statistics<'a>,
    readers: Readers<'a>,
    fingerprint: u64,
    seed: u64,
    state: State,
    arena: Arena<'a>,
    /// ‖v0‖, once prefilled.
    value_norm: f32,
    /// A patch that a failed verification could not take off again.
    applied: Option<PatchId>,
}

/// What the candidates of a step say together.
#[derive(Clone, Copy)]
struct Observed {
    seen: Seen,
    /// A candidate met the success rule.
    met: bool,
}

impl<'a> Editor<'a> {
    /// An edit that has not begun. `seed` chooses the random directions.
    ///
    /// # Errors
    /// A problem that does not fit the model, statistics of the wrong shape, or a lent slice that is too small: which, and by
    /// how much.
    pub fn new(
        config: CheckedConfig,
        problem: Problem<'a>,
        statistics: Statistics<'a>,
        seed: u64,
        storage: EditStorage<'a>,
    ) -> Result<Self, SetupError> {
        let problem = Problem::new(config.spec(), problem.layer(), problem.prompts(), problem.target())
            .map_err(SetupError::Problem)?;
        statistics.check(config.spec()).map_err(SetupError::Statistics)?;
        let arena = Arena::new(&config, &problem, storage).map_err(SetupError::Storage)?;
        for vector in [&mut *arena.delta, &mut *arena.best, &mut *arena.gradient] {
            vector.fill(0.0);
        }
        let with_bank = config.config().bank && !statistics.bank.is_empty();
        let first = if with_bank { Phase::Bank } else { Phase::Search };
        let fingerprint = fingerprint(&config, &problem, &statistics);
        let readers = Readers::new(statistics.readers, config.config().readers);
        let state = State::new(first);
        Ok(Self {
            config,
            problem,
            statistics,
            readers,
            fingerprint,
            seed,
            state,
            arena,
            value_norm: 0.0,
            applied: None,
        })
    }

    /// An edit from where [`checkpoint`](Self::checkpoint) left it, on the same problem, settings, model and statistics.
    ///
    /// Its first unit is a prefill, which fills the cache again and is not counted; from then on it goes on to the same
    /// bits as the edit that was left. The storage and `batch` may be others.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and bytes that are damaged or belong to another edit.
    pub fn resume(
        config: CheckedConfig,
        problem: Problem<'a>,
        statistics: Statistics<'a>,
        storage: EditStorage<'a>,
        checkpoint: &[u8],
    ) -> Result<Self, SetupError> {
        let mut editor = Self::new(config, problem, statistics, 0, storage)?;
        let Arena { delta, best, gradient, .. } = &mut editor.arena;
        let vectors = [&mut **delta, &mut **best, &mut **gradient];
        let mut snapshot = Snapshot { fingerprint: editor.fingerprint, seed: 0, state: editor.state, vectors };
        snapshot.read(checkpoint).map_err(SetupError::Checkpoint)?;
        let (seed, state) = (snapshot.seed, snapshot.state);
        if !editor.can_reach(&state) {
            return Err(SetupError::Checkpoint(CheckpointError::Content));
        }
        (editor.seed, editor.state) = (seed, state);
        Ok(editor)
    }

    /// Writes the edit's state to the front of `out`; returns the number of bytes,
    /// [`checkpoint_len`](Self::checkpoint_len). Can be called between any two steps.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn checkpoint(&self, out: &mut [u8]) -> Result<usize, CheckpointError> {
        let Arena { delta, best, gradient, .. } = &self.arena;
        let vectors = [&**delta, &**best, &**gradient];
        Snapshot { fingerprint: self.fingerprint, seed: self.seed, state: self.state, vectors }.write(out)
    }

    /// Bytes of a checkpoint of this edit.
    pub fn checkpoint_len(&self) -> usize {
        checkpoint_len(self.config.spec().d_model)
    }

    /// The seed that the edit was begun with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// δ as it stands, `(d_model)`; after the end, the one of the patch.
    pub fn delta(&self) -> &[f32] {
        self.arena.delta
    }

    /// The patch, once there is an outcome (and, for an edit resumed after its end, one step was made). It is not applied.
    pub fn patch(&self) -> Option<RankOne<'_>> {
        (self.state.outcome.is_some() && self.state.cache == Validity::Fresh).then(|| self.rank_one())
    }

    /// Does one unit of work. After the end it does nothing and reports the outcome again.
    ///
    /// # Errors
    /// On an error the edit is where it was: the same call again does the same unit, to the same bits. (If it was the losses
    /// that failed or were no numbers, that call fills the cache first, uncounted, and the unit is done by the next.)
    pub fn step<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<Progress, StepError<B::Error>> {
        if backend.spec() != *self.config.spec() {
            return Err(StepError::OtherModel);
        }
        if let Some(patch) = self.applied {
            backend.remove(patch)?;
            self.applied = None;
        }
        let unit = if self.state.cache == Validity::Fresh { self.state.phase } else { Phase::Prefill };
        let done = match unit {
            Phase::Prefill => self.prefill(backend),
            Phase::Bank => self.try_starts(backend),
            Phase::Search => self.search(backend),
            Phase::Verify => self.verify(backend),
            Phase::Done => Ok(()),
        };
        if done.is_err() && matches!(unit, Phase::Bank | Phase::Search) {
            // A backend that failed half-way may have spoilt the cache, and what is not finite may lie in it.
            self.state.cache = Validity::Lost;
        }
        done?;
        #[cfg(feature = "defmt")]
        if unit != self.state.phase {
            defmt::debug!("step {}: {} done, {} next", self.state.step, unit, self.state.phase);
        }
        Ok(self.state.progress(unit, self.settings().max_steps, self.prompts()))
    }

    /// Whether an edit with these settings and this bank can stand there.
    fn can_reach(&self, state: &State) -> bool {
        let max_steps = self.settings().max_steps;
        let steps = match state.phase {
            Phase::Search => state.first_verified <= state.step && !is_last(self.settings(), state),
            _ => state.step <= max_steps && state.first_verified <= state.step,
        };
        steps && state.starts as usize <= self.all_starts() && state.best_start <= state.starts
    }

    /// δ = 0, and the values of the bank.
    fn all_starts(&self) -> usize {
        self.statistics.bank.chunks_exact(self.config.spec().d_model.max(1)).len() + 1
    }

    fn settings(&self) -> &Config {
        self.config.config()
    }

    fn rank_one(&self) -> RankOne<'_> {
        RankOne { layer: self.problem.layer(), u: self.arena.u, lambda: self.arena.lambda }
    }

    fn objective(&self) -> Objective {
        let Config { kl_factor, weight_decay, .. } = *self.settings();
        Objective { kl_factor, weight_decay, value_norm: self.value_norm }
    }

    /// The clean pass: cache, v0, k* (equation 2) and u.
    fn prefill<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<(), StepError<B::Error>> {
        let config = *self.settings();
        let Arena { cache, keys, value, key, u, .. } = &mut self.arena;
        let split = self.problem.key_rows().saturating_mul(key.len());
        let (keys, scratch) = keys.split_at_mut_checked(split).unwrap_or_default();
        backend.prefill(&self.problem, cache, keys, value)?;
        let rewrites = self.problem.rewrites().len().saturating_mul(key.len());
        key::mean(keys.get(..rewrites).unwrap_or_default(), key);
        let length = norm(value);
        if !length.is_finite() || !norm(key).is_finite() {
            return Err(StepError::NotFinite);
        }
        let samples = self.statistics.samples;
        let mut inverse = |x: &[f32], out: &mut [f32]| match config.covariance {
            Covariance::Samples { ridge, iterations } if !samples.is_empty() => {
                covariance::solve(samples, x, ridge, iterations, scratch, out)
            }
            _ => copy(x, out),
        };
        match config.keys {
            Keys::Mean => inverse(key, u),
            Keys::Balanced { ridge } => {
                key::balance(keys, self.problem.prompts().len(), ridge, u, &mut inverse);
                inverse(keys.get(..key.len()).unwrap_or_default(), u);
            }
        }
        if config.apart {
            let layer = self.problem.layer();
            let image = keys.get_mut(..key.len()).unwrap_or_default();
            for earlier in (0..).map_while(|index| backend.applied(layer, index)) {
                covariance::keep_off(config.covariance, samples, earlier.u, image, u);
            }
        }
        if length == 0.0 || norm(key) == 0.0 {
            return Err(StepError::Degenerate);
        }
        // Found now, not by the verification after a search that was for nothing.
        let along = dot(u, key);
        if !along.is_finite() {
            return Err(StepError::NotFinite);
        }
        if along <= 0.0 {
            return Err(StepError::Degenerate);
        }
        self.value_norm = length;
        if self.state.outcome.is_some() {
            self.solve(backend)?;
        }
        if self.state.cache != Validity::Lost {
            self.state.count(1, 0, self.problem.total_rows());
        }
        let refreshed = u32::from(self.state.cache == Validity::Stale);
        self.state.cache_refreshes = self.state.cache_refreshes.saturating_add(refreshed);
        self.state.cache = Validity::Fresh;
        Ok(())
    }

    /// One batch of the bank's values v as starts δ = v − v0, the start δ = 0 first of all.
    fn try_starts<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<(), StepError<B::Error>> {
        let longest = self.settings().clamp * self.value_norm;
        let width = self.config.spec().d_model.max(1);
        let objective = self.objective();
        let bank = self.statistics.bank;
        let all = self.all_starts();
        let which = self.minibatch(0);
        let mut state = self.state;
        let Arena { cache, deltas, losses, value, .. } = &mut self.arena;

        let count = losses.len().min(all.saturating_sub(state.starts as usize));
        let candidates = deltas.get_mut(..count * width).unwrap_or_default();
        for (i, delta) in candidates.chunks_exact_mut(width).enumerate() {
            start(bank, state.starts as usize + i, value, longest, delta);
        }
        let losses = losses.get_mut(..count).unwrap_or_default();
        backend.losses(&self.problem, which, cache, candidates, losses)?;
        for (loss, delta) in losses.iter().zip(candidates.chunks_exact(width)) {
            let value = finite(objective.of(loss, delta))?;
            if value < state.best_loss {
                (state.best_loss, state.best_start) = (value, state.starts);
                state.seen = Seen { loss: value, nll: loss.nll, kl: loss.kl };
            }
            state.starts += 1;
        }
        let prompts = self.problem.chosen(which).count();
        state.count(count, prompts, self.problem.suffix_rows(which));
        if state.starts as usize >= all {
            let Arena { delta, best, value, .. } = &mut self.arena;
            start(bank, state.best_start as usize, value, longest, delta);
            copy(delta, best);
            state.phase = Phase::Search;
        }
        self.state = state;
        Ok(())
    }

    /// One optimiser step: estimate the gradient at δ, move δ, decide what comes next.
    fn search<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<(), StepError<B::Error>> {
        let config = *self.settings();
        let mu = self.mu();
        let which = self.minibatch(self.state.step);
        let Observed { seen, met } = self.observe(backend, which, mu)?;

        let Arena { gradient, next_gradient, deltas, directions, objectives, delta, best, .. } = &mut self.arena;
        let width = delta.len();
        let image = deltas.get_mut(..width).unwrap_or_default();
        let mut block = Block::new(config.kind, self.readers, self.seed, self.state.step, width, directions);
        copy(gradient, next_gradient);
        estimator::gradient(config.stencil(), config.combine, mu, objectives, &mut block, image, next_gradient);
        finite(norm(next_gradient))?;

        // Nothing below can fail.
        copy(next_gradient, gradient);
        let state = &mut self.state;
        if seen.loss < state.best_loss {
            state.best_loss = seen.loss;
            if state.first_verified == 0 {
                copy(delta, best);
            }
        }
        let value_norm = self.value_norm;
        let now = Now { step: state.step, max_steps: config.max_steps, value_norm, loss: seen.loss };
        config.rule.step(now, &mut state.memory, gradient, delta);
        value::clamp(delta, config.clamp * value_norm);
        state.step += 1;
        state.seen = seen;

        let prompts = self.problem.chosen(which).count();
        state.count(config.stencil().candidates(), prompts, self.problem.suffix_rows(which));
        if config.refresh.is_some_and(|rule| state.staleness.observe(seen.loss, rule)) {
            state.cache = Validity::Stale;
        }
        if is_last(&config, state) {
            copy(best, delta);
            state.phase = Phase::Verify;
        } else if config.early_stop.due(state.step, met) {
            state.phase = Phase::Verify;
        }
        Ok(())
    }

    /// The prompts that step number `step` (the first is 0) looks at.
    fn minibatch(&self, step: u32) -> PromptSet {
        let (all, essences) = (self.problem.rewrites().len(), self.essences());
        match self.settings().minibatch {
            Minibatch::Rewrites(count) => {
                let count = count.min(all);
                let first = (step as usize % all.max(1)) * count;
                let chosen = (first..first + count).map(|index| index % all.max(1));
                let essence = (essences > 0).then(|| all + step as usize % essences);
                chosen.chain(essence).fold(PromptSet::NONE, PromptSet::with)
            }
            Minibatch::All => (0..all + essences).fold(PromptSet::NONE, PromptSet::with),
        }
    }

    /// Prompts of a forward pass.
    fn prompts(&self) -> usize {
        self.problem.rewrites().len() + self.essences()
    }

    /// Essence prompts that are looked at.
    fn essences(&self) -> usize {
        self.problem.essences().len().min(self.settings().essences)
    }

    /// μ of equation (4).
    fn mu(&self) -> f32 {
        match self.settings().spacing {
            Spacing::Absolute(mu) => mu,
            Spacing::Relative(part) => part * self.value_norm / libm::sqrtf(self.config.spec().d_model as f32),
        }
    }

    /// Evaluates the candidates of a step, a batch at a time, into `objectives`. Changes only scratch memory.
    fn observe<B: ForwardBackend>(
        &mut self,
        backend: &mut B,
        which: PromptSet,
        mu: f32,
    ) -> Result<Observed, StepError<B::Error>> {
        let config = *self.settings();
        let stencil = config.stencil();
        let objective = self.objective();
        let Arena { cache, deltas, losses, delta, directions, objectives, .. } = &mut self.arena;
        let width = delta.len().max(1);
        let mut block = Block::new(config.kind, self.readers, self.seed, self.state.step, width, directions);
        let mut mean = Mean::default();
        let mut met = false;
        let mut next = 0;
        for objectives in objectives.chunks_mut(losses.len().max(1)) {
            let count = objectives.len();
            let candidates = deltas.get_mut(..count * width).unwrap_or_default();
            for (i, candidate) in candidates.chunks_exact_mut(width).enumerate() {
                let (index, side) = stencil.place(next + i);
                copy(delta, candidate);
                match side {
                    Side::Centre => {}
                    Side::Plus => axpy(mu, block.direction(index), candidate),
                    Side::Minus => axpy(-mu, block.direction(index), candidate),
                }
            }
            let losses = losses.get_mut(..count).unwrap_or_default();
            backend.losses(&self.problem, which, cache, candidates, losses)?;
            for (i, ((out, loss), candidate)) in
                objectives.iter_mut().zip(&*losses).zip(candidates.chunks_exact(width)).enumerate()
            {
                *out = finite(objective.of(loss, candidate))?;
                met |= config.early_stop.met(loss);
                if !stencil.centre || stencil.place(next + i).1 == Side::Centre {
                    mean.add(*out, loss);
                }
            }
            next += count;
        }
        Ok(Observed { seen: mean.get(), met })
    }

    /// Λ of equation (6) from δ as it stands, into the arena.
    fn solve<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<(), StepError<B::Error>> {
        let anchor = self.settings().anchor;
        let Arena { value, delta, lambda, key, u, .. } = &mut self.arena;
        match anchor {
            Anchor::MeanKey => copy(delta, lambda),
            Anchor::FirstPrompt => {
                backend.project(self.problem.layer(), key, lambda)?;
                for ((out, v0), delta) in lambda.iter_mut().zip(&**value).zip(&**delta) {
                    *out = v0 + delta - *out;
                }
            }
        }
        rank_one::solve(u, key, lambda).ok_or(StepError::NotFinite)
    }

    /// Tests the success rule on the model as it will be written: patch on, whole forward passes, patch off.
    fn verify<B: ForwardBackend>(&mut self, backend: &mut B) -> Result<(), StepError<B::Error>> {
        self.solve(backend)?;
        let patch = backend.apply(self.rank_one())?;
        self.applied = Some(patch);
        let result = backend.evaluate(&self.problem);
        backend.remove(patch)?;
        self.applied = None;
        let loss = result?;
        let nll = finite(loss.nll)?;

        let config = *self.settings();
        let prompts = self.prompts();
        let state = &mut self.state;
        if state.first_verified == 0 {
            state.first_verified = state.step;
        }
        let last = is_last(&config, state);
        state.seen = Seen { loss: nll, nll, kl: 0.0 };
        state.count(1, prompts, self.problem.total_rows());
        state.outcome = if config.early_stop.enough(&loss) || (last && config.early_stop.met(&loss)) {
            Some(Outcome::Success)
        } else if last {
            Some(Outcome::Exhausted)
        } else {
            None
        };
        let written = config.early_stop.rank(&loss);
        if state.outcome.is_none() && written < state.best_written {
            state.best_written = written;
            copy(self.arena.delta, self.arena.best);
        }
        state.phase = if state.outcome.is_some() { Phase::Done } else { Phase::Search };
        Ok(())
    }
}

/// Whether no step follows: all are made, or the patience after the first verification is at its end.
fn is_last(config: &Config, state: &State) -> bool {
    let over = state.first_verified > 0 && state.step - state.first_verified >= config.early_stop.patience;
    state.step >= config.max_steps || over
}

/// Start number `index`: 0 is δ = 0, i is value i − 1 of the bank less v0, brought into the ball.
fn start(bank: &[half::f16], index: usize, value: &[f32], longest: f32, delta: &mut [f32]) {
    delta.fill(0.0);
    let row = index.checked_sub(1).and_then(|row| bank.chunks_exact(value.len().max(1)).nth(row));
    for ((out, v), v0) in delta.iter_mut().zip(row.unwrap_or(&[])).zip(value) {
        *out = v.to_f32() - v0;
    }
    value::clamp(delta, longest);
}

fn finite<E>(x: f32) -> Result<f32, StepError<E>> {
    if x.is_finite() { Ok(x) } else { Err(StepError::NotFinite) }
}

/// The mean of what is shown, summed in the candidates' order.
#[derive(Default)]
struct Mean {
    loss: f32,
    nll: f32,
    kl: f32,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f32, loss: &Loss) {
        self.loss += value;
        self.nll += loss.nll;
        self.kl += loss.kl;
        self.count += 1;
    }

    fn get(&self) -> Seen {
        let weight = 1.0 / self.count.max(1) as f32;
        Seen { loss: weight * self.loss, nll: weight * self.nll, kl: weight * self.kl }
    }
}
