//! Whether a loss has stopped falling. Decides nothing about what follows from it.

/// When a loss counts as stalled: it has not fallen by `fall` below its lowest mark within `steps` steps.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stall {
    /// Least fall that counts, in nats.
    pub fall: f32,
    /// Steps without such a fall.
    pub steps: u32,
}

/// The state of a [`Stall`] rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plateau {
    pub(crate) mark: f32,
    pub(crate) since: u32,
}

impl Plateau {
    /// Before any loss was seen.
    pub(crate) const NEW: Self = Self { mark: f32::INFINITY, since: 0 };

    /// Takes in the loss of a step; true when the rule holds, and then counts its steps anew.
    pub(crate) fn observe(&mut self, loss: f32, rule: Stall) -> bool {
        if loss <= self.mark - rule.fall {
            *self = Self { mark: loss, since: 0 };
            return false;
        }
        self.since = self.since.saturating_add(1);
        let stalled = self.since >= rule.steps;
        if stalled {
            self.since = 0;
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn stalls_after_three_steps_without_a_fall_of_a_thousandth() {
        let rule = Stall { fall: 1e-3, steps: 3 };
        let mut plateau = Plateau::NEW;
        let losses = [5.0, 4.0, 3.9995, 3.9993, 3.9992, 3.9, 3.95, 3.94, 3.93, 3.92, 3.5];
        let seen: Vec<bool> = losses.iter().map(|&l| plateau.observe(l, rule)).collect();
        let stalled = [4, 8];
        for (i, &s) in seen.iter().enumerate() {
            assert_eq!(s, stalled.contains(&i), "step {i}");
        }
    }

    /// Against the rule in words, over all losses so far: every sequence of five losses in seven steps.
    #[test]
    fn every_sequence_stalls_as_the_rule_says() {
        const LOSSES: [f32; 5] = [0.0, 0.5, 1.0, 2.0, f32::INFINITY];
        const LENGTH: u32 = 7;
        for rule in [Stall { fall: 1.0, steps: 1 }, Stall { fall: 0.5, steps: 2 }, Stall { fall: 0.0, steps: 3 }] {
            for number in 0..LOSSES.len().pow(LENGTH) {
                let losses: Vec<f32> =
                    (0..LENGTH).map(|i| LOSSES[number / LOSSES.len().pow(i) % LOSSES.len()]).collect();
                let mut plateau = Plateau::NEW;
                // The step of the last mark, and that from which its steps are counted.
                let (mut mark, mut counted_from) = (f32::INFINITY, 0);
                for (step, &loss) in losses.iter().enumerate() {
                    let falls = mark - loss >= rule.fall || mark == f32::INFINITY;
                    if falls {
                        (mark, counted_from) = (loss, step + 1);
                    }
                    let stalls = !falls && step + 1 - counted_from >= rule.steps as usize;
                    if stalls {
                        counted_from = step + 1;
                    }
                    assert_eq!(plateau.observe(loss, rule), stalls, "{losses:?}, step {step}, {rule:?}");
                }
            }
        }
    }
}
