//! Trials of the operations that treat rows one by one, and of those that only move or add them.

use alloc::vec::Vec;

use super::cases::Fill;
use super::linear::activations;
use super::random::Random;
use super::tensor::Tensor;
use super::trial::{EPSILON, Expected, Owned, Pools, Trial, sum_error};
use crate::op::{Pool, RopePairs};
use crate::weights::Format;

/// Embedding rows of a small table.
pub(super) fn embed(format: Format, rows: usize, random: &mut Random) -> Trial {
    let (vocab, width) = (19, 512);
    let table = Tensor::random(format, vocab, width, 1.0, random);
    let ids: Vec<u32> = (0..rows).map(|i| if i == 0 { 18 } else { random.below(19) }).collect();
    let values = ids.iter().flat_map(|&id| table.row(id as usize)).copied();
    let expected = values.map(|value| Expected { value, bound: 2.0 * EPSILON * value.abs() }).collect();
    let mut pools = Pools::new();
    let out = pools.room(rows * width);
    Trial { op: Owned::Embed { table, ids, out }, pools, out, expected }
}

/// RMSNorm with ε = 1e-6.
pub(super) fn rms_norm(rows: usize, width: usize, fill: Fill, random: &mut Random) -> Trial {
    let eps = 1e-6;
    let weight = Tensor::random(Format::F32, 1, width, 1.0, random);
    let numbers = activations(fill, rows, width, random);
    let mut expected = Vec::new();
    for x in numbers.chunks(width) {
        let mean_square = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / width as f64;
        let scale = 1.0 / libm::sqrt(mean_square + f64::from(eps));
        expected.extend(x.iter().zip(&weight.values).map(|(&x, w)| {
            let value = f64::from(x) * scale * w;
            Expected { value, bound: value.abs() * (sum_error(width) + 8.0 * EPSILON) }
        }));
    }
    let mut pools = Pools::new();
    let x = pools.put(Pool::Work, &numbers);
    let out = pools.room(rows * width);
    Trial { op: Owned::RmsNorm { x, weight, eps, out }, pools, out, expected }
}

/// RoPE by random angles.
pub(super) fn rope(rows: usize, heads: usize, head_dim: usize, pairs: RopePairs, random: &mut Random) -> Trial {
    let half = head_dim / 2;
    let numbers = random.normals(rows * heads * head_dim);
    let mut table = Vec::new();
    for _ in 0..rows {
        let angles: Vec<f32> = (0..half).map(|_| random.normal() * 3.0).collect();
        table.extend(angles.iter().map(|&a| libm::cosf(a)));
        table.extend(angles.iter().map(|&a| libm::sinf(a)));
    }
    let mut expected = alloc::vec![Expected { value: 0.0, bound: 0.0 }; numbers.len()];
    for (row, table) in table.chunks(head_dim).enumerate() {
        for (head, i) in (0..heads).flat_map(|head| (0..half).map(move |i| (head, i))) {
            let start = (row * heads + head) * head_dim;
            let (first, second) = match pairs {
                RopePairs::Halves => (start + i, start + i + half),
                RopePairs::Neighbours => (start + 2 * i, start + 2 * i + 1),
            };
            let [a, b, cosine, sine] = [numbers[first], numbers[second], table[i], table[i + half]].map(f64::from);
            let bound = 4.0 * EPSILON * (a.abs() + b.abs());
            expected[first] = Expected { value: a * cosine - b * sine, bound };
            expected[second] = Expected { value: a * sine + b * cosine, bound };
        }
    }
    let mut pools = Pools::new();
    let table = pools.put(Pool::Work, &table);
    let out = pools.put(Pool::Work, &numbers);
    Trial { op: Owned::Rope { x: out, table, head_dim, pairs }, pools, out, expected }
}

/// SwiGLU of numbers up to about ±6 · `stretch`.
pub(super) fn swiglu(len: usize, stretch: f32, random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let numbers: Vec<f32> = random.normals(len).iter().map(|x| x * stretch).collect();
    let gate = pools.put(Pool::Work, &numbers);
    let (up, ups) = pools.normals(len, random);
    let silu = |x: f64| x / (1.0 + libm::exp(-x));
    let values = numbers.iter().zip(&ups).map(|(&gate, &up)| silu(f64::from(gate)) * f64::from(up));
    // Below e⁻⁸⁷ the exponential leaves the range of f32, and the result is 0.
    let expected = values.map(|value| Expected { value, bound: 16.0 * EPSILON * value.abs() + 1e-35 }).collect();
    Trial { op: Owned::SwiGlu { gate, up }, pools, out: gate, expected }
}

/// Sum of two slots.
pub(super) fn add(len: usize, random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let ((x, a), (y, b)) = (pools.normals(len, random), pools.normals(len, random));
    let expected = a.iter().zip(&b).map(|(a, b)| exactly(a + b)).collect();
    Trial { op: Owned::Add { x, y }, pools, out: x, expected }
}

/// A copy from pool to pool.
pub(super) fn copy(from: Pool, to: Pool, len: usize, random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let numbers = random.normals(len);
    let x = pools.put(from, &numbers);
    let out = pools.put(to, &alloc::vec![f32::NAN; len]);
    Trial { op: Owned::Copy { x, out }, pools, out, expected: numbers.iter().map(|&x| exactly(x)).collect() }
}

/// δ added to some rows of each copy.
pub(super) fn inject(copies: usize, per_copy: usize, width: usize, rows: &[u32], random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let (x, mut numbers) = pools.normals(copies * per_copy * width, random);
    let delta = random.normals(copies * width);
    for (copy, &row) in (0..copies).flat_map(|copy| rows.iter().map(move |row| (copy, row))) {
        for i in 0..width {
            numbers[(copy * per_copy + row as usize) * width + i] += delta[copy * width + i];
        }
    }
    let expected = numbers.iter().map(|&x| exactly(x)).collect();
    Trial { op: Owned::Inject { x, per_copy, copies, rows: rows.to_vec(), delta }, pools, out: x, expected }
}

/// Some rows of each copy, one behind the other.
pub(super) fn gather(copies: usize, per_copy: usize, width: usize, rows: &[u32], random: &mut Random) -> Trial {
    let mut pools = Pools::new();
    let (x, numbers) = pools.normals(copies * per_copy * width, random);
    let mut expected = Vec::new();
    for (copy, &row) in (0..copies).flat_map(|copy| rows.iter().map(move |row| (copy, row))) {
        let start = (copy * per_copy + row as usize) * width;
        expected.extend(numbers[start..start + width].iter().map(|&x| exactly(x)));
    }
    let out = pools.room(expected.len());
    Trial { op: Owned::Gather { x, per_copy, rows: rows.to_vec(), copies, out }, pools, out, expected }
}

fn exactly(value: f32) -> Expected {
    Expected { value: f64::from(value), bound: 0.0 }
}
