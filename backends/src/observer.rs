//! A [`Device`] that runs another one and counts what goes into the linear layers and what they make of it: the raw material
//! of static scales, in memory fixed in advance. Chooses no scales.
//!
//! Per input, and per product (W x, without the bias), it keeps the largest magnitude and a histogram over the upper bits of
//! magnitudes (exponent and 6 bits of the mantissa), so a percentile is known as its bin's upper edge: never too low, and at
//! most 1/64 too high.

use crate::device::{Capabilities, Device, Memory};
use crate::editing::{check_len, copy_prefix};
use crate::model::Model;
use crate::op::{Op, Pool, Rows, Segment, Slot};
use crate::patches::Patches;
use crate::scales::{INPUTS, OF_LAYER, PRODUCTS, scale_count};
use crate::transformer::{ForwardError, Kept, Precision, Transformer};
use crate::weights::Matrix;

/// Bits of a magnitude that its bin does not tell.
const BELOW_BIN: u32 = 17;
/// Bins of a histogram: all patterns of 8 bits of exponent and 6 of mantissa.
pub const BINS: usize = 1 << (31 - BELOW_BIN);

/// Counts of a model's activations in lent memory, one histogram per static scale and in their order
/// ([`StaticScales`](crate::scales::StaticScales)).
#[derive(Debug)]
pub struct Magnitudes<'o> {
    counts: &'o mut [[u64; BINS]],
    most: &'o mut [f32],
}

/// What was seen of one input or product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Range {
    /// The largest magnitude.
    pub most: f32,
    /// The 99th percentile of magnitudes (the ⌈0.99 n⌉-th smallest), up to 1/64 too high; at most `most`. 0 where it lies
    /// below 2⁻¹³².
    pub percentile: f32,
}

impl<'o> Magnitudes<'o> {
    /// Empties the counts. `None` where there are not [`scale_count`] of each.
    pub fn new(layers: usize, counts: &'o mut [[u64; BINS]], most: &'o mut [f32]) -> Option<Self> {
        let sites = scale_count(layers);
        if counts.len() != sites || most.len() != sites {
            return None;
        }
        counts.as_flattened_mut().fill(0);
        most.fill(0.0);
        Some(Self { counts, most })
    }

    /// Counts `numbers` at this site.
    fn add(&mut self, site: usize, numbers: impl Iterator<Item = f32>) {
        let (Some(counts), Some(most)) = (self.counts.get_mut(site), self.most.get_mut(site)) else { return };
        // The bits of magnitudes are ordered like the numbers, with infinity and NaNs above them.
        let mut highest = most.to_bits();
        for number in numbers {
            let bits = number.abs().to_bits();
            highest = highest.max(bits);
            if let Some(count) = counts.get_mut((bits >> BELOW_BIN) as usize) {
                *count += 1;
            }
        }
        *most = f32::from_bits(highest);
    }

    /// What was seen at a site; `None` where that is nothing, or something that is not finite.
    pub fn range(&self, site: usize) -> Option<Range> {
        let (counts, most) = (self.counts.get(site)?, *self.most.get(site)?);
        let all: u64 = counts.iter().sum();
        let rank = all.checked_sub(1 + all / 100)?;
        let mut below = 0;
        let bin = counts.iter().position(|count| {
            below += count;
            below > rank
        })?;
        let edge = f32::from_bits(((bin as u32 + 1) << BELOW_BIN) - 1);
        let percentile = if bin == 0 { 0.0 } else { edge.min(most) };
        most.is_finite().then_some(Range { most, percentile })
    }
}

/// The device that counts.
#[derive(Debug)]
pub struct Observer<'o, D> {
    device: D,
    model: Model<'o>,
    magnitudes: Magnitudes<'o>,
}

/// Whether two views show the same bytes of a model file.
fn same(a: &Matrix<'_>, b: &Matrix<'_>) -> bool {
    core::ptr::eq(a.bytes(), b.bytes())
}

impl<'o, D: Device> Observer<'o, D> {
    /// Counts what `device` is given to run of `model`; which of its operations one is, is told by its weights.
    pub fn new(device: D, model: Model<'o>, magnitudes: Magnitudes<'o>) -> Self {
        Self { device, model, magnitudes }
    }

    /// Where the input of a linear operation with these weights is counted, unless another operation stands for it, and where
    /// its product is; `None` for weights that are not the model's.
    fn sites(&self, weight: &Matrix<'_>) -> Option<(Option<usize>, usize)> {
        // q stands for k and v, gate for up.
        const INPUT: [Option<usize>; PRODUCTS] = [Some(0), None, None, Some(1), Some(2), None, Some(3)];
        if same(weight, &self.model.head) {
            // The head reads what the last norm makes, and that is seen there, at more positions than are multiplied.
            return Some((None, self.head_input() + 1));
        }
        let mut layers = (0..).step_by(OF_LAYER).zip(self.model.layers);
        layers.find_map(|(first, w)| {
            let mut all = [&w.q, &w.k, &w.v, &w.o, &w.gate, &w.up, &w.down].into_iter().zip(INPUT).enumerate();
            let (product, (_, input)) = all.find(|(_, (other, _))| same(weight, other))?;
            Some((input.map(|input| first + input), first + INPUTS + product))
        })
    }

    fn head_input(&self) -> usize {
        self.model.layers.len() * OF_LAYER
    }

    /// Counts what an operation has read and made.
    fn count(&mut self, memory: &Memory<'_>, op: &Op<'_>) {
        match op {
            Op::Linear { x, weight, bias, out, .. } => {
                let Some((input, product)) = self.sites(weight) else { return };
                if let Some(site) = input {
                    // The operation has left it as it was.
                    self.magnitudes.add(site, numbers(memory, *x));
                }
                let bias = bias.map_or(&[][..], |bias| bias.row(0).as_chunks().0);
                let of_column = |column| bias.get(column).map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
                let columns = (0..weight.rows()).cycle();
                self.magnitudes.add(product, numbers(memory, *out).zip(columns).map(|(sum, at)| sum - of_column(at)));
            }
            Op::RmsNorm { weight, out, .. } if same(weight, &self.model.output_norm) => {
                self.magnitudes.add(self.head_input(), numbers(memory, *out));
            }
            _ => {}
        }
    }
}

/// What lies in a slot; nothing for one outside its pool.
fn numbers(memory: &Memory<'_>, slot: Slot) -> impl Iterator<Item = f32> {
    let pool: &[f32] = match slot.pool {
        Pool::Work => memory.work,
        Pool::Cache => memory.cache,
    };
    let numbers = slot.start.checked_add(slot.len).and_then(|end| pool.get(slot.start..end));
    numbers.unwrap_or_default().iter().copied()
}

impl<D: Device> Device for Observer<'_, D> {
    type Error = D::Error;

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn run(&mut self, memory: &mut Memory<'_>, ops: &[Op<'_>]) -> Result<(), Self::Error> {
        for op in ops {
            self.device.run(memory, core::slice::from_ref(op))?;
            self.count(memory, op);
        }
        Ok(())
    }
}

impl<'a, D: Device> Transformer<'a, D> {
    /// The same model on the same device, in the same work memory, without patches, observed; int16 activations are
    /// rounded with dynamic scales.
    pub fn observed<'o>(&'o mut self, magnitudes: Magnitudes<'o>) -> Transformer<'o, Observer<'o, &'o mut D>> {
        let spec = self.model.config.spec;
        Transformer {
            model: self.model,
            device: Observer::new(&mut self.device, self.model, magnitudes),
            work: self.work,
            patches: Patches::new(spec.d_ff, spec.d_model, &mut []),
            precision: if self.precision == Precision::Float { Precision::Float } else { Precision::W8A16 },
        }
    }
}

impl<D: Device> Transformer<'_, Observer<'_, D>> {
    /// Runs a text through the whole model, every position counted at every input and product but the head's product, which
    /// is the last position's: the `logits`, `(vocab)`. Copies out the keys and values of `layer` as
    /// [`capture`](Self::capture) does, with the same bits.
    ///
    /// # Errors
    /// Those of [`capture`](Self::capture).
    pub fn observe(
        &mut self,
        tokens: &[u32],
        layer: usize,
        keys: &mut [f32],
        values: &mut [f32],
        logits: &mut [f32],
    ) -> Result<(), ForwardError<D::Error>> {
        let c = self.model.config;
        check_len(keys.len(), tokens.len().saturating_mul(c.spec.d_ff))?;
        check_len(values.len(), tokens.len().saturating_mul(c.spec.d_model))?;
        check_len(logits.len(), c.spec.vocab)?;
        let act = self.run_sequence(tokens, layer)?;
        copy_prefix(self.slice(act.gate)?, keys);
        copy_prefix(self.slice(act.h)?, values);
        let segments = [Segment { rows: tokens.len(), ..Segment::default() }];
        for above in layer + 1..c.spec.layers {
            self.layer(above, &act, Rows { copies: 1, segments: &segments }, &mut [], 0, Kept::Attended)?;
        }
        let last = Slot { start: act.h.start + act.h.len.saturating_sub(c.spec.d_model), len: c.spec.d_model, ..act.h };
        let out = Slot { pool: Pool::Cache, start: 0, len: c.spec.vocab };
        let (head, activation) = (self.model.head, self.head_activation());
        let norm = Op::RmsNorm { x: act.x, weight: self.model.output_norm, eps: c.norm_eps, out: act.h };
        self.run(logits, &[norm, Op::Linear { x: last, weight: head, bias: None, side: &[], activation, out }])
    }

    /// What was counted so far.
    pub fn magnitudes(&self) -> &Magnitudes<'_> {
        &self.device.magnitudes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{calibrated_range, clipped_range};
    use std::vec::Vec;

    /// Numbers with tails: the exponent is random too.
    fn samples(seed: u64, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| random() * libm::exp2f(8.0 * random())).collect()
    }

    fn seen(parts: &[&[f32]]) -> Option<Range> {
        let (mut counts, mut most) = (std::vec![[7; BINS]; 2], [9.0; 2]);
        let mut magnitudes = Magnitudes::new(0, &mut counts, &mut most).unwrap();
        parts.iter().for_each(|part| magnitudes.add(0, part.iter().copied()));
        magnitudes.range(0)
    }

    #[test]
    fn the_percentile_is_the_sorted_samples_up_to_a_64th() {
        for (seed, len) in [1, 2, 99, 100, 101, 1000, 12_345].into_iter().enumerate() {
            let samples = samples(seed as u64, len);
            let range = seen(&[&samples[..len / 3], &samples[len / 3..]]).unwrap();
            let mut sorted: Vec<f32> = samples.iter().map(|x| x.abs()).collect();
            sorted.sort_by(f32::total_cmp);
            let percentile = sorted[(99 * len).div_ceil(100) - 1];
            assert_eq!(range.most, sorted[len - 1]);
            let ratio = range.percentile / percentile;
            assert!((1.0..=1.0 + 1.0 / 64.0).contains(&ratio), "{len} samples: {ratio}");
        }
    }

    #[test]
    fn the_clipped_range_is_that_of_the_samples_up_to_a_64th() {
        for outlier in [0.5, 3.0, 5.0, 1000.0] {
            // Evenly spread up to 1, so the percentile is 0.99.
            let mut samples: Vec<f32> = (1..=1000).map(|i| i as f32 / 1000.0).collect();
            samples[500] = -outlier;
            let range = seen(&[&samples]).unwrap();
            let ratio = clipped_range(range.most, range.percentile) / calibrated_range(&mut samples).unwrap();
            assert!((1.0..=1.0 + 1.0 / 64.0).contains(&ratio), "outlier {outlier}: {ratio}");
        }
    }

    #[test]
    fn nothing_and_what_is_not_finite_have_no_range() {
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&[&[0.0, -0.0]]), Some(Range::default()));
        assert_eq!(seen(&[&[1.0; 99], &[f32::INFINITY]]), None);
        assert_eq!(seen(&[&[1.0, f32::NAN]]), None);
        assert!(Magnitudes::new(1, &mut [[0; BINS]; 1], &mut [0.0]).is_none());
    }
}
