//! `mobiedit bench scale`: what a step costs at the size of a real model, with random weights, beside what the machine can do at most.

mod growth;
mod workload;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use mobiedit::backends::generate::Sequence;
use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::config::Covariance;
use mobiedit::core::{Config, Problem};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::model_file::ModelFile;
use mobiedit::host::synthetic::Shape;
use rayon::ThreadPoolBuilder;
use serde::Serialize;

use crate::cli::args::ScaleArgs;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};
use workload::{Cost, Counting, MEDIAN_STEPS, Texts, Way};

pub(crate) use growth::run as growth;

/// Rewrite prompts, and tokens of each, as in the published set-up.
const PROMPTS: usize = 7;
const TOKENS: usize = 16;
/// Tokens of the text that is read, llama.cpp's largest batch by default.
const PROMPT: usize = 512;

/// The default's steps; random weights have no statistics and no bank.
const OURS: Config = Config { bank: false, covariance: Covariance::Identity, ..Config::DEFAULT };

fn ways() -> [Way; 5] {
    let ours = OURS;
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
    prompt: PromptCost,
    comparisons: &'s [Cost],
}

/// What reading a text costs, as other programs measure it.
#[derive(Clone, Copy, Debug, Serialize)]
struct PromptCost {
    prompt_tokens: usize,
    prompt_seconds: f64,
    prompt_multiplied_per_second: f64,
}

pub(crate) fn run(args: &ScaleArgs) -> anyhow::Result<Status> {
    let shape = workload::shape(&args.shape)?;
    let path = workload::file(shape, args.synthetic.quant, &args.synthetic.dir)?;
    let model = ModelFile::open(Some(&path))?;
    let pool = ThreadPoolBuilder::new().num_threads(args.synthetic.threads.map_or(0, usize::from)).build()?;
    pool.install(|| measure(shape, args, &path, &model))?;
    Ok(Status::Done)
}

fn measure(shape: &Shape, args: &ScaleArgs, path: &Path, model: &ModelFile) -> anyhow::Result<()> {
    let texts = Texts::random(shape.vocab, PROMPTS, TOKENS);
    let prompts = texts.prompts();
    model.with_model(|_, model| {
        let config = model.config;
        let device = Counting::new(FastCpu::detect());
        let cpu = FastCpu::detect();
        let before = cpu.peak(0.5);
        let mut work = vec![0.0; Transformer::<Counting>::work_len(&config, args.synthetic.rows as usize)];
        let mut patches = vec![0.0; Patches::len_of_one(config.spec.d_ff, config.spec.d_model)];
        let mut transformer = Transformer::new(*model, device, Precision::W8A16, &mut work, &mut patches);
        let problem = Problem::new(&config.spec, config.spec.layers / 8, &prompts, texts.target())?;
        let (mut costs, mut prefill_seconds, mut rss) = (Vec::new(), 0.0, None);
        for way in ways() {
            if way.slow && !args.slow {
                continue;
            }
            // The others are there to be compared with: one step of theirs is long enough to be measured.
            let steps = if costs.is_empty() { args.synthetic.steps } else { 1 };
            let (cost, prefill) = way.measure(&mut transformer, problem, steps)?;
            if costs.is_empty() {
                (prefill_seconds, rss) = (prefill, peak_rss_bytes());
            }
            costs.push(cost);
        }
        // The better of two: something else may have run during one of them.
        let peak = before.max(cpu.peak(0.5));
        for cost in &mut costs {
            cost.ratio_to_peak = cost.multiplied_per_second / peak;
        }
        let [cost, comparisons @ ..] = &costs[..] else { bail!("nothing was measured") };
        let scale = Scale {
            shape: shape.name,
            quant: args.synthetic.quant.name(),
            synthetic: true,
            file_bytes: fs::metadata(path)?.len(),
            level: format!("{:?}", cpu.level()),
            threads: rayon::current_num_threads(),
            peak_multiplied_per_second: peak,
            cost,
            peak_rss_bytes: rss,
            prefill_seconds,
            prompt: prompt(&mut transformer, shape)?,
            comparisons,
        };
        if args.output.json { report::json(&scale) } else { print(&scale) }
    })?
}

/// Reads a text twice: the second time is measured.
fn prompt(transformer: &mut Transformer<'_, Counting>, shape: &Shape) -> anyhow::Result<PromptCost> {
    let texts = Texts::random(shape.vocab, 1, PROMPT);
    let tokens = texts.first();
    let mut memory = vec![0.0; Sequence::memory_len(&transformer.config().spec, PROMPT)];
    let mut sequence = Sequence::new(PROMPT, &mut memory);
    transformer.feed(&mut sequence, tokens)?;
    sequence.clear();
    let (start, before) = (Instant::now(), transformer.device().count());
    transformer.feed(&mut sequence, tokens)?;
    let seconds = start.elapsed().as_secs_f64();
    let multiplied = (transformer.device().count() - before) as f64;
    Ok(PromptCost {
        prompt_tokens: PROMPT,
        prompt_seconds: seconds,
        prompt_multiplied_per_second: multiplied / seconds,
    })
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
    let PromptCost { prompt_tokens, prompt_seconds, prompt_multiplied_per_second } = scale.prompt;
    writeln!(
        out,
        "a text of {prompt_tokens} tokens is read in {prompt_seconds:.2} s: {:.1} tokens a second, {:.1} G products, {:.1} % of the peak",
        prompt_tokens as f64 / prompt_seconds,
        giga(prompt_multiplied_per_second),
        100.0 * prompt_multiplied_per_second / scale.peak_multiplied_per_second
    )?;
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
