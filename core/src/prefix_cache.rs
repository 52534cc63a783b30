//! Where everything lies in the prefix cache, and when its content has to be made again.
//!
//! The editor owns the slab, the backend fills it: per prompt, the hidden states after the edit layer for rows `s..T`, and
//! keys and values of the positions before `s` for every layer above the edit layer. Attention is causal and δ enters at
//! (l, s), so nothing else is ever needed and nothing in it depends on δ: the cache is exact.

use core::ops::Range;

use crate::backend::ModelSpec;
use crate::problem::{Problem, Prompt};
use crate::storage::Limits;

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
        self.spec.layers.saturating_sub(self.problem.layer().saturating_add(1))
    }

    /// Elements of the hidden states of a prompt, and of its keys.
    fn lens(&self, prompt: &Prompt<'_>) -> [usize; 2] {
        let kept = self.layers().saturating_mul(prompt.subject_last).saturating_mul(self.spec.kv_dim);
        [prompt.suffix_rows().saturating_mul(self.spec.d_model), kept]
    }

    /// Lengths saturate: no lent slab is as long as a layout that does not fit memory.
    fn start(&self, index: usize) -> usize {
        self.problem.prompts().iter().take(index).fold(0, |start, prompt| {
            let [hidden, kept] = self.lens(prompt);
            [hidden, kept, kept].into_iter().fold(start, usize::saturating_add)
        })
    }

    /// Hidden states and keys of the prompt with this index.
    fn parts(&self, index: usize) -> [Range<usize>; 2] {
        let [hidden, kept] = self.problem.prompts().get(index).map_or([0; 2], |prompt| self.lens(prompt));
        let (start, keys) = (self.start(index), self.start(index).saturating_add(hidden));
        [start..keys, keys..keys.saturating_add(kept)]
    }

    /// Hidden states after the edit layer, `(T − s, d_model)`, of the prompt with this index.
    pub fn hidden(&self, index: usize) -> Range<usize> {
        let [hidden, _] = self.parts(index);
        hidden
    }

    /// Keys, `(layers above, s, kv_dim)`, of the prompt with this index.
    pub fn keys(&self, index: usize) -> Range<usize> {
        let [_, keys] = self.parts(index);
        keys
    }

    /// Values, `(layers above, s, kv_dim)`, of the prompt with this index.
    pub fn values(&self, index: usize) -> Range<usize> {
        let keys = self.keys(index);
        keys.end..keys.end.saturating_add(keys.len())
    }

    /// Clean logits, `(essence prompts, vocab)`, at their last rows.
    pub fn clean_logits(&self) -> Range<usize> {
        let start = self.start(self.problem.prompts().len());
        start..start.saturating_add(self.problem.essences().len().saturating_mul(self.spec.vocab))
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
    pub const fn worst_case(spec: &ModelSpec, limits: &Limits) -> usize {
        let Limits { layer, prompts, essences, tokens } = *limits;
        let above = spec.layers.saturating_sub(layer.saturating_add(1));
        let hidden = tokens.saturating_mul(spec.d_model);
        let kept = above.saturating_mul(tokens).saturating_mul(spec.kv_dim).saturating_mul(2);
        prompts.saturating_mul(hidden.saturating_add(kept)).saturating_add(essences.saturating_mul(spec.vocab))
    }
}

/// Whether the slab's content can be used, and what making it again counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Never filled.
    Empty,
    /// As the model has it.
    Fresh,
    /// The staleness rule asks for a refresh: counted when it is done.
    Stale,
    /// A resumed edit, or losses that failed or were no numbers: filling it again is no progress and is not counted.
    Lost,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::problem::Role;
    use std::vec::Vec;

    const SPEC: ModelSpec = ModelSpec { d_model: 8, d_ff: 16, layers: 5, kv_dim: 4, vocab: 30, max_tokens: 64 };

    #[test]
    fn the_parts_follow_each_other_without_gaps_and_stay_below_the_worst_case() {
        let prompts = [
            Prompt { tokens: &[1, 2, 3, 4, 5], subject_last: 2, role: Role::Rewrite },
            Prompt { tokens: &[1, 2], subject_last: 0, role: Role::Rewrite },
            Prompt { tokens: &[9, 8, 7], subject_last: 1, role: Role::Essence },
            Prompt { tokens: &[8], subject_last: 0, role: Role::Essence },
        ];
        for layer in 0..4 {
            let problem = Problem::new(&SPEC, layer, &prompts, &[3]).unwrap();
            let layout = CacheLayout::new(SPEC, problem);
            let parts: Vec<_> = (0..4)
                .flat_map(|i| [layout.hidden(i), layout.keys(i), layout.values(i)])
                .chain([layout.clean_logits()])
                .collect();
            let mut end = 0;
            for part in &parts {
                assert_eq!(part.start, end);
                end = part.end;
            }
            assert_eq!(end, layout.len());
            assert_eq!((layout.hidden(0).len(), layout.clean_logits().len()), (3 * 8, 2 * 30));
            assert_eq!(layout.keys(0).len(), (4 - layer) * 2 * 4);
            let limits = Limits { layer, prompts: 4, essences: 2, tokens: 5 };
            assert!(layout.len() <= CacheLayout::worst_case(&SPEC, &limits));
        }
    }
}
