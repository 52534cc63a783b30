//! `mobiedit trace`: causal tracing of one prompt as two tables, and which layer to edit.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use mobiedit::core::ForwardBackend;
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::session::{SessionOptions, auto_layer, with_session};
use mobiedit::host::trace::{CausalTrace, TraceRequest, trace};
use mobiedit::host::{atomic_file, heat_map};
use serde::Serialize;

use crate::cli::args::TraceArgs;
use crate::cli::report::Stdout;
use crate::cli::running::Bar;
use crate::cli::{Status, report};

/// Characters of a token that are shown.
const TOKEN: usize = 16;

/// The JSON object; tables are `(layers, tokens)`.
#[derive(Debug, Serialize)]
struct TraceReport {
    prompt: String,
    subject: String,
    answer: String,
    p_clean: f64,
    p_corrupted: f64,
    total_effect: f64,
    noise_std: f64,
    samples: usize,
    seed: u64,
    window: usize,
    tokens: Vec<String>,
    /// Positions of the subject's first and last token.
    subject_tokens: [usize; 2],
    hidden: Vec<Vec<f64>>,
    mlp: Vec<Vec<f64>>,
    /// The layer whose MLP brings back most at the subject's last token.
    layer: usize,
    /// The layer that `--layer auto` takes.
    auto_layer: usize,
    trace_bytes: usize,
    peak_rss_bytes: Option<u64>,
    /// The picture.
    picture: Option<PathBuf>,
}

pub(crate) fn run(args: &TraceArgs) -> anyhow::Result<Status> {
    let request = TraceRequest {
        prompt: args.prompt.clone(),
        subject: args.subject.clone(),
        target: args.target.clone(),
        samples: args.samples as usize,
        seed: args.seed,
        window: args.window.map(|window| window as usize),
    };
    // A token has at least a byte.
    let rows = args.prompt.len() + args.subject.len();
    let options = SessionOptions { rows, ..args.model.options() };
    with_session(&options, |session| -> anyhow::Result<Status> {
        let bar = Bar::new("tracing");
        let found = trace(session, &request, |done, all| bar.at(done, all))?;
        drop(bar);
        let text = args.prompt.replacen("{}", args.subject.trim(), 1);
        let picture = args.out.as_ref().map(|folder| draw(folder.join("trace.svg"), &found, &text)).transpose()?;
        let auto = auto_layer(session.transformer.spec().layers);
        if args.output.json {
            report::json(&TraceReport::new(&request, found, auto, picture))?
        } else {
            print(&request, &text, &found, auto)?;
            if let Some(picture) = picture {
                writeln!(Stdout, "drawn in {}", picture.display())?;
            }
        }
        Ok(Status::Done)
    })
}

fn draw(path: PathBuf, found: &CausalTrace, text: &str) -> anyhow::Result<PathBuf> {
    let picture = heat_map::svg(found, text)?;
    let written = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = written.and_then(|()| atomic_file::write(&path, |file| file.write_all(picture.as_bytes())));
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

impl TraceReport {
    fn new(request: &TraceRequest, found: CausalTrace, auto_layer: usize, picture: Option<PathBuf>) -> Self {
        Self {
            prompt: request.prompt.clone(),
            subject: request.subject.clone(),
            p_clean: found.p_clean,
            p_corrupted: found.p_corrupted,
            total_effect: found.total_effect(),
            noise_std: found.noise,
            samples: request.samples,
            seed: request.seed,
            window: found.window,
            subject_tokens: [found.subject.start, found.subject.end - 1],
            layer: found.layer().0,
            auto_layer,
            trace_bytes: found.memory_bytes,
            peak_rss_bytes: peak_rss_bytes(),
            picture,
            answer: found.answer,
            tokens: found.tokens,
            hidden: found.hidden,
            mlp: found.mlp,
        }
    }
}

fn print(request: &TraceRequest, text: &str, found: &CausalTrace, auto: usize) -> io::Result<()> {
    let mut out = Stdout;
    let (answer, samples) = (found.answer.trim(), request.samples);
    writeln!(out, "P({answer}) behind {text:?} is {:.3}; with noise on the subject (*)", found.p_clean)?;
    writeln!(out, "{:.3}, mean of {samples}. Put back from the clean run, one state adds:", found.p_corrupted)?;
    writeln!(out, "\nhidden state after layer")?;
    table(found, &found.hidden)?;
    match found.window {
        1 => writeln!(out, "\nMLP output of layer")?,
        window => writeln!(out, "\nMLP outputs of {window} layers around layer")?,
    }
    table(found, &found.mlp)?;
    let (layer, effect) = found.layer();
    writeln!(out, "\nAt the subject's last token, the MLP of layer {layer} adds most ({effect:+.3}): edit there.")?;
    writeln!(out, "--layer auto, which traces nothing, takes layer {auto} of {}.", found.mlp.len())
}

/// Tokens as rows, layers as columns.
fn table(found: &CausalTrace, effects: &[Vec<f64>]) -> io::Result<()> {
    let mut out = Stdout;
    let head: String = (0..effects.len()).map(|layer| format!("{layer:>7}")).collect();
    writeln!(out, "{:<width$}{head}", "", width = TOKEN + 2)?;
    for (row, token) in found.tokens.iter().enumerate() {
        let star = if found.subject.contains(&row) { "*" } else { "" };
        let shown: String = token.trim().chars().filter(|c| !c.is_control()).take(TOKEN).collect();
        let numbers: String =
            effects.iter().filter_map(|of_layer| of_layer.get(row)).map(|effect| format!("{effect:>+7.3}")).collect();
        writeln!(out, "{:<width$}{numbers}", format!("{shown}{star}"), width = TOKEN + 2)?;
    }
    Ok(())
}
