//! Decoder layers of real widths on a real library, named by `MOBIEDIT_QNN_LIB`, with synthetic weights, against f64: the same layer
//! twice, first as the layers of a forward pass, then as the one that is edited, whose `down_proj` is in halves and whose input is
//! kept.
#![cfg(feature = "std")]

mod common;

use mobiedit_backends::model::{Architecture, Layer, Model, ModelConfig};
use mobiedit_backends::op::RopePairs;
use mobiedit_backends::quant::{MOST_I16, quantize_row_q8_0};
use mobiedit_backends::scales::StaticScales;
use mobiedit_backends::transformer::{Precision, Transformer};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_core::ModelSpec;
use mobiedit_hal_qnn::{Qnn, QnnConfig};

/// Tokens of the text, one embedding each.
const TOKENS: usize = 6;
const ROWS: usize = 16;
const LAYERS: usize = 2;
const EPS: f32 = 1e-6;
const THETA: f32 = 1e6;

/// Pseudo-random numbers in −1..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A matrix in Q8_0, and what it then holds.
struct Weights {
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Weights {
    /// Outputs are as large as inputs.
    fn random(rows: usize, cols: usize, random: &mut Random) -> Self {
        let mut bytes = vec![0; rows * cols / 32 * 34];
        let size = (3.0 / cols as f32).sqrt();
        for row in bytes.chunks_exact_mut(cols / 32 * 34) {
            let numbers: Vec<f32> = (0..cols).map(|_| size * random.next()).collect();
            quantize_row_q8_0(&numbers, row);
        }
        Self { rows, cols, bytes }
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(Format::Q8_0, self.rows, self.cols, &self.bytes).unwrap()
    }

    /// W x in f64.
    fn times(&self, x: &[f64]) -> Vec<f64> {
        let row = |row: &[u8]| -> f64 {
            let blocks = row.chunks_exact(34).zip(x.chunks_exact(32));
            let block = |(block, x): (&[u8], &[f64])| {
                let scale = f64::from(half::f16::from_le_bytes([block[0], block[1]]).to_f32());
                scale * block[2..].iter().zip(x).map(|(level, x)| f64::from(*level as i8) * x).sum::<f64>()
            };
            blocks.map(block).sum()
        };
        self.bytes.chunks_exact(self.cols / 32 * 34).map(row).collect()
    }
}

/// A vector as f32, and its bytes.
fn vector(len: usize, middle: f32, spread: f32, random: &mut Random) -> (Vec<f32>, Vec<u8>) {
    let numbers: Vec<f32> = (0..len).map(|_| middle + spread * random.next()).collect();
    let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    (numbers, bytes)
}

fn norm(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + f64::from(EPS)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x / rms * f64::from(*w)).collect()
}

/// Largest magnitudes of a layer's inputs, then of its products, in the order of static scales.
type Most = [f64; 11];

fn see(most: &mut f64, x: &[f64]) {
    *most = x.iter().fold(*most, |most, x| most.max(x.abs()));
}

fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn check(name: &str, config: ModelConfig, with_bias: bool) {
    let Some(mut npu) = common::device(QnnConfig { rows: [ROWS].into(), cached: 16, patches: 1 }) else { return };
    let (d, ff, kv) = (config.spec.d_model, config.spec.d_ff, config.spec.kv_dim);
    let (heads, dim) = (config.heads, config.head_dim);
    let random = &mut Random(7);
    let shapes = [(heads * dim, d), (kv, d), (kv, d), (d, heads * dim), (ff, d), (ff, d), (d, ff)];
    let weights = shapes.map(|(rows, cols)| Weights::random(rows, cols, random));
    let [q, k, v, o, gate, up, down] = &weights;
    let biases = [heads * dim, kv, kv].map(|len| vector(len, 0.0, f32::from(with_bias), random));
    let [first, second, last] = [(); 3].map(|()| vector(d, 1.0, 0.5, random));
    let (residual, embedding) = vector(TOKENS * d, 0.0, 2.0, random);

    // The layers in f64: inputs of the last down_proj and its outputs.
    let mut all_most: [Most; LAYERS] = [[0.0; 11]; LAYERS];
    let mut rows: Vec<Vec<f64>> =
        residual.chunks_exact(d).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    let turn = |x: &mut [f64], position: usize| {
        for head in x.chunks_exact_mut(dim) {
            for pair in 0..dim / 2 {
                let angle = position as f64 * f64::from(THETA).powf(-2.0 * pair as f64 / dim as f64);
                let (sine, cosine) = angle.sin_cos();
                let [a, b] = match config.rope_pairs {
                    RopePairs::Halves => [pair, pair + dim / 2],
                    RopePairs::Neighbours => [2 * pair, 2 * pair + 1],
                };
                (head[a], head[b]) = (head[a] * cosine - head[b] * sine, head[a] * sine + head[b] * cosine);
            }
        }
    };
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for most in &mut all_most {
        let mut kept: Vec<[Vec<f64>; 2]> = Vec::new();
        (keys, values) = (Vec::new(), Vec::new());
        for (position, x) in rows.iter_mut().enumerate() {
            let h = norm(x, &first.0);
            see(&mut most[0], &h);
            let mut qkv = [q.times(&h), k.times(&h), v.times(&h)];
            for (site, (product, bias)) in qkv.iter_mut().zip(&biases).enumerate() {
                see(&mut most[4 + site], product);
                product.iter_mut().zip(&bias.0).for_each(|(x, b)| *x += f64::from(*b));
            }
            let [mut query, mut key, value] = qkv;
            turn(&mut query, position);
            turn(&mut key, position);
            kept.push([key, value]);
            let mut mixed = vec![0.0; heads * dim];
            for (head, (query, mixed)) in query.chunks_exact(dim).zip(mixed.chunks_exact_mut(dim)).enumerate() {
                let group = head * config.kv_heads / heads;
                let part = |x: &[f64]| x[group * dim..(group + 1) * dim].to_vec();
                let score = |kept: &[Vec<f64>; 2]| {
                    part(&kept[0]).iter().zip(query).map(|(k, q)| k * q).sum::<f64>() / (dim as f64).sqrt()
                };
                let scores: Vec<f64> = kept.iter().map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
                for (score, kept) in scores.iter().zip(&kept) {
                    let weight = (score - largest).exp() / total;
                    mixed.iter_mut().zip(part(&kept[1])).for_each(|(x, v)| *x += weight * v);
                }
            }
            see(&mut most[1], &mixed);
            let attended = o.times(&mixed);
            see(&mut most[7], &attended);
            let h = norm(&add(x, &attended), &second.0);
            see(&mut most[2], &h);
            let (gate, up) = (gate.times(&h), up.times(&h));
            see(&mut most[8], &gate);
            see(&mut most[9], &up);
            let inner: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            see(&mut most[3], &inner);
            let out = down.times(&inner);
            see(&mut most[10], &out);
            *x = add(&add(x, &attended), &out);
            keys.extend(inner);
            values.extend(out);
        }
    }

    let f32s = |len, bytes| Matrix::new(Format::F32, 1, len, bytes).unwrap();
    let [q_bias, k_bias, v_bias] = biases.each_ref().map(|(x, bytes)| with_bias.then(|| f32s(x.len(), bytes)));
    let [q, k, v, o, gate, up, down] = weights.each_ref().map(Weights::matrix);
    let (attn_norm, ffn_norm) = (f32s(d, &first.1), f32s(d, &second.1));
    let layers = [Layer { attn_norm, q, q_bias, k, k_bias, v, v_bias, o, ffn_norm, gate, up, down }; LAYERS];
    let table = Matrix::new(Format::F32, TOKENS, d, &embedding).unwrap();
    let model = Model {
        config,
        embedding: table,
        layers: &layers,
        output_norm: f32s(d, &last.1),
        head: table,
        rope_factors: None,
    };
    let of_layer = |most: &Most| -> [f32; 11] {
        let mut scales = most.map(|most| most as f32 / MOST_I16);
        scales[4..].iter_mut().for_each(|scale| *scale *= 2.0);
        scales
    };
    let mut scales: Vec<f32> = all_most.iter().flat_map(of_layer).collect();
    scales.extend([1.0, 1.0]);
    let tokens: Vec<u32> = (0..TOKENS as u32).collect();
    // The bounds: of the norm of the difference, over the norm of the oracle.
    for (precision, bound) in
        [(Precision::Float, 4e-3), (Precision::Static(StaticScales::new(LAYERS, &scales).unwrap()), 2e-2)]
    {
        let mut work = vec![0.0; Transformer::<Qnn>::work_len(&config, TOKENS)];
        let (mut on_npu, mut out) = (vec![0.0; TOKENS * ff], vec![0.0; TOKENS * d]);
        let mut transformer = Transformer::new(model, &mut npu, precision, &mut work, &mut []);
        transformer.capture(&tokens, LAYERS - 1, &mut on_npu, &mut out).unwrap();
        for (what, made, exact) in [("input of down_proj", &on_npu, &keys), ("its output", &out, &values)] {
            let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>();
            let off = square(&mut made.iter().zip(exact).map(|(made, exact)| f64::from(*made) - exact));
            let error = (off / square(&mut exact.iter().copied())).sqrt();
            let kind = if precision == Precision::Float { "float" } else { "static" };
            println!("{name}, {kind}, {what}: {error:.1e} from f64");
            assert!(error < bound, "{name}, {kind}, {what}: {error} from f64");
        }
    }
}

fn config(architecture: Architecture, widths: [usize; 2], heads: [usize; 2]) -> ModelConfig {
    let ([d_model, d_ff], [heads, kv_heads]) = (widths, heads);
    let qwen2 = architecture == Architecture::Qwen2;
    ModelConfig {
        architecture,
        spec: ModelSpec { d_model, d_ff, layers: LAYERS, kv_dim: kv_heads * 128, vocab: TOKENS, max_tokens: 64 },
        heads,
        kv_heads,
        head_dim: 128,
        rope_dim: 128,
        rope_theta: THETA,
        rope_linear_scale: 1.0,
        rope_pairs: if qwen2 { RopePairs::Halves } else { RopePairs::Neighbours },
        norm_eps: EPS,
    }
}

#[test]
fn a_layer_of_qwen2_5_3b_is_f64s_up_to_its_bounds() {
    check("Qwen2.5-3B", config(Architecture::Qwen2, [2048, 11008], [16, 2]), true);
}

#[test]
fn a_layer_of_llama_3_2_3b_is_f64s_up_to_its_bounds() {
    check("Llama-3.2-3B", config(Architecture::Llama, [3072, 8192], [24, 8]), false);
}
