//! `mobiedit bench edit` and `bench ablation`: ways to search, side by side over the same records.
//!
//! Each variant is an evaluation as `mobiedit eval` makes it, kept in a folder of its own, so that a run can be stopped
//! and goes on. Only which settings differ is decided here.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mobiedit::core::config::{EarlyStop, Watch};
use mobiedit::core::{Config, ForwardBackend};
use mobiedit::host::eval::dataset::{self, Dataset, Record};
use mobiedit::host::eval::folder::{Folder, LINE_FORMAT, Settings};
use mobiedit::host::eval::given::GivenPatches;
use mobiedit::host::eval::line::Line;
use mobiedit::host::eval::report::{self as page, Run};
use mobiedit::host::eval::run::{self, Evaluation, Event, Method};
use mobiedit::host::eval::selection::Selection;
use mobiedit::host::eval::summary::{Spread, Summary};
use mobiedit::host::session::{Activations, Session, SessionOptions, with_session};
use mobiedit::host::statistics::prefixes;
use serde::Serialize;

use crate::cli::args::{BenchArgs, BenchCommand, BenchRunArgs};
use crate::cli::edit::PREFIXES;
use crate::cli::eval::{fingerprint, hex, most_rows};
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::{Status, report, scale, stack};

/// A way to search.
struct Variant {
    name: String,
    config: Config,
    cached: bool,
    float: bool,
    /// Takes thousands of passes an edit, so it is run on fewer records.
    slow: bool,
    /// Does not search: another editor's patches.
    patches: Option<PathBuf>,
}

/// Gives a configuration some of the fields of another.
type Take = fn(&mut Config, &Config);

/// Settings of ours that replace published ones, by name; each takes over one group of fields from `Config::DEFAULT`.
const OURS: [(&str, Take); 11] = [
    ("two passes a direction", |to, from| to.centre = from.centre),
    ("orthogonal directions", |to, from| to.kind = from.kind),
    ("directions that are read", |to, from| to.readers = from.readers),
    ("tracked gradient", |to, from| to.combine = from.combine),
    ("normalised steps, a wider clamp", |to, from| {
        (to.rule, to.clamp, to.spacing, to.directions) = (from.rule, from.clamp, from.spacing, from.directions);
    }),
    ("some prompts a step", |to, from| to.minibatch = from.minibatch),
    ("two essence prompts", |to, from| (to.essences, to.kl_factor) = (from.essences, from.kl_factor)),
    ("bank of starts", |to, from| to.bank = from.bank),
    ("success watched for free", |to, from| {
        (to.early_stop.watch, to.refresh) = (from.early_stop.watch, from.refresh);
    }),
    ("an aim above success", |to, from| {
        (to.early_stop.aim, to.early_stop.patience) = (from.early_stop.aim, from.early_stop.patience);
    }),
    ("balanced keys, C, anchor, kept apart", |to, from| {
        (to.keys, to.covariance, to.anchor, to.apart) = (from.keys, from.covariance, from.anchor, from.apart);
    }),
];

fn slow(name: &str, config: Config, cached: bool, float: bool) -> Variant {
    Variant { name: name.to_owned(), config, cached, float, slow: true, patches: None }
}

fn fast(name: String, config: Config) -> Variant {
    Variant { name, config, cached: true, float: false, slow: false, patches: None }
}

/// The patches in a file, named after it.
fn given(path: &Path) -> Variant {
    let name = format!("patches of {}", path.file_name().unwrap_or_default().to_string_lossy());
    Variant { patches: Some(path.to_owned()), ..fast(name, Config::DEFAULT) }
}

/// The two presets, and what int8 weights with int16 activations cost.
fn presets() -> Vec<Variant> {
    vec![
        slow("paper", Config::PAPER, true, false),
        fast("default".to_owned(), Config::DEFAULT),
        Variant { float: true, ..fast("default, in float".to_owned(), Config::DEFAULT) },
    ]
}

/// The published method built up, then each of our settings alone in it, then ours whole, and ours without each.
fn ablation() -> Vec<Variant> {
    let (paper, ours) = (Config::PAPER, Config::DEFAULT);
    // Tested after the last step alone.
    let to_the_end = EarlyStop { watch: Watch::Every(paper.max_steps), ..paper.early_stop };
    let mut all = vec![
        slow("zeroth-order baseline", Config { early_stop: to_the_end, ..paper }, false, true),
        slow("+ early stopping", paper, false, true),
        slow("+ prefix cache", paper, true, true),
        slow("+ W8A16: preset paper", paper, true, false),
    ];
    for (name, take) in OURS {
        let mut config = paper;
        take(&mut config, &ours);
        all.push(slow(&format!("paper, with {name}"), config, true, false));
    }
    all.push(fast("all of ours: preset default".to_owned(), ours));
    for (name, take) in OURS {
        let mut config = ours;
        take(&mut config, &paper);
        all.push(fast(format!("default, without {name}"), config));
    }
    all
}

/// One variant's row.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    records: usize,
    /// Exact match of free generation, in 0..=1.
    success: Option<f64>,
    rephrase: Option<f64>,
    locality: Option<f64>,
    /// Locality without the prompts that ask for the edited fact.
    other_facts: Option<f64>,
    forward_passes_median: Option<f64>,
    forward_passes_p90: Option<f64>,
    seconds_median: Option<f64>,
    /// Over the records that the first variant edited too.
    shared: Shared,
}

/// A variant over the records that the first variant edited too.
#[derive(Debug, Serialize)]
struct Shared {
    records: usize,
    success: Option<f64>,
    /// Medians as a part of the first variant's.
    forward_passes_ratio: Option<f64>,
    seconds_ratio: Option<f64>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<Status> {
    match &args.command {
        BenchCommand::Edit(args) => compare("edit", args, presets()),
        BenchCommand::Ablation(args) => compare("ablation", args, ablation()),
        BenchCommand::Stack(args) => stack::run(args),
        BenchCommand::Scale(args) => scale::run(args),
        BenchCommand::Growth(args) => scale::growth(args),
    }
}

fn compare(bench: &str, args: &BenchRunArgs, mut variants: Vec<Variant>) -> anyhow::Result<Status> {
    variants.extend(args.patches.iter().map(|path| given(path)));
    let dataset = dataset::read(&args.known.dataset, args.known.format.format())?;
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let rows = dataset.records.iter().map(|record| most_rows(record, &prefixes)).max().unwrap_or_default();
    let dataset_name = args.known.dataset.file_stem().unwrap_or_default().to_string_lossy();
    let named = format!("bench-{bench}-{dataset_name}-{}", args.known.seed);
    let out = args.out.clone().unwrap_or_else(|| Path::new("mobiedit-eval").join(named));
    let bench = Bench { args, dataset: &dataset, prefixes: &prefixes, out: &out, interrupt: Interrupt::listen()? };
    let options = |float| SessionOptions {
        rows,
        activations: if float { Activations::Float } else { Activations::Dynamic },
        ..args.model.options()
    };
    let wanted = args.records.max(args.slow_records);
    let selection =
        with_session(&options(false), |session| select(session, &dataset, args.known.seed, wanted, &bench.interrupt))?;
    let Some(selection) = selection else {
        return Ok(Status::Interrupted);
    };
    let mut runs: Vec<Option<Run>> = variants.iter().map(|_| None).collect();
    for float in [false, true] {
        let done =
            with_session(&options(float), |session| bench.all(session, &selection, &variants, float, &mut runs))?;
        if !done {
            report::tell("interrupted: the same command goes on from here");
            return Ok(Status::Interrupted);
        }
    }
    let runs: Vec<Run> = runs.into_iter().flatten().collect();
    page::write(&out, &runs)?;
    let rows = rows_of(&runs);
    if args.output.json {
        report::json(&rows)?
    } else {
        print(&rows, &out)?
    }
    Ok(Status::Done)
}

/// Records whose fact the model knows; `None` after Ctrl-C.
pub(crate) fn select(
    session: &mut Session<'_>,
    dataset: &Dataset,
    seed: u64,
    wanted: usize,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Selection>> {
    let knows = |record: &Record| -> anyhow::Result<Option<bool>> {
        if interrupt.check().is_break() {
            return Ok(None);
        }
        Ok(Some(run::known(session, record)?))
    };
    let selection = Selection::draw(dataset, seed, Some(wanted), |_| true, knows)?;
    if selection.as_ref().is_some_and(|selection| selection.records.len() < wanted) {
        bail!("fewer than {wanted} records are known to the model");
    }
    Ok(selection)
}

struct Bench<'a> {
    args: &'a BenchRunArgs,
    dataset: &'a Dataset,
    prefixes: &'a [&'a str],
    out: &'a Path,
    interrupt: Interrupt,
}

impl Bench<'_> {
    /// All variants of one precision; `false` after Ctrl-C.
    fn all(
        &self,
        session: &mut Session<'_>,
        selection: &Selection,
        variants: &[Variant],
        float: bool,
        runs: &mut [Option<Run>],
    ) -> anyhow::Result<bool> {
        let layer = self.args.known.layer.of(session.transformer.spec().layers)?;
        let bar = Bar::new("calibrating");
        let statistics = session.statistics(layer, |done, all| bar.at(done, all))?;
        drop(bar);
        for (variant, run) in variants.iter().zip(runs).filter(|(variant, _)| variant.float == float) {
            let spec = session.transformer.spec();
            let given = variant.patches.as_deref().map(|path| GivenPatches::read(path, &spec)).transpose()?;
            let method = match &given {
                Some(given) => Method::Given(given),
                None => Method::Search {
                    config: &variant.config,
                    layer,
                    statistics: statistics.lend(),
                    prefixes: self.prefixes,
                    cached: variant.cached,
                },
            };
            let evaluation = Evaluation { method, seed: self.args.known.seed, fluency: false };
            let settings = self.settings(session, variant, given.as_ref(), layer);
            let Some(lines) = self.evaluate(session, selection, variant, &evaluation, &settings)? else {
                return Ok(false);
            };
            *run = Some(Run { name: variant.name.clone(), settings: settings.pairs(), lines, drift: Vec::new() });
        }
        Ok(true)
    }

    fn evaluate(
        &self,
        session: &mut Session<'_>,
        selection: &Selection,
        variant: &Variant,
        evaluation: &Evaluation<'_>,
        settings: &Settings,
    ) -> anyhow::Result<Option<Vec<Line>>> {
        let count = if variant.slow { self.args.slow_records } else { self.args.records };
        let has_patch = |number: &usize| match evaluation.method {
            Method::Given(given) => given.of_record.contains_key(number),
            Method::Search { .. } => true,
        };
        let records = selection.records.iter().copied().take(count).filter(has_patch).collect();
        let selection = Selection { records, ..*selection };
        let by_number = |number: &usize| self.dataset.records.iter().find(|record| record.number == *number);
        let records: Vec<&Record> = selection.records.iter().filter_map(by_number).collect();
        let path = self.out.join(slug(&variant.name));
        let mut folder = Folder::open(&path, settings, &selection).with_context(|| variant.name.clone())?;
        report::tell(&format!("{}, {} records", variant.name, records.len()));
        let bar = Bar::with_estimate("evaluating", folder.results.lines().len(), records.len());
        let mut watch = |event: Event<'_>| {
            match event {
                Event::Records(done, all) => bar.at(done, all),
                Event::Search(progress) => bar.inner(progress),
            }
            self.interrupt.check()
        };
        let done = run::run(session, evaluation, &records, &mut folder.results, &mut watch)?;
        Ok(done.then(|| folder.results.lines().to_vec()))
    }

    fn settings(
        &self,
        session: &Session<'_>,
        variant: &Variant,
        given: Option<&GivenPatches>,
        layer: usize,
    ) -> Settings {
        let count = if variant.slow { self.args.slow_records } else { self.args.records };
        let cache = if variant.cached { "" } else { ", without the prefix cache" };
        Settings {
            line_format: LINE_FORMAT,
            dataset: self.args.known.dataset.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dataset_digest: hex(self.dataset.digest),
            format: self.args.known.format.format(),
            model: hex(session.identity(layer)),
            precision: format!("{}{cache}", if variant.float { "float" } else { "W8A16" }),
            preset: variant.name.clone(),
            search: given.is_none().then(|| hex(fingerprint(&variant.config, self.prefixes))),
            patches: given.map(|given| hex(given.digest)),
            layer,
            seed: self.args.known.seed,
            limit: Some(count),
            known: true,
            fluency: false,
            sequential: false,
            shard: None,
        }
    }
}

/// A variant's name as a folder's.
fn slug(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join("-")
}

fn rows_of(runs: &[Run]) -> Vec<Row> {
    let ratio = |ours: Option<Spread>, theirs: Option<Spread>| {
        Some(ours?.median / theirs.map(|spread| spread.median).filter(|median| *median > 0.0)?)
    };
    let row = |run: &Run| {
        let all = Summary::of(&run.lines).all;
        let first = runs.first().map_or(&[][..], |first| &first.lines);
        let both = |of: &[Line], with: &[Line]| -> Vec<Line> {
            let has = |line: &&Line| with.iter().any(|other| other.record == line.record);
            of.iter().filter(has).cloned().collect()
        };
        let shared = both(&run.lines, first);
        let (ours, theirs) = (Summary::of(&shared).all, Summary::of(&both(first, &run.lines)).all);
        Row {
            name: run.name.clone(),
            records: run.lines.len(),
            success: all.success.exact,
            rephrase: all.rephrase.exact,
            locality: all.locality.exact,
            other_facts: all.other_facts.exact,
            forward_passes_median: all.cost.forward_passes.map(|spread| spread.median),
            forward_passes_p90: all.cost.forward_passes.map(|spread| spread.p90),
            seconds_median: all.cost.seconds.map(|spread| spread.median),
            shared: Shared {
                records: shared.len(),
                success: ours.success.exact,
                forward_passes_ratio: ratio(ours.cost.forward_passes, theirs.cost.forward_passes),
                seconds_ratio: ratio(ours.cost.seconds, theirs.cost.seconds),
            },
        }
    };
    runs.iter().map(row).collect()
}

fn print(rows: &[Row], out: &Path) -> anyhow::Result<()> {
    let mut to = Stdout;
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1}%", 100.0 * share));
    let number = |x: Option<f64>, digits| x.map_or("-".to_owned(), |x| format!("{x:.digits$}"));
    let times = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("1/{:.1}", 1.0 / ratio));
    let mut line = |cells: [&str; 13]| {
        let [
            name,
            records,
            success,
            rephrase,
            locality,
            others,
            passes,
            p90,
            seconds,
            shared,
            of_them,
            cheaper,
            faster,
        ] = cells;
        writeln!(
            to,
            "{name:<38} {records:>7} {success:>7} {rephrase:>8} {locality:>8} {others:>8} {passes:>6} {p90:>6} {seconds:>7} | \
             {shared:>7} {of_them:>7} {cheaper:>8} {faster:>8}"
        )
    };
    line([
        "", "records", "success", "rephrase", "locality", "others", "passes", "p90", "seconds", "shared", "success",
        "passes", "seconds",
    ])?;
    for row in rows {
        line([
            &row.name,
            &row.records.to_string(),
            &percent(row.success),
            &percent(row.rephrase),
            &percent(row.locality),
            &percent(row.other_facts),
            &number(row.forward_passes_median, 0),
            &number(row.forward_passes_p90, 0),
            &number(row.seconds_median, 2),
            &row.shared.records.to_string(),
            &percent(row.shared.success),
            &times(row.shared.forward_passes_ratio),
            &times(row.shared.seconds_ratio),
        ])?;
    }
    writeln!(
        to,
        "scores by free greedy generation; others: locality without the prompts that ask for the edited fact itself; passes"
    )?;
    writeln!(
        to,
        "and seconds: medians per edit; behind the bar: over the records that the first row edited too, as a part of its own"
    )?;
    Ok(writeln!(to, "report in {}", out.join("report.html").display())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_differs_from_its_base_and_has_a_folder_of_its_own() {
        let variants = ablation();
        let mut slugs: Vec<String> = variants.iter().map(|variant| slug(&variant.name)).collect();
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), variants.len());
        for (name, take) in OURS {
            let (mut with, mut without) = (Config::PAPER, Config::DEFAULT);
            take(&mut with, &Config::DEFAULT);
            take(&mut without, &Config::PAPER);
            assert!(with != Config::PAPER && without != Config::DEFAULT, "{name} changes nothing");
        }
    }

    #[test]
    fn all_of_ours_together_are_the_default() {
        let mut all = Config::PAPER;
        for (_, take) in OURS {
            take(&mut all, &Config::DEFAULT);
        }
        let Config { max_steps, batch, .. } = Config::DEFAULT;
        assert_eq!(Config { max_steps, batch, ..all }, Config::DEFAULT);
    }
}
