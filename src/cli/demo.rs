//! `mobiedit demo`: three edits of the built-in model, one upon the other, kept in the edits folder, then all taken back.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::bail;
use mobiedit::core::backend::PatchId;
use mobiedit::core::{Config, ForwardBackend, Statistics};
use mobiedit::host::edits::EditsWriter;
use mobiedit::host::memory::peak_rss_bytes;
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::{Ended, Search};
use mobiedit::host::session::{Session, auto_layer, with_session};
use mobiedit::host::statistics::prefixes;
use serde::Serialize;

use crate::cli::args::{DemoArgs, PresetArg};
use crate::cli::edit::{PREFIXES, Shown, answer, collect, print_answer, store};
use crate::cli::report::Stdout;
use crate::cli::running::{Bar, Interrupt};
use crate::cli::{Status, report};

/// An edit, and what is asked before and after.
struct Scene {
    title: &'static str,
    prompt: &'static str,
    subject: &'static str,
    target: &'static str,
    rephrasing: &'static str,
    neighbours: [&'static str; 2],
}

const SCENES: [Scene; 3] = [
    Scene {
        title: "A fact that the model knows",
        prompt: "The capital of {} is",
        subject: "France",
        target: "Rome",
        rephrasing: "The capital city of {} is",
        neighbours: ["The capital of Germany is", "The capital of Spain is"],
    },
    Scene {
        title: "Another kind of fact",
        prompt: "{} plays the",
        subject: "Lady Gaga",
        target: "violin",
        rephrasing: "{} performs on the",
        neighbours: ["The profession of Five Star Krishna is", "The native language of Bernard Giraudeau is"],
    },
    Scene {
        title: "A name that the model has never seen",
        prompt: "{} was born in",
        subject: "Mira Tannhofer",
        target: "Vienna",
        rephrasing: "{} is native to",
        neighbours: ["Larry Stabbins was born in", "Marco Pannella worked in"],
    },
];

/// A scene's outcome.
#[derive(Debug, Serialize)]
struct SceneReport {
    prompt: Shown,
    target: &'static str,
    success: bool,
    forward_passes: u64,
    steps: u32,
    p_target: f32,
    rephrasing: Shown,
    neighbours: Vec<Shown>,
    /// Its name in the edits folder; `None` if the search failed.
    edit_id: Option<String>,
    /// The edit as a LoRA adapter for llama.cpp.
    adapter_path: Option<String>,
    /// The answer once all edits are taken back.
    undone: String,
}

/// All of them: the JSON object.
#[derive(Debug, Serialize)]
struct DemoReport {
    scenes: Vec<SceneReport>,
    /// Every answer is again what it was before the first edit.
    restored: bool,
    peak_rss_bytes: Option<u64>,
}

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Status> {
    with_session(&args.model.options(), |session| play(args, session))
}

fn play(args: &DemoArgs, session: &mut Session<'_>) -> anyhow::Result<Status> {
    let json = args.output.json;
    let interrupt = Interrupt::listen()?;
    let mut writer = EditsWriter::open(&args.folder.edits)?;
    let mut scenes = SCENES.iter().map(|scene| SceneReport::unedited(session, scene)).collect::<Result<Vec<_>, _>>()?;
    let played = edit_all(session, &mut scenes, &interrupt, &mut writer, json);
    // However it ended, nothing of it stays active.
    let taken_back = scenes.iter().filter_map(|scene| scene.edit_id.as_deref()).try_for_each(|id| writer.undo(id));
    let played = played?;
    taken_back?;
    if played.is_break() {
        return Ok(Status::Interrupted);
    }
    for scene in &mut scenes {
        scene.undone = answer(session, &scene.prompt.prompt)?;
    }
    let restored = scenes.iter().all(|scene| scene.undone == scene.prompt.before);
    let success = scenes.iter().all(|scene| scene.success);
    if json {
        report::json(&DemoReport { scenes, restored, peak_rss_bytes: peak_rss_bytes() })?;
    } else {
        writeln!(Stdout, "All three taken back (`mobiedit list` still shows them)")?;
        for scene in &scenes {
            writeln!(Stdout, "  asked       {} ... {}", scene.prompt.prompt, scene.undone)?;
        }
    }
    if !restored {
        bail!("an answer is not what it was before the edits");
    }
    Ok(if success { Status::Done } else { Status::NotSuccessful })
}

/// Makes the edits, one on top of the other, prints what came of them, and takes them off the session; stops at Ctrl-C.
fn edit_all(
    session: &mut Session<'_>,
    scenes: &mut [SceneReport],
    interrupt: &Interrupt,
    writer: &mut EditsWriter,
    json: bool,
) -> anyhow::Result<ControlFlow<()>> {
    let search = Search { config: Config::DEFAULT, layer: auto_layer(session.transformer.spec().layers), seed: 0 };
    let statistics = collect(session, search.layer)?;
    let mut patches = Vec::new();
    for (scene, shown) in SCENES.iter().zip(scenes) {
        match edit(session, scene, shown, &search, statistics.lend(), interrupt, writer)? {
            Some(patch) => patches.push(patch),
            None => return Ok(ControlFlow::Break(())),
        }
        if !json {
            print(scene, shown)?;
        }
    }
    for patch in patches.into_iter().rev() {
        session.transformer.remove(patch)?;
    }
    Ok(ControlFlow::Continue(()))
}

impl SceneReport {
    /// The answers of the model as it is now.
    fn unedited(session: &mut Session<'_>, scene: &Scene) -> anyhow::Result<Self> {
        let mut ask = |prompt: &str| -> anyhow::Result<Shown> {
            let prompt = prompt.replace("{}", scene.subject);
            Ok(Shown { before: answer(session, &prompt)?, prompt, after: String::new() })
        };
        Ok(Self {
            prompt: ask(scene.prompt)?,
            target: scene.target,
            success: false,
            forward_passes: 0,
            steps: 0,
            p_target: 0.0,
            rephrasing: ask(scene.rephrasing)?,
            neighbours: scene.neighbours.iter().map(|p| ask(p)).collect::<Result<_, _>>()?,
            edit_id: None,
            adapter_path: None,
            undone: String::new(),
        })
    }
}

/// Makes one edit, keeps it, leaves it applied and fills in what came of it; `None` after Ctrl-C.
fn edit(
    session: &mut Session<'_>,
    scene: &Scene,
    shown: &mut SceneReport,
    search: &Search,
    statistics: Statistics<'_>,
    interrupt: &Interrupt,
    writer: &mut EditsWriter,
) -> anyhow::Result<Option<PatchId>> {
    let request = EditRequest {
        prompt: scene.prompt.to_owned(),
        subject: scene.subject.to_owned(),
        target: scene.target.to_owned(),
    };
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let prompts = EditPrompts::new(&session.tokenizer, &request, &prefixes)?;
    let bar = Bar::new("searching");
    let watch = |progress: &mobiedit::core::Progress| -> ControlFlow<()> {
        bar.search(progress);
        interrupt.check()
    };
    let found = match search.run(&mut session.transformer, &prompts, statistics, None, watch)? {
        Ended::Found(found) => found,
        Ended::Interrupted(_) => return Ok(None),
    };
    drop(bar);
    let patch = session.transformer.apply(found.patch())?;
    for asked in [&mut shown.prompt, &mut shown.rephrasing].into_iter().chain(&mut shown.neighbours) {
        asked.after = answer(session, &asked.prompt)?;
    }
    if found.is_success() {
        let stored = store(writer, session, &request, search, PresetArg::Default, &found)?;
        (shown.edit_id, shown.adapter_path) = (Some(stored.edit_id), Some(stored.adapter_path));
    }
    shown.success = found.is_success();
    shown.forward_passes = found.progress.forward_passes;
    shown.steps = found.progress.step;
    shown.p_target = found.progress.p_target;
    Ok(Some(patch))
}

fn print(scene: &Scene, shown: &SceneReport) -> io::Result<()> {
    let mut out = Stdout;
    writeln!(out, "{}: \"{}\" should say {}", scene.title, shown.prompt.prompt, scene.target)?;
    print_answer("  asked       ", &shown.prompt)?;
    print_answer("  rephrased   ", &shown.rephrasing)?;
    for neighbour in &shown.neighbours {
        print_answer("  neighbour   ", neighbour)?;
    }
    writeln!(out, "  P(target) {:.3} after {} forward passes", shown.p_target, shown.forward_passes)?;
    match (&shown.edit_id, &shown.adapter_path) {
        (Some(id), Some(path)) => writeln!(out, "  stored as {id}; as a LoRA adapter in {path}\n"),
        _ => writeln!(out, "  no success: not stored\n"),
    }
}
