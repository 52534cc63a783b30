//! `mobiedit edit`: search, show, store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use mobiedit::core::problem::{Problem, ProblemError};
use mobiedit::core::{Config, ForwardBackend, Progress};
use mobiedit::hal_qnn::sys::{Burst, ProfileLevel};
use mobiedit::hal_qnn::{Counters, GraphCost, Qnn, QnnError};
use mobiedit::host::checkpoint::CheckpointFile;
use mobiedit::host::device::HostDevice;
use mobiedit::host::edits::{EditInfo, Edits, EditsWriter};
use mobiedit::host::export;
use mobiedit::host::health::{Health, Held, Scores, norm_warning, patch_norm};
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::{Ended, Found, Next, Search};
use mobiedit::host::session::{Session, SessionError, SessionOptions, auto_layer, with_session};
use mobiedit::host::statistics::{Statistics, prefixes};
use serde::Serialize;

use crate::cli::args::{ActivationsArg, EditArgs, LayerArg, ModelArgs, PresetArg, SearchArgs};
use crate::cli::generate::{apply, read_edits};
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::verify::{of_model, print_health};
use crate::cli::{Status, report};

/// Prompts behind a sentence, besides the bare one.
pub(crate) const PREFIXES: usize = 6;
/// Stacked edits after which the rest of the model is measured, and after as many more.
const HEALTH_EVERY: usize = 10;
/// Tokens of an answer that is shown.
const ANSWER_TOKENS: usize = 16;

/// A prompt's answer without and with the edit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) prompt: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct EditReport<'a> {
    success: bool,
    target: &'a str,
    answer_before: &'a str,
    answer_after: &'a str,
    p_target: f32,
    steps: u32,
    forward_passes: u64,
    rows: u64,
    seconds: f64,
    peak_rss_bytes: Option<u64>,
    layer: usize,
    edit_id: Option<&'a str>,
    adapter_path: Option<&'a str>,
    /// Read back from the disk, where asked for.
    verified: Option<&'a Held>,
    /// What became of the rest of the model, where that was measured.
    health: Option<&'a Health>,
    warnings: Vec<String>,
    preset: &'a str,
    seed: u64,
    rephrasings: &'a [Shown],
    checks: &'a [Shown],
}

/// What the stored edit was found to do, where that was measured.
struct Effect<'a> {
    /// Upon the others.
    verified: Option<&'a Held>,
    /// To the rest of the model.
    health: Option<&'a Health>,
    /// What is to be said of that.
    warnings: Vec<String>,
}

impl<'a> EditReport<'a> {
    fn new(
        args: &'a EditArgs,
        search: &Search,
        found: &Found,
        shown: &'a Answers,
        stored: Option<&'a Stored>,
        Effect { verified, health, warnings }: Effect<'a>,
        took: Duration,
    ) -> Self {
        Self {
            success: found.is_success(),
            target: args.target.trim(),
            answer_before: &shown.prompt.before,
            answer_after: &shown.prompt.after,
            p_target: found.progress.p_target,
            steps: found.progress.step,
            forward_passes: found.progress.forward_passes,
            rows: found.progress.rows,
            seconds: took.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            layer: search.layer,
            edit_id: stored.map(|stored| stored.edit_id.as_str()),
            adapter_path: stored.map(|stored| stored.adapter_path.as_str()),
            verified,
            health,
            warnings,
            preset: args.search.preset.name(),
            seed: search.seed,
            rephrasings: &shown.rephrasings,
            checks: &shown.checks,
        }
    }
}

impl PresetArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Default => "default",
        }
    }

    pub(crate) fn config(self) -> Config {
        match self {
            Self::Paper => Config::PAPER,
            Self::Default => Config::DEFAULT,
        }
    }
}

impl ModelArgs {
    /// What besides model, words and settings an edit's bits depend on, for people to read too.
    pub(crate) fn arithmetic(&self, session: &Session<'_>) -> String {
        let activations = match self.activations {
            ActivationsArg::Dynamic => "dynamic",
            ActivationsArg::Static => "static",
            ActivationsArg::StaticClipped => "static-clipped",
            ActivationsArg::Float => "float",
        };
        let config = &session.model.config;
        session.calibration.as_ref().map_or(activations.to_owned(), |calibration| {
            format!("{activations}, calibration {:08x}", calibration.checksum(config))
        })
    }
}

impl LayerArg {
    /// The layer that is meant, of a model with so many.
    pub(crate) fn of(self, layers: usize) -> Result<usize, ProblemError> {
        match self {
            Self::Auto => Ok(auto_layer(layers)),
            Self::Number(layer) if layer < layers.saturating_sub(1) => Ok(layer),
            Self::Number(layer) => Err(ProblemError::Layer { layer, layers }),
        }
    }
}

impl SearchArgs {
    fn search(&self, layers: usize) -> Result<Search, ProblemError> {
        Ok(Search { config: self.preset.config(), layer: self.layer.of(layers)?, seed: self.seed })
    }
}

pub(crate) fn run(args: &EditArgs) -> anyhow::Result<Status> {
    let request =
        EditRequest { prompt: args.prompt.clone(), subject: args.subject.clone(), target: args.target.clone() };
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let options = SessionOptions { rows: request.most_rows(&prefixes), ..args.model.options() };
    with_session(&options, |session| edit(args, &request, &prefixes, session))
}

fn edit(
    args: &EditArgs,
    request: &EditRequest,
    prefixes: &[&str],
    session: &mut Session<'_>,
) -> anyhow::Result<Status> {
    // All input is checked before the folder is touched and before any long work.
    let start = Instant::now();
    let prompts = EditPrompts::new(&session.tokenizer, request, prefixes)?;
    let search = args.search.search(session.transformer.spec().layers)?;
    Problem::new(&session.transformer.spec(), search.layer, &prompts.lend(), &prompts.target)?;
    session.check_rows(prompts.rows())?;
    let edits = read_edits(&args.folder.edits)?;
    let stacked = of_model(session, edits.active()).len() + 1;
    let clean = stacked.is_multiple_of(HEALTH_EVERY).then(|| Scores::measure(session));
    apply(session, &edits)?;
    session.check_room()?;
    let mut shown = Answers::new(session, args, &prompts)?;

    let interrupt = Interrupt::listen()?;
    let mut writer = EditsWriter::open(&args.folder.edits)?;
    ensure!(writer.edits().list() == edits.list(), "the edits folder has changed just now: run the command again");
    let checkpoint = checkpoint_file(session, &edits, request, &search, args);
    let measures = match session.transformer.device_mut().npu_mut() {
        Some(npu) if args.profile => npu.profile(ProfileLevel::DETAILED),
        _ => Ok(()),
    };
    let burst = session.transformer.device().npu().map(Qnn::burst);
    let every = Duration::from_secs(args.keep_every.into());
    let ended = find(session, &prompts, &search, &checkpoint, every, &interrupt)?;
    if args.profile {
        profile(session.transformer.device(), burst.as_ref(), measures);
    }
    drop(burst);
    rejected_graphs(session.transformer.device());
    let found = match ended {
        Ended::Found(found) => found,
        Ended::Interrupted(bytes) => {
            checkpoint.store(&bytes).context("the interrupted edit could not be kept")?;
            report::tell("interrupted: the same command goes on from here");
            return Ok(Status::Interrupted);
        }
    };
    let patch = session.transformer.apply(found.patch())?;
    shown.fill_after(session)?;
    session.transformer.remove(patch)?;

    let stored = if found.is_success() || args.keep_failed {
        Some(store(&mut writer, session, request, &search, args.search.preset, &found)?)
    } else {
        None
    };
    checkpoint.remove().context("the finished edit's checkpoint could not be removed")?;
    let verified = match &stored {
        Some(stored) if args.verify => Some(verify(session, &args.folder.edits, &stored.edit_id)),
        _ => None,
    };
    let took = start.elapsed();
    // The edit is stored: it is told, whatever fails here.
    let (health, warnings) = match stored.as_ref().map(|_| rest_of_the_model(session, args, clean)) {
        Some(Ok(measured)) => measured,
        Some(Err(error)) => {
            report::note(&format!("the rest of the model was not measured: {error:#}"));
            (None, Vec::new())
        }
        None => (None, Vec::new()),
    };
    let held = verified.as_ref().and_then(|verified| verified.as_ref().ok());
    let effect = Effect { verified: held, health: health.as_ref(), warnings };
    let report = EditReport::new(args, &search, &found, &shown, stored.as_ref(), effect, took);
    if args.output.json {
        report::json(&report)?
    } else {
        print(&report, &shown)?;
        health.as_ref().map_or(Ok(()), print_health)?;
    }
    report.warnings.iter().for_each(|warning| report::warn(warning));
    let holds = verified.transpose()?.is_none_or(|held| held.holds);
    Ok(if found.is_success() && holds { Status::Done } else { Status::NotSuccessful })
}

/// Asks the model with the edit as it lies on the disk, upon the others.
fn verify(session: &mut Session<'_>, folder: &Path, edit_id: &str) -> anyhow::Result<Held> {
    let edits = read_edits(folder)?;
    let edit = edits.get(edit_id)?;
    let patch = session.transformer.apply(edit.patch())?;
    let held = Held::check(session, edit)?;
    session.transformer.remove(patch)?;
    let says = if held.holds { "holds" } else { "does not hold" };
    report::tell(&format!("{edit_id}, read back: {says}, P(target) {:.3}", held.p_target));
    Ok(held)
}

/// What became of the model besides the edit, and what is to be said of it: all of that where the clean model was scored, else the
/// norm of the patches alone, since one edit may make a leap of it.
fn rest_of_the_model(
    session: &mut Session<'_>,
    args: &EditArgs,
    clean: Option<Result<Scores, SessionError>>,
) -> anyhow::Result<(Option<Health>, Vec<String>)> {
    let edits = read_edits(&args.folder.edits)?;
    let all = of_model(session, edits.active());
    let Some(clean) = clean.transpose()? else {
        let warning = norm_warning(patch_norm(session, &all));
        let told = warning.map(|warning| format!("{warning}: `mobiedit verify` measures what became of other facts"));
        return Ok((None, told.into_iter().collect()));
    };
    if let Some(last) = all.last() {
        session.transformer.apply(last.patch())?;
    }
    let health = Health::measure(session, &clean, &all)?;
    Ok((Some(health), health.warnings()))
}

/// Tells what the search cost on an NPU, graph by graph, and which operations.
fn profile(device: &HostDevice, burst: Option<&Result<Burst, QnnError>>, measures: Result<(), QnnError>) {
    let (Some(npu), Some(burst)) = (device.npu(), burst) else {
        return report::tell("profile: the CPU has no graphs");
    };
    match burst {
        Ok(_) => report::tell("clocks: the highest, voted for while searching"),
        Err(error) => report::tell(&format!("clocks: no vote, {error}")),
    }
    let Counters { finalized, restored, shared, executed, .. } = npu.counters();
    report::tell(&format!("{finalized} graphs finalised, {restored} read, {executed} executions"));
    report::tell(&format!("{shared} graphs with their ends in memory that the NPU shares"));
    if let Err(error) = measures {
        report::tell(&format!("the library measures nothing: {error}"));
    }
    report::tell("graph  operations  rows  made, ms  executed  each, ms  on the NPU, ms  all, ms");
    let mut cycles = BTreeMap::new();
    for GraphCost { number, operations, rows, made_us, executed, execute_us, accelerator_us } in npu.costs() {
        let [made, all, on_npu] = [made_us, execute_us, accelerator_us].map(|us| us as f64 / 1e3);
        let [each, on_npu] = [all, on_npu].map(|ms| ms / executed.max(1) as f64);
        let count = operations.len();
        report::tell(&format!(
            "{number:>5}  {count:>10}  {rows:>4}  {made:>8.1}  {executed:>8}  {each:>8.1}  {on_npu:>14.1}  {all:>7.1}"
        ));
        operations.iter().for_each(|op| *cycles.entry(op.name).or_insert(0) += op.cycles);
    }
    let all: u64 = cycles.values().sum();
    report::tell("operation  share of the NPU's cycles");
    for (name, cycles) in cycles {
        report::tell(&format!("{name:<9}  {:>5.1} %", 100.0 * cycles as f64 / all.max(1) as f64));
    }
}

/// Says that what was kept of graphs could not be used.
fn rejected_graphs(device: &HostDevice) {
    if let Some(Counters { rejected: rejected @ 1.., .. }) = device.npu().map(Qnn::counters) {
        report::note(&format!(
            "{rejected} files of --qnn-cache were damaged or not taken by the library, and made anew"
        ));
    }
}

/// Searches, from the checkpoint if there is one, until the end or Ctrl-C. For one that is killed a state is kept `every` so
/// long.
fn find(
    session: &mut Session<'_>,
    prompts: &EditPrompts,
    search: &Search,
    checkpoint: &CheckpointFile,
    every: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<Ended> {
    let mut statistics = Statistics::default();
    if search.uses_statistics() {
        statistics = collect(session, search.layer)?;
    }
    let path = checkpoint.path().display();
    let resume = checkpoint.load().with_context(|| format!("the interrupted edit {path} cannot be read"))?;
    if resume.is_some() {
        report::note("going on with an interrupted edit");
    }
    let bar = Bar::new("searching");
    let (mut last, mut told) = (Instant::now(), false);
    let next = |progress: &Progress| {
        bar.search(progress);
        if interrupt.check().is_break() {
            return Next::Stop;
        }
        if last.elapsed() < every {
            return Next::Search;
        }
        last = Instant::now();
        Next::Keep
    };
    // A full disk does not end a search that may need no state.
    let keep = |bytes: &[u8]| match checkpoint.store(bytes) {
        Err(error) if !told => {
            told = true;
            report::note(&format!("the state of the search cannot be kept: {error}"));
        }
        _ => {}
    };
    let backend = &mut session.transformer;
    let result = search.run_keeping(backend, prompts, statistics.lend(), resume.as_deref(), next, keep);
    if resume.is_some() {
        return result
            .with_context(|| format!("the interrupted edit {path} cannot be resumed, delete it to begin anew"));
    }
    Ok(result?)
}

/// Keys and values of `layer`, from the calibration or from a pass over the built-in statements.
pub(crate) fn collect(session: &mut Session<'_>, layer: usize) -> Result<Statistics, SessionError> {
    if let Some(calibration) = session.calibration.as_ref().filter(|calibration| calibration.layer != layer) {
        let of = calibration.layer;
        report::note(&format!("the calibration is of layer {of}: keys of layer {layer} are collected anew"));
    }
    let bar = Bar::new("calibrating");
    session.statistics(layer, |done, all| bar.at(done, all))
}

/// Where this very edit is kept while it is interrupted.
fn checkpoint_file(
    session: &Session<'_>,
    edits: &Edits,
    request: &EditRequest,
    search: &Search,
    args: &EditArgs,
) -> CheckpointFile {
    let numbers = [session.identity(search.layer), search.layer as u64, search.seed].map(u64::to_le_bytes);
    let mut inputs: Vec<&[u8]> = numbers.iter().map(|n| n.as_slice()).collect();
    inputs.extend([&request.prompt, &request.subject, &request.target].map(|text| text.as_bytes()));
    let arithmetic = args.model.arithmetic(session);
    inputs.extend([args.search.preset.name(), &arithmetic].map(str::as_bytes));
    inputs.extend(edits.active().map(|edit| edit.info.edit_id.as_bytes()));
    CheckpointFile::new(edits.folder(), &edits.next_id(), &inputs)
}

/// A committed edit's name, and where its adapter is, for people to read.
pub(crate) struct Stored {
    pub(crate) edit_id: String,
    pub(crate) adapter_path: String,
}

/// Commits the edit, its adapter beside it.
pub(crate) fn store(
    writer: &mut EditsWriter,
    session: &Session<'_>,
    request: &EditRequest,
    search: &Search,
    preset: PresetArg,
    found: &Found,
) -> anyhow::Result<Stored> {
    let edit_id = writer.next_id();
    let adapter = writer.next_adapter();
    export::gguf_lora(&adapter, session.model.config.architecture, found.patch())?;
    let info = EditInfo {
        edit_id: edit_id.clone(),
        model: session.identity(search.layer),
        prompt: request.prompt.clone(),
        subject: request.subject.trim().to_owned(),
        target: request.target.trim().to_owned(),
        layer: search.layer,
        preset: preset.name().to_owned(),
        seed: search.seed,
        steps: found.progress.step,
        forward_passes: found.progress.forward_passes,
        p_target: found.progress.p_target,
        success: found.is_success(),
    };
    if let Err(error) = writer.commit(info, found.patch()) {
        // The error to report is the first one.
        let _ = std::fs::remove_file(&adapter);
        return Err(error.into());
    }
    Ok(Stored { edit_id, adapter_path: adapter.display().to_string() })
}

/// The answers that are shown.
struct Answers {
    prompt: Shown,
    rephrasings: Vec<Shown>,
    checks: Vec<Shown>,
}

impl Answers {
    fn new(session: &mut Session<'_>, args: &EditArgs, prompts: &EditPrompts) -> anyhow::Result<Self> {
        let subject = args.subject.trim();
        let mut ask = |prompt: &str| -> anyhow::Result<Shown> {
            let prompt = prompt.trim_end().to_owned();
            ensure!(!prompt.is_empty(), "a prompt given with --rephrase or --check is empty");
            Ok(Shown { before: answer(session, &prompt)?, prompt, after: String::new() })
        };
        let prompt = ask(&prompts.text)?;
        let mut ask_all = |prompts: &[String]| prompts.iter().map(|p| ask(&p.replace("{}", subject))).collect();
        let rephrasings: anyhow::Result<_> = ask_all(&args.rephrase);
        let checks: anyhow::Result<_> = ask_all(&args.check);
        Ok(Self { prompt, rephrasings: rephrasings?, checks: checks? })
    }

    fn fill_after(&mut self, session: &mut Session<'_>) -> anyhow::Result<()> {
        let all = core::iter::once(&mut self.prompt).chain(&mut self.rephrasings).chain(&mut self.checks);
        for shown in all {
            shown.after = answer(session, &shown.prompt)?;
        }
        Ok(())
    }
}

/// What the model says to a prompt: the first line of its greedy completion, without the full stop.
pub(crate) fn answer(session: &mut Session<'_>, prompt: &str) -> anyhow::Result<String> {
    let text = session.complete(prompt, ANSWER_TOKENS)?;
    let line = text.trim().lines().next().unwrap_or_default();
    Ok(line.strip_suffix('.').unwrap_or(line).to_owned())
}

fn print(report: &EditReport<'_>, shown: &Answers) -> io::Result<()> {
    let mut out = Stdout;
    print_answer("", &shown.prompt)?;
    for one in report.rephrasings {
        print_answer("rephrased: ", one)?;
    }
    for one in report.checks {
        print_answer(if one.before == one.after { "kept: " } else { "changed: " }, one)?;
    }
    let (p, passes, seconds) = (report.p_target, report.forward_passes, report.seconds);
    writeln!(out, "P(target) {p:.3} after {} steps, {passes} forward passes, {seconds:.1} s", report.steps)?;
    match (report.edit_id, report.adapter_path) {
        (Some(id), Some(path)) => {
            let kept = if report.success { "" } else { "no success, and kept: " };
            writeln!(out, "{kept}stored as {id}; as a LoRA adapter in {path}")
        }
        _ => writeln!(
            out,
            "no success: nothing was stored (--keep-failed would); try another --seed, --layer or wording"
        ),
    }
}

/// One line: a prompt, its answer before and after.
pub(crate) fn print_answer(kind: &str, shown: &Shown) -> io::Result<()> {
    writeln!(Stdout, "{kind}{} ... {} -> {}", shown.prompt, shown.before, shown.after)
}
