//! `mobiedit bench stack`: edits on top of each other, and what becomes of them and of the rest of the model.
//!
//! `mobiedit verify` warns from thresholds on; they were set by what this prints, see `tests/bench/README.md`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::ensure;
use mobiedit::core::ForwardBackend;
use mobiedit::host::eval::dataset::{self, Dataset, Record};
use mobiedit::host::eval::run::{Evaluation, Event, Method};
use mobiedit::host::eval::stack::{Row, Stack};
use mobiedit::host::eval::stack_plot;
use mobiedit::host::session::{Session, SessionOptions, with_session};
use mobiedit::host::statistics::prefixes;
use serde::Serialize;

use crate::cli::args::StackArgs;
use crate::cli::bench::select;
use crate::cli::edit::{PREFIXES, collect};
use crate::cli::eval::most_rows;
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::{Status, report};

#[derive(Serialize)]
struct Report<'r> {
    rows: &'r [Row],
    plot: &'r Path,
}

pub(crate) fn run(args: &StackArgs) -> anyhow::Result<Status> {
    ensure!(args.strength.is_finite() && args.strength > 0.0, "--strength takes a number above 0");
    let dataset = dataset::read(&args.known.dataset, args.known.format.format())?;
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let rows = dataset.records.iter().map(|record| most_rows(record, &prefixes)).max().unwrap_or_default();
    let options = SessionOptions { rows, ..args.model.options() };
    let interrupt = Interrupt::listen()?;
    let rows = with_session(&options, |session| measure(args, &dataset, &prefixes, &interrupt, session))?;
    let Some(rows) = rows else { return Ok(Status::Interrupted) };
    if args.output.json {
        report::json(&Report { rows: &rows, plot: &args.out })?;
    } else {
        writeln!(Stdout, "plot: {}", args.out.display())?;
    }
    Ok(Status::Done)
}

/// Stacks the edits, and prints and draws each row as soon as it is known; `None` after Ctrl-C.
fn measure(
    args: &StackArgs,
    dataset: &Dataset,
    prefixes: &[&str],
    interrupt: &Interrupt,
    session: &mut Session<'_>,
) -> anyhow::Result<Option<Vec<Row>>> {
    let layer = args.known.layer.of(session.transformer.spec().layers)?;
    let (count, others) = (usize::from(args.records), usize::from(args.others));
    let Some(selection) = select(session, dataset, args.known.seed, count + others, interrupt)? else {
        return Ok(None);
    };
    let by_number = |number: &usize| dataset.records.iter().find(|record| record.number == *number);
    let mut edited: Vec<&Record> = selection.records.iter().filter_map(by_number).collect();
    let mut others = edited.split_off(count);
    let subjects: BTreeSet<&str> = edited.iter().map(|record| record.request.subject.as_str()).collect();
    others.retain(|record| !subjects.contains(record.request.subject.as_str()));

    let statistics = collect(session, layer)?;
    let config = args.preset.config();
    let method = Method::Search { config: &config, layer, statistics: statistics.lend(), prefixes, cached: true };
    let evaluation = Evaluation { method, seed: args.known.seed, fluency: false };
    let mut stack = Stack::new(session, evaluation, args.preset.name(), args.strength, others)?;
    if !args.output.json {
        header()?;
    }
    let mut rows = Vec::new();
    let mut measure = |stack: &mut Stack<'_>, session: &mut Session<'_>| -> anyhow::Result<()> {
        let row = stack.row(session)?;
        if !args.output.json {
            print(&row)?;
        }
        rows.push(row);
        Ok(stack_plot::write(&args.out, &rows)?)
    };
    measure(&mut stack, session)?;
    let bar = Bar::with_estimate("stacking", 0, count);
    let mut watch = |event: Event<'_>| {
        if let Event::Search(progress) = event {
            bar.inner(progress);
        }
        interrupt.check()
    };
    for (done, record) in edited.iter().enumerate() {
        bar.at(done, count);
        if !stack.push(session, record, &mut watch)? {
            return Ok(None);
        }
        if (done + 1).is_multiple_of(args.every.into()) || done + 1 == count {
            measure(&mut stack, session)?;
        }
    }
    Ok(Some(rows))
}

fn header() -> std::io::Result<()> {
    writeln!(
        Stdout,
        "{:>5} {:>5} {:>8} {:>7} {:>9} {:>7} | {:>10} {:>7} {:>6} {:>8}",
        "tried", "edits", "success", "hold", "rephrase", "others", "perplexity", "drift", "norm", "warnings"
    )
}

fn print(row: &Row) -> std::io::Result<()> {
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let Row { tried, edits, success, hold, rephrase, others, health, warnings } = row;
    writeln!(
        Stdout,
        "{tried:>5} {edits:>5} {:>8} {:>7} {:>9} {:>7} | {:>9.2}x {:>7} {:>6.3} {:>8}",
        percent(*success),
        percent(*hold),
        percent(*rephrase),
        percent(Some(*others)),
        health.perplexity / health.perplexity_clean,
        percent(Some(health.drift)),
        health.patch_norm,
        warnings.len()
    )
}
