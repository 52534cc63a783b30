//! Causal tracing (Meng et al. 2022, section 2): noise on the subject's embeddings, states of the clean run put back one at
//! a time, and how probable that makes the answer. Forward passes only.
//!
//! Draws no noise and averages nothing: the noise is lent, the probabilities are handed back run by run.

use core::ops::Range;

use mobiedit_core::backend::ModelSpec;

use crate::device::Device;
use crate::editing::{check_len, copy_prefix};
use crate::op::{Op, Pool, READOUT_WIDTH, Read, Rows, Segment, Slot};
use crate::transformer::{Activations, ForwardError, Kept, Transformer};

/// What is traced.
#[derive(Clone, Copy, Debug)]
pub struct Traced<'a> {
    /// The prompt.
    pub tokens: &'a [u32],
    /// Position of the first token that gets noise.
    pub first: usize,
    /// Number of tokens that get noise.
    pub count: usize,
    /// What is added to their embeddings, `(samples, count, d_model)`.
    pub noise: &'a [f32],
    /// The token whose probability behind the prompt is read.
    pub answer: u32,
}

/// Which states of the clean run are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The residual stream after a layer.
    Hidden,
    /// The MLP's output, by adding (clean − own) to the residual stream: exact up to the rounding of that sum.
    Mlp,
}

/// A trace in lent memory: the clean run's states, and the corrupted runs as far as they have come.
#[derive(Debug)]
pub struct Trace<'a> {
    traced: Traced<'a>,
    samples: usize,
    /// The clean run after each layer, `(layers, tokens, d_model)`.
    hidden: &'a mut [f32],
    /// Its MLPs' outputs, `(layers, tokens, d_model)`.
    mlp: &'a mut [f32],
    /// Inputs of layer `at` in the corrupted runs, `(samples, tokens, d_model)`.
    corrupted: &'a mut [f32],
    at: usize,
    /// P(answer) of the clean run.
    clean: f32,
}

impl Trace<'_> {
    /// Elements of memory for a trace: (2 · layers + samples) · tokens · d_model. The runs themselves take the
    /// transformer's work memory, as many at a time as fit.
    pub const fn memory_len(spec: &ModelSpec, tokens: usize, samples: usize) -> usize {
        let states = spec.layers.saturating_mul(2).saturating_add(samples);
        states.saturating_mul(tokens).saturating_mul(spec.d_model)
    }

    /// P(answer) of the clean run.
    pub fn clean(&self) -> f32 {
        self.clean
    }

    /// Number of corrupted runs.
    pub fn samples(&self) -> usize {
        self.samples
    }
}

/// One sequence of `tokens` rows, nothing of it cached.
fn sequence(tokens: usize) -> [Segment; 1] {
    [Segment { rows: tokens, ..Segment::default() }]
}

impl<D: Device> Transformer<'_, D> {
    /// Begins a trace: runs the prompt clean and keeps its states in `memory`, [`Trace::memory_len`] elements.
    ///
    /// # Errors
    /// A prompt that is empty or longer than the context, a subject outside it, noise that is not a whole number of samples,
    /// memory that is too small, tokens outside the vocabulary, and the device's own.
    pub fn trace<'t>(
        &mut self,
        traced: Traced<'t>,
        memory: &'t mut [f32],
    ) -> Result<Trace<'t>, ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let tokens = traced.tokens.len();
        let of_sample = traced.count.saturating_mul(spec.d_model);
        let samples = traced.noise.len().checked_div(of_sample).unwrap_or(0);
        let inside = traced.first.checked_add(traced.count).is_some_and(|end| end <= tokens);
        let answer = (traced.answer as usize) < spec.vocab;
        if !inside || !answer || samples == 0 || !traced.noise.len().is_multiple_of(of_sample) {
            return Err(ForwardError::OutOfRange);
        }
        if tokens > spec.max_tokens {
            return Err(ForwardError::ContextFull);
        }
        let (need, given) = (Trace::memory_len(&spec, tokens, samples), memory.len());
        check_len(given, need)?;
        let states = spec.layers * tokens * spec.d_model;
        let short = || ForwardError::BufferTooSmall { need, given };
        let (hidden, rest) = memory.split_at_mut_checked(states).ok_or_else(short)?;
        let (mlp, corrupted) = rest.split_at_mut_checked(states).ok_or_else(short)?;
        let corrupted = corrupted.get_mut(..samples * tokens * spec.d_model).ok_or_else(short)?;
        let mut trace = Trace { traced, samples, hidden, mlp, corrupted, at: 0, clean: 0.0 };
        self.run_clean(&mut trace)?;
        Ok(trace)
    }

    /// P(answer) of each corrupted run with the clean states of `layers` put back, at the positions of each range of `spots`:
    /// `out` is `(spots, samples)`. An empty range puts nothing back. Cheapest when called with layers that ascend: the
    /// corrupted runs are kept as far as the first of `layers`.
    ///
    /// # Errors
    /// Layers or positions outside the model and the prompt, an `out` of another length, work memory for less than the
    /// prompt, an output that is not finite, and the device's own. After an error, the trace must not be used.
    pub fn restore(
        &mut self,
        trace: &mut Trace<'_>,
        state: State,
        layers: Range<usize>,
        spots: &[Range<usize>],
        out: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let tokens = trace.traced.tokens.len();
        let layers_exist = layers.start <= layers.end && layers.end <= self.model.config.spec.layers;
        let spots_exist = spots.iter().all(|spot| spot.start <= spot.end && spot.end <= tokens);
        if !layers_exist || !spots_exist || spots.len().checked_mul(trace.samples) != Some(out.len()) {
            return Err(ForwardError::OutOfRange);
        }
        let at_once = self.fitting_rows().checked_div(tokens).unwrap_or(0);
        if at_once == 0 {
            return Err(ForwardError::WorkTooSmall { rows: tokens, fit: self.fitting_rows() });
        }
        self.corrupt(trace, layers.start, at_once)?;
        for (chunk, out) in out.chunks_mut(at_once).enumerate() {
            self.restore_at_once(trace, state, layers.clone(), spots, chunk * at_once, out)?;
        }
        Ok(())
    }

    /// The clean run.
    fn run_clean(&mut self, trace: &mut Trace<'_>) -> Result<(), ForwardError<D::Error>> {
        let tokens = trace.traced.tokens.len();
        let act = self.activations(tokens)?;
        let segments = sequence(tokens);
        let rows = Rows { copies: 1, segments: &segments };
        self.embed(&act, trace.traced.tokens)?;
        self.rope_table(&act, rows)?;
        let of_layer = tokens * self.model.config.spec.d_model;
        let kept = trace.hidden.chunks_exact_mut(of_layer).zip(trace.mlp.chunks_exact_mut(of_layer));
        for (layer, (hidden, mlp)) in kept.enumerate() {
            self.layer(layer, &act, rows, &mut [], 0, Kept::Mlp)?;
            copy_prefix(self.slice(act.x)?, hidden);
            copy_prefix(self.slice(act.h)?, mlp);
        }
        let mut clean = [0.0];
        self.read_answer(&act, &trace.traced, &mut clean)?;
        [trace.clean] = clean;
        self.corrupt_embeddings(trace)
    }

    /// Puts embeddings and noise where the corrupted runs begin.
    fn corrupt_embeddings(&mut self, trace: &mut Trace<'_>) -> Result<(), ForwardError<D::Error>> {
        let traced = trace.traced;
        let width = self.model.config.spec.d_model;
        let act = self.activations(traced.tokens.len())?;
        self.embed(&act, traced.tokens)?;
        let embedded = self.slice(act.x)?;
        let samples = trace.corrupted.chunks_exact_mut(embedded.len());
        for (sample, noise) in samples.zip(traced.noise.chunks_exact(traced.count * width)) {
            copy_prefix(embedded, sample);
            for (x, noise) in sample.iter_mut().skip(traced.first * width).zip(noise) {
                *x += noise;
            }
        }
        trace.at = 0;
        Ok(())
    }

    /// Brings the corrupted runs to the input of `layer`.
    fn corrupt(&mut self, trace: &mut Trace<'_>, layer: usize, at_once: usize) -> Result<(), ForwardError<D::Error>> {
        if layer < trace.at {
            self.corrupt_embeddings(trace)?;
        }
        let tokens = trace.traced.tokens.len();
        let of_sample = tokens * self.model.config.spec.d_model;
        for part in trace.corrupted.chunks_mut(at_once * of_sample) {
            let segments = sequence(tokens);
            let rows = Rows { copies: part.len() / of_sample, segments: &segments };
            let act = self.activations(rows.total())?;
            copy_prefix(part, self.slice_mut(act.x)?);
            self.rope_table(&act, rows)?;
            for at in trace.at..layer {
                self.layer(at, &act, rows, &mut [], 0, Kept::Mlp)?;
            }
            copy_prefix(self.slice(act.x)?, part);
        }
        trace.at = layer;
        Ok(())
    }

    /// The runs `first..first + out.len()` of [`restore`](Self::restore), from the input of layer `trace.at` on.
    fn restore_at_once(
        &mut self,
        trace: &Trace<'_>,
        state: State,
        layers: Range<usize>,
        spots: &[Range<usize>],
        first: usize,
        out: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let tokens = trace.traced.tokens.len();
        let of_copy = tokens * spec.d_model;
        let segments = sequence(tokens);
        let rows = Rows { copies: out.len(), segments: &segments };
        let act = self.activations(rows.total())?;
        let samples = trace.corrupted.chunks_exact(of_copy).cycle().skip(first % trace.samples);
        for (copy, sample) in self.slice_mut(act.x)?.chunks_exact_mut(of_copy).zip(samples) {
            copy_prefix(sample, copy);
        }
        self.rope_table(&act, rows)?;
        for layer in trace.at..spec.layers {
            self.layer(layer, &act, rows, &mut [], 0, Kept::Mlp)?;
            if !layers.contains(&layer) {
                continue;
            }
            let clean = if state == State::Hidden { &*trace.hidden } else { &*trace.mlp };
            let clean = clean.chunks_exact(of_copy).nth(layer).ok_or(ForwardError::OutOfRange)?;
            for copy in 0..rows.copies {
                let spot = spots.get((first + copy) / trace.samples).ok_or(ForwardError::OutOfRange)?;
                let (from, to) = (spot.start * spec.d_model, spot.end * spec.d_model);
                let clean = clean.get(from..to).ok_or(ForwardError::OutOfRange)?;
                self.put_back(&act, state, copy * of_copy + from, clean)?;
            }
        }
        self.read_answer(&act, &trace.traced, out)
    }

    /// Puts the clean states of some rows back, the first of which begins at element `start` of `x`.
    fn put_back(
        &mut self,
        act: &Activations,
        state: State,
        start: usize,
        clean: &[f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let of = |slot: Slot| Slot { start: slot.start + start, len: clean.len(), ..slot };
        match state {
            State::Hidden => copy_prefix(clean, self.slice_mut(of(act.x))?),
            State::Mlp => {
                let (x, own) = (of(act.x), of(act.h));
                for (i, clean) in clean.iter().enumerate() {
                    let own = *self.work.get(own.start + i).ok_or(ForwardError::OutOfRange)?;
                    *self.work.get_mut(x.start + i).ok_or(ForwardError::OutOfRange)? += clean - own;
                }
            }
        }
        Ok(())
    }

    /// P(answer) behind each copy's last row.
    fn read_answer(
        &mut self,
        act: &Activations,
        traced: &Traced<'_>,
        out: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let (copies, tokens) = (out.len(), traced.tokens.len());
        let last = [tokens.saturating_sub(1) as u32];
        let x = self.read_rows(act, copies, tokens, &last)?;
        // `gate` is free now; READOUT_WIDTH numbers a row fit where d_ff do.
        let stats = Slot { len: copies * READOUT_WIDTH, ..act.gate };
        let (head, activation) = (self.model.head, self.head_activation());
        let (reads, clean) = ([Read::Target(traced.answer)], Slot { pool: Pool::Cache, start: 0, len: 0 });
        self.run(&mut [], &[Op::Readout { x, head, activation, reads: &reads, clean, out: stats }])?;
        for (p, stats) in out.iter_mut().zip(self.slice(stats)?.chunks_exact(READOUT_WIDTH)) {
            let [log_sum_exp, logit, ..] = stats else { continue };
            *p = libm::expf(logit - log_sum_exp);
            if !p.is_finite() {
                return Err(ForwardError::NotFinite);
            }
        }
        Ok(())
    }
}
