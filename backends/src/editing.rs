//! [`ForwardBackend`] for a [`Transformer`]: the exact prefix cache, and all candidates of a step in one batch.
//!
//! Chooses nothing: which δ to try is the editor's affair.

use mobiedit_core::backend::{ForwardBackend, Loss, ModelSpec, PatchId};
use mobiedit_core::prefix_cache::CacheLayout;
use mobiedit_core::problem::{MAX_PROMPTS, MAX_TARGET_TOKENS, Problem, Prompt, PromptSet, Role};
use mobiedit_core::rank_one::RankOne;

use crate::device::Device;
use crate::op::{Activation, Op, Pool, READOUT_WIDTH, Read, Rows, Segment, Slot};
use crate::transformer::{Activations, ForwardError, Kept, Transformer};

/// Most rows of one candidate whose logits matter, over all prompts.
const MAX_READS: usize = MAX_PROMPTS * MAX_TARGET_TOKENS;

/// The rows of one candidate whose logits matter, at most `N`, and what is read there.
#[derive(Default)]
struct Reads<const N: usize> {
    rows: heapless::Vec<u32, N>,
    what: heapless::Vec<Read, N>,
}

impl<const N: usize> Reads<N> {
    /// Adds what the prompt with this index reads; its last row is row `end − 1` of the copy.
    fn push<E>(&mut self, problem: &Problem<'_>, index: usize, end: usize) -> Result<(), ForwardError<E>> {
        let (prompt, target) = (problem.prompts().get(index).ok_or(ForwardError::OutOfRange)?, problem.target());
        let first = end.saturating_sub(if prompt.role == Role::Rewrite { target.len() } else { 1 });
        for (i, row) in (first..end).enumerate() {
            let read = match prompt.role {
                Role::Rewrite => Read::Target(*target.get(i).ok_or(ForwardError::OutOfRange)?),
                Role::Essence => Read::Divergence(index.saturating_sub(problem.rewrites().len()) as u32),
            };
            self.rows.push(row as u32).map_err(|_| ForwardError::OutOfRange)?;
            self.what.push(read).map_err(|_| ForwardError::OutOfRange)?;
        }
        Ok(())
    }
}

/// The readouts of one candidate, summed.
#[derive(Default)]
struct Sums {
    nll: f64,
    kl: f64,
    divergences: u32,
    loss: Loss,
    /// An argmax was no number: a miss could not be told from a fault.
    lost: bool,
}

impl Sums {
    /// Adds what was read. `stats` has [`READOUT_WIDTH`] numbers per read.
    fn add(&mut self, reads: &[Read], stats: &[f32], kl_read: bool) {
        for (read, stat) in reads.iter().zip(stats.chunks_exact(READOUT_WIDTH)) {
            let [log_sum_exp, target_logit, _, best, divergence] = stat else { continue };
            match read {
                Read::Target(token) => {
                    self.nll += f64::from(log_sum_exp - target_logit);
                    self.lost |= !best.is_finite();
                    self.loss.targets += 1;
                    self.loss.hits += u32::from(*best == *token as f32);
                }
                Read::Divergence(_) if kl_read => {
                    self.kl += f64::from(*divergence);
                    self.divergences += 1;
                }
                Read::Divergence(_) => {}
            }
        }
    }

    /// The means. Where nothing was read there is none: 0.
    fn loss<E>(self) -> Result<Loss, ForwardError<E>> {
        let nll = (self.nll / f64::from(self.loss.targets.max(1))) as f32;
        let kl = (self.kl / f64::from(self.divergences.max(1))) as f32;
        let finite = nll.is_finite() && kl.is_finite() && !self.lost;
        if finite { Ok(Loss { nll, kl, ..self.loss }) } else { Err(ForwardError::NotFinite) }
    }
}

impl<D: Device> Transformer<'_, D> {
    /// Where a problem's parts lie in the cache, if this model can be asked it: it may have been posed to another.
    fn accept<'p>(&self, problem: &Problem<'p>) -> Result<CacheLayout<'p>, ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        self.check_model()?;
        let posed = Problem::new(&spec, problem.layer(), problem.prompts(), problem.target());
        posed.map(|problem| CacheLayout::new(spec, problem)).map_err(|_| ForwardError::OutOfRange)
    }

    /// Embeds one sequence and runs the layers `0..=last` over it: the state after that layer's list.
    pub(crate) fn run_sequence(&mut self, tokens: &[u32], last: usize) -> Result<Activations, ForwardError<D::Error>> {
        if tokens.len() > self.model.config.spec.max_tokens {
            return Err(ForwardError::ContextFull);
        }
        let act = self.activations(tokens.len())?;
        let segments = [Segment { rows: tokens.len(), ..Segment::default() }];
        let rows = Rows { copies: 1, segments: &segments };
        self.embed(&act, tokens)?;
        self.rope_table(&act, rows)?;
        for layer in 0..=last {
            let kept = if layer == last { Kept::Edited } else { Kept::Attended };
            self.layer(layer, &act, rows, &mut [], 0, kept)?;
        }
        Ok(act)
    }

    /// Runs a text up to `layer` and copies out every position's key, `(tokens, d_ff)`, and value, `(tokens, d_model)`:
    /// the input and the output of that layer's `down_proj`. The raw material of `C` and of the bank of values.
    ///
    /// # Errors
    /// Buffers that are too small, more tokens than the context or the work memory holds, tokens or a layer outside the
    /// model, and the device's own.
    pub fn capture(
        &mut self,
        tokens: &[u32],
        layer: usize,
        keys: &mut [f32],
        values: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        check_len(keys.len(), tokens.len().saturating_mul(spec.d_ff))?;
        check_len(values.len(), tokens.len().saturating_mul(spec.d_model))?;
        let act = self.run_sequence(tokens, layer)?;
        copy_prefix(self.slice(act.gate)?, keys);
        copy_prefix(self.slice(act.h)?, values);
        Ok(())
    }

    /// Runs a whole prompt, nothing cached, with δ added after `layer` at the subject's last token, and copies out what the
    /// layers above attend to: keys and values of all positions, each `(layers above, tokens, kv_dim)`.
    ///
    /// # Errors
    /// Those of [`capture`](Self::capture).
    pub fn capture_attended(
        &mut self,
        prompt: &Prompt<'_>,
        layer: usize,
        delta: &[f32],
        keys: &mut [f32],
        values: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let len = prompt.tokens.len().saturating_mul(spec.kv_dim).max(1);
        let need = spec.layers.saturating_sub(layer + 1).saturating_mul(len);
        check_len(keys.len(), need)?;
        check_len(values.len(), need)?;
        let act = self.run_to_delta(prompt, layer, Some(delta))?;
        let segments = [Segment { rows: prompt.tokens.len(), ..Segment::default() }];
        let rows = Rows { copies: 1, segments: &segments };
        let out = keys.chunks_exact_mut(len).zip(values.chunks_exact_mut(len));
        for (at, (keys, values)) in (layer + 1..spec.layers).zip(out) {
            self.layer(at, &act, rows, &mut [], 0, Kept::Attended)?;
            copy_prefix(self.slice(act.k)?, keys);
            copy_prefix(self.slice(act.v)?, values);
        }
        Ok(())
    }

    /// Every row of a prompt up to `layer`, δ added there.
    fn run_to_delta(
        &mut self,
        prompt: &Prompt<'_>,
        layer: usize,
        delta: Option<&[f32]>,
    ) -> Result<Activations, ForwardError<D::Error>> {
        let act = self.run_sequence(prompt.tokens, layer)?;
        if let Some(delta) = delta {
            let (per_copy, at) = (prompt.tokens.len(), [prompt.subject_last as u32]);
            self.run(&mut [], &[Op::Inject { x: act.x, per_copy, copies: 1, rows: &at, delta }])?;
        }
        Ok(act)
    }

    /// Fills one prompt's part of the cache, its key, and hands back whether all went well; the state stays in `work`.
    fn prefill_prompt(
        &mut self,
        layout: &CacheLayout<'_>,
        index: usize,
        prompt: &Prompt<'_>,
        layer: usize,
        cache: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let tokens = prompt.tokens.len();
        let act = Activations::new(&self.model.config, tokens);
        let hidden = layout.hidden(index);
        let suffix = rows_from(self.slice(act.x)?, prompt.subject_last * spec.d_model)?;
        copy_prefix(suffix, cache.get_mut(hidden).ok_or(ForwardError::OutOfRange)?);
        if prompt.subject_last == 0 {
            return Ok(());
        }
        // The positions before s alone go on: x holds them first, and the other buffers are written anew.
        let act = Activations::new(&self.model.config, prompt.subject_last);
        let segments = [Segment { rows: prompt.subject_last, ..Segment::default() }];
        let rows = Rows { copies: 1, segments: &segments };
        self.rope_table(&act, rows)?;
        for (above, at) in (layer + 1..spec.layers).enumerate() {
            self.layer(at, &act, rows, &mut [], 0, Kept::Attended)?;
            let len = prompt.subject_last * spec.kv_dim;
            for (slot, range) in [(act.k, layout.keys(index)), (act.v, layout.values(index))] {
                let start = range.start + above * len;
                let out = cache.get_mut(start..start + len).ok_or(ForwardError::OutOfRange)?;
                copy_prefix(self.slice(slot)?, out);
            }
        }
        Ok(())
    }

    /// Segments of one candidate over the cached prompts `which`.
    fn segments(
        layout: &CacheLayout<'_>,
        problem: &Problem<'_>,
        which: PromptSet,
        kv_dim: usize,
    ) -> Result<heapless::Vec<Segment, MAX_PROMPTS>, ForwardError<D::Error>> {
        let (mut segments, mut row) = (heapless::Vec::new(), 0);
        for (index, prompt) in problem.chosen(which) {
            let segment = Segment {
                row,
                rows: prompt.suffix_rows(),
                cached: prompt.subject_last,
                keys: layout.keys(index).start,
                values: layout.values(index).start,
                stride: prompt.subject_last * kv_dim,
            };
            row += segment.rows;
            segments.push(segment).map_err(|_| ForwardError::OutOfRange)?;
        }
        Ok(segments)
    }

    /// Runs the layers above the edit layer over cached rows with each δ added (none if `deltas` is empty); afterwards
    /// `x` holds their output.
    fn run_suffixes(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        deltas: &[f32],
        rows: Rows<'_>,
        which: PromptSet,
    ) -> Result<Activations, ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let layout = CacheLayout::new(spec, *problem);
        let act = self.activations(rows.total())?;
        let per_copy = rows.per_copy();
        for copy in self.slice_mut(act.x)?.chunks_exact_mut((per_copy * spec.d_model).max(1)) {
            for (segment, (index, _)) in rows.segments.iter().zip(problem.chosen(which)) {
                let start = segment.row * spec.d_model;
                let out = copy.get_mut(start..start + segment.rows * spec.d_model).ok_or(ForwardError::OutOfRange)?;
                copy_prefix(cache.get(layout.hidden(index)).ok_or(ForwardError::OutOfRange)?, out);
            }
        }
        if !deltas.is_empty() {
            let mut at: heapless::Vec<u32, MAX_PROMPTS> = heapless::Vec::new();
            for segment in rows.segments {
                at.push(segment.row as u32).map_err(|_| ForwardError::OutOfRange)?;
            }
            self.run(cache, &[Op::Inject { x: act.x, per_copy, copies: rows.copies, rows: &at, delta: deltas }])?;
        }
        self.rope_table(&act, rows)?;
        for (above, layer) in (problem.layer() + 1..spec.layers).enumerate() {
            self.layer(layer, &act, rows, cache, above, Kept::Attended)?;
        }
        Ok(act)
    }

    /// Gathers the read rows of `x` behind each other, normalised: `(copies · reads, d_model)`.
    pub(crate) fn read_rows(
        &mut self,
        act: &Activations,
        copies: usize,
        per_copy: usize,
        rows: &[u32],
    ) -> Result<Slot, ForwardError<D::Error>> {
        let len = copies * rows.len() * self.model.config.spec.d_model;
        let (gathered, normalised) = (Slot { len, ..act.h }, Slot { len, ..act.x });
        let weight = self.model.output_norm;
        let eps = self.model.config.norm_eps;
        self.run(
            &mut [],
            &[
                Op::Gather { x: act.x, per_copy, rows, copies, out: gathered },
                Op::RmsNorm { x: gathered, weight, eps, out: normalised },
            ],
        )?;
        Ok(normalised)
    }

    /// Reads `reads` off the final `x`; the statistics stay in the returned slot.
    fn read_out<const N: usize>(
        &mut self,
        act: &Activations,
        copies: usize,
        per_copy: usize,
        reads: &Reads<N>,
        cache: &mut [f32],
        clean: Slot,
    ) -> Result<Slot, ForwardError<D::Error>> {
        let x = self.read_rows(act, copies, per_copy, &reads.rows)?;
        // `gate` is free now; READOUT_WIDTH numbers a row fit where d_ff do.
        let out = Slot { len: copies * reads.rows.len() * READOUT_WIDTH, ..act.gate };
        let (head, activation) = (self.model.head, self.head_activation());
        self.run(cache, &[Op::Readout { x, head, activation, reads: &reads.what, clean, out }])?;
        Ok(out)
    }

    /// Losses of as many candidates as are run at once.
    fn losses_at_once(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let layout = CacheLayout::new(spec, *problem);
        let segments = Self::segments(&layout, problem, which, spec.kv_dim)?;
        let mut reads = Reads::<MAX_READS>::default();
        for (segment, (index, _)) in segments.iter().zip(problem.chosen(which)) {
            reads.push(problem, index, segment.row + segment.rows)?;
        }
        let rows = Rows { copies: out.len(), segments: &segments };
        let act = self.run_suffixes(problem, cache, deltas, rows, which)?;
        let clean = cache_slot(layout.clean_logits());
        let stats = self.read_out(&act, out.len(), rows.per_copy(), &reads, cache, clean)?;
        let per_candidate = (reads.what.len() * READOUT_WIDTH).max(1);
        for (loss, stats) in out.iter_mut().zip(self.slice(stats)?.chunks_exact(per_candidate)) {
            let mut sums = Sums::default();
            sums.add(&reads.what, stats, true);
            *loss = sums.loss()?;
        }
        Ok(())
    }

    /// One prompt by a whole forward pass: every layer over every row, δ added after the edit layer. Statistics of its reads.
    fn whole_pass(
        &mut self,
        problem: &Problem<'_>,
        index: usize,
        delta: Option<&[f32]>,
        cache: &mut [f32],
        clean: Slot,
    ) -> Result<(Reads<MAX_TARGET_TOKENS>, Slot), ForwardError<D::Error>> {
        let prompt = problem.prompts().get(index).ok_or(ForwardError::OutOfRange)?;
        let tokens = prompt.tokens.len();
        let act = self.run_to_delta(prompt, problem.layer(), delta)?;
        let segments = [Segment { rows: tokens, ..Segment::default() }];
        let rows = Rows { copies: 1, segments: &segments };
        for layer in problem.layer() + 1..self.model.config.spec.layers {
            self.layer(layer, &act, rows, &mut [], 0, Kept::Attended)?;
        }
        let mut reads = Reads::default();
        reads.push(problem, index, tokens)?;
        let stats = self.read_out(&act, 1, tokens, &reads, cache, clean)?;
        Ok((reads, stats))
    }

    /// The same losses as [`ForwardBackend::losses`], each candidate by whole forward passes, one at a time: the
    /// comparison that shows the prefix cache to be exact and what it saves. Of `cache`, only the clean logits are read.
    ///
    /// # Errors
    /// Those of [`ForwardBackend::losses`].
    pub fn losses_uncached(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), ForwardError<D::Error>> {
        let (layout, width) = (self.accept(problem)?, self.model.config.spec.d_model);
        check_len(cache.len(), layout.len())?;
        check_len(deltas.len(), out.len() * width)?;
        let clean = cache_slot(layout.clean_logits());
        for (delta, loss) in deltas.chunks_exact(width.max(1)).zip(out) {
            *loss = self.whole_loss(problem, which, Some(delta), cache, clean)?;
        }
        Ok(())
    }

    fn whole_loss(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        delta: Option<&[f32]>,
        cache: &mut [f32],
        clean: Slot,
    ) -> Result<Loss, ForwardError<D::Error>> {
        let mut sums = Sums::default();
        let with_kl = clean.len > 0;
        for (index, _) in problem.chosen(which).filter(|(_, p)| with_kl || p.role == Role::Rewrite) {
            let (reads, slot) = self.whole_pass(problem, index, delta, cache, clean)?;
            sums.add(&reads.what, self.slice(slot)?, with_kl);
        }
        sums.loss()
    }
}

/// A model that is run without the prefix cache: every loss by whole forward passes, one candidate after the other. For
/// comparison; the losses are the same bits.
#[derive(Debug)]
pub struct Uncached<'t, 'a, D>(pub &'t mut Transformer<'a, D>);

impl<D: Device> ForwardBackend for Uncached<'_, '_, D> {
    type Error = ForwardError<D::Error>;

    fn spec(&self) -> ModelSpec {
        self.0.spec()
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Self::Error> {
        self.0.prefill(problem, cache, keys, value)
    }

    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Self::Error> {
        self.0.losses_uncached(problem, which, cache, deltas, out)
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Self::Error> {
        self.0.evaluate(problem)
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Self::Error> {
        self.0.project(layer, key, out)
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Self::Error> {
        self.0.apply(patch)
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Self::Error> {
        self.0.remove(patch)
    }

    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        self.0.applied(layer, index)
    }
}

fn cache_slot(range: core::ops::Range<usize>) -> Slot {
    Slot { pool: Pool::Cache, start: range.start, len: range.len() }
}

pub(crate) fn check_len<E>(given: usize, need: usize) -> Result<(), ForwardError<E>> {
    if given < need { Err(ForwardError::BufferTooSmall { need, given }) } else { Ok(()) }
}

/// The numbers of a buffer from `start` on.
fn rows_from<E>(rows: &[f32], start: usize) -> Result<&[f32], ForwardError<E>> {
    rows.get(start..).ok_or(ForwardError::OutOfRange)
}

/// Copies as much of `from` as fits `to`.
pub(crate) fn copy_prefix(from: &[f32], to: &mut [f32]) {
    for (out, x) in to.iter_mut().zip(from) {
        *out = *x;
    }
}

impl<D: Device> ForwardBackend for Transformer<'_, D> {
    type Error = ForwardError<D::Error>;

    fn spec(&self) -> ModelSpec {
        self.model.config.spec
    }

    fn prefill(
        &mut self,
        problem: &Problem<'_>,
        cache: &mut [f32],
        keys: &mut [f32],
        value: &mut [f32],
    ) -> Result<(), Self::Error> {
        let (layout, spec) = (self.accept(problem)?, self.model.config.spec);
        check_len(cache.len(), layout.len())?;
        check_len(keys.len(), problem.key_rows() * spec.d_ff)?;
        let (keys, of_echo) =
            keys.split_at_mut_checked(problem.prompts().len() * spec.d_ff).ok_or(ForwardError::OutOfRange)?;
        check_len(value.len(), spec.d_model)?;
        #[cfg(feature = "defmt")]
        defmt::debug!("prefill: {} rows, cache of {} f32", problem.total_rows(), layout.len());
        for ((index, prompt), key) in problem.prompts().iter().enumerate().zip(keys.chunks_exact_mut(spec.d_ff.max(1)))
        {
            let act = self.run_sequence(prompt.tokens, problem.layer())?;
            copy_prefix(rows_from(self.slice(act.gate)?, prompt.subject_last * spec.d_ff)?, key);
            if index == 0 {
                copy_prefix(rows_from(self.slice(act.h)?, prompt.subject_last * spec.d_model)?, value);
                if let Some(echo) = problem.echo() {
                    let of_echo = of_echo.get_mut(..spec.d_ff).ok_or(ForwardError::OutOfRange)?;
                    copy_prefix(rows_from(self.slice(act.gate)?, echo * spec.d_ff)?, of_echo);
                }
            }
            self.prefill_prompt(&layout, index, prompt, problem.layer(), cache)?;
        }
        // The clean logits come from the same rows and kernels as the edited ones, with δ = 0.
        let mut logits = layout.clean_logits().start;
        for (index, essence) in problem.prompts().iter().enumerate().skip(problem.rewrites().len()) {
            let which = PromptSet::NONE.with(index);
            let segments = Self::segments(&layout, problem, which, spec.kv_dim)?;
            let rows = Rows { copies: 1, segments: &segments };
            let act = self.run_suffixes(problem, cache, &[], rows, which)?;
            let last = [essence.suffix_rows().saturating_sub(1) as u32];
            let x = self.read_rows(&act, 1, rows.per_copy(), &last)?;
            let (weight, activation) = (self.model.head, self.head_activation());
            let out = cache_slot(logits..logits + spec.vocab);
            self.run(cache, &[Op::Linear { x, weight, bias: None, side: &[], activation, out }])?;
            logits += spec.vocab;
        }
        Ok(())
    }

    fn losses(
        &mut self,
        problem: &Problem<'_>,
        which: PromptSet,
        cache: &mut [f32],
        deltas: &[f32],
        out: &mut [Loss],
    ) -> Result<(), Self::Error> {
        let (layout, width) = (self.accept(problem)?, self.model.config.spec.d_model);
        check_len(cache.len(), layout.len())?;
        let need = out.len().saturating_mul(width);
        let deltas = deltas.get(..need).ok_or(ForwardError::BufferTooSmall { need, given: deltas.len() })?;
        let (rows, fit) = (problem.suffix_rows(which), self.fitting_rows());
        let at_once = fit.checked_div(rows).ok_or(ForwardError::OutOfRange)?;
        if at_once == 0 {
            return Err(ForwardError::WorkTooSmall { rows, fit });
        }
        #[cfg(feature = "defmt")]
        defmt::debug!("losses: {} candidates of {} rows, {} at once", out.len(), rows, at_once);
        for (deltas, out) in deltas.chunks((at_once * width).max(1)).zip(out.chunks_mut(at_once)) {
            self.losses_at_once(problem, which, cache, deltas, out)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, problem: &Problem<'_>) -> Result<Loss, Self::Error> {
        self.accept(problem)?;
        #[cfg(feature = "defmt")]
        defmt::debug!("evaluate: {} rows, {} patches", problem.total_rows(), self.patches.count());
        self.whole_loss(problem, PromptSet::ALL, None, &mut [], cache_slot(0..0))
    }

    fn project(&mut self, layer: usize, key: &[f32], out: &mut [f32]) -> Result<(), Self::Error> {
        let spec = self.model.config.spec;
        check_len(key.len(), spec.d_ff)?;
        check_len(out.len(), spec.d_model)?;
        let act = self.activations(1)?;
        let weight = self.model.layers.get(layer).ok_or(ForwardError::OutOfRange)?.down;
        copy_prefix(key, self.slice_mut(act.gate)?);
        let side = self.patches.of_layer(layer);
        let op = Op::Linear { x: act.gate, weight, bias: None, side: &side, activation: Activation::F32, out: act.h };
        let mut memory = crate::device::Memory { work: self.work, cache: &mut [] };
        self.device.run(&mut memory, &[op]).map_err(ForwardError::Device)?;
        copy_prefix(self.slice(act.h)?, out);
        Ok(())
    }

    fn apply(&mut self, patch: RankOne<'_>) -> Result<PatchId, Self::Error> {
        if patch.layer >= self.model.config.spec.layers {
            return Err(ForwardError::OutOfRange);
        }
        self.patches.push(patch).ok_or(ForwardError::Patch)
    }

    fn remove(&mut self, patch: PatchId) -> Result<(), Self::Error> {
        if self.patches.remove(patch) { Ok(()) } else { Err(ForwardError::UnknownPatch) }
    }

    fn applied(&self, layer: usize, index: usize) -> Option<RankOne<'_>> {
        self.patches.nth_of_layer(layer, index)
    }
}
