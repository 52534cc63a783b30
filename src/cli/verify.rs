//! `mobiedit verify`: do the stored edits still hold, and what became of the rest of the model?

use std::io::Write;

use anyhow::bail;
use mobiedit::host::edits::Edit;
use mobiedit::host::health::{Health, Held, Scores};
use mobiedit::host::session::{Session, with_session};
use serde::Serialize;

use crate::cli::args::VerifyArgs;
use crate::cli::generate::{apply, read_edits};
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

#[derive(Debug, Serialize)]
struct Verified {
    edits: Vec<Held>,
    health: Health,
    warnings: Vec<String>,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<Status> {
    let edits = read_edits(&args.folder.edits)?;
    if let Some(id) = &args.edit_id {
        edits.get(id)?;
    }
    with_session(&args.model.options(), |session| {
        let clean = Scores::measure(session)?;
        apply(session, &edits)?;
        let applied = of_model(session, edits.active());
        let asked = applied.iter().filter(|edit| args.edit_id.as_ref().is_none_or(|id| *id == edit.info.edit_id));
        if let Some(id) = args.edit_id.as_ref().filter(|id| !applied.iter().any(|edit| edit.info.edit_id == **id)) {
            let why = if edits.get(id)?.active { "was made for another model" } else { "is undone" };
            bail!("edit {id:?} {why}: there is nothing to verify");
        }
        let held: Vec<Held> = asked.map(|edit| Held::check(session, edit)).collect::<Result<_, _>>()?;
        let health = Health::measure(session, &clean, &applied)?;
        let all = held.iter().all(|held| held.holds);
        for held in held.iter().filter(|held| !held.holds) {
            let above = edits.on_top_of(&held.edit_id);
            if !above.is_empty() {
                report::note(&format!("on top of {}: {}", held.edit_id, above.join(", ")));
            }
        }
        let verified = Verified { edits: held, health, warnings: health.warnings() };
        if args.output.json {
            report::json(&verified)?;
        } else {
            print(&verified)?;
        }
        verified.warnings.iter().for_each(|warning| report::warn(warning));
        Ok(if all { Status::Done } else { Status::NotSuccessful })
    })
}

/// Those that were made for the session's model.
pub(crate) fn of_model<'e>(session: &Session<'_>, edits: impl Iterator<Item = &'e Edit>) -> Vec<&'e Edit> {
    edits.filter(|edit| edit.info.model == session.identity(edit.info.layer)).collect()
}

fn print(verified: &Verified) -> std::io::Result<()> {
    let mut out = Stdout;
    for Held { edit_id, prompt, target, holds, p_target } in &verified.edits {
        let holds = if *holds { "holds" } else { "does not hold" };
        writeln!(out, "{edit_id}: {prompt} ... {target}: {holds}, P(target) {p_target:.3}")?;
    }
    print_health(&verified.health)
}

/// One line.
pub(crate) fn print_health(health: &Health) -> std::io::Result<()> {
    let Health { edits, perplexity_clean, perplexity, drift, patch_norm } = health;
    writeln!(
        Stdout,
        "{edits} edits: perplexity of other facts {perplexity:.2}, clean {perplexity_clean:.2}; {:.1} % of their tokens said otherwise; \
         patches of {patch_norm:.3} of their matrix's norm",
        100.0 * drift
    )
}
