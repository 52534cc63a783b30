//! `mobiedit generate`: a greedy completion, with the active edits.

use std::io::Write;

use mobiedit::host::edits::Edits;
use mobiedit::host::session::{Session, with_session};
use serde_json::json;

use crate::cli::args::GenerateArgs;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<Status> {
    let edits = read_edits(&args.folder.edits)?;
    let text = with_session(&args.model.options(), |session| -> anyhow::Result<String> {
        apply(session, &edits)?;
        Ok(session.complete(&args.prompt, args.max_new_tokens as usize)?)
    })?;
    if args.output.json {
        report::json(&json!({ "text": text }))?;
    } else {
        writeln!(Stdout, "{}{text}", args.prompt)?;
    }
    Ok(Status::Done)
}

/// Reads the edits folder and says what was odd about it.
pub(crate) fn read_edits(folder: &std::path::Path) -> anyhow::Result<Edits> {
    let edits = Edits::read(folder)?;
    if edits.torn() > 0 {
        report::note(&format!(
            "the journal ends in {} bytes of an edit that was never finished: ignored",
            edits.torn()
        ));
    }
    Ok(edits)
}

/// Applies the folder's active edits and names those made for other models.
pub(crate) fn apply(session: &mut Session<'_>, edits: &Edits) -> anyhow::Result<()> {
    let foreign = session.apply_edits(edits.active())?;
    if !foreign.is_empty() {
        report::note(&format!("made for another model, not applied: {}", foreign.join(", ")));
    }
    Ok(())
}
