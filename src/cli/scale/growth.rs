//! `mobiedit bench growth`: how the cost of a step grows with each thing that makes it larger, on models of random weights.
//!
//! One thing is varied at a time, from a step at 7 prompts of 16 tokens, five of them from the subject's last on, with 5
//! directions, an eighth of the layers below the edit. What is to be expected: seconds in proportion to multiply-accumulates, and
//! those to rows and layers.
//!
//! Where it is not so, and why, is in `tests/bench/README.md`, with what was measured: few rows (weights are unpacked once a pass, for
//! however many), rows that the output head is read at, long prompts (attention).

use std::io::Write;

use mobiedit::backends::patches::Patches;
use mobiedit::backends::transformer::{Precision, Transformer};
use mobiedit::core::config::Minibatch;
use mobiedit::core::{Config, Problem};
use mobiedit::hal_cpu::FastCpu;
use mobiedit::host::growth::{self, Point};
use mobiedit::host::model_file::ModelFile;
use rayon::ThreadPoolBuilder;
use serde::Serialize;

use super::OURS;
use super::workload::{self, Counting, Texts, Way};
use crate::cli::args::GrowthArgs;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

/// One step's size.
#[derive(Clone, Copy)]
struct Size {
    prompts: usize,
    tokens: usize,
    directions: usize,
    batch: usize,
    /// The edited layer, in eighths of the layers.
    layer: usize,
}

const BASE: Size = Size { prompts: 7, tokens: 16, directions: 5, batch: OURS.batch, layer: 1 };

#[derive(Serialize)]
struct Report<'r> {
    synthetic: bool,
    level: String,
    threads: usize,
    peak_multiplied_per_second: f64,
    points: &'r [Point],
    plot: &'r std::path::Path,
}

pub(crate) fn run(args: &GrowthArgs) -> anyhow::Result<Status> {
    let pool = ThreadPoolBuilder::new().num_threads(args.synthetic.threads.map_or(0, usize::from)).build()?;
    pool.install(|| measure(args))?;
    Ok(Status::Done)
}

fn measure(args: &GrowthArgs) -> anyhow::Result<()> {
    let cpu = FastCpu::detect();
    let before = cpu.peak(0.5);
    let mut points = Vec::new();
    for (at, name) in args.shapes.iter().enumerate() {
        // All series on the first model; of the others, one step of the same size.
        let series = if at == 0 { series() } else { Vec::new() };
        for (varied, value, size) in series.into_iter().chain([("model", name.clone(), BASE)]) {
            points.push(point(args, name, varied, value, size)?);
        }
    }
    points.sort_by_key(|point| point.varied == "model");
    let peak = before.max(cpu.peak(0.5));
    growth::write(&args.out, &points, peak)?;
    let (level, threads) = (format!("{:?}", cpu.level()), rayon::current_num_threads());
    let plot = &args.out;
    let all = Report { synthetic: true, level, threads, peak_multiplied_per_second: peak, points: &points, plot };
    if args.output.json { report::json(&all) } else { print(&all) }
}

/// What is varied on the first model.
fn series() -> Vec<(&'static str, String, Size)> {
    let mut all = Vec::new();
    let mut vary = |varied, values: &[usize], size: fn(usize) -> Size| {
        all.extend(values.iter().map(|value| (varied, value.to_string(), size(*value))));
    };
    vary("prompts", &[1, 2, 4, 7, 14], |prompts| Size { prompts, ..BASE });
    vary("tokens", &[12, 14, 16, 24, 32, 48], |tokens| Size { tokens, ..BASE });
    vary("directions", &[1, 2, 5, 10, 20], |directions| Size { directions, ..BASE });
    vary("candidates at once", &[1, 2, 5, 10], |batch| Size { batch, ..BASE });
    vary("eighths of the layers below", &[1, 3, 5, 7], |layer| Size { layer, ..BASE });
    all
}

fn point(args: &GrowthArgs, shape: &str, varied: &'static str, value: String, size: Size) -> anyhow::Result<Point> {
    let shape = workload::shape(shape)?;
    let model = ModelFile::open(Some(&workload::file(shape, args.synthetic.quant, &args.synthetic.dir)?))?;
    let texts = Texts::random(shape.vocab, size.prompts, size.tokens);
    let prompts = texts.prompts();
    let config = Config { minibatch: Minibatch::All, directions: size.directions, batch: size.batch, ..OURS };
    model.with_model(|_, model| {
        let spec = model.config.spec;
        let mut work = vec![0.0; Transformer::<Counting>::work_len(&model.config, args.synthetic.rows as usize)];
        let mut patches = vec![0.0; Patches::len_of_one(spec.d_ff, spec.d_model)];
        let device = Counting::new(FastCpu::detect());
        let mut transformer = Transformer::new(*model, device, Precision::W8A16, &mut work, &mut patches);
        let problem = Problem::new(&spec, spec.layers * size.layer / 8, &prompts, texts.target())?;
        let way = Way { name: varied, config, cached: true, slow: false };
        let (cost, _) = way.measure(&mut transformer, problem, args.synthetic.steps)?;
        Ok(Point {
            varied,
            value,
            rows: cost.rows,
            multiplied: cost.multiplied_per_step,
            seconds: cost.seconds_per_step,
        })
    })?
}

fn print(all: &Report<'_>) -> anyhow::Result<()> {
    let mut out = Stdout;
    let giga = all.peak_multiplied_per_second / 1e9;
    writeln!(out, "{} threads with {}: at most {giga:.1} G products a second in registers", all.threads, all.level)?;
    writeln!(
        out,
        "{:<28} {:>14} {:>6} {:>12} {:>9} {:>12} {:>8}",
        "varied", "", "rows", "G products", "seconds", "ms per row", "of peak"
    )?;
    for point in all.points {
        let Point { varied, value, rows, multiplied, seconds } = point;
        let share = 100.0 * multiplied / seconds / all.peak_multiplied_per_second;
        let each = 1e3 * seconds / rows;
        writeln!(
            out,
            "{varied:<28} {value:>14} {rows:>6.0} {:>12.1} {seconds:>9.3} {each:>12.3} {share:>6.1} %",
            multiplied / 1e9
        )?;
    }
    writeln!(out, "synthetic weights; plot: {}", all.plot.display())?;
    Ok(())
}
