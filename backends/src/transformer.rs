//! The decoder on one page: Llama 3.x and Qwen2.5 as a list of operations per layer, on any [`Device`].
//!
//! Does not know about edits beyond applying patches: [`ForwardBackend`](mobiedit_core::backend::ForwardBackend) is
//! implemented in `editing`, free generation in `generate`.

use core::fmt;

use mobiedit_core::backend::{BackendError, BackendErrorKind};

use crate::device::{Device, Memory};
use crate::model::{MAX_HEAD_DIM, Model, ModelConfig};
use crate::op::{Activation, Op, Pool, Rows, Slot};
use crate::patches::Patches;
use crate::scales::{PRODUCTS, StaticScales};
use crate::weights::Format;

/// Most pairs of elements in a head.
const MAX_ROPE_PAIRS: usize = MAX_HEAD_DIM / 2;

/// How linear layers treat their activations.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Precision<'a> {
    /// int16 activations with a dynamic scale per row; the edited `down_proj` stays in float.
    W8A16,
    /// int16 activations with static scales, as on an NPU; the edited `down_proj` stays in float.
    Static(StaticScales<'a>),
    /// f32 activations everywhere: the comparison.
    Float,
}

/// A model on a device, in lent memory.
#[derive(Debug)]
pub struct Transformer<'a, D> {
    pub(crate) model: Model<'a>,
    pub(crate) device: D,
    pub(crate) work: &'a mut [f32],
    pub(crate) patches: Patches<'a>,
    pub(crate) precision: Precision<'a>,
}

/// What can go wrong in a forward pass; `E` is the device's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ForwardError<E> {
    /// The device's own error.
    Device(E),
    /// The device's own error, in a decoder layer.
    Layer {
        /// Its index.
        layer: usize,
        /// What the device says.
        error: E,
    },
    /// The work memory holds fewer rows than the call needs.
    WorkTooSmall {
        /// Rows needed at once.
        rows: usize,
        /// Rows that fit.
        fit: usize,
    },
    /// A lent buffer has fewer elements than the call needs.
    BufferTooSmall {
        /// Elements needed.
        need: usize,
        /// Elements given.
        given: usize,
    },
    /// A loss or a logit is NaN or infinite.
    NotFinite,
    /// No room for another patch, or a patch of the wrong shape.
    Patch,
    /// The patch is not applied.
    UnknownPatch,
    /// A token is outside the vocabulary, a layer outside the model, or a problem does not fit it.
    OutOfRange,
    /// The model's hyper-parameters do not fit each other or its tensors; [`Model::open`] gives no such model.
    Model,
    /// The context is full.
    ContextFull,
}

impl<E: fmt::Display> fmt::Display for ForwardError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(e) => write!(f, "the device failed: {e}"),
            Self::Layer { layer, error } => write!(f, "the device failed in layer {layer}: {error}"),
            Self::WorkTooSmall { rows, fit } => {
                write!(f, "the work memory holds {fit} rows, {rows} are needed at once")
            }
            Self::BufferTooSmall { need, given } => write!(f, "a lent buffer has {given} elements, {need} are needed"),
            Self::NotFinite => write!(f, "the model's output is not finite"),
            Self::Patch => write!(f, "no room for another patch, or one of the wrong shape"),
            Self::UnknownPatch => write!(f, "this patch is not applied"),
            Self::OutOfRange => write!(f, "a token or layer outside the model"),
            Self::Model => write!(f, "the model's hyper-parameters do not fit each other"),
            Self::ContextFull => write!(f, "the context is full"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for ForwardError<E> {}

impl<E: BackendError> BackendError for ForwardError<E> {
    fn kind(&self) -> BackendErrorKind {
        match self {
            Self::Device(error) | Self::Layer { error, .. } => error.kind(),
            Self::WorkTooSmall { .. } | Self::BufferTooSmall { .. } => BackendErrorKind::TooSmall,
            Self::NotFinite => BackendErrorKind::NotFinite,
            _ => BackendErrorKind::Unsupported,
        }
    }
}

/// What a layer leaves in its slots, beside the rows' state: the rest is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The rows' own keys and values, in `k` and `v`.
    Attended,
    /// The output of the MLP, in `h`.
    Mlp,
    /// The input of `down_proj` in `gate`, its output in `h`; it is computed in f32, as the edited layer's is.
    Edited,
}

/// The buffers of a run with a given number of rows, side by side in the work memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activations {
    /// Residual stream, `(rows, d_model)`.
    pub(crate) x: Slot,
    /// Normalised rows, then a sublayer's output, `(rows, d_model)`.
    pub(crate) h: Slot,
    /// Queries, `(rows, heads, head_dim)`.
    pub(crate) q: Slot,
    /// Keys, `(rows, kv_heads, head_dim)`.
    pub(crate) k: Slot,
    /// Values, `(rows, kv_heads, head_dim)`.
    pub(crate) v: Slot,
    /// Attention's output, `(rows, heads, head_dim)`.
    pub(crate) a: Slot,
    /// The MLP's inner layer, `(rows, d_ff)`; after SwiGLU the input of `down_proj`: the key.
    pub(crate) gate: Slot,
    /// `(rows, d_ff)`.
    pub(crate) up: Slot,
    /// RoPE's cosines and sines, `(rows, head_dim)`.
    pub(crate) rope: Slot,
}

impl Activations {
    /// f32s of all buffers for one row.
    pub(crate) const fn per_row(c: &ModelConfig) -> usize {
        let heads = c.heads.saturating_mul(c.head_dim);
        let pair = c.spec.d_model.saturating_add(heads).saturating_add(c.spec.kv_dim).saturating_add(c.spec.d_ff);
        pair.saturating_mul(2).saturating_add(c.head_dim)
    }

    pub(crate) fn new(c: &ModelConfig, rows: usize) -> Self {
        let mut start = 0;
        let mut take = |width: usize| {
            let slot = Slot { pool: Pool::Work, start, len: rows * width };
            start += slot.len;
            slot
        };
        let (d, heads, kv, ff) = (c.spec.d_model, c.heads * c.head_dim, c.spec.kv_dim, c.spec.d_ff);
        Self {
            x: take(d),
            h: take(d),
            q: take(heads),
            k: take(kv),
            v: take(kv),
            a: take(heads),
            gate: take(ff),
            up: take(ff),
            rope: take(c.head_dim),
        }
    }
}

impl<'a, D: Device> Transformer<'a, D> {
    /// Elements of work memory for `rows` rows at a time: at least the longest prompt, and one candidate's suffix rows.
    pub const fn work_len(config: &ModelConfig, rows: usize) -> usize {
        Activations::per_row(config).saturating_mul(rows)
    }

    /// Puts a model on a device. `work` bounds the rows of a batch and never changes a result; `patches` bounds how many
    /// patches can be applied, [`Patches::len_of_one`] elements each.
    pub fn new(
        model: Model<'a>,
        device: D,
        precision: Precision<'a>,
        work: &'a mut [f32],
        patches: &'a mut [f32],
    ) -> Self {
        let spec = model.config.spec;
        Self { model, device, precision, work, patches: Patches::new(spec.d_ff, spec.d_model, patches) }
    }

    /// The model's hyper-parameters.
    pub fn config(&self) -> &ModelConfig {
        &self.model.config
    }

    /// The model, without its patches.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The same, to be changed.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device alone.
    pub fn into_device(self) -> D {
        self.device
    }

    /// The applied patches.
    pub fn patches(&self) -> &Patches<'a> {
        &self.patches
    }

    /// Rows that fit the work memory and the device at once.
    pub(crate) fn fitting_rows(&self) -> usize {
        let fit = self.work.len().checked_div(Activations::per_row(&self.model.config)).unwrap_or(0);
        self.device.capabilities().max_rows.map_or(fit, |most| most.min(fit))
    }

    /// The hyper-parameters that no operation checks: a [`Model`] can be put together by hand.
    pub(crate) fn check_model(&self) -> Result<(), ForwardError<D::Error>> {
        let c = &self.model.config;
        let sizes = [c.spec.d_model, c.spec.d_ff, c.spec.kv_dim, c.spec.vocab, c.heads, c.kv_heads, c.head_dim];
        let heads = c.head_dim.is_multiple_of(2) && c.head_dim <= MAX_HEAD_DIM && c.rope_dim == c.head_dim;
        let factors = self.model.rope_factors.is_none_or(|f| f.format() == Format::F32 && f.cols() == c.head_dim / 2);
        let head = self.model.head.rows() == c.spec.vocab;
        let scales = !matches!(self.precision, Precision::Static(scales) if scales.layers() != c.spec.layers);
        if heads && factors && head && scales && !sizes.contains(&0) { Ok(()) } else { Err(ForwardError::Model) }
    }

    /// The buffers for this many rows, if they fit.
    pub(crate) fn activations(&self, rows: usize) -> Result<Activations, ForwardError<D::Error>> {
        self.check_model()?;
        let fit = self.fitting_rows();
        if rows > fit {
            return Err(ForwardError::WorkTooSmall { rows, fit });
        }
        Ok(Activations::new(&self.model.config, rows))
    }

    /// Treatment of a layer's linear operations, in the order of [`PRODUCTS`]; `None` for a layer outside the model.
    fn layer_activations(&self, layer: usize) -> Option<[Activation; PRODUCTS]> {
        match self.precision {
            Precision::W8A16 => Some([Activation::A16; PRODUCTS]),
            Precision::Static(scales) => scales.of_layer(layer),
            Precision::Float => Some([Activation::F32; PRODUCTS]),
        }
    }

    /// Treatment of the head.
    pub(crate) fn head_activation(&self) -> Activation {
        match self.precision {
            Precision::W8A16 => Activation::A16,
            Precision::Static(scales) => scales.of_head(),
            Precision::Float => Activation::F32,
        }
    }

    /// Token embeddings into `x`.
    pub(crate) fn embed(&mut self, act: &Activations, ids: &[u32]) -> Result<(), ForwardError<D::Error>> {
        if ids.iter().any(|&id| id as usize >= self.model.config.spec.vocab) {
            return Err(ForwardError::OutOfRange);
        }
        let mut memory = Memory { work: self.work, cache: &mut [] };
        let ops = [Op::Embed { table: self.model.embedding, ids, out: act.x }];
        self.device.run(&mut memory, &ops).map_err(ForwardError::Device)
    }

    /// One decoder layer over the rows in `x`. `cache_layer` is the layer's place in the cache that the rows' segments
    /// point to. Afterwards `x` holds the rows' state, and of the other slots those do what they should that `kept` names.
    pub(crate) fn layer(
        &mut self,
        layer: usize,
        act: &Activations,
        rows: Rows<'_>,
        cache: &mut [f32],
        cache_layer: usize,
        kept: Kept,
    ) -> Result<(), ForwardError<D::Error>> {
        let c = self.model.config;
        let w = self.model.layers.get(layer).ok_or(ForwardError::OutOfRange)?;
        let [q, k, v, o, gate, up, down] = self.layer_activations(layer).ok_or(ForwardError::Model)?;
        let side = self.patches.of_layer(layer);
        let down = if kept == Kept::Edited || !side.is_empty() { Activation::F32 } else { down };
        let linear = |x, activation, weight, bias, out| Op::Linear { x, weight, bias, side: &[], activation, out };
        let norm = |weight| Op::RmsNorm { x: act.x, weight, eps: c.norm_eps, out: act.h };
        let rope = |x| Op::Rope { x, table: act.rope, head_dim: c.head_dim, pairs: c.rope_pairs };
        // A matrix in f32 may get a patch: with it and without it the layer is the same graph, whatever is kept.
        let [first, second] = match kept {
            Kept::Attended if down != Activation::F32 => [act.gate, act.h],
            Kept::Mlp if down != Activation::F32 => [act.gate, act.k],
            _ => [Slot { len: 0, ..act.q }; 2],
        };
        let ops = [
            norm(w.attn_norm),
            linear(act.h, q, w.q, w.q_bias, act.q),
            linear(act.h, k, w.k, w.k_bias, act.k),
            linear(act.h, v, w.v, w.v_bias, act.v),
            rope(act.q),
            rope(act.k),
            Op::Attention {
                q: act.q,
                k: act.k,
                v: act.v,
                rows,
                cache_layer,
                heads: c.heads,
                kv_heads: c.kv_heads,
                head_dim: c.head_dim,
                out: act.a,
            },
            linear(act.a, o, w.o, None, act.h),
            Op::Add { x: act.x, y: act.h },
            norm(w.ffn_norm),
            linear(act.h, gate, w.gate, None, act.gate),
            linear(act.h, up, w.up, None, act.up),
            Op::SwiGlu { gate: act.gate, up: act.up },
            Op::Linear { x: act.gate, weight: w.down, bias: None, side: &side, activation: down, out: act.h },
            Op::Add { x: act.x, y: act.h },
            Op::Discard { x: act.q },
            Op::Discard { x: act.a },
            Op::Discard { x: act.up },
            Op::Discard { x: first },
            Op::Discard { x: second },
        ];
        let mut memory = Memory { work: self.work, cache };
        self.device.run(&mut memory, &ops).map_err(|error| ForwardError::Layer { layer, error })
    }

    /// Writes RoPE's table for these rows: row i of a segment is at position `cached + i`.
    pub(crate) fn rope_table(&mut self, act: &Activations, rows: Rows<'_>) -> Result<(), ForwardError<D::Error>> {
        let c = self.model.config;
        let half = c.head_dim / 2;
        let mut frequencies = [0.0; MAX_ROPE_PAIRS];
        for (i, frequency) in frequencies.iter_mut().enumerate().take(half) {
            *frequency = self.rope_frequency(i);
        }
        let table = self.slice_mut(act.rope)?;
        let positions = (0..rows.copies).flat_map(|_| rows.segments).flat_map(|s| s.cached..s.cached + s.rows);
        for (row, position) in table.chunks_exact_mut(c.head_dim.max(1)).zip(positions) {
            let (cosines, sines) = row.split_at_mut_checked(half).unwrap_or_default();
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&frequencies) {
                let angle = position as f32 * frequency;
                (*sine, *cosine) = libm::sincosf(angle);
            }
        }
        Ok(())
    }

    /// Angle per position of pair i: θ^(−2i/d), with linear scaling and Llama 3's factors.
    fn rope_frequency(&self, i: usize) -> f32 {
        let c = &self.model.config;
        let factor = self
            .model
            .rope_factors
            .and_then(|f| f.row(0).as_chunks().0.get(i))
            .map_or(1.0, |bytes| f32::from_le_bytes(*bytes));
        libm::powf(c.rope_theta, -2.0 * i as f32 / c.head_dim as f32) / (factor * c.rope_linear_scale)
    }

    pub(crate) fn run(&mut self, cache: &mut [f32], ops: &[Op<'_>]) -> Result<(), ForwardError<D::Error>> {
        let mut memory = Memory { work: self.work, cache };
        self.device.run(&mut memory, ops).map_err(ForwardError::Device)
    }

    /// What lies in a slot of the work memory.
    pub(crate) fn slice(&self, slot: Slot) -> Result<&[f32], ForwardError<D::Error>> {
        self.work.get(slot.start..slot.start + slot.len).ok_or(ForwardError::OutOfRange)
    }

    /// The same, to be written.
    pub(crate) fn slice_mut(&mut self, slot: Slot) -> Result<&mut [f32], ForwardError<D::Error>> {
        self.work.get_mut(slot.start..slot.start + slot.len).ok_or(ForwardError::OutOfRange)
    }
}
