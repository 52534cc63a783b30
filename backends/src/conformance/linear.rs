//! Trials of linear layers, in every format and treatment of activations.

use alloc::vec::Vec;

use super::cases::{Fill, Treatment};
use super::random::Random;
use super::tensor::Tensor;
use super::trial::{EPSILON, Expected, Owned, Pools, Trial, sum_error};
use crate::op::{Activation, Pool};
use crate::weights::Format;

/// Sizes and options of a linear layer.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of Op::Linear")]
pub struct Linear {
    pub format: Format,
    pub treatment: Treatment,
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub bias: bool,
    pub patches: usize,
    pub fill: Fill,
}

/// Activations, `(rows, width)`, as the case asks for.
pub(super) fn activations(fill: Fill, rows: usize, width: usize, random: &mut Random) -> Vec<f32> {
    let mut x = random.normals(rows * width);
    match fill {
        Fill::Normal => {}
        Fill::Zero => x.fill(0.0),
        Fill::OneZeroRow => x[rows / 2 * width..][..width].fill(0.0),
        // Whole multiples of max / 32767, a power of two: rounding to int16 is exact.
        Fill::Levels => {
            for x in &mut x {
                *x = (f64::from(random.below(65535)) - 32767.0) as f32 / 8192.0;
            }
            x.iter_mut().step_by(width).for_each(|x| *x = 32767.0 / 8192.0);
        }
        Fill::Largest => x.fill(32767.0 / 8192.0),
        Fill::Outlier => x.iter_mut().step_by(width).for_each(|x| *x = 3000.0),
    }
    x
}

/// How the device is asked to treat activations whose products are not above `most`.
pub(super) fn activation(treatment: Treatment, most: f64) -> Activation {
    // Never 0, which is no scale.
    let product = (most as f32).max(1e-3) / 32767.0;
    match treatment {
        Treatment::F32 => Activation::F32,
        Treatment::A16 => Activation::A16,
        Treatment::Static => Activation::A16Static { scale: 6.0 / 32767.0, product },
        Treatment::Saturating => Activation::A16Static { scale: 0.5 / 32767.0, product },
    }
}

/// What rounding to int16 makes of a row, and by how much each number may still be off.
pub(super) fn rounded(x: &[f32], treatment: Treatment, fill: Fill) -> (Vec<f64>, f64) {
    let largest = x.iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs())));
    let exact = matches!(fill, Fill::Levels | Fill::Largest);
    let (step, most) = match treatment {
        Treatment::A16 if !exact => (largest / 32767.0 * 0.501, largest),
        Treatment::F32 | Treatment::A16 => (0.0, largest),
        Treatment::Static => (6.0 / 32767.0 * 0.501, 6.0),
        // A saturated number may be −32767 or −32768 steps.
        Treatment::Saturating => (0.5 / 32767.0 * 1.001, 0.5),
    };
    (x.iter().map(|&x| f64::from(x).clamp(-most, most)).collect(), step)
}

/// W x for one row of weights.
pub(super) fn product(weight: &[f64], x: &[f64], step: f64) -> Expected {
    let terms = || weight.iter().zip(x).map(|(w, x)| w * x);
    let magnitude: f64 = terms().map(f64::abs).sum();
    let rounding: f64 = weight.iter().map(|w| w.abs() * step).sum();
    Expected { value: terms().sum(), bound: magnitude * sum_error(weight.len()) + rounding }
}

/// A linear layer, its bias and its patches.
pub(super) fn linear(p: Linear, random: &mut Random) -> Trial {
    let weight = match p.fill {
        Fill::Largest => Tensor::lowest(p.outputs, p.inputs),
        _ => Tensor::random(p.format, p.outputs, p.inputs, 0.1, random),
    };
    let bias = p.bias.then(|| Tensor::random(Format::F32, 1, p.outputs, 1.0, random));
    let side: Vec<_> = (0..p.patches).map(|_| (random.normals(p.inputs), random.normals(p.outputs))).collect();
    let numbers = activations(p.fill, p.rows, p.inputs, random);
    let (mut expected, mut most) = (Vec::new(), 0.0_f64);
    for x in numbers.chunks(p.inputs) {
        let (levels, step) = rounded(x, p.treatment, p.fill);
        for output in 0..p.outputs {
            let Expected { mut value, mut bound } = product(weight.row(output), &levels, step);
            most = most.max(value.abs() + bound);
            value += bias.as_ref().map_or(0.0, |b| b.values[output]);
            for (u, lambda) in &side {
                let terms = || u.iter().zip(x).map(|(u, x)| f64::from(*u) * f64::from(*x) * f64::from(lambda[output]));
                value += terms().sum::<f64>();
                bound += terms().map(f64::abs).sum::<f64>() * sum_error(p.inputs);
            }
            expected.push(Expected { value, bound: bound + 4.0 * EPSILON * value.abs() });
        }
    }
    let mut pools = Pools::new();
    let x = pools.put(Pool::Work, &numbers);
    let out = pools.room(p.rows * p.outputs);
    let op = Owned::Linear { x, weight, bias, side, activation: activation(p.treatment, most), out };
    Trial { op, pools, out, expected }
}
