//! `mobiedit export`: an edit for other programs.

use std::io::Write;
use std::path::Path;

use anyhow::ensure;
use mobiedit::backends::identity::identity;
use mobiedit::host::edits::Edit;
use mobiedit::host::export;
use mobiedit::host::model_file::ModelFile;
use serde_json::json;

use crate::cli::args::{ExportArgs, Format};
use crate::cli::generate::read_edits;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<Status> {
    let edits = read_edits(&args.folder.edits)?;
    let edit = edits.get(&args.edit_id)?;
    for read in args.model.iter().chain([&edits.journal()]) {
        ensure!(!same_file(read, &args.out), "{} is read, and cannot be written: choose another --out", read.display());
    }
    match args.format {
        Format::Peft => export::peft(&args.out, edit.patch())?,
        Format::GgufLora | Format::Gguf => with_the_model(args, edit)?,
    }
    if args.output.json {
        report::json(&json!({ "edit_id": edit.info.edit_id, "path": args.out.display().to_string() }))?;
    } else {
        writeln!(Stdout, "{} written to {}", edit.info.edit_id, args.out.display())?;
    }
    let others = edits.active().filter(|other| other.info.edit_id != edit.info.edit_id);
    let others: Vec<&str> = others.map(|other| other.info.edit_id.as_str()).collect();
    if !others.is_empty() {
        report::note(&format!("{} alone was exported; active too: {}", edit.info.edit_id, others.join(", ")));
    }
    Ok(Status::Done)
}

/// Whether both are there, and one.
fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What takes something from the model that the edit was made for.
fn with_the_model(args: &ExportArgs, edit: &Edit) -> anyhow::Result<()> {
    let id = &edit.info.edit_id;
    ModelFile::open(args.model.as_deref())?.with_model(|gguf, model| -> anyhow::Result<()> {
        let is_its_own = identity(model, edit.info.layer) == edit.info.model;
        ensure!(is_its_own, "edit {id} was made for another model: name that one with --model");
        match args.format {
            Format::Gguf => export::merged_gguf(&args.out, gguf, model, edit.patch())?,
            _ => export::gguf_lora(&args.out, model.config.architecture, edit.patch())?,
        }
        Ok(())
    })?
}
