//! The whole decoder against a naive one in f64, written here from the architectures' definitions: random small models,
//! F32 weights, every position's logits, and what a calibration measures on the way to them. Shares no arithmetic with the
//! crates, and reads no weights but those made here.

use std::collections::BTreeMap;

use mobiedit::backends::device::Device;
use mobiedit::backends::generate::Sequence;
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::{Layer, Model};
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::ForwardBackend;
use mobiedit::hal_cpu::{Cpu, FastCpu, ScratchBuffers, ScratchLens};
use mobiedit::host::calibration::Calibration;
use mobiedit::host::gguf_file::{self, DEFAULT_ALIGNMENT, F32, Metadata, Tensor, f32_bytes};
use mobiedit::host::statistics::Statement;

/// ‖ours − oracle‖ / ‖oracle‖ of a position's logits.
const BOUND: f64 = 1e-4;
const TOKENS: usize = 21;

/// What makes up an architecture.
#[derive(Clone, Debug)]
struct Decoder {
    architecture: &'static str,
    d: usize,
    ff: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    theta: f32,
    eps: f32,
    /// Qwen2: queries, keys and values are biased.
    biased: bool,
    /// The head is the embedding.
    tied: bool,
    /// RoPE turns 2i and 2i + 1, not i and i + head_dim / 2.
    neighbours: bool,
    /// Llama 3's divisors of RoPE's frequencies.
    factors: Option<Vec<f32>>,
    /// Positions are divided by this.
    linear_scale: Option<f32>,
}

fn qwen2() -> Decoder {
    Decoder {
        architecture: "qwen2",
        d: 48,
        ff: 80,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        vocab: 97,
        theta: 1e6,
        eps: 1e-6,
        biased: true,
        tied: false,
        neighbours: false,
        factors: None,
        linear_scale: None,
    }
}

fn llama3() -> Decoder {
    // As convert_hf_to_gguf.py makes them: 1 for the fast pairs, 8 for the slow ones, in between for the others.
    let factors = vec![1.0, 1.0, 1.7, 8.0];
    Decoder {
        architecture: "llama",
        d: 64,
        ff: 96,
        heads: 8,
        head_dim: 8,
        theta: 5e5,
        eps: 1e-5,
        biased: false,
        tied: true,
        neighbours: true,
        factors: Some(factors),
        ..qwen2()
    }
}

/// Llama 2 stretched: heads that are not d / heads wide, and positions four times as dense.
fn stretched() -> Decoder {
    Decoder {
        d: 40,
        heads: 6,
        kv_heads: 3,
        head_dim: 16,
        tied: false,
        factors: None,
        linear_scale: Some(4.0),
        ..llama3()
    }
}

/// What the oracle makes of a text.
struct Oracle {
    /// Of every position, `(tokens, vocab)`.
    logits: Vec<Vec<f64>>,
    /// Largest magnitudes of each layer's four inputs and seven products, W x without a bias, in the order of its linear
    /// operations; then of the head's input, and of the last position's logits.
    most: Vec<f64>,
}

/// Name to sizes (innermost first) and numbers.
type Weights = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

impl Decoder {
    /// Random weights, of a size that makes every part count.
    fn weights(&self, seed: u64) -> Weights {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut weights = Weights::new();
        let mut matrix = |name: String, cols: usize, rows: usize| {
            let scale = 3.0 / (cols as f32).sqrt();
            let numbers = (0..rows * cols).map(|_| random() * scale).collect();
            weights.insert(name, (vec![cols as u64, rows as u64], numbers));
        };
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        matrix("token_embd.weight".into(), self.d, self.vocab);
        if !self.tied {
            matrix("output.weight".into(), self.d, self.vocab);
        }
        for l in 0..self.layers {
            matrix(format!("blk.{l}.attn_q.weight"), self.d, q);
            matrix(format!("blk.{l}.attn_k.weight"), self.d, kv);
            matrix(format!("blk.{l}.attn_v.weight"), self.d, kv);
            matrix(format!("blk.{l}.attn_output.weight"), q, self.d);
            matrix(format!("blk.{l}.ffn_gate.weight"), self.d, self.ff);
            matrix(format!("blk.{l}.ffn_up.weight"), self.d, self.ff);
            matrix(format!("blk.{l}.ffn_down.weight"), self.ff, self.d);
        }
        let mut vector = |name: String, len: usize, around: f32| {
            let step = name.len() as f32;
            let numbers = (0..len).map(|i| around + 0.3 * (step * (1.0 + 1.3 * i as f32)).sin()).collect();
            weights.insert(name, (vec![len as u64], numbers));
        };
        vector("output_norm.weight".into(), self.d, 1.0);
        for l in 0..self.layers {
            vector(format!("blk.{l}.attn_norm.weight"), self.d, 1.0);
            vector(format!("blk.{l}.ffn_norm.weight"), self.d, 0.9);
            if self.biased {
                vector(format!("blk.{l}.attn_q.bias"), q, 0.2);
                vector(format!("blk.{l}.attn_k.bias"), kv, -0.1);
                vector(format!("blk.{l}.attn_v.bias"), kv, 0.05);
            }
        }
        if let Some(factors) = &self.factors {
            weights.insert("rope_freqs.weight".into(), (vec![factors.len() as u64], factors.clone()));
        }
        weights
    }

    /// The file.
    fn gguf(&self, weights: &Weights) -> Vec<u8> {
        let key = |key: &str| format!("{}.{key}", self.architecture);
        let numbers = [
            ("block_count", self.layers),
            ("context_length", 64),
            ("embedding_length", self.d),
            ("feed_forward_length", self.ff),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
            ("rope.dimension_count", self.head_dim),
        ];
        let start = Metadata::default().string("general.architecture", self.architecture);
        let mut metadata = numbers.into_iter().fold(start, |m, (name, n)| m.number(&key(name), n as u32));
        metadata = metadata.float(&key("attention.layer_norm_rms_epsilon"), self.eps);
        metadata = metadata.float(&key("rope.freq_base"), self.theta);
        if let Some(scale) = self.linear_scale {
            metadata = metadata.string(&key("rope.scaling.type"), "linear").float(&key("rope.scaling.factor"), scale);
        }
        let bytes: Vec<_> = weights.values().map(|(_, numbers)| f32_bytes(numbers)).collect();
        let tensors: Vec<_> = weights
            .iter()
            .zip(&bytes)
            .map(|((name, (sizes, _)), bytes)| Tensor { name, sizes: sizes.clone(), kind: F32, bytes })
            .collect();
        let mut file = Vec::new();
        gguf_file::write(&mut file, &metadata, &tensors, DEFAULT_ALIGNMENT).unwrap();
        file
    }

    fn oracle(&self, weights: &Weights, tokens: &[u32]) -> Oracle {
        let numbers = |name: &str| weights[name].1.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let embedding = numbers("token_embd.weight");
        let mut x: Vec<Vec<f64>> =
            tokens.iter().map(|&t| embedding[t as usize * self.d..][..self.d].to_vec()).collect();
        let mut most = Vec::new();
        for l in 0..self.layers {
            let of = |part: &str| numbers(&format!("blk.{l}.{part}"));
            let normed = |x: &[Vec<f64>], part: &str| x.iter().map(|x| self.norm(x, &of(part))).collect::<Vec<_>>();
            let products = |part: &str, x: &[Vec<f64>]| {
                let matrix = of(&format!("{part}.weight"));
                x.iter().map(|x| product(&matrix, x)).collect::<Vec<_>>()
            };
            let biased = |part: &str, products: &[Vec<f64>]| {
                let bias = if self.biased { of(&format!("{part}.bias")) } else { vec![0.0; products[0].len()] };
                products.iter().map(|product| add(product, &bias)).collect::<Vec<_>>()
            };
            let turned = |rows: &[Vec<f64>]| rows.iter().enumerate().map(|(at, row)| self.rope(row, at)).collect();

            let h = normed(&x, "attn_norm.weight");
            let [q, k, v] = ["attn_q", "attn_k", "attn_v"].map(|part| products(part, &h));
            let (queries, keys): (Vec<_>, Vec<_>) = (turned(&biased("attn_q", &q)), turned(&biased("attn_k", &k)));
            let values = biased("attn_v", &v);
            let attended: Vec<_> =
                queries.iter().enumerate().map(|(at, q)| self.attention(q, &keys[..=at], &values[..=at])).collect();
            let o = products("attn_output", &attended);
            x = x.iter().zip(&o).map(|(x, o)| add(x, o)).collect();
            let normalised = normed(&x, "ffn_norm.weight");
            let [gate, up] = ["ffn_gate", "ffn_up"].map(|part| products(part, &normalised));
            let silu = |gate: &f64| gate / (1.0 + (-gate).exp());
            let inner = |(gate, up): (&Vec<f64>, &Vec<f64>)| gate.iter().zip(up).map(|(g, u)| silu(g) * u).collect();
            let inner: Vec<Vec<f64>> = gate.iter().zip(&up).map(inner).collect();
            let down = products("ffn_down", &inner);
            x = x.iter().zip(&down).map(|(x, down)| add(x, down)).collect();
            most.extend([h, attended, normalised, inner, q, k, v, o, gate, up, down].map(|rows| largest(&rows)));
        }
        let head = if self.tied { embedding } else { numbers("output.weight") };
        let normalised: Vec<_> = x.iter().map(|x| self.norm(x, &numbers("output_norm.weight"))).collect();
        let logits: Vec<_> = normalised.iter().map(|x| product(&head, x)).collect();
        most.extend([largest(&normalised), largest(&logits[logits.len() - 1..])]);
        Oracle { logits, most }
    }

    fn norm(&self, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().zip(weight).map(|(x, w)| x * w / (mean + f64::from(self.eps)).sqrt()).collect()
    }

    /// Turns pair i of each head by position · θ^(−2i/d).
    fn rope(&self, x: &[f64], position: usize) -> Vec<f64> {
        let (half, mut out) = (self.head_dim / 2, x.to_vec());
        for start in (0..x.len()).step_by(self.head_dim) {
            for i in 0..half {
                let factor = self.factors.as_ref().map_or(1.0, |f| f64::from(f[i]));
                let scaled = position as f64 / f64::from(self.linear_scale.unwrap_or(1.0));
                let angle = scaled / f64::from(self.theta).powf(2.0 * i as f64 / self.head_dim as f64) / factor;
                let (a, b) = if self.neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (re, im) = (x[start + a], x[start + b]);
                out[start + a] = re * angle.cos() - im * angle.sin();
                out[start + b] = re * angle.sin() + im * angle.cos();
            }
        }
        out
    }

    /// One row's attention over all rows up to it.
    fn attention(&self, q: &[f64], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<f64> {
        let mut out = Vec::new();
        for head in 0..self.heads {
            let shared = head / (self.heads / self.kv_heads) * self.head_dim;
            let part = |x: &'_ [f64], start: usize| x[start..start + self.head_dim].to_vec();
            let query = part(q, head * self.head_dim);
            let scores = k.iter().map(|k| dot(&query, &part(k, shared)) / (self.head_dim as f64).sqrt());
            let weights: Vec<f64> = scores.map(f64::exp).collect();
            let total: f64 = weights.iter().sum();
            out.extend(
                (shared..shared + self.head_dim)
                    .map(|i| weights.iter().zip(v).map(|(w, v)| w * v[i]).sum::<f64>() / total),
            );
        }
        out
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Rows of `matrix` times `x`.
fn product(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
}

/// The largest magnitude in these rows.
fn largest(rows: &[Vec<f64>]) -> f64 {
    rows.iter().flatten().fold(0.0, |most, x| most.max(x.abs()))
}

fn distance(ours: &[f64], oracle: &[f64]) -> f64 {
    assert_eq!(ours.len(), oracle.len());
    let off: f64 = ours.iter().zip(oracle).map(|(a, b)| (a - b).powi(2)).sum();
    (off / dot(oracle, oracle)).sqrt()
}

/// The text, whatever the model.
fn tokens(vocab: usize) -> Vec<u32> {
    (0..TOKENS).map(|i| ((7 + 31 * i * i) % vocab) as u32).collect()
}

/// Every position's logits on this device: `parts` says how many tokens are fed at a time, `rows` how many fit at once.
fn logits<D: Device>(model: &Model<'_>, device: D, precision: Precision, parts: usize, rows: usize) -> Vec<Vec<f64>> {
    let mut work = vec![0.0; Transformer::<D>::work_len(&model.config, rows)];
    let mut transformer = Transformer::new(*model, device, precision, &mut work, &mut []);
    let spec = transformer.spec();
    let all = tokens(spec.vocab);
    let mut memory = vec![f32::NAN; Sequence::memory_len(&spec, TOKENS)];
    let mut sequence = Sequence::new(TOKENS, &mut memory);
    let mut positions = Vec::new();
    for end in 1..=TOKENS {
        sequence.clear();
        let parts = all[..end].chunks(parts).collect::<Vec<_>>();
        let (last, before) = parts.split_last().unwrap();
        for part in before {
            transformer.feed(&mut sequence, part).unwrap();
        }
        positions.push(transformer.feed(&mut sequence, last).unwrap().iter().map(|x| f64::from(*x)).collect());
    }
    positions
}

fn agrees(decoder: &Decoder) {
    let weights = decoder.weights(5);
    let Oracle { logits: oracle, most } = decoder.oracle(&weights, &tokens(decoder.vocab));
    let file = decoder.gguf(&weights);
    let gguf = Gguf::parse(&file).unwrap();
    let mut layers = vec![Layer::EMPTY; decoder.layers];
    let model = Model::open(&gguf, &mut layers).unwrap();
    let mut scratch = ScratchBuffers::new(ScratchLens::of(&model.config, 4));
    let measured = measured(&model);
    assert_eq!(measured.len(), most.len());
    for (site, (ours, oracle)) in measured.iter().zip(&most).enumerate() {
        assert!((ours / oracle - 1.0).abs() <= BOUND, "site {site}: {ours}, not {oracle}");
    }
    // At once, token by token, in parts, and in parts that the work memory splits again.
    for (parts, rows) in [(TOKENS, TOKENS), (1, 1), (8, TOKENS), (8, 3)] {
        for precision in [Precision::Float, Precision::W8A16] {
            // F32 weights are multiplied in f32 in either precision.
            let scalar = logits(&model, Cpu::new(scratch.lend()), precision, parts, rows);
            let fast = logits(&model, FastCpu::detect(), precision, parts, rows);
            for (name, ours) in [("scalar", scalar), ("fast", fast)] {
                for (position, (ours, oracle)) in ours.iter().zip(&oracle).enumerate() {
                    let off = distance(ours, oracle);
                    assert!(off <= BOUND, "{name}, {precision:?}, {parts} at once: position {position} is {off:e} off");
                }
            }
        }
    }
}

/// What a calibration measures of the text, at each site in order.
fn measured(model: &Model<'_>) -> Vec<f64> {
    let mut work = vec![0.0; Transformer::<FastCpu>::work_len(&model.config, TOKENS)];
    let mut transformer = Transformer::new(*model, FastCpu::detect(), Precision::Float, &mut work, &mut []);
    let statement = Statement { tokens: tokens(model.config.spec.vocab), subject_last: None };
    let calibration = Calibration::measure(&mut transformer, model, 1, &[statement], |_| ()).unwrap();
    calibration.ranges.iter().map(|range| f64::from(range.most)).collect()
}

/// Any of `wrong` decoders would have been noticed.
fn tells_from(decoder: &Decoder, wrong: &[Decoder]) {
    let weights = decoder.weights(5);
    let last = |decoder: &Decoder| decoder.oracle(&weights, &tokens(decoder.vocab)).logits.pop().unwrap();
    for other in wrong {
        let off = distance(&last(other), &last(decoder));
        assert!(off > 100.0 * BOUND, "{other:?} is only {off:e} off");
    }
}

#[test]
fn qwen2_with_biases_shared_heads_and_a_head_of_its_own() {
    agrees(&qwen2());
    let wrong = [
        Decoder { biased: false, ..qwen2() },
        Decoder { neighbours: true, ..qwen2() },
        Decoder { tied: true, ..qwen2() },
        Decoder { theta: 1e4, ..qwen2() },
        Decoder { eps: 1e-1, ..qwen2() },
    ];
    tells_from(&qwen2(), &wrong);
}

#[test]
fn llama3_with_a_tied_head_and_frequency_factors() {
    agrees(&llama3());
    let wrong = [Decoder { neighbours: false, ..llama3() }, Decoder { factors: None, ..llama3() }];
    tells_from(&llama3(), &wrong);
}

#[test]
fn llama_with_linear_scaling_and_heads_of_another_width() {
    let decoder = stretched();
    assert_ne!(decoder.d, decoder.heads * decoder.head_dim);
    agrees(&decoder);
    tells_from(&decoder, &[Decoder { linear_scale: None, ..stretched() }]);
}
