//! Where everything lies in the prefix cache, and when its content has to be made again.
//!
//! The editor owns the slab, the backend fills it: per prompt, the hidden states after the edit layer for rows `s..T`, and
//! keys and values of the positions before `s` for every layer above the edit layer. Attention is causal and δ enters at
//! (l, s), so nothing else is ever needed and nothing in it depends on δ: the cache is exact.

use core::ops::Range;

use crate::backend::ModelSpec;
use crate::problem::{Problem, Prompt};

/// Addresses inside the prefix cache's slab of f32, for one problem on one model.
#[derive(Clone, Copy, Debug)]
pub struct CacheLayout<'a> {
    spec: ModelSpec,
    problem: Problem<'a>,
}

impl<'a> CacheLayout<'a> {
    /// The layout for `problem` on a model of these sizes.
    pub fn new(spec: ModelSpec, problem: Problem<'a>) -> Self {
        Self { spec, problem }
    }

    /// Layers above the edit layer: those whose keys and values are kept.
    pub fn layers(&self) -> usize {
        self.spec.layers - self.problem.layer() - 1
    }

    fn prompt_len(&self, prompt: &Prompt<'_>) -> usize {
        prompt.suffix_rows() * self.spec.d_model + 2 * self.layers() * prompt.subject_last * self.spec.kv_dim
    }

    fn start(&self, index: usize) -> usize {
        self.problem.prompts().iter().take(index).map(|p| self.prompt_len(p)).sum()
    }

    /// Hidden states after the edit layer, `(T − s, d_model)`, of the prompt with this index.
    pub fn hidden(&self, index: usize) -> Range<usize> {
        let rows = self.problem.prompts().get(index).map_or(0, Prompt::suffix_rows);
        let start = self.start(index);
        start..start + rows * self.spec.d_model
    }

    /// Keys, `(layers above, s, kv_dim)`, of the prompt with this index.
    pub fn keys(&self, index: usize) -> Range<usize> {
        let cached = self.problem.prompts().get(index).map_or(0, |p| p.subject_last);
        let start = self.hidden(index).end;
        start..start + self.layers() * cached * self.spec.kv_dim
    }

    /// Values, `(layers above, s, kv_dim)`, of the prompt with this index.
    pub fn values(&self, index: usize) -> Range<usize> {
        let keys = self.keys(index);
        keys.end..keys.end + keys.len()
    }

    /// Clean logits, `(vocab)`, at the last row of the essence prompt; empty without one.
    pub fn clean_logits(&self) -> Range<usize> {
        let start = self.start(self.problem.prompts().len());
        start..start + self.problem.essence().map_or(0, |_| self.spec.vocab)
    }

    /// Elements of the slab that this problem uses.
    pub fn len(&self) -> usize {
        self.clean_logits().end
    }

    /// Whether the slab is empty; it never is for a checked problem.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most elements that any problem within these limits can need, for sizing a `static`.
    pub const fn worst_case(spec: &ModelSpec, layer: usize, prompts: usize, tokens: usize) -> usize {
        let above = spec.layers - layer - 1;
        let hidden = tokens * spec.d_model;
        let kept = 2 * above * tokens * spec.kv_dim;
        prompts * (hidden + kept) + spec.vocab
    }
}
