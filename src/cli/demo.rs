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
    let ask = |scene: &Scene| answer(session, &scene.prompt.replace("{}", scene.subject));
    let unedited = SCENES.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
    let (mut scenes, mut patches) = (Vec::new(), Vec::new());
    for scene in &SCENES {
        let Some((shown, patch)) = edit(session, scene, &search, statistics.lend(), &interrupt)? else {
            return Ok(Status::Interrupted);
        };
        if !json {
            print(scene, &shown);
        }
        scenes.push(shown);
        patches.push(patch);
    }
    for patch in patches.into_iter().rev() {
        session.transformer.remove(patch)?;
    }
    for scene in &mut scenes {
        scene.undone = answer(session, &scene.prompt.prompt)?;
    }
    let restored = scenes.iter().map(|scene| &scene.undone).eq(&unedited);
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

/// Makes one edit and leaves it applied; `None` after Ctrl-C.
fn edit(
    session: &mut Session<'_>,
    scene: &Scene,
    search: &Search,
    statistics: Statistics<'_>,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<(SceneReport, PatchId)>> {
    let request = EditRequest {
        prompt: scene.prompt.to_owned(),
        subject: scene.subject.to_owned(),
        target: scene.target.to_owned(),
    };
    let prefixes: Vec<&str> = prefixes().take(PREFIXES).collect();
    let prompts = EditPrompts::new(&session.tokenizer, &request, &prefixes)?;
    let mut ask = |prompt: &str| -> anyhow::Result<Shown> {
        let prompt = prompt.replace("{}", scene.subject);
        Ok(Shown { before: answer(session, &prompt)?, prompt, after: String::new() })
    };
    let mut prompt = ask(scene.prompt)?;
    let mut rephrasing = ask(scene.rephrasing)?;
    let mut neighbours = scene.neighbours.iter().map(|p| ask(p)).collect::<Result<Vec<_>, _>>()?;

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
    for shown in [&mut prompt, &mut rephrasing].into_iter().chain(&mut neighbours) {
        shown.after = answer(session, &shown.prompt)?;
    }
    let report = SceneReport {
        prompt,
        target: scene.target,
        success: found.is_success(),
        forward_passes: found.progress.forward_passes,
        steps: found.progress.step,
        p_target: found.progress.p_target,
        rephrasing,
        neighbours,
        undone: String::new(),
    };
    Ok(Some((report, patch)))
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
