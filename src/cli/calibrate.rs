//! `mobiedit calibrate`: measure a model on a text, and keep that beside it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mobiedit::core::ForwardBackend;
use mobiedit::host::calibration::{Calibration, beside};
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::session::{Session, with_session};
use serde::Serialize;

use crate::cli::args::CalibrateArgs;
use crate::cli::report::Stdout;
use crate::cli::running::Bar;
use crate::cli::{Status, report};

/// The JSON object.
#[derive(Debug, Serialize)]
struct CalibrationReport {
    path: PathBuf,
    file_bytes: usize,
    /// The text; none for the built-in statements.
    text: Option<PathBuf>,
    /// Tokens that the model saw, in so many pieces.
    tokens: usize,
    statements: usize,
    /// Inputs of linear layers that have a static scale, and how many of these the paper's rule clips at the 99th percentile.
    inputs: usize,
    clipped: usize,
    /// Products of linear layers that have one.
    products: usize,
    layer: usize,
    /// Sample keys of C.
    keys: usize,
    /// Values that a search may start from.
    values: usize,
    seconds: f64,
    /// The buffers of the measurement: their size is known before it begins.
    buffer_bytes: usize,
    peak_rss_bytes: Option<u64>,
}

pub(crate) fn run(args: &CalibrateArgs) -> anyhow::Result<Status> {
    let report = with_session(&args.run.options(), |session| calibrate(args, session))?;
    if args.output.json {
        report::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Status::Done)
}

fn calibrate(args: &CalibrateArgs, session: &mut Session<'_>) -> anyhow::Result<CalibrationReport> {
    let start = Instant::now();
    let (config, most) = (session.model.config, args.max_tokens as usize);
    let layer = args.layer.of(session.transformer.spec().layers)?;
    let statements = session.statements(args.text.as_deref(), most)?;
    let longest = statements.iter().map(|statement| statement.tokens.len()).max().unwrap_or(0);
    let bar = Bar::new("calibrating");
    let calibration = session.calibrate(layer, &statements, |done| bar.at(done, statements.len()))?;
    drop(bar);
    let path = args.out.clone().or_else(|| args.run.model.as_deref().map(beside)).unwrap_or_default();
    let file_bytes = calibration.write(&path, &config)?;
    let (Calibration { ranges, statistics, .. }, inputs) = (&calibration, calibration.inputs().count());
    Ok(CalibrationReport {
        path,
        file_bytes,
        text: args.text.clone(),
        tokens: statistics.tokens,
        statements: statements.len(),
        inputs,
        clipped: calibration.clipped(),
        products: ranges.len() - inputs,
        layer,
        keys: statistics.samples.len() / config.spec.d_ff,
        values: statistics.bank.len() / config.spec.d_model,
        seconds: start.elapsed().as_secs_f64(),
        buffer_bytes: Calibration::buffer_bytes(&config, longest),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn print(report: &CalibrationReport) -> io::Result<()> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut out = Stdout;
    let of = report.text.as_deref().map_or("the built-in statements".into(), Path::to_string_lossy);
    writeln!(out, "{} tokens of {of}, in {} pieces", report.tokens, report.statements)?;
    let CalibrationReport { inputs, clipped, products, .. } = report;
    writeln!(
        out,
        "scales of {inputs} inputs, {clipped} of them clipped by the paper's rule, and of {products} products"
    )?;
    writeln!(out, "layer {}: {} keys, {} values to start from", report.layer, report.keys, report.values)?;
    let peak = report.peak_rss_bytes.map_or(String::new(), |peak| format!("; peak memory {:.0} MiB", mib(peak)));
    let buffers = mib(report.buffer_bytes as u64);
    writeln!(out, "{:.1} s with buffers of {buffers:.0} MiB{peak}", report.seconds)?;
    writeln!(out, "written to {} ({:.1} MiB)", report.path.display(), mib(report.file_bytes as u64))
}
