//! `mobiedit eval`: records of a dataset edited and measured, kept line by line; `mobiedit eval merge`: shards joined.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use mobiedit::backends::identity::Fnv;
use mobiedit::backends::patches::MAX_PATCHES;
use mobiedit::core::{Config, ForwardBackend};
use mobiedit::host::eval::dataset::{self, Dataset, Format, Record};
use mobiedit::host::eval::folder::{Contents, Folder, LINE_FORMAT, Settings};
use mobiedit::host::eval::given::GivenPatches;
use mobiedit::host::eval::report as page;
use mobiedit::host::eval::run::{self, Evaluation, Event, Method};
use mobiedit::host::eval::selection::Selection;
use mobiedit::host::eval::summary::{Summary, table};
use mobiedit::host::eval::{drift, merge, sequential};
use mobiedit::host::prompts::EditPrompts;
use mobiedit::host::search::Search;
use mobiedit::host::session::{Session, SessionOptions, with_session};
use mobiedit::host::statistics::{Statistics, prefixes, statements};
use serde::Serialize;

use crate::cli::args::{DatasetArg, EvalArgs, EvalCommand, EvalMergeArgs, EvalRunArgs};
use crate::cli::edit::{PREFIXES, collect};
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::{Status, report};

/// Steps of a search at which drift is measured.
const DRIFT_POINTS: usize = 20;
/// Malformed records that are named.
const NAMED: usize = 10;

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<Status> {
    if let Some(EvalCommand::Merge(args)) = &args.command {
        return join(args);
    }
    // Optional for `merge` alone: clap asks for them.
    let (Some(path), Some(format)) = (&args.run.dataset, args.run.format) else {
        bail!("--dataset and --format are needed")
    };
    evaluate(&args.run, path, format.format())
}

fn join(args: &EvalMergeArgs) -> anyhow::Result<Status> {
    let merged = merge::merge(&args.folders, &args.out)?;
    merged.write(&args.out)?;
    show(&merged, args.output.json)?;
    Ok(Status::Done)
}

impl DatasetArg {
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Counterfact => Format::CounterFact,
            Self::Zsre => Format::Zsre,
            Self::Easyedit => Format::EasyEdit,
        }
    }
}

fn evaluate(args: &EvalRunArgs, path: &Path, format: Format) -> anyhow::Result<Status> {
    let dataset = dataset::read(path, format)?;
    for one in dataset.malformed.iter().take(NAMED) {
        report::note(&format!("record {} at line {} is left out: {}", one.number, one.line, one.reason));
    }
    if let Some(more) = dataset.malformed.len().checked_sub(NAMED).filter(|more| *more > 0) {
        report::note(&format!("{more} more malformed records are left out"));
    }
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let rows = dataset.records.iter().map(|record| most_rows(record, &prefixes)).max();
    let options = SessionOptions { rows: rows.unwrap_or_default(), ..args.model.options() };
    with_session(&options, |session| Evaluator::new(args, (path, format), &dataset, &prefixes, session)?.run(session))
}

/// Rows that a forward pass over anything of a record needs at most: a token has at least a byte.
pub(crate) fn most_rows(record: &Record, prefixes: &[&str]) -> usize {
    let answers = record.locality.iter().chain(&record.portability);
    let questions = answers.map(|q| q.prompt.len() + q.answers.iter().map(String::len).max().unwrap_or(0));
    let target = record.request.target.len();
    let prompts = record.rephrases.iter().map(|prompt| prompt.len() + target);
    questions.chain(prompts).max().unwrap_or(0).max(record.request.most_rows(prefixes))
}

/// A checked command.
struct Evaluator<'a> {
    args: &'a EvalRunArgs,
    dataset: &'a Dataset,
    prefixes: &'a [&'a str],
    given: Option<GivenPatches>,
    settings: Settings,
    out: PathBuf,
    interrupt: Interrupt,
}

impl<'a> Evaluator<'a> {
    fn new(
        args: &'a EvalRunArgs,
        (path, format): (&Path, Format),
        dataset: &'a Dataset,
        prefixes: &'a [&'a str],
        session: &Session<'_>,
    ) -> anyhow::Result<Self> {
        let spec = session.transformer.spec();
        let given = args.patches.as_deref().map(|path| GivenPatches::read(path, &spec)).transpose()?;
        let layer = args.search.layer.of(spec.layers)?;
        let preset = if given.is_some() { "patches" } else { args.search.preset.name() };
        let config = args.search.preset.config();
        let settings = Settings {
            line_format: LINE_FORMAT,
            dataset: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dataset_digest: hex(dataset.digest),
            format,
            model: hex(session.identity(layer)),
            precision: args.model.arithmetic(session),
            preset: preset.to_owned(),
            search: given.is_none().then(|| hex(fingerprint(&config, prefixes))),
            patches: given.as_ref().map(|given| hex(given.digest)),
            layer,
            seed: args.search.seed,
            limit: args.limit.map(|limit| limit as usize),
            known: args.known,
            fluency: args.fluency,
            sequential: args.sequential,
            shard: args.shard,
        };
        let out = args.out.clone().unwrap_or_else(|| Path::new("mobiedit-eval").join(name(&settings)));
        Ok(Self { args, dataset, prefixes, given, settings, out, interrupt: Interrupt::listen()? })
    }

    fn run(&self, session: &mut Session<'_>) -> anyhow::Result<Status> {
        let Some(selection) = self.selection(session)? else { return Ok(interrupted()) };
        let numbers = selection.of(self.settings.shard);
        let by_number: BTreeMap<usize, &Record> = self.dataset.records.iter().map(|r| (r.number, r)).collect();
        let records: Vec<&Record> = numbers.iter().filter_map(|number| by_number.get(number).copied()).collect();
        ensure!(records.len() == numbers.len(), "{} names records that the dataset lacks", self.out.display());
        ensure!(
            !self.settings.sequential || records.len() <= MAX_PATCHES,
            "{} edits cannot be stacked, at most {MAX_PATCHES}: ask for fewer with --limit",
            records.len()
        );
        let mut folder = Folder::open(&self.out, &self.settings, &selection)?;
        if folder.results.lines().len() < records.len() && !self.fill(session, &records, &mut folder)? {
            return Ok(interrupted());
        }
        drop(folder);
        show(&Contents::read(&self.out)?, self.args.output.json)?;
        Ok(Status::Done)
    }

    /// The records, as they were drawn when the run began, or drawn now; `None` after Ctrl-C.
    fn selection(&self, session: &mut Session<'_>) -> anyhow::Result<Option<Selection>> {
        let kept = Folder::kept(&self.out, &self.settings)?;
        let selection = match kept {
            Some(selection) => selection,
            None => match self.draw(session)? {
                Some(selection) => selection,
                None => return Ok(None),
            },
        };
        if selection.without_patch > 0 {
            report::note(&format!("{} records without a given patch are left out", selection.without_patch));
        }
        let drawn = selection.records.len();
        if let Some(limit) = self.settings.limit.filter(|limit| drawn < *limit) {
            report::note(&format!("{drawn} records can be evaluated, {limit} were asked for"));
        }
        ensure!(drawn > 0, "no record can be evaluated");
        Ok(Some(selection))
    }

    fn draw(&self, session: &mut Session<'_>) -> anyhow::Result<Option<Selection>> {
        let wanted = self.settings.limit.unwrap_or(self.dataset.records.len()).min(self.dataset.records.len());
        let bar = Bar::new("selecting");
        let mut found = 0;
        let has_patch = |record: &Record| self.given.as_ref().is_none_or(|g| g.of_record.contains_key(&record.number));
        let knows = |record: &Record| -> anyhow::Result<Option<bool>> {
            bar.at(found, wanted);
            if self.interrupt.check().is_break() {
                return Ok(None);
            }
            let known = !self.settings.known || run::known(session, record)?;
            found += usize::from(known);
            Ok(Some(known))
        };
        Selection::draw(self.dataset, self.settings.seed, self.settings.limit, has_patch, knows)
    }

    /// Evaluates what is missing; `false` after Ctrl-C.
    fn fill(&self, session: &mut Session<'_>, records: &[&Record], folder: &mut Folder) -> anyhow::Result<bool> {
        let done = folder.results.lines().len();
        if done > 0 {
            report::note(&format!("going on after {done} of {} records", records.len()));
        }
        let (config, layer) = (self.args.search.preset.config(), self.settings.layer);
        let search = Search { config, layer, seed: self.settings.seed };
        let mut statistics = Statistics::default();
        if self.given.is_none() && search.uses_statistics() {
            statistics = collect(session, layer)?;
        }
        let method = match &self.given {
            Some(given) => Method::Given(given),
            None => Method::Search {
                config: &config,
                layer,
                statistics: statistics.lend(),
                prefixes: self.prefixes,
                cached: true,
            },
        };
        let evaluation = Evaluation { method, seed: self.settings.seed, fluency: self.settings.fluency };
        let bar = Bar::with_estimate("evaluating", done, records.len());
        let mut watch = |event: Event<'_>| {
            match event {
                Event::Records(done, all) => bar.at(done, all),
                Event::Search(progress) => bar.inner(progress),
            }
            self.interrupt.check()
        };
        let preset = &self.settings.preset;
        if self.settings.sequential {
            return Ok(sequential::run(session, &evaluation, preset, records, folder, &mut watch)?);
        }
        let done = run::run(session, &evaluation, records, &mut folder.results, &mut watch)?;
        if done && self.given.is_none() {
            folder.keep_drift(&self.drift(session, records, &evaluation, &search, statistics.lend()))?;
        }
        Ok(done)
    }

    /// Drift of activations in the search of the first record that can be searched.
    fn drift(
        &self,
        session: &mut Session<'_>,
        records: &[&Record],
        evaluation: &Evaluation<'_>,
        search: &Search,
        statistics: mobiedit::core::Statistics<'_>,
    ) -> Vec<page::Drift> {
        let mut drifts = records.iter().filter_map(|record| {
            let prompts = EditPrompts::new(&session.tokenizer, &record.request, self.prefixes).ok()?;
            let search = Search { seed: evaluation.search_seed(record), ..*search };
            drift::drift(&mut session.transformer, &search, &prompts, statistics, DRIFT_POINTS).ok()
        });
        drifts.next().unwrap_or_default()
    }
}

fn interrupted() -> Status {
    report::tell("interrupted: the same command goes on from here");
    Status::Interrupted
}

pub(crate) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// A name for the output folder.
fn name(settings: &Settings) -> String {
    let dataset = Path::new(&settings.dataset).file_stem().unwrap_or_default().to_string_lossy();
    let sequential = if settings.sequential { "-sequential" } else { "" };
    let shard = settings.shard.map_or_else(String::new, |shard| format!("-{}-of-{}", shard.number(), shard.of()));
    format!("{dataset}-{}-{}{sequential}{shard}", settings.preset, settings.seed)
}

/// Tells searches apart: all settings, and the texts that they are made with.
pub(crate) fn fingerprint(config: &Config, prefixes: &[&str]) -> u64 {
    let mut hash = Fnv::default();
    hash.write(format!("{config:?}").as_bytes());
    for text in
        prefixes.iter().copied().chain(statements().flat_map(|(before, subject, after)| [before, subject, after]))
    {
        hash.write(&(text.len() as u64).to_le_bytes());
        hash.write(text.as_bytes());
    }
    hash.finish()
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct EvalReport<'a> {
    out: String,
    settings: &'a Settings,
    records: usize,
    malformed: usize,
    /// Passed over by --known.
    unknown_left_out: usize,
    without_patch: usize,
    summary: Summary,
    /// The page for people.
    report: String,
}

/// Writes the page, and prints what it says in short.
fn show(contents: &Contents, json: bool) -> anyhow::Result<()> {
    let (name, settings, lines) = (contents.settings.preset.clone(), contents.settings.pairs(), contents.lines.clone());
    page::write(&contents.path, &[page::Run { name, settings, lines, drift: contents.drift.clone() }])?;
    let report = EvalReport {
        out: contents.path.display().to_string(),
        settings: &contents.settings,
        records: contents.lines.len(),
        malformed: contents.selection.malformed,
        unknown_left_out: contents.selection.unknown,
        without_patch: contents.selection.without_patch,
        summary: Summary::of(&contents.lines),
        report: contents.path.join("report.html").display().to_string(),
    };
    if json {
        return report::json(&report);
    }
    let mut out = Stdout;
    write!(out, "{}", table(&[(&contents.settings.preset, &report.summary)]))?;
    Ok(writeln!(out, "results in {}, to be looked at in {}", report.out, report.report)?)
}
