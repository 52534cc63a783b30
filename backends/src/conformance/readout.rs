//! Trials of softmax statistics.

use alloc::vec::Vec;

use super::cases::{Fill, Treatment};
use super::linear::{activation, activations, product, rounded};
use super::random::Random;
use super::tensor::Tensor;
use super::trial::{EPSILON, Expected, Owned, Pools, Trial};
use crate::op::{Pool, READOUT_WIDTH, Read};
use crate::weights::Format;

/// Sizes and reads of a readout.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of Op::Readout")]
pub struct Readout {
    pub format: Format,
    pub treatment: Treatment,
    pub copies: usize,
    pub inputs: usize,
    pub vocab: usize,
    pub reads: &'static [Read],
    /// About the standard deviation of the logits, times 10.
    pub spread: u32,
    /// The last token's row of the head is the same as the first one's: equal logits, of which the first counts.
    pub twins: bool,
}

/// A readout of random rows by a random head.
pub(super) fn readout(p: Readout, random: &mut Random) -> Trial {
    let magnitude = f64::from(p.spread) / 10.0 / libm::sqrt(p.inputs as f64) / 2.0;
    let mut head = Tensor::random(p.format, p.vocab, p.inputs, magnitude, random);
    let rows = p.copies * p.reads.len();
    let mut numbers = activations(Fill::Levels, rows, p.inputs, random);
    if p.twins {
        head.repeat_row(0, p.vocab - 1);
        // Rows that point where the first token's row of the head points.
        for (x, w) in numbers.iter_mut().zip(head.row(0).iter().cycle()) {
            *x = x.abs() * w.signum() as f32;
        }
    }
    let clean_rows = p.reads.iter().map(|read| if let Read::Divergence(row) = read { *row as usize + 1 } else { 1 });
    let clean = random.normals(clean_rows.max().unwrap_or(1) * p.vocab);
    let (mut expected, mut most) = (Vec::new(), 0.0_f64);
    for (x, read) in numbers.chunks(p.inputs).zip(p.reads.iter().cycle()) {
        let (x, step) = rounded(x, p.treatment, Fill::Levels);
        let logits: Vec<_> = (0..p.vocab).map(|token| product(head.row(token), &x, step)).collect();
        most = logits.iter().fold(most, |most, logit| most.max(logit.value.abs() + logit.bound));
        let row = if let Read::Divergence(row) = read { *row as usize } else { 0 };
        expected.extend(statistics(&logits, *read, &clean[row * p.vocab..][..p.vocab]));
    }
    let mut pools = Pools::new();
    let x = pools.put(Pool::Work, &numbers);
    let clean = pools.put(Pool::Cache, &clean);
    let out = pools.room(rows * READOUT_WIDTH);
    let activation = activation(p.treatment, most);
    let op = Owned::Readout { x, head, activation, reads: p.reads.to_vec(), clean, out };
    Trial { op, pools, out, expected }
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + libm::log(x.iter().map(|x| libm::exp(x - most)).sum::<f64>())
}

fn statistics(logits: &[Expected], read: Read, clean: &[f32]) -> [Expected; READOUT_WIDTH] {
    let values: Vec<f64> = logits.iter().map(|l| l.value).collect();
    let clean: Vec<f64> = clean.iter().map(|&c| f64::from(c)).collect();
    let total = log_sum_exp(&values);
    let best = values.iter().enumerate().fold(0, |best, (i, &v)| if v > values[best] { i } else { best });
    let off = logits.iter().map(|l| l.bound).fold(0.0, f64::max) + 64.0 * EPSILON * (1.0 + values[best].abs());
    let near = values.iter().filter(|&&v| v != values[best] && v > values[best] - 2.0 * off).count();
    assert_eq!(near, 0, "no telling which logit is the largest: the case needs another seed");
    let none = Expected { value: 0.0, bound: 0.0 };
    let (target, divergence) = match read {
        Read::Target(token) => (Expected { bound: off, ..logits[token as usize] }, none),
        Read::Divergence(_) => {
            let gap = || values.iter().zip(&clean).map(|(l, c)| (libm::exp(l - total), l - c));
            let value = gap().map(|(p, d)| p * d).sum::<f64>() - total + log_sum_exp(&clean);
            let distance: f64 = gap().map(|(p, d)| p * d.abs()).sum();
            (none, Expected { value, bound: 2.0 * off * (1.0 + distance + value) })
        }
    };
    [
        Expected { value: total, bound: off },
        target,
        Expected { value: values[best], bound: off },
        Expected { value: best as f64, bound: 0.0 },
        divergence,
    ]
}
