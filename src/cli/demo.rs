//! `mobiedit demo`: three edits of the built-in model, one upon the other, then all taken back. Stores nothing.

use std::ops::ControlFlow;

use anyhow::bail;
use mobiedit::core::backend::PatchId;
use mobiedit::core::{Config, ForwardBackend, Statistics};
use mobiedit::host::prompts::{EditPrompts, EditRequest};
use mobiedit::host::search::{Ended, Search};
use mobiedit::host::session::{Session, auto_layer, with_session};
use mobiedit::host::statistics::prefixes;
use serde::Serialize;

use crate::cli::args::DemoArgs;
use crate::cli::edit::{PREFIXES, Shown, answer, print_answer};
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
        rephrasing: "{}'s capital city is",
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
    with_session(&args.model.options(), |session| play(args.output.json, session))
}

fn play(json: bool, session: &mut Session<'_>) -> anyhow::Result<Status> {
    let interrupt = Interrupt::listen()?;
    let search = Search { config: Config::DEFAULT, layer: auto_layer(session.transformer.spec().layers), seed: 0 };
    let bar = Bar::new("calibrating");
    let statistics = session.statistics(search.layer, |done, all| bar.at(done, all))?;
    drop(bar);
    let mut scenes = SCENES.iter().map(|scene| SceneReport::unedited(session, scene)).collect::<Result<Vec<_>, _>>()?;
    let mut patches = Vec::new();
    for (scene, shown) in SCENES.iter().zip(&mut scenes) {
        match edit(session, scene, shown, &search, statistics.lend(), &interrupt)? {
            Some(patch) => patches.push(patch),
            None => return Ok(Status::Interrupted),
        }
        if !json {
            print(scene, shown);
        }
    }
    for patch in patches.into_iter().rev() {
        session.transformer.remove(patch)?;
    }
    for scene in &mut scenes {
        scene.undone = answer(session, &scene.prompt.prompt)?;
    }
    let restored = scenes.iter().all(|scene| scene.undone == scene.prompt.before);
    let success = scenes.iter().all(|scene| scene.success);
    if json {
        report::json(&DemoReport { scenes, restored, peak_rss_bytes: report::peak_rss_bytes() })?;
    } else {
        println!("All three taken back");
        for scene in &scenes {
            println!("  {} ... {}", scene.prompt.prompt, scene.undone);
        }
    }
    if !restored {
        bail!("an answer is not what it was before the edits");
    }
    Ok(if success { Status::Done } else { Status::NotSuccessful })
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
            undone: String::new(),
        })
    }
}

/// Makes one edit, leaves it applied and fills in what came of it; `None` after Ctrl-C.
fn edit(
    session: &mut Session<'_>,
    scene: &Scene,
    shown: &mut SceneReport,
    search: &Search,
    statistics: Statistics<'_>,
    interrupt: &Interrupt,
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
    shown.success = found.is_success();
    shown.forward_passes = found.progress.forward_passes;
    shown.steps = found.progress.step;
    shown.p_target = found.progress.p_target;
    Ok(Some(patch))
}

fn print(scene: &Scene, shown: &SceneReport) {
    println!("{}: \"{}\" should say {}", scene.title, shown.prompt.prompt, scene.target);
    print_answer("  asked       ", &shown.prompt);
    print_answer("  rephrased   ", &shown.rephrasing);
    for neighbour in &shown.neighbours {
        print_answer("  neighbour   ", neighbour);
    }
    println!("  P(target) {:.3} after {} forward passes\n", shown.p_target, shown.forward_passes);
}
