//! Small random decoders to put on a device, so that what it makes of whole models can be checked. Holds no expectation.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use mobiedit_core::backend::ModelSpec;

use super::forward::{ForwardClaims, check_forward};
use super::random::Random;
use super::tensor::Tensor;
use super::{Profile, Report};
use crate::device::Device;
use crate::model::{Architecture, Layer, Model, ModelConfig};
use crate::op::RopePairs;
use crate::patches::Patches;
use crate::quant::MOST_I16;
use crate::scales::{StaticScales, scale_count};
use crate::transformer::{Precision, Transformer};
use crate::weights::Format;

const SPEC: ModelSpec = ModelSpec { d_model: 32, d_ff: 64, layers: 3, kv_dim: 16, vocab: 61, max_tokens: 16 };

/// Steps of every static scale of a decoder: its activations stay below 8.
const SCALES: [f32; scale_count(SPEC.layers)] = [8.0 / MOST_I16; scale_count(SPEC.layers)];

/// Which decoders are run how, and where two ways to one number part: f32 sums; and, with int16 activations, a number that is
/// rounded up in the one and down in the other.
const RUNS: [(Architecture, &str, f64); 4] = [
    (Architecture::Qwen2, "Float", 1e-4),
    (Architecture::Qwen2, "W8A16", 2e-3),
    (Architecture::Qwen2, "Static", 1e-2),
    (Architecture::Llama, "Float", 1e-4),
];

/// Most of a device's slack that whole decoders have too: their numbers are sums of many that part by chance.
const SLACK: f64 = 4.0;

/// The precision of that name.
fn precision(name: &str) -> Option<Precision<'static>> {
    Some(match name {
        "Float" => Precision::Float,
        "W8A16" => Precision::W8A16,
        _ => Precision::Static(StaticScales::new(SPEC.layers, &SCALES).ok()?),
    })
}

/// A decoder with its weights.
struct Decoder {
    config: ModelConfig,
    embedding: Tensor,
    head: Option<Tensor>,
    norms: Vec<Tensor>,
    biases: Vec<[Tensor; 3]>,
    matrices: Vec<[Tensor; 7]>,
}

impl Decoder {
    /// Qwen2 with a head of its own, or Llama with a tied one.
    fn random(architecture: Architecture, format: Format) -> Self {
        let (d, ff, kv, layers) = (SPEC.d_model, SPEC.d_ff, SPEC.kv_dim, SPEC.layers);
        let random = &mut Random::of(architecture.name());
        let qwen2 = architecture == Architecture::Qwen2;
        let mut matrix = |rows, cols: usize| Tensor::random(format, rows, cols, 1.5 / libm::sqrt(cols as f64), random);
        let (embedding, head) = (matrix(SPEC.vocab, d), qwen2.then(|| matrix(SPEC.vocab, d)));
        let layer = |_| [(d, d), (kv, d), (kv, d), (d, d), (ff, d), (ff, d), (d, ff)].map(|(r, c)| matrix(r, c));
        let matrices = (0..layers).map(layer).collect();
        let mut vector = |len, magnitude| Tensor::random(Format::F32, 1, len, magnitude, random);
        let norms = (0..=2 * layers).map(|_| vector(d, 1.0)).collect();
        let biased = |_| [d, kv, kv].map(|len| vector(len, 0.3));
        let biases = if qwen2 { (0..layers).map(biased).collect() } else { Vec::new() };
        let config = ModelConfig {
            architecture,
            spec: SPEC,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            rope_dim: 8,
            rope_theta: 1e4,
            rope_linear_scale: 1.0,
            rope_pairs: if qwen2 { RopePairs::Halves } else { RopePairs::Neighbours },
            norm_eps: 1e-6,
        };
        Self { config, embedding, head, norms, biases, matrices }
    }

    /// Hands `work` the model.
    fn with<R>(&self, work: impl FnOnce(Model<'_>) -> R) -> R {
        let mut layers = Vec::new();
        for (index, matrices) in self.matrices.iter().enumerate() {
            let [q, k, v, o, gate, up, down] = matrices.each_ref().map(Tensor::matrix);
            let [q_bias, k_bias, v_bias] =
                self.biases.get(index).map_or([None; 3], |b| b.each_ref().map(|b| Some(b.matrix())));
            let [attn_norm, ffn_norm] = [2 * index, 2 * index + 1].map(|norm| self.norms[norm].matrix());
            layers.push(Layer { attn_norm, q, q_bias, k, k_bias, v, v_bias, o, ffn_norm, gate, up, down });
        }
        let embedding = self.embedding.matrix();
        work(Model {
            config: self.config,
            embedding,
            layers: &layers,
            output_norm: self.norms[2 * SPEC.layers].matrix(),
            head: self.head.as_ref().map_or(embedding, Tensor::matrix),
            rope_factors: None,
        })
    }
}

/// Puts decoders on the device, checks the contract of [`ForwardBackend`](mobiedit_core::backend::ForwardBackend) on them.
pub(super) fn check<D: Device>(
    device: &mut D,
    profile: &Profile<'_>,
    report: &mut Report,
    wanted: impl Fn(&str) -> bool,
) {
    for (architecture, name, tolerance) in RUNS {
        let Some(precision) = precision(name) else { continue };
        // Llama's weights are floats, which int16 activations change nothing about.
        let format = if architecture == Architecture::Qwen2 { Format::Q8_0 } else { Format::F32 };
        let decoder = Decoder::random(architecture, format);
        let id = |check: &str| -> String { format!("forward/{}-{name}/{check}", architecture.name()) };
        if profile.unsupported.iter().any(|start| id("").starts_with(start)) {
            report.unsupported.push(id(""));
            continue;
        }
        let claims = ForwardClaims {
            tolerance: tolerance * profile.slack.min(SLACK) + 10.0 * profile.rounding,
            exact: device.capabilities().exact_batching,
        };
        // Room for one and a half candidates' rows: batches are split.
        let mut work = alloc::vec![f32::NAN; Transformer::<D>::work_len(&decoder.config, 17)];
        let mut patches = alloc::vec![0.0; 2 * Patches::len_of_one(SPEC.d_ff, SPEC.d_model)];
        let results = decoder.with(|model| {
            let mut backend = Transformer::new(model, &mut *device, precision, &mut work, &mut patches);
            check_forward(&mut backend, claims, |name| wanted(&id(name)))
        });
        results.into_iter().for_each(|(name, result)| report.add(id(name), result));
    }
}
