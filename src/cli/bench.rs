//! `mobiedit bench edit`: many edits of known facts, judged by free generation, one preset beside the other.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, bail};
use mobiedit::core::{Config, ForwardBackend, Statistics};
use mobiedit::host::facts::{Case, draw_cases};
use mobiedit::host::prompts::{EditPrompts, target_tokens};
use mobiedit::host::search::{Ended, Found, Search};
use mobiedit::host::session::{Session, with_session};
use mobiedit::host::statistics::prefixes;
use serde::Serialize;

use crate::cli::ablation;
use crate::cli::args::{BenchArgs, BenchCommand, BenchEditArgs};
use crate::cli::edit::{PREFIXES, collect};
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::{Status, report};

/// Tokens of a neighbour's answer that are compared.
const ANSWER_TOKENS: usize = 8;
/// Edits that are made with the preset "paper" too, where nothing else is asked for.
const PAPER_EDITS: usize = 20;

/// What one edit came to.
struct Judged {
    success: bool,
    /// Share of the rephrasings that are followed by the target.
    rephrased: f64,
    /// Share of the neighbours whose answer is the clean model's.
    kept: f64,
    steps: u32,
    forward_passes: u64,
    rows: u64,
    seconds: f64,
}

/// All edits of one preset.
#[derive(Debug, Serialize)]
struct PresetReport {
    preset: &'static str,
    edits: usize,
    success: f64,
    rephrase: f64,
    locality: f64,
    forward_passes_median: u64,
    forward_passes_p90: u64,
    steps_median: u64,
    rows_median: u64,
    seconds_median: f64,
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct BenchReport {
    seed: u64,
    layer: usize,
    presets: Vec<PresetReport>,
    /// `default`'s median forward passes as a part of `paper`'s, over the edits that both made; `None` without `paper`.
    forward_passes_ratio: Option<f64>,
    /// `default`'s success over the edits that both made.
    success_on_shared_edits: Option<f64>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<Status> {
    let args = match &args.command {
        BenchCommand::Edit(args) => args,
        BenchCommand::Ablation(args) => return ablation::run(args),
    };
    let cases = draw_cases(&args.facts, args.edits, args.seed)?;
    if args.paper_edits.is_some_and(|edits| edits > cases.len()) {
        bail!("--paper-edits must not be more than --edits");
    }
    with_session(&args.model.options(), |session| bench(args, &cases, session))
}

fn bench(args: &BenchEditArgs, cases: &[Case], session: &mut Session<'_>) -> anyhow::Result<Status> {
    let interrupt = Interrupt::listen()?;
    let layer = args.layer.of(session.transformer.spec().layers)?;
    let statistics = collect(session, layer)?;
    let plan = [
        ("default", Config::DEFAULT, cases),
        ("paper", Config::PAPER, &cases[..args.paper_edits.unwrap_or(PAPER_EDITS).min(cases.len())]),
    ];
    let mut judged = Vec::new();
    for (name, config, cases) in plan {
        let bar = Bar::new(name);
        let mut of_preset = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            bar.at(index, cases.len());
            let search = Search { config, layer, seed: args.seed.wrapping_add(index as u64) };
            match judge(session, case, &search, statistics.lend(), &interrupt)
                .with_context(|| format!("edit {index}, {:?}", case.request))?
            {
                Some(one) => of_preset.push(one),
                None => return Ok(Status::Interrupted),
            }
        }
        judged.push((name, of_preset));
    }
    let presets: Vec<PresetReport> =
        judged.iter().filter(|(_, of)| !of.is_empty()).map(|(name, of)| summarise(name, of)).collect();
    let [(_, default), (_, paper)] = judged.as_slice() else { bail!("two presets are compared") };
    let shared = default.get(..paper.len()).filter(|shared| !shared.is_empty());
    let passes = |of: &[Judged]| quantile(of.iter().map(|j| j.forward_passes), 0.5) as f64;
    let report = BenchReport {
        seed: args.seed,
        layer,
        presets,
        forward_passes_ratio: shared.map(|shared| passes(shared) / passes(paper)),
        success_on_shared_edits: shared.map(|shared| mean(shared, |j| f64::from(u8::from(j.success)))),
    };
    if args.output.json {
        report::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Status::Done)
}

/// Makes one edit, judges it by free generation, and takes it off again; `None` after Ctrl-C.
fn judge(
    session: &mut Session<'_>,
    case: &Case,
    search: &Search,
    statistics: Statistics<'_>,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Judged>> {
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let prompts = EditPrompts::new(&session.tokenizer, &case.request, &prefixes)?;
    let target = target_tokens(&session.tokenizer, &case.request.target)?;
    let answers = |session: &mut Session<'_>| -> anyhow::Result<Vec<Vec<u32>>> {
        case.neighbours.iter().map(|p| Ok(session.continuation(p, ANSWER_TOKENS)?)).collect()
    };
    let clean = answers(session)?;
    let start = Instant::now();
    let watch = |_: &mobiedit::core::Progress| -> ControlFlow<()> { interrupt.check() };
    let found: Found = match search.run(&mut session.transformer, &prompts, statistics, None, watch)? {
        Ended::Found(found) => found,
        Ended::Interrupted(_) => return Ok(None),
    };
    let seconds = start.elapsed().as_secs_f64();
    let patch = session.transformer.apply(found.patch())?;
    let says = |session: &mut Session<'_>, prompt: &str| -> anyhow::Result<bool> {
        Ok(session.continuation(prompt, target.len())? == target)
    };
    let success = says(session, &prompts.text)?;
    let mut rephrased = 0;
    for prompt in &case.rephrasings {
        rephrased += usize::from(says(session, prompt)?);
    }
    let kept = answers(session)?.iter().zip(&clean).filter(|(now, then)| now == then).count();
    session.transformer.remove(patch)?;
    Ok(Some(Judged {
        success,
        rephrased: rephrased as f64 / case.rephrasings.len() as f64,
        kept: kept as f64 / clean.len() as f64,
        steps: found.progress.step,
        forward_passes: found.progress.forward_passes,
        rows: found.progress.rows,
        seconds,
    }))
}

fn mean(of: &[Judged], what: impl Fn(&Judged) -> f64) -> f64 {
    of.iter().map(what).sum::<f64>() / of.len() as f64
}

/// The smallest number that at least this share of `numbers` does not exceed.
fn quantile(numbers: impl Iterator<Item = u64>, share: f64) -> u64 {
    let mut sorted: Vec<u64> = numbers.collect();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn summarise(preset: &'static str, of: &[Judged]) -> PresetReport {
    let micros = quantile(of.iter().map(|j| (j.seconds * 1e6) as u64), 0.5);
    PresetReport {
        preset,
        edits: of.len(),
        success: mean(of, |j| f64::from(u8::from(j.success))),
        rephrase: mean(of, |j| j.rephrased),
        locality: mean(of, |j| j.kept),
        forward_passes_median: quantile(of.iter().map(|j| j.forward_passes), 0.5),
        forward_passes_p90: quantile(of.iter().map(|j| j.forward_passes), 0.9),
        steps_median: quantile(of.iter().map(|j| u64::from(j.steps)), 0.5),
        rows_median: quantile(of.iter().map(|j| j.rows), 0.5),
        seconds_median: micros as f64 / 1e6,
    }
}

fn print(report: &BenchReport) -> io::Result<()> {
    let mut out = Stdout;
    writeln!(out, "edits of layer {}, seed {}, judged by greedy generation", report.layer, report.seed)?;
    writeln!(out, "preset   edits  success  rephrase  locality  passes: median  p90      rows  seconds (median)")?;
    for p in &report.presets {
        writeln!(
            out,
            "{:<8} {:>5}  {:>6.1}%  {:>7.1}%  {:>7.1}%  {:>14}  {:>5}  {:>7}  {:>7.2}",
            p.preset,
            p.edits,
            100.0 * p.success,
            100.0 * p.rephrase,
            100.0 * p.locality,
            p.forward_passes_median,
            p.forward_passes_p90,
            p.rows_median,
            p.seconds_median,
        )?;
    }
    if let (Some(ratio), Some(success)) = (report.forward_passes_ratio, report.success_on_shared_edits) {
        writeln!(
            out,
            "over the edits that both made: default's median is 1/{:.1} of paper's forward passes, at {:.1} % success",
            1.0 / ratio,
            100.0 * success
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_numbers_that_occur() {
        let numbers = [5, 1, 4, 2, 3, 10, 9, 8, 7, 6];
        assert_eq!((quantile(numbers.into_iter(), 0.5), quantile(numbers.into_iter(), 0.9)), (5, 9));
        assert_eq!((quantile([7].into_iter(), 0.9), quantile([].into_iter(), 0.5)), (7, 0));
    }
}
