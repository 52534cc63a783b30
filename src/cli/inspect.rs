//! `mobiedit inspect`: what a model file holds, and what an edit of it takes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::model::Model;
use mobiedit::backends::patches::Patches;
use mobiedit::core::{Config, Footprint, Limits};
use mobiedit::host::device::available;
use mobiedit::host::export::architecture_name;
use mobiedit::host::model_file::ModelFile;
use mobiedit::host::prompts::ESSENCES;
use mobiedit::host::session::auto_layer;
use serde::Serialize;

use crate::cli::args::InspectArgs;
use crate::cli::edit::PREFIXES;
use crate::cli::report::Stdout;
use crate::cli::{Status, report};

/// Tokens of the prompts that the edit's memory is stated for.
const PROMPT_TOKENS: usize = 64;

/// The JSON object.
#[derive(Debug, Serialize)]
struct ModelReport {
    name: Option<String>,
    architecture: &'static str,
    layers: usize,
    d_model: usize,
    d_ff: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    tokenizer: Option<String>,
    /// Number of tensors by the way their numbers are stored.
    tensors: BTreeMap<String, usize>,
    weight_bytes: usize,
    edit: EditFootprint,
}

/// What an edit takes, besides the weights and the activations.
#[derive(Debug, Serialize)]
struct EditFootprint {
    layer: usize,
    /// How the edited matrix is stored.
    format: String,
    patch_bytes: usize,
    /// The editor's memory for prompts of `prompt_tokens` tokens.
    editor_bytes: usize,
    prompt_tokens: usize,
}

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<Status> {
    if args.backends {
        let all = available(&args.device.npu());
        if args.output.json {
            report::json(&all)?
        } else {
            all.iter().try_for_each(|device| {
                let state = if device.opens { "" } else { "not available: " };
                writeln!(Stdout, "{}  {state}{}", device.backend, device.what)
            })?
        }
        return Ok(Status::Done);
    }
    let report = ModelFile::open(args.model.as_deref())?.with_model(describe)?;
    if args.output.json {
        report::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Status::Done)
}

fn describe(gguf: &Gguf<'_>, model: &Model<'_>) -> ModelReport {
    let (config, spec) = (&model.config, model.config.spec);
    let mut tensors = BTreeMap::new();
    let mut weight_bytes = 0;
    for tensor in gguf.tensors() {
        *tensors.entry(tensor.type_name().unwrap_or("unknown").to_owned()).or_insert(0) += 1;
        weight_bytes += tensor.bytes().len();
    }
    let layer = auto_layer(spec.layers);
    let limits =
        Limits { layer, prompts: PREFIXES + 1 + ESSENCES.len(), essences: ESSENCES.len(), tokens: PROMPT_TOKENS };
    let down = format!("blk.{layer}.ffn_down.weight");
    ModelReport {
        name: gguf.str("general.name").map(str::to_owned),
        architecture: architecture_name(config.architecture),
        layers: spec.layers,
        d_model: spec.d_model,
        d_ff: spec.d_ff,
        heads: config.heads,
        kv_heads: config.kv_heads,
        vocabulary: spec.vocab,
        context: spec.max_tokens,
        tokenizer: gguf.str("tokenizer.ggml.model").map(str::to_owned),
        tensors,
        weight_bytes,
        edit: EditFootprint {
            layer,
            format: gguf.tensor(&down).and_then(|t| t.type_name()).unwrap_or("unknown").to_owned(),
            patch_bytes: size_of::<f32>() * Patches::len_of_one(spec.d_ff, spec.d_model),
            editor_bytes: Footprint::of(&spec, &Config::DEFAULT, &limits).bytes(),
            prompt_tokens: PROMPT_TOKENS,
        },
    }
}

fn print(report: &ModelReport) -> io::Result<()> {
    let mut out = Stdout;
    writeln!(out, "{}", report.name.as_deref().unwrap_or("unnamed"))?;
    writeln!(out, "architecture  {}, {} layers, context {}", report.architecture, report.layers, report.context)?;
    writeln!(out, "widths        d_model {}, d_ff {}", report.d_model, report.d_ff)?;
    writeln!(out, "attention     {} heads, {} for keys and values", report.heads, report.kv_heads)?;
    writeln!(out, "vocabulary    {} ({})", report.vocabulary, report.tokenizer.as_deref().unwrap_or("no tokenizer"))?;
    let tensors: Vec<String> = report.tensors.iter().map(|(format, count)| format!("{count} {format}")).collect();
    writeln!(out, "tensors       {}; {} bytes", tensors.join(", "), report.weight_bytes)?;
    let edit = &report.edit;
    writeln!(out, "edit          layer {} ({}): a patch of {} bytes;", edit.layer, edit.format, edit.patch_bytes)?;
    writeln!(
        out,
        "              the editor's memory is {} bytes for prompts of {} tokens",
        edit.editor_bytes, edit.prompt_tokens
    )
}
