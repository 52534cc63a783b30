//! `mobiedit bench scale`: what a step costs at the size of a real model, with random weights, beside what the machine can do at most.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use mobiedit::backends::editing::Uncached;
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{ForwardError, Precision, Transformer};
use mobiedit::core::backend::{Loss, ModelSpec};
use mobiedit::core::config::Covariance;
use mobiedit::core::problem::{Prompt, Role};
use mobiedit::core::{Config, EditStorage, Editor, Footprint, ForwardBackend, Problem, Statistics};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::model_file::ModelFile;
use mobiedit::host::multiplied::Multiplied;
use mobiedit::host::synthetic::{Quant, SHAPES, Shape};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::ThreadPoolBuilder;
use serde::Serialize;

use crate::cli::args::{QuantArg, ScaleArgs};
use crate::cli::report::Stdout;
use crate::cli::running::Bar;
use crate::cli::{Status, report};

/// Rewrite prompts, and tokens of each, as in the published set-up.
const PROMPTS: usize = 7;
const TOKENS: usize = 16;
/// Where the subject ends: a prefix of ten tokens and the subject are before it.
const SUBJECT_LAST: usize = 11;
/// Steps of the median edit of ZsRE records on the shipped model, twice those of CounterFact's.
const MEDIAN_STEPS: f64 = 56.0;

/// A way to make a step.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    config: Config,
    cached: bool,
    /// Takes minutes: only on request.
    slow: bool,
}

fn ways() -> [Way; 5] {
    let ours = Config { bank: false, covariance: Covariance::Identity, ..Config::DEFAULT };
    let way = |name, config, cached, slow| Way { name, config, cached, slow };
    [
        way("default", ours, true, false),
        way("one candidate at a time", Config { batch: 1, ..ours }, true, false),
        // Without the cache there is no batch either: every candidate is a whole forward pass.
        way("full sequences, one candidate at a time", ours, false, false),
        way("paper", Config::PAPER, true, false),
        way("paper, full sequences, one candidate at a time", Config::PAPER, false, true),
    ]
}

/// What a way has cost.
#[derive(Debug, Serialize)]
struct Cost {
    name: &'static str,
    steps: u32,
    /// Token rows of a step, each counted once if it goes through the layers above the edit.
    rows: f64,
    seconds_per_step: f64,
    forward_passes_per_second: f64,
    multiplied_per_second: f64,
    ratio_to_peak: f64,
    projected_edit_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Scale<'s> {
    shape: &'s str,
    quant: &'s str,
    synthetic: bool,
    file_bytes: u64,
    level: String,
    threads: usize,
    peak_multiplied_per_second: f64,
    #[serde(flatten)]
    cost: &'s Cost,
    peak_rss_bytes: Option<u64>,
    prefill_seconds: f64,
    comparisons: &'s [Cost],
}

pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<Status> {
    let shape = SHAPES.iter().find(|shape| shape.name == args.shape).context("a shape")?;
    let path = file(shape, args)?;
    let model = ModelFile::open(Some(&path))?;
    let pool = ThreadPoolBuilder::new().num_threads(args.threads.map_or(0, usize::from)).build()?;
    pool.install(|| measure(shape, args, &path, &model))?;
    Ok(Status::Done)
}

/// The file of the shape, written if it is not there.
fn file(shape: &Shape, args: &ScaleArgs) -> anyhow::Result<PathBuf> {
    let quant = match args.quant {
        QuantArg::Q8_0 => Quant::Q8_0,
        QuantArg::Q4K => Quant::Q4K,
    };
    let path = args.dir.join(format!("{}-{}-random.gguf", shape.name, args.quant.name()));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&args.dir)?;
    let unfinished = path.with_extension("part");
    let bar = Bar::new("writing");
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&unfinished)?);
        shape.write(quant, 1, &mut out, |done, all| bar.at((done >> 20) as usize, (all >> 20) as usize))?;
        out.flush()?;
        fs::rename(&unfinished, &path)
    };
    write().with_context(|| path.display().to_string())?;
    Ok(path)
}

fn measure(shape: &Shape, args: &ScaleArgs, path: &Path, model: &ModelFile) -> anyhow::Result<()> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut tokens =
        |count: usize| -> Vec<u32> { (0..count).map(|_| random.next_u32() % shape.vocab as u32).collect() };
    let texts: Vec<_> = (0..PROMPTS + 2).map(|_| tokens(TOKENS)).collect();
    let prompt = |(index, tokens)| {
        let is_rewrite = index < PROMPTS;
        let role = if is_rewrite { Role::Rewrite } else { Role::Essence };
        Prompt { tokens, subject_last: SUBJECT_LAST, role }
    };
    let prompts: Vec<_> = texts.iter().map(Vec::as_slice).enumerate().map(prompt).collect();
    let target = tokens(1);
    model.with_model(|_, model| {
        let config = model.config;
        let device = Multiplied::new(FastCpu::detect());
        let cpu = FastCpu::detect();
        let peak = cpu.peak(0.5);
        let mut work = vec![0.0; Transformer::<FastCpu>::work_len(&config, args.rows as usize)];
        let mut patches = vec![0.0; Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
        let mut transformer = Transformer::new(*model, device, Precision::W8A16, &mut work, &mut patches);
        let problem = Problem::new(&config.spec, config.spec.layers / 8, &prompts, &target)?;
        let (mut costs, mut prefill_seconds, mut rss) = (Vec::new(), 0.0, None);
        for way in ways() {
            if way.slow && !args.slow {
                continue;
            }
            // The others are there to be compared with: one step of theirs is long enough to be measured.
            let steps = if costs.is_empty() { args.steps } else { 1 };
            let (cost, prefill) = way.measure(&mut transformer, problem, steps, peak)?;
            if costs.is_empty() {
                (prefill_seconds, rss) = (prefill, peak_rss_bytes());
            }
            costs.push(cost);
        }
        let [cost, comparisons @ ..] = &costs[..] else { bail!("nothing was measured") };
        let scale = Scale {
            shape: shape.name,
            quant: args.quant.name(),
            synthetic: true,
            file_bytes: fs::metadata(path)?.len(),
            level: format!("{:?}", cpu.level()),
            threads: rayon::current_num_threads(),
            peak_multiplied_per_second: peak,
            cost,
            peak_rss_bytes: rss,
            prefill_seconds,
            comparisons,
        };
        if args.output.json { report::json(&scale) } else { print(&scale) }
    })?
}

impl Way {
    /// Makes some steps: what they cost, and the seconds of all before the first.
    fn measure(
        &self,
        transformer: &mut Transformer<'_, Multiplied<FastCpu>>,
        problem: Problem<'_>,
        steps: u32,
        peak: f64,
    ) -> anyhow::Result<(Cost, f64)> {
        let spec = transformer.spec();
        if self.cached {
            self.steps(transformer, |t| counts(t.device()), &spec, problem, steps, peak)
        } else {
            self.steps(&mut Uncached(transformer), |u| counts(u.0.device()), &spec, problem, steps, peak)
        }
    }

    fn steps<B: ForwardBackend<Error = ForwardError<E>>, E: std::error::Error + Send + Sync + 'static>(
        &self,
        backend: &mut B,
        count: impl Fn(&B) -> [u64; 2],
        spec: &ModelSpec,
        problem: Problem<'_>,
        steps: u32,
        peak: f64,
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
            multiplied_per_second: multiplied / seconds,
            ratio_to_peak: multiplied / seconds / peak,
            projected_edit_seconds: prefill + MEDIAN_STEPS * seconds_per_step,
        };
        Ok((cost, prefill))
    }
}

fn counts(device: &Multiplied<FastCpu>) -> [u64; 2] {
    [device.count(), device.rows()]
}

fn print(scale: &Scale<'_>) -> anyhow::Result<()> {
    let Scale { shape, quant, level, threads, file_bytes, .. } = scale;
    let giga = |x: f64| x / 1e9;
    let mut out = Stdout;
    writeln!(out, "{shape}, {quant}, random weights: a file of {:.2} GB", giga(*file_bytes as f64))?;
    writeln!(
        out,
        "{threads} threads with {level}: at most {:.1} G products a second in registers",
        giga(scale.peak_multiplied_per_second)
    )?;
    writeln!(out, "{:<48} {:>6} {:>9} {:>9} {:>9} {:>8}", "a step", "rows", "seconds", "times", "passes/s", "of peak")?;
    for cost in core::iter::once(scale.cost).chain(scale.comparisons) {
        writeln!(
            out,
            "{:<48} {:>6.0} {:>9.2} {:>9.2} {:>9.2} {:>7.1} %",
            cost.name,
            cost.rows,
            cost.seconds_per_step,
            cost.seconds_per_step / scale.cost.seconds_per_step,
            cost.forward_passes_per_second,
            100.0 * cost.ratio_to_peak
        )?;
    }
    if let Some(rss) = scale.peak_rss_bytes {
        writeln!(out, "peak memory {:.2} GB, the file's pages among it", giga(rss as f64))?;
    }
    writeln!(
        out,
        "projection, on synthetic weights: {MEDIAN_STEPS} steps, the median edit of the shipped model, and the clean pass of {:.1} s take {:.0} s",
        scale.prefill_seconds, scale.cost.projected_edit_seconds
    )?;
    Ok(())
}
