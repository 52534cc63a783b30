//! When an edit is done: what success is, what the search aims at, and when testing is worth it. Does not run the test.

use crate::backend::Loss;

/// The object is the argmax at every target token of every rewrite prompt, with a geometric mean probability of at least
/// `min_probability` (m), in the model as it will be written: that is success. The search aims higher, for rephrasings
/// gain from it, but not for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EarlyStop {
    /// m, in 0..1.
    pub min_probability: f32,
    /// The probability at which the search ends at once: at least m, below 1.
    pub aim: f32,
    /// So many steps after the first test the search ends with the best δ tested, successes before others.
    pub patience: u32,
    /// When the rule is tested.
    pub watch: Watch,
}

/// When the success rule is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Watch {
    /// After every this many steps, whatever the losses.
    Every(u32),
    /// After a step of which at least one candidate, δ ± μu, was a success at the step's prompts: the losses are there
    /// anyway, and while none of them is one, the written model hardly will be.
    Free,
}

impl EarlyStop {
    /// Whether this loss is that of a success.
    pub(crate) fn met(&self, loss: &Loss) -> bool {
        loss.is_greedy() && loss.p_target() >= self.min_probability
    }

    /// The NLL, more by a hundred nats where this is no success: the lowest of several tests is the best, and a success if one is.
    pub(crate) fn rank(&self, loss: &Loss) -> f32 {
        if self.met(loss) { loss.nll } else { loss.nll + 100.0 }
    }

    /// Whether nothing better is looked for.
    pub(crate) fn enough(&self, loss: &Loss) -> bool {
        loss.is_greedy() && loss.p_target() >= self.aim
    }

    /// Whether to test after step number `step` (the first is 1); `seen`: one of its candidates met the rule.
    pub(crate) fn due(&self, step: u32, seen: bool) -> bool {
        match self.watch {
            Watch::Every(steps) => step.checked_rem(steps) == Some(0),
            Watch::Free => seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_every_argmax_and_the_probability() {
        let rule = EarlyStop { min_probability: 0.5, aim: 0.9, patience: 9, watch: Watch::Free };
        for (nll, hits, met, enough) in
            [(0.6, 4, true, false), (0.7, 4, false, false), (0.1, 4, true, true), (0.1, 3, false, false)]
        {
            let loss = Loss { nll, kl: 0.0, hits, targets: 4 };
            assert_eq!((rule.met(&loss), rule.enough(&loss)), (met, enough), "nll {nll}, {hits} of 4");
        }
    }

    #[test]
    fn a_success_ranks_before_a_likelier_target_that_is_not_greedy() {
        let rule = EarlyStop { min_probability: 0.5, aim: 0.9, patience: 9, watch: Watch::Free };
        let rank = |nll, hits| rule.rank(&Loss { nll, kl: 0.0, hits, targets: 4 });
        assert!(rank(0.3, 4) < rank(0.2, 3) && rank(0.2, 4) < rank(0.3, 4) && rank(0.2, 3) < rank(0.3, 3));
    }

    #[test]
    fn is_tested_on_schedule_or_when_it_can_pass() {
        let every = EarlyStop { min_probability: 0.5, aim: 0.5, patience: 9, watch: Watch::Every(20) };
        let free = EarlyStop { watch: Watch::Free, ..every };
        for (step, seen, by_schedule, for_free) in
            [(19, true, false, true), (20, false, true, false), (21, false, false, false), (40, true, true, true)]
        {
            assert_eq!((every.due(step, seen), free.due(step, seen)), (by_schedule, for_free), "step {step}");
        }
    }
}
