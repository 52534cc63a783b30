//! What ties a checkpoint to its edit: a hash of settings, model sizes, problem and statistics. Not against forgery.

use crate::backend::ModelSpec;
use crate::checkpoint::CHECKPOINT_VERSION;
use crate::config::{
    Anchor, CheckedConfig, Combine, Config, Covariance, Directions, EarlyStop, Normalised, Rule, Spacing,
};
use crate::config::{Keys, Minibatch, Stall, Watch};
use crate::problem::{Problem, Role};
use crate::rng::mix;
use crate::statistics::Statistics;

/// A 64-bit hash of everything that an edit's course depends on beside its seed. `batch` is not among it.
pub(crate) fn fingerprint(config: &CheckedConfig, problem: &Problem<'_>, statistics: &Statistics<'_>) -> u64 {
    let mut hash = Hash(u64::from(CHECKPOINT_VERSION));
    hash.config(config.config());
    let ModelSpec { d_model, d_ff, layers, kv_dim, vocab, max_tokens } = *config.spec();
    for size in [d_model, d_ff, layers, kv_dim, vocab, max_tokens, problem.layer(), problem.prompts().len()] {
        hash.word(size as u64);
    }
    hash.tokens(problem.target());
    for prompt in problem.prompts() {
        hash.word(u64::from(prompt.role == Role::Essence));
        hash.word(prompt.subject_last as u64);
        hash.tokens(prompt.tokens);
    }
    if config.config().bank {
        hash.halves(statistics.bank);
    }
    if config.config().readers > 0.0 {
        hash.halves(statistics.readers);
    }
    if config.config().covariance != Covariance::Identity {
        hash.halves(statistics.samples);
    }
    hash.0
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word);
    }

    fn real(&mut self, x: f32) {
        self.word(u64::from(x.to_bits()));
    }

    fn reals(&mut self, reals: &[f32]) {
        reals.iter().for_each(|&x| self.real(x));
    }

    fn tokens(&mut self, tokens: &[u32]) {
        self.word(tokens.len() as u64);
        tokens.iter().for_each(|&t| self.word(u64::from(t)));
    }

    fn halves(&mut self, halves: &[half::f16]) {
        self.word(halves.len() as u64);
        for block in halves.chunks(4) {
            self.word(block.iter().fold(0, |word, x| word << 16 | u64::from(x.to_bits())));
        }
    }

    fn stall(&mut self, Stall { fall, steps }: Stall) {
        self.real(fall);
        self.word(u64::from(steps));
    }

    fn config(&mut self, config: &Config) {
        // Taken apart in full, so that a new setting cannot be forgotten here.
        let Config {
            max_steps,
            directions,
            kind,
            readers,
            minibatch,
            essences,
            spacing,
            combine,
            centre,
            rule,
            clamp,
            kl_factor,
            weight_decay,
            early_stop,
            keys,
            covariance,
            anchor,
            bank,
            apart,
            refresh,
            batch: _,
        } = *config;
        self.word(u64::from(max_steps));
        self.word(directions as u64);
        self.word(match kind {
            Directions::Gaussian => 0,
            Directions::Rademacher => 1,
            Directions::Orthogonal => 2,
        });
        self.real(readers);
        self.word(match minibatch {
            Minibatch::All => 0,
            Minibatch::Rewrites(count) => count as u64,
        });
        self.word(essences as u64);
        let (tag, mu) = match spacing {
            Spacing::Absolute(mu) => (0, mu),
            Spacing::Relative(part) => (1, part),
        };
        self.word(tag);
        self.reals(&[mu, clamp, kl_factor, weight_decay]);
        match combine {
            Combine::Mean => self.word(0),
            Combine::Sum => self.word(1),
            Combine::Tracked { memory } => {
                self.word(2);
                self.real(memory);
            }
        }
        let flags = [centre, anchor == Anchor::MeanKey, bank, apart];
        flags.iter().for_each(|&flag| self.word(u64::from(flag)));
        self.rule(rule);
        let EarlyStop { min_probability, aim, patience, watch } = early_stop;
        self.reals(&[min_probability, aim]);
        self.word(u64::from(patience));
        self.word(match watch {
            Watch::Every(steps) => u64::from(steps),
            Watch::Free => 0,
        });
        self.real(match keys {
            Keys::Mean => 0.0,
            Keys::Balanced { ridge } => ridge,
        });
        match covariance {
            Covariance::Identity => self.word(0),
            Covariance::Samples { ridge, iterations } => {
                self.word(1);
                self.real(ridge);
                self.word(u64::from(iterations));
            }
        }
        self.word(u64::from(refresh.is_some()));
        refresh.into_iter().for_each(|stall| self.stall(stall));
    }

    fn rule(&mut self, rule: Rule) {
        match rule {
            Rule::Plain { rate } => {
                self.word(0);
                self.real(rate);
            }
            Rule::Normalised(Normalised { length, stall, shrink, shortest }) => {
                self.word(1);
                self.reals(&[length, shrink, shortest]);
                self.stall(stall);
            }
        }
    }
}
