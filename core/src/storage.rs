//! The memory of an edit: how much it needs, and how the lent slices are divided. Allocates nothing.

use core::fmt;

use crate::backend::{Loss, ModelSpec};
use crate::config::{CheckedConfig, Config};
use crate::covariance;
use crate::prefix_cache::CacheLayout;
use crate::problem::Problem;

/// Memory lent to an editor; [`Footprint`] says how much of each. The content does not matter.
#[derive(Debug)]
pub struct EditStorage<'a> {
    /// The editor's vectors.
    pub floats: &'a mut [f32],
    /// The prefix cache's slab.
    pub cache: &'a mut [f32],
    /// Losses of a batch.
    pub losses: &'a mut [Loss],
}

/// The largest problem that a storage should do for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The edit layer, or the lowest of several.
    pub layer: usize,
    /// Prompts, the essence prompts included.
    pub prompts: usize,
    /// Essence prompts among them.
    pub essences: usize,
    /// Tokens of a prompt, all but the last of the target's included.
    pub tokens: usize,
}

/// Numbers of elements that an edit needs of each slice of an [`EditStorage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Footprint {
    /// Of `floats`.
    pub floats: usize,
    /// Of `cache`.
    pub cache: usize,
    /// Of `losses`.
    pub losses: usize,
}

impl Footprint {
    /// Enough for every problem within `limits`. Sizes a `static`:
    ///
    /// ```
    /// use mobiedit_core::{Config, Footprint, Limits, ModelSpec, OwnedStorage};
    ///
    /// const SPEC: ModelSpec =
    ///     ModelSpec { d_model: 256, d_ff: 768, layers: 10, kv_dim: 64, vocab: 6144, max_tokens: 128 };
    /// const NEED: Footprint =
    ///     Footprint::of(&SPEC, &Config::DEFAULT, &Limits { layer: 3, prompts: 9, essences: 2, tokens: 32 });
    /// let mut storage: Box<OwnedStorage<{ NEED.floats }, { NEED.cache }, { NEED.losses }>> = Box::default();
    /// assert_eq!(storage.lend().floats.len(), NEED.floats);
    /// ```
    pub const fn of(spec: &ModelSpec, config: &Config, limits: &Limits) -> Self {
        let cache = CacheLayout::worst_case(spec, limits);
        Self { floats: Shape::of(spec, config, limits.prompts).floats(), cache, losses: config.batch }
    }

    /// Exactly what one problem needs.
    pub fn for_problem(config: &CheckedConfig, problem: &Problem<'_>) -> Self {
        let shape = Shape::of(config.spec(), config.config(), problem.prompts().len());
        let cache = CacheLayout::new(*config.spec(), *problem).len();
        Self { floats: shape.floats(), cache, losses: config.config().batch }
    }

    /// Bytes of all three.
    pub const fn bytes(&self) -> usize {
        let floats = self.floats.saturating_add(self.cache).saturating_mul(size_of::<f32>());
        floats.saturating_add(self.losses.saturating_mul(size_of::<Loss>()))
    }
}

/// One of the slices of an [`EditStorage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// `floats`.
    Floats,
    /// `cache`.
    Cache,
    /// `losses`.
    Losses,
}

/// A lent slice is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StorageError {
    /// Which slice.
    pub part: Part,
    /// Elements it needs.
    pub need: usize,
    /// Elements it has.
    pub have: usize,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Floats => "floats",
            Part::Cache => "cache",
            Part::Losses => "losses",
        };
        write!(f, "the storage's {part} have {} elements, {} are needed", self.have, self.need)
    }
}

impl core::error::Error for StorageError {}

/// An [`EditStorage`] that owns its memory, for a `static` or a stack that is large enough.
#[derive(Debug, Default)]
pub struct OwnedStorage<const FLOATS: usize, const CACHE: usize, const LOSSES: usize> {
    floats: heapless::Vec<f32, FLOATS>,
    cache: heapless::Vec<f32, CACHE>,
    losses: heapless::Vec<Loss, LOSSES>,
}

impl<const FLOATS: usize, const CACHE: usize, const LOSSES: usize> OwnedStorage<FLOATS, CACHE, LOSSES> {
    /// All zero bits, so a `static` of it takes no room in a firmware's image.
    pub const fn new() -> Self {
        Self { floats: heapless::Vec::new(), cache: heapless::Vec::new(), losses: heapless::Vec::new() }
    }

    /// Lends all of it.
    pub fn lend(&mut self) -> EditStorage<'_> {
        // Growing to the capacity cannot fail; if it could, the editor would say what is missing.
        let _ = self.floats.resize(FLOATS, 0.0);
        let _ = self.cache.resize(CACHE, 0.0);
        let _ = self.losses.resize(LOSSES, Loss::default());
        EditStorage { floats: &mut self.floats, cache: &mut self.cache, losses: &mut self.losses }
    }
}

/// How the floats are divided.
#[derive(Clone, Copy)]
struct Shape {
    d_model: usize,
    d_ff: usize,
    batch: usize,
    directions: usize,
    candidates: usize,
    wide: usize,
}

impl Shape {
    const fn of(spec: &ModelSpec, config: &Config, prompts: usize) -> Self {
        Self {
            d_model: spec.d_model,
            d_ff: spec.d_ff,
            batch: config.batch,
            directions: config.kind.stored(config.directions),
            candidates: config.stencil().candidates(),
            // A key of each prompt, and the echo's.
            wide: prompts.saturating_add(1 + covariance::VECTORS),
        }
    }

    const fn floats(self) -> usize {
        let narrow = self.batch.saturating_add(self.directions).saturating_add(6).saturating_mul(self.d_model);
        let wide = self.wide.saturating_add(2).saturating_mul(self.d_ff);
        narrow.saturating_add(wide).saturating_add(self.candidates)
    }
}

/// The lent memory, divided. What is not marked as scratch is state.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    /// v0, `(d_model)`.
    pub(crate) value: &'a mut [f32],
    /// δ, `(d_model)`.
    pub(crate) delta: &'a mut [f32],
    /// The best δ verified so far, or before there is one, that of the lowest loss, `(d_model)`.
    pub(crate) best: &'a mut [f32],
    /// g, as the last step left it, `(d_model)`.
    pub(crate) gradient: &'a mut [f32],
    /// Scratch: the g that a step makes of it, `(d_model)`.
    pub(crate) next_gradient: &'a mut [f32],
    /// Λ of the last solve, `(d_model)`.
    pub(crate) lambda: &'a mut [f32],
    /// k*, `(d_ff)`.
    pub(crate) key: &'a mut [f32],
    /// C⁻¹k*, `(d_ff)`.
    pub(crate) u: &'a mut [f32],
    /// Scratch: the prompts' keys, `(key_rows, d_ff)`, and behind them conjugate gradients' vectors.
    pub(crate) keys: &'a mut [f32],
    /// Scratch: candidates of a batch, `(batch, d_model)`.
    pub(crate) deltas: &'a mut [f32],
    /// Scratch: directions, `(stored, d_model)`.
    pub(crate) directions: &'a mut [f32],
    /// Scratch: equation (3) for each candidate of a step.
    pub(crate) objectives: &'a mut [f32],
    /// The prefix cache, exactly as long as the problem's layout.
    pub(crate) cache: &'a mut [f32],
    /// Scratch: losses of a batch, `(batch)`.
    pub(crate) losses: &'a mut [Loss],
}

impl<'a> Arena<'a> {
    pub(crate) fn new(
        config: &CheckedConfig,
        problem: &Problem<'_>,
        storage: EditStorage<'a>,
    ) -> Result<Self, StorageError> {
        let need = Footprint::for_problem(config, problem);
        let shape = Shape::of(config.spec(), config.config(), problem.prompts().len());
        let mut floats =
            Pool { part: Part::Floats, need: need.floats, have: storage.floats.len(), rest: storage.floats };
        let mut cache = Pool { part: Part::Cache, need: need.cache, have: storage.cache.len(), rest: storage.cache };
        let mut losses =
            Pool { part: Part::Losses, need: need.losses, have: storage.losses.len(), rest: storage.losses };
        floats.check()?;
        let (d, wide) = (shape.d_model, shape.d_ff);
        Ok(Self {
            value: floats.take(d)?,
            delta: floats.take(d)?,
            best: floats.take(d)?,
            gradient: floats.take(d)?,
            next_gradient: floats.take(d)?,
            lambda: floats.take(d)?,
            key: floats.take(wide)?,
            u: floats.take(wide)?,
            keys: floats.take(shape.wide.saturating_mul(wide))?,
            deltas: floats.take(shape.batch.saturating_mul(d))?,
            directions: floats.take(shape.directions.saturating_mul(d))?,
            objectives: floats.take(shape.candidates)?,
            cache: cache.take(need.cache)?,
            losses: losses.take(need.losses)?,
        })
    }
}

struct Pool<'a, T> {
    part: Part,
    need: usize,
    have: usize,
    rest: &'a mut [T],
}

impl<'a, T> Pool<'a, T> {
    fn check(&self) -> Result<(), StorageError> {
        if self.need <= self.have { Ok(()) } else { Err(self.too_small()) }
    }

    fn take(&mut self, len: usize) -> Result<&'a mut [T], StorageError> {
        let error = self.too_small();
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(len).ok_or(error)?;
        self.rest = rest;
        Ok(taken)
    }

    fn too_small(&self) -> StorageError {
        StorageError { part: self.part, need: self.need, have: self.have }
    }
}
