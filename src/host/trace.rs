//! Causal tracing of one prompt as in ROME (Meng et al. 2022, section 2 and appendix B): where the model keeps what it says
//! about a subject, and which layer to edit. Forward passes only; nothing is written and no edit is made.
//!
//! Three kinds of runs: the clean one; corrupted ones, with Gaussian noise on the embeddings of the subject's tokens; and
//! corrupted ones in which one state of the clean run is put back. The noise has three times the standard deviation of the
//! embeddings of subjects (those of the built-in statements) and is the same for every state, as in the published code.

use std::ops::Range;

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::generate::{Sequence, argmax};
use mobiedit_backends::trace::{State, Trace, Traced};
use mobiedit_core::ForwardBackend;
use mobiedit_core::rng::{gaussian, stream};

use crate::host::prompts::{Template, target_tokens};
use crate::host::session::{Session, SessionError, zeros};
use crate::host::statistics::statements;

/// Noise in standard deviations of the subjects' embeddings.
const NOISE: f64 = 3.0;

/// What to trace, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRequest {
    /// The prompt, with one `{}` where the subject goes.
    pub prompt: String,
    /// The subject.
    pub subject: String,
    /// The answer whose first token's probability is watched; the model's own greedy token without one.
    pub target: Option<String>,
    /// Corrupted runs that are averaged over; ROME has 10.
    pub samples: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Neighbouring layers whose MLP outputs are put back together; [`default_window`] without one.
    pub window: Option<usize>,
}

/// What causal tracing found. Effects are mean probabilities of the answer less the corrupted one, `(layers, tokens)`.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalTrace {
    /// The prompt's tokens as text.
    pub tokens: Vec<String>,
    /// Which of them are the subject's.
    pub subject: Range<usize>,
    /// The token whose probability is watched, as text.
    pub answer: String,
    /// Its probability in the clean run: ROME's high score.
    pub p_clean: f64,
    /// Its mean probability in the corrupted runs: ROME's low score. The total effect is the difference of the two.
    pub p_corrupted: f64,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Layers in a window of MLPs.
    pub window: usize,
    /// Indirect effects of the residual stream after each layer.
    pub hidden: Vec<Vec<f64>>,
    /// Indirect effects of the MLPs' outputs in a window around each layer.
    pub mlp: Vec<Vec<f64>>,
    /// Bytes that the trace took, besides the weights and the activations of a forward pass.
    pub memory_bytes: usize,
}

impl CausalTrace {
    /// How much of the answer's probability the noise took.
    pub fn total_effect(&self) -> f64 {
        self.p_clean - self.p_corrupted
    }

    /// Effect of each layer's MLP at the subject's last token.
    pub fn mlp_at_subject(&self) -> impl Iterator<Item = f64> {
        let last = self.subject.end.saturating_sub(1);
        self.mlp.iter().filter_map(move |of_layer| of_layer.get(last).copied())
    }

    /// The layer to edit: the one whose MLP brings back most at the subject's last token (the lowest among equals), of those
    /// that can be edited, all but the last. With the effect there.
    pub fn layer(&self) -> (usize, f64) {
        let editable = self.mlp.len().saturating_sub(1).max(1);
        let mut best = (0, f64::NEG_INFINITY);
        for (layer, effect) in self.mlp_at_subject().take(editable).enumerate() {
            if effect > best.1 {
                best = (layer, effect);
            }
        }
        best
    }
}

/// MLPs in a window where nothing else is asked for: a fifth of the layers, ROME's 10 of 48, and one in small models.
pub fn default_window(layers: usize) -> usize {
    (layers / 5).max(1)
}

/// Traces one prompt. `seen` is told how many of how many rounds are done.
///
/// # Errors
/// Words that make no prompt, a prompt that the context or the memory has no room for, and failures of the device.
pub fn trace(
    session: &mut Session<'_>,
    request: &TraceRequest,
    mut seen: impl FnMut(usize, usize),
) -> Result<CausalTrace, SessionError> {
    let spec = session.transformer.spec();
    let (tokens, subject) = Template::parse(&request.prompt)?.tokens(&session.tokenizer, &request.subject)?;
    if tokens.len() > spec.max_tokens {
        return Err(SessionError::TooLong { tokens: tokens.len(), context: spec.max_tokens });
    }
    let target = request.target.as_deref().map(|target| target_tokens(&session.tokenizer, target)).transpose()?;
    session.check_rows(tokens.len())?;
    let answer = match target.as_deref() {
        Some([first, ..]) => *first,
        _ => greedy_token(session, &tokens)?,
    };

    let sigma = NOISE * subject_deviation(session)?;
    let noise = noise(request, subject.len() * spec.d_model, sigma)?;
    let mut memory = zeros(Trace::memory_len(&spec, tokens.len(), request.samples))?;
    let memory_bytes = size_of::<f32>() * (memory.len() + noise.len());
    let traced = Traced { tokens: &tokens, first: subject.start, count: subject.len(), noise: &noise, answer };
    let mut runs = session.transformer.trace(traced, &mut memory)?;

    let window = request.window.unwrap_or_else(|| default_window(spec.layers)).clamp(1, spec.layers.max(1));
    let mut probability = |state, layers, spots: &[Range<usize>]| -> Result<Vec<f64>, SessionError> {
        let mut out = vec![0.0; spots.len() * request.samples];
        session.transformer.restore(&mut runs, state, layers, spots, &mut out)?;
        Ok(out.chunks_exact(request.samples).map(mean).collect())
    };
    let nothing = [Range::default()];
    let p_corrupted = probability(State::Hidden, 0..0, &nothing)?.iter().sum();
    let spots: Vec<Range<usize>> = (0..tokens.len()).map(|token| token..token + 1).collect();
    let (mut hidden, mut mlp) = (Vec::new(), Vec::new());
    for (state, window, table) in [(State::Hidden, 1, &mut hidden), (State::Mlp, window, &mut mlp)] {
        for layer in 0..spec.layers {
            let layers = layer.saturating_sub(window / 2)..spec.layers.min(layer + window.div_ceil(2));
            let restored = probability(state, layers, &spots)?;
            table.push(restored.into_iter().map(|p| p - p_corrupted).collect::<Vec<_>>());
            seen(layer + 1 + if state == State::Mlp { spec.layers } else { 0 }, 2 * spec.layers);
        }
    }
    let p_clean = f64::from(runs.clean());
    let text = |id: &u32| session.tokenizer.decode(&[*id]);
    let (tokens, answer) = (tokens.iter().map(text).collect(), text(&answer));
    Ok(CausalTrace { tokens, subject, answer, p_clean, p_corrupted, noise: sigma, window, hidden, mlp, memory_bytes })
}

fn mean(of: &[f32]) -> f64 {
    of.iter().copied().map(f64::from).sum::<f64>() / of.len() as f64
}

/// The token that greedy decoding puts behind the prompt.
fn greedy_token(session: &mut Session<'_>, tokens: &[u32]) -> Result<u32, SessionError> {
    let mut memory = zeros(Sequence::memory_len(&session.transformer.spec(), tokens.len()))?;
    let mut sequence = Sequence::new(tokens.len(), &mut memory);
    Ok(argmax(session.transformer.feed(&mut sequence, tokens)?))
}

/// Standard deviation of all elements of the embeddings of the built-in statements' subjects.
fn subject_deviation(session: &Session<'_>) -> Result<f64, SessionError> {
    let embedding = session.model.embedding;
    let mut row = vec![0.0; embedding.cols()];
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (_, subject, _) in statements() {
        for id in session.tokenizer.encode_continuation(&format!(" {subject}")).map_err(SessionError::Tokenizer)?.ids {
            dequantize_row(embedding.format(), embedding.row(id as usize), &mut row);
            for x in row.iter().copied().map(f64::from) {
                count += 1.0;
                sum += x;
                squares += x * x;
            }
        }
    }
    Ok(((squares - sum * sum / count) / (count - 1.0)).sqrt())
}

/// Noise `(samples, width)`; each sample has a stream of its own, so the first ones are the same whatever their number.
fn noise(request: &TraceRequest, width: usize, sigma: f64) -> Result<Vec<f32>, SessionError> {
    let mut noise = zeros(request.samples.saturating_mul(width))?;
    for (sample, row) in noise.chunks_exact_mut(width).enumerate() {
        gaussian(&mut stream(request.seed, 0, sample as u32), row);
        row.iter_mut().for_each(|x| *x *= sigma as f32);
    }
    Ok(noise)
}
