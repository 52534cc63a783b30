//! A prompt that the model has read once, and what it makes of several continuations. Scores nothing.

use mobiedit_backends::generate::{Sequence, argmax};
use mobiedit_core::ForwardBackend;
use rand_core::Rng;

use crate::host::session::{Session, SessionError};

/// A continuation under teacher forcing, the wanted tokens before it given at each position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forced {
    /// The likeliest token at each position.
    pub(crate) argmax: Vec<u32>,
    /// −log P of the wanted token at each position, in nats.
    pub(crate) nll: Vec<f64>,
}

/// A prompt that was read, and the state behind it.
#[derive(Debug)]
pub(crate) struct Reading<'r, 'm> {
    session: &'r mut Session<'m>,
    sequence: Sequence<'r>,
    prompt: usize,
    /// Tokens that fit.
    capacity: usize,
    /// Logits behind the prompt.
    logits: Vec<f32>,
}

impl<'m> Session<'m> {
    /// Reads a prompt, and lends to `work` what may be asked about it: continuations of up to `most` tokens.
    ///
    /// # Errors
    /// An empty prompt, one that leaves no room in the context, failures of the device, and those of `work`.
    pub(crate) fn reading<T>(
        &mut self,
        text: &str,
        most: usize,
        work: impl FnOnce(&mut Reading<'_, 'm>) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let prompt = self.prompt(text.trim_end())?;
        let context = self.transformer.spec().max_tokens;
        let capacity = prompt.len().saturating_add(most).min(context);
        let mut memory = self.sequence_memory(capacity)?;
        let mut sequence = Sequence::new(capacity, &mut memory);
        let logits = self.transformer.feed(&mut sequence, &prompt)?.to_vec();
        work(&mut Reading { session: self, sequence, prompt: prompt.len(), capacity, logits })
    }
}

impl Reading<'_, '_> {
    /// Tokens of the prompt.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt
    }

    /// Greedy decoding: at most `most` tokens, up to the first that ends a text or to the end of the context.
    pub(crate) fn greedy(&mut self, most: usize) -> Result<Vec<u32>, SessionError> {
        self.continued(most, argmax, true)
    }

    /// Sampling among the five likeliest, as ROME's `generate_fast`: `most` tokens, less only at the end of the context.
    /// Tokens that end a text do not end it.
    pub(crate) fn sampled(&mut self, most: usize, rng: &mut impl Rng) -> Result<Vec<u32>, SessionError> {
        self.continued(most, |logits| sample(logits, rng), false)
    }

    fn continued(
        &mut self,
        most: usize,
        mut choose: impl FnMut(&[f32]) -> u32,
        may_end: bool,
    ) -> Result<Vec<u32>, SessionError> {
        self.sequence.truncate(self.prompt);
        let mut tokens = Vec::new();
        let mut token = choose(&self.logits);
        while tokens.len() < most && !(may_end && self.session.tokenizer.stop_tokens().contains(&token)) {
            tokens.push(token);
            if tokens.len() == most || self.sequence.len() == self.capacity {
                break;
            }
            token = choose(self.session.transformer.feed(&mut self.sequence, &[token])?);
        }
        Ok(tokens)
    }

    /// The continuation `wanted` under teacher forcing.
    ///
    /// # Errors
    /// A continuation that does not fit into the context behind the prompt, and failures of the device.
    pub(crate) fn forced(&mut self, wanted: &[u32]) -> Result<Forced, SessionError> {
        let need = self.prompt + wanted.len().saturating_sub(1);
        if need > self.capacity {
            return Err(SessionError::TooLong { tokens: need, context: self.capacity });
        }
        self.sequence.truncate(self.prompt);
        let mut forced = Forced { argmax: Vec::new(), nll: Vec::new() };
        for (index, &token) in wanted.iter().enumerate() {
            let logits = match index.checked_sub(1).and_then(|before| wanted.get(before)) {
                None => &self.logits,
                Some(&before) => self.session.transformer.feed(&mut self.sequence, &[before])?,
            };
            forced.argmax.push(argmax(logits));
            forced.nll.push(nll(logits, token));
        }
        Ok(forced)
    }
}

/// −log P of `token`, by log-sum-exp in f64.
fn nll(logits: &[f32], token: u32) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    let of_token = logits.get(token as usize).map_or(f64::NEG_INFINITY, |&logit| f64::from(logit));
    largest + sum.ln() - of_token
}

/// One of the five likeliest tokens, with their probabilities.
fn sample(logits: &[f32], rng: &mut impl Rng) -> u32 {
    const TOP: usize = 5;
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(TOP + 1);
    for (token, &logit) in logits.iter().enumerate() {
        let place = top.partition_point(|&(_, kept)| kept >= logit);
        if place < TOP {
            top.insert(place, (token as u32, logit));
            top.truncate(TOP);
        }
    }
    let largest = top.first().map_or(0.0, |&(_, logit)| logit);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let all: f64 = top.iter().map(|&(_, logit)| weight(logit)).sum();
    let mut left = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * all;
    let drawn = top.iter().find(|&&(_, logit)| {
        left -= weight(logit);
        left < 0.0
    });
    drawn.or(top.last()).map_or(0, |&(token, _)| token)
}
