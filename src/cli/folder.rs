//! `mobiedit undo`, `forget` and `list`: the edits folder, without a model.

use std::io::Write;

use mobiedit::host::edits::{Edits, EditsWriter};
use serde_json::json;

use crate::cli::args::{ForgetArgs, ListArgs, UndoArgs};
use crate::cli::generate::read_edits;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

pub(crate) fn undo(args: &UndoArgs) -> anyhow::Result<Status> {
    // A folder that is not there is not created to find nothing in it.
    let known = read_edits(&args.folder.edits)?;
    let undone = match &args.edit_id {
        Some(id) => {
            known.get(id)?;
            EditsWriter::open(&args.folder.edits)?.undo(id)?;
            note_above(&known, id);
            vec![id.clone()]
        }
        None if known.active().next().is_none() => Vec::new(),
        None => EditsWriter::open(&args.folder.edits)?.undo_all()?,
    };
    if args.output.json {
        report::json(&json!({ "undone": undone }))?;
    } else if undone.is_empty() {
        writeln!(Stdout, "no active edit")?;
    } else {
        writeln!(Stdout, "undone: {}", undone.join(", "))?;
    }
    Ok(Status::Done)
}

pub(crate) fn forget(args: &ForgetArgs) -> anyhow::Result<Status> {
    let known = read_edits(&args.folder.edits)?;
    let forgotten = match &args.edit_id {
        Some(id) => {
            let was_active = known.get(id)?.active;
            EditsWriter::open(&args.folder.edits)?.forget(id)?;
            if was_active {
                note_above(&known, id);
            }
            vec![id.clone()]
        }
        // A folder that is not there is not created to find nothing in it.
        None if !known.folder().exists() => Vec::new(),
        None => EditsWriter::open(&args.folder.edits)?.forget_all()?,
    };
    if args.output.json {
        report::json(&json!({ "forgotten": forgotten }))?;
    } else if forgotten.is_empty() {
        writeln!(Stdout, "no edit")?;
    } else {
        writeln!(Stdout, "forgotten: {}", forgotten.join(", "))?;
    }
    Ok(Status::Done)
}

/// Names the active edits that were searched with this one applied.
fn note_above(known: &Edits, id: &str) {
    let above = known.on_top_of(id);
    if !above.is_empty() {
        let above = above.join(", ");
        report::note(&format!("made on top of {id}, may say something else without it: {above}"));
    }
}

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<Status> {
    let edits = read_edits(&args.folder.edits)?;
    if args.output.json {
        let rows: Vec<_> = edits
            .list()
            .iter()
            .map(|edit| {
                let i = &edit.info;
                json!({
                    "edit_id": i.edit_id, "prompt": i.prompt, "subject": i.subject, "target": i.target,
                    "layer": i.layer, "active": edit.active, "preset": i.preset, "seed": i.seed, "steps": i.steps,
                    "forward_passes": i.forward_passes, "p_target": i.p_target, "success": i.success,
                })
            })
            .collect();
        report::json(&json!({ "edits": rows }))?;
        return Ok(Status::Done);
    }
    if edits.list().is_empty() {
        writeln!(Stdout, "no edits in {}", edits.folder().display())?;
    }
    for edit in edits.list() {
        let i = &edit.info;
        let state = if edit.active { "active" } else { "undone" };
        let failed = if i.success { "" } else { ", no success" };
        writeln!(
            Stdout,
            "{:<4} {state}  {} -> {}  (layer {}{failed})",
            i.edit_id,
            i.prompt.replace("{}", &i.subject),
            i.target,
            i.layer
        )?;
    }
    Ok(Status::Done)
}
