//! Free generation: a sequence that grows, with its keys and values kept. Picks no tokens but the greedy one.

use crate::device::Device;
use crate::op::{Op, Pool, Rows, Segment, Slot};
use crate::transformer::{ForwardError, Kept, Transformer};

/// A sequence being generated, in lent memory.
#[derive(Debug)]
pub struct Sequence<'a> {
    /// Keys `(layers, capacity, kv_dim)`, values likewise, logits `(vocab)`.
    memory: &'a mut [f32],
    capacity: usize,
    len: usize,
}

impl<'a> Sequence<'a> {
    /// Elements of memory for a sequence of up to `capacity` tokens on this model.
    pub const fn memory_len(spec: &mobiedit_core::backend::ModelSpec, capacity: usize) -> usize {
        let kept = spec.layers.saturating_mul(capacity).saturating_mul(spec.kv_dim);
        kept.saturating_mul(2).saturating_add(spec.vocab)
    }

    /// An empty sequence. [`Transformer::feed`] finds out whether `memory` is large enough.
    pub fn new(capacity: usize, memory: &'a mut [f32]) -> Self {
        Self { memory, capacity, len: 0 }
    }

    /// Tokens fed so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token was fed yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all tokens but the first `len`: other ones may follow them.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl<D: Device> Transformer<'_, D> {
    /// Runs `tokens` behind those that `sequence` holds, as many at a time as the work memory has rows, and returns the
    /// logits, `(vocab)`, of what comes after the last one.
    ///
    /// # Errors
    /// No tokens or more than there is room for, tokens outside the vocabulary, memory that is too small, logits that are not
    /// finite, and the device's own. On an error the sequence is as long as it was.
    pub fn feed<'s>(
        &mut self,
        sequence: &'s mut Sequence<'_>,
        tokens: &[u32],
    ) -> Result<&'s [f32], ForwardError<D::Error>> {
        let spec = self.model.config.spec;
        let (need, given) = (Sequence::memory_len(&spec, sequence.capacity), sequence.memory.len());
        if given < need {
            return Err(ForwardError::BufferTooSmall { need, given });
        }
        let room = sequence.capacity.min(spec.max_tokens);
        if tokens.is_empty() || tokens.len() > room.saturating_sub(sequence.len) {
            return Err(ForwardError::ContextFull);
        }
        let at_once = self.fitting_rows();
        if at_once == 0 {
            return Err(ForwardError::WorkTooSmall { rows: 1, fit: 0 });
        }
        let kept = sequence.len;
        for part in tokens.chunks(at_once) {
            if let Err(error) = self.feed_at_once(sequence, part) {
                sequence.len = kept;
                return Err(error);
            }
        }
        let start = need - spec.vocab;
        let logits = sequence.memory.get(start..need).ok_or(ForwardError::OutOfRange)?;
        if logits.iter().all(|l| l.is_finite()) { Ok(logits) } else { Err(ForwardError::NotFinite) }
    }

    fn feed_at_once(&mut self, sequence: &mut Sequence<'_>, tokens: &[u32]) -> Result<(), ForwardError<D::Error>> {
        let c = self.model.config;
        let stride = sequence.capacity * c.spec.kv_dim;
        let values = c.spec.layers * stride;
        let act = self.activations(tokens.len())?;
        let segments = [Segment { row: 0, rows: tokens.len(), cached: sequence.len, keys: 0, values, stride }];
        let rows = Rows { copies: 1, segments: &segments };
        self.embed(&act, tokens)?;
        self.rope_table(&act, rows)?;
        for layer in 0..c.spec.layers {
            self.layer(layer, &act, rows, sequence.memory, layer, Kept::Attended)?;
            let start = layer * stride + sequence.len * c.spec.kv_dim;
            let kept = |start| Slot { pool: Pool::Cache, start, len: act.k.len };
            self.run(
                sequence.memory,
                &[Op::Copy { x: act.k, out: kept(start) }, Op::Copy { x: act.v, out: kept(values + start) }],
            )?;
        }
        let last = [tokens.len() as u32 - 1];
        let x = self.read_rows(&act, 1, tokens.len(), &last)?;
        let out = Slot { pool: Pool::Cache, start: 2 * values, len: c.spec.vocab };
        let (weight, activation) = (self.model.head, self.head_activation());
        self.run(sequence.memory, &[Op::Linear { x, weight, bias: None, side: &[], activation, out }])?;
        sequence.len += tokens.len();
        Ok(())
    }

    /// Greedy generation: feeds `prompt`, then writes the likeliest tokens to `out` until one is in `stop` (which is not
    /// written) or `out` or the context is full. Returns how many were written.
    ///
    /// # Errors
    /// Those of [`feed`](Self::feed).
    pub fn generate(
        &mut self,
        sequence: &mut Sequence<'_>,
        prompt: &[u32],
        stop: &[u32],
        out: &mut [u32],
    ) -> Result<usize, ForwardError<D::Error>> {
        let mut token = argmax(self.feed(sequence, prompt)?);
        let (mut written, last) = (0, out.len());
        for place in out {
            if stop.contains(&token) {
                break;
            }
            *place = token;
            written += 1;
            if written == last || sequence.len >= sequence.capacity.min(self.model.config.spec.max_tokens) {
                break;
            }
            token = argmax(self.feed(sequence, &[token])?);
        }
        Ok(written)
    }
}

/// Index of the largest logit, the lowest among equals.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (index as u32, logit);
        }
    }
    best.0
}
