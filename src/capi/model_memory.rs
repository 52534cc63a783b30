//! The memory of a built-in model: how much of what, and the caller's bytes divided into it.

use mobiedit_backends::generate::Sequence;
use mobiedit_backends::model::{Layer, ModelConfig};
use mobiedit_backends::patches::Patches;
use mobiedit_backends::scales::scale_count;
use mobiedit_backends::transformer::Transformer;
use mobiedit_hal_cpu::{Cpu, Scratch, ScratchLens, Statistics};

use crate::capi::cpu::mobiedit_cpu_config;
use crate::capi::memory::{Pool, bytes_of};

/// Elements of each part.
pub(crate) struct Parts {
    layers: usize,
    work: usize,
    patches: usize,
    sequence: usize,
    static_scales: usize,
    scratch: ScratchLens,
}

/// The parts themselves.
pub(crate) struct Memory<'m> {
    pub(crate) layers: &'m mut [Layer<'m>],
    pub(crate) work: &'m mut [f32],
    pub(crate) patches: &'m mut [f32],
    pub(crate) sequence: &'m mut [f32],
    pub(crate) static_scales: &'m mut [f32],
    pub(crate) scratch: Scratch<'m>,
}

impl Parts {
    pub(crate) fn of(
        model: &ModelConfig,
        config: &mobiedit_cpu_config,
        with_static_scales: bool,
        scratch: ScratchLens,
    ) -> Self {
        let spec = model.spec;
        let one = Patches::len_of_one(spec.d_ff, spec.d_model);
        let context = config.context as usize;
        Self {
            layers: spec.layers,
            work: Transformer::<Cpu<'_>>::work_len(model, config.rows as usize),
            patches: one.saturating_mul(config.patches as usize),
            sequence: if context > 0 { Sequence::memory_len(&spec, context) } else { 0 },
            static_scales: if with_static_scales { scale_count(spec.layers) } else { 0 },
            scratch,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let s = &self.scratch;
        let floats = [self.work, self.patches, self.sequence, self.static_scales];
        let floats = floats.into_iter().chain([s.scales, s.weights, s.scores, s.logits]);
        let floats = floats.map(bytes_of::<f32>).fold(0, usize::saturating_add);
        let rest = [
            bytes_of::<Layer<'_>>(self.layers),
            bytes_of::<i16>(s.activations),
            bytes_of::<i8>(s.levels),
            bytes_of::<Statistics>(s.statistics),
        ];
        rest.into_iter().fold(floats, usize::saturating_add)
    }

    /// Takes all of them.
    ///
    /// # Safety
    /// The pool's bytes are the caller's alone for `'m`.
    pub(crate) unsafe fn divide<'m>(&self, pool: &mut Pool) -> Result<Memory<'m>, i32> {
        let lens = &self.scratch;
        // SAFETY: by this function's contract.
        unsafe {
            let scratch = Scratch {
                activations: pool.take(lens.activations, 0)?,
                scales: pool.take(lens.scales, 0.0)?,
                levels: pool.take(lens.levels, 0)?,
                weights: pool.take(lens.weights, 0.0)?,
                scores: pool.take(lens.scores, 0.0)?,
                logits: pool.take(lens.logits, 0.0)?,
                statistics: pool.take(lens.statistics, Statistics::default())?,
            };
            Ok(Memory {
                layers: pool.take(self.layers, Layer::EMPTY)?,
                work: pool.take(self.work, 0.0)?,
                patches: pool.take(self.patches, 0.0)?,
                sequence: pool.take(self.sequence, 0.0)?,
                static_scales: pool.take(self.static_scales, 0.0)?,
                scratch,
            })
        }
    }
}
