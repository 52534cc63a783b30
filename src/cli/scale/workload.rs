//! What is measured: an edit's steps over prompts that mean nothing, on a model of random weights.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use mobiedit::backends::editing::Uncached;
use mobiedit::backends::transformer::{ForwardError, Transformer};
use mobiedit::core::backend::{Loss, ModelSpec};
use mobiedit::core::problem::{Prompt, Role};
use mobiedit::core::{Config, EditStorage, Editor, Footprint, ForwardBackend, Problem, Statistics};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::multiplied::Multiplied;
use mobiedit::host::synthetic::{Quant, SHAPES, Shape};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use crate::cli::args::QuantArg;
use crate::cli::running::Bar;

/// The counting CPU that everything is measured on.
pub(super) type Counting = Multiplied<FastCpu>;

/// Steps of the median edit of ZsRE records on the shipped model, twice those of CounterFact's.
pub(super) const MEDIAN_STEPS: f64 = 56.0;
/// Where the subject ends: a prefix of ten tokens and the subject are before it.
const SUBJECT_LAST: usize = 11;
/// Prompts that the divergence is measured at.
const ESSENCES: usize = 2;

/// The texts of an edit.
pub(super) struct Texts {
    texts: Vec<Vec<u32>>,
    target: Vec<u32>,
}

impl Texts {
    /// So many rewrite prompts of so many tokens each, and two essence prompts.
    pub(super) fn random(vocab: usize, rewrites: usize, len: usize) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut tokens = |len| -> Vec<u32> { (0..len).map(|_| random.next_u32() % vocab as u32).collect() };
        Self { texts: (0..rewrites + ESSENCES).map(|_| tokens(len)).collect(), target: tokens(1) }
    }

    /// As prompts, rewrites first.
    pub(super) fn prompts(&self) -> Vec<Prompt<'_>> {
        let rewrites = self.texts.len() - ESSENCES;
        let role = |at| if at < rewrites { Role::Rewrite } else { Role::Essence };
        let texts = self.texts.iter().enumerate();
        texts.map(|(at, tokens)| Prompt { tokens, subject_last: SUBJECT_LAST, role: role(at) }).collect()
    }

    /// The first text.
    pub(super) fn first(&self) -> &[u32] {
        self.texts.first().map_or(&[], Vec::as_slice)
    }

    /// The answer, one token.
    pub(super) fn target(&self) -> &[u32] {
        &self.target
    }
}

/// The shape of this name.
pub(super) fn shape(name: &str) -> anyhow::Result<&'static Shape> {
    SHAPES.iter().find(|shape| shape.name == name).with_context(|| format!("there is no shape {name:?}"))
}

/// The file of the shape, written if it is not there.
pub(super) fn file(shape: &Shape, quant: QuantArg, dir: &Path) -> anyhow::Result<PathBuf> {
    let format = match quant {
        QuantArg::Q8_0 => Quant::Q8_0,
        QuantArg::Q4K => Quant::Q4K,
    };
    let path = dir.join(format!("{}-{}-random.gguf", shape.name, quant.name()));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(dir)?;
    let unfinished = path.with_extension("part");
    let bar = Bar::new("writing");
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        shape.write(format, 1, &mut out, |done, all| bar.at((done >> 20) as usize, (all >> 20) as usize))?;
        out.flush()?;
        fs::rename(&unfinished, &path)
    };
    write().with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A way to make a step.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) config: Config,
    pub(super) cached: bool,
    /// Takes minutes: only on request.
    pub(super) slow: bool,
}

/// What a way has cost.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    pub(super) name: &'static str,
    pub(super) steps: u32,
    /// Token rows of a step, each counted once if it goes through the layers above the edit.
    pub(super) rows: f64,
    pub(super) seconds_per_step: f64,
    pub(super) forward_passes_per_second: f64,
    pub(super) multiplied_per_step: f64,
    pub(super) multiplied_per_second: f64,
    /// Once the peak is known.
    pub(super) ratio_to_peak: f64,
    pub(super) projected_edit_seconds: f64,
}

impl Way {
    /// Makes some steps: what they cost, and the seconds of all before the first.
    pub(super) fn measure(
        &self,
        transformer: &mut Transformer<'_, Counting>,
        problem: Problem<'_>,
        steps: u32,
    ) -> anyhow::Result<(Cost, f64)> {
        let spec = transformer.spec();
        if self.cached {
            self.steps(transformer, |t| counts(t.device()), &spec, problem, steps)
        } else {
            self.steps(&mut Uncached(transformer), |u| counts(u.0.device()), &spec, problem, steps)
        }
    }

    fn steps<B: ForwardBackend<Error = ForwardError<E>>, E: std::error::Error + Send + Sync + 'static>(
        &self,
        backend: &mut B,
        count: impl Fn(&B) -> [u64; 2],
        spec: &ModelSpec,
        problem: Problem<'_>,
        steps: u32,
    ) -> anyhow::Result<(Cost, f64)>
    where
        B::Error: Send + Sync,
    {
        let config = self.config.check(spec)?;
        let need = Footprint::for_problem(&config, &problem);
        let (mut floats, mut cache) = (vec![0.0; need.floats], vec![0.0; need.cache]);
        let mut losses = vec![Loss::default(); need.losses];
        let storage = EditStorage { floats: &mut floats, cache: &mut cache, losses: &mut losses };
        let mut editor = Editor::new(config, problem, Statistics::default(), 1, storage)?;
        let bar = Bar::new("stepping");
        let start = Instant::now();
        let mut before = editor.step(backend)?;
        let prefill = start.elapsed().as_secs_f64();
        let (start, [multiplied, rows]) = (Instant::now(), count(backend));
        let first = before;
        for step in 0..steps {
            bar.at(step as usize, steps as usize);
            before = editor.step(backend)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let [multiplied_now, rows_now] = count(backend);
        let multiplied = (multiplied_now - multiplied) as f64;
        let above = (spec.layers - problem.layer() - 1) as f64;
        let seconds_per_step = seconds / f64::from(steps);
        let cost = Cost {
            name: self.name,
            steps,
            rows: (rows_now - rows) as f64 / above / f64::from(steps),
            seconds_per_step,
            forward_passes_per_second: (before.forward_passes - first.forward_passes) as f64 / seconds,
            multiplied_per_step: multiplied / f64::from(steps),
            multiplied_per_second: multiplied / seconds,
            ratio_to_peak: 0.0,
            projected_edit_seconds: prefill + MEDIAN_STEPS * seconds_per_step,
        };
        Ok((cost, prefill))
    }
}

fn counts(device: &Counting) -> [u64; 2] {
    [device.count(), device.rows()]
}
