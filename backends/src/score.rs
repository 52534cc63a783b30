//! How well a model knows a text: each token's probability, given those before it. Changes nothing and keeps nothing.

use mobiedit_core::ForwardBackend;

use crate::device::Device;
use crate::op::{Op, READOUT_WIDTH, Read, Rows, Segment, Slot};
use crate::transformer::{ForwardError, Kept, Transformer};

/// Rows that are read at once.
const AT_ONCE: usize = 32;

/// What a model makes of one token of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenScore {
    /// −log P of the token, in nats.
    pub nll: f32,
    /// The token that the model would have said.
    pub likeliest: u32,
}

impl<D: Device> Transformer<'_, D> {
    /// Scores every token of a text but the first: `out`, `(tokens − 1)`. The head is read in chunks of the vocabulary, as for losses.
    ///
    /// # Errors
    /// A text of less than two tokens or more than the context or the work memory holds, `out` that is too small, tokens outside the
    /// vocabulary, numbers that are not finite, and the device's own.
    pub fn score(&mut self, tokens: &[u32], out: &mut [TokenScore]) -> Result<(), ForwardError<D::Error>> {
        let c = self.model.config;
        let spec = self.spec();
        let Some((_, said)) = tokens.split_first().filter(|(_, said)| !said.is_empty()) else {
            return Err(ForwardError::OutOfRange);
        };
        if tokens.len() > spec.max_tokens {
            return Err(ForwardError::ContextFull);
        }
        crate::editing::check_len(out.len(), said.len())?;
        let act = self.activations(tokens.len())?;
        let segments = [Segment { rows: tokens.len(), ..Segment::default() }];
        let rows = Rows { copies: 1, segments: &segments };
        self.embed(&act, tokens)?;
        self.rope_table(&act, rows)?;
        for layer in 0..spec.layers {
            self.layer(layer, &act, rows, &mut [], 0, Kept::Attended)?;
        }
        self.run(&mut [], &[Op::RmsNorm { x: act.x, weight: self.model.output_norm, eps: c.norm_eps, out: act.h }])?;
        let (head, activation) = (self.model.head, self.head_activation());
        let parts = said.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)).zip((0..).step_by(AT_ONCE));
        for ((said, out), first) in parts {
            let mut reads: heapless::Vec<Read, AT_ONCE> = heapless::Vec::new();
            for token in said {
                reads.push(Read::Target(*token)).map_err(|_| ForwardError::OutOfRange)?;
            }
            let x = Slot { start: act.h.start + first * spec.d_model, len: said.len() * spec.d_model, ..act.h };
            // `gate` is free: READOUT_WIDTH numbers a row fit where d_ff do.
            let read = Slot { len: said.len() * READOUT_WIDTH, ..act.gate };
            let clean = Slot { len: 0, ..act.up };
            self.run(&mut [], &[Op::Readout { x, head, activation, reads: &reads, clean, out: read }])?;
            for (out, [log_sum_exp, target, _, likeliest, _]) in
                out.iter_mut().zip(self.slice(read)?.as_chunks::<READOUT_WIDTH>().0)
            {
                let nll = log_sum_exp - target;
                if !nll.is_finite() {
                    return Err(ForwardError::NotFinite);
                }
                *out = TokenScore { nll, likeliest: *likeliest as u32 };
            }
        }
        Ok(())
    }
}
