//! Where an edit stands: what the caller is shown, and what the editor remembers besides its vectors.

use crate::optimizer::Memory;
use crate::plateau::Plateau;
use crate::prefix_cache::Validity;

/// The units of work of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Phase {
    /// The clean pass that fills the prefix cache.
    Prefill,
    /// A batch of the bank's values, tried as starts.
    Bank,
    /// An optimiser step.
    Search,
    /// A test of the success rule on the model as it will be written.
    Verify,
    /// Nothing: the edit has an outcome.
    Done,
}

/// How an edit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// The model with the patch meets the success rule.
    Success,
    /// All steps were made or patience was over, and the best δ does not meet it. Its patch can be had all the same.
    Exhausted,
}

/// What a unit of work did, and the totals so far.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress {
    /// The unit that was done.
    pub phase: Phase,
    /// Optimiser steps done.
    pub step: u32,
    /// Most optimiser steps.
    pub max_steps: u32,
    /// Equation (3). After a search step: at δ where it was evaluated, else the mean of the step's candidates. After a
    /// bank batch: of the best start so far. After a verification: the nll of the written model. Infinite before any.
    pub loss: f32,
    /// The −log P part of it, in nats.
    pub nll: f32,
    /// The divergence part of it before its factor, in nats; 0 after a verification.
    pub kl: f32,
    /// exp(−nll): the geometric mean of the target tokens' probabilities.
    pub p_target: f32,
    /// Loss evaluations of one candidate over the whole prompt set; a verification is one. Prefills are none. Evaluations
    /// over some of the prompts count as their part of the prompts; the sum is rounded up.
    pub forward_passes: u64,
    /// Token rows computed: those from the subject on for a candidate, all of them for a prefill or a verification.
    pub rows: u64,
    /// Times that the staleness rule filled the prefix cache again.
    pub cache_refreshes: u32,
    /// Set once the edit has ended.
    pub outcome: Option<Outcome>,
}

/// A loss as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) loss: f32,
    pub(crate) nll: f32,
    pub(crate) kl: f32,
}

/// All of an editor's state but its vectors and its seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State {
    /// The next unit, if the cache is fresh.
    pub(crate) phase: Phase,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) cache: Validity,
    /// Optimiser steps done.
    pub(crate) step: u32,
    /// Starts tried: 0 is δ = 0, i is value i − 1 of the bank.
    pub(crate) starts: u32,
    /// The best of them.
    pub(crate) best_start: u32,
    /// The lowest loss so far: of a start, then also of a step.
    pub(crate) best_loss: f32,
    /// Steps before the first verification that was not the end; 0: there was none.
    pub(crate) first_verified: u32,
    /// The lowest rank ([`EarlyStop::rank`](crate::config::EarlyStop)) of a model as written, at a verification.
    pub(crate) best_written: f32,
    /// Evaluations of one candidate at one prompt.
    pub(crate) evaluations: u64,
    pub(crate) rows: u64,
    pub(crate) cache_refreshes: u32,
    pub(crate) memory: Memory,
    /// Of the cache's staleness rule.
    pub(crate) staleness: Plateau,
    pub(crate) seen: Seen,
}

impl State {
    pub(crate) const fn new(first: Phase) -> Self {
        Self {
            phase: first,
            outcome: None,
            cache: Validity::Empty,
            step: 0,
            starts: 0,
            best_start: 0,
            best_loss: f32::INFINITY,
            first_verified: 0,
            best_written: f32::INFINITY,
            evaluations: 0,
            rows: 0,
            cache_refreshes: 0,
            memory: Memory::NEW,
            staleness: Plateau::NEW,
            seen: Seen { loss: f32::INFINITY, nll: f32::INFINITY, kl: 0.0 },
        }
    }

    /// Counts `candidates` evaluated at so many prompts of so many rows in all.
    pub(crate) fn count(&mut self, candidates: usize, prompts: usize, rows: usize) {
        let times = |n: usize| (candidates as u64).saturating_mul(n as u64);
        self.evaluations = self.evaluations.saturating_add(times(prompts));
        self.rows = self.rows.saturating_add(times(rows));
    }

    /// `prompts`: how many make a forward pass.
    pub(crate) fn progress(&self, phase: Phase, max_steps: u32, prompts: usize) -> Progress {
        let Seen { loss, nll, kl } = self.seen;
        Progress {
            phase,
            step: self.step,
            max_steps,
            loss,
            nll,
            kl,
            p_target: libm::expf(-nll),
            forward_passes: self.evaluations.div_ceil(prompts.max(1) as u64),
            rows: self.rows,
            cache_refreshes: self.cache_refreshes,
            outcome: self.outcome,
        }
    }
}
