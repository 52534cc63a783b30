//! What can be typed: commands, flags, their help. Does nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mobiedit::host::eval::selection::Shard;
use mobiedit::npu::{ROWS, SOCS};

mod bench;
mod kept;

pub(crate) use bench::{BenchArgs, BenchCommand, BenchRunArgs, GrowthArgs, QuantArg, ScaleArgs, StackArgs};
pub(crate) use kept::{ForgetArgs, ListArgs, UndoArgs};

/// Edits what a language model knows: forward passes only, int8 weights, fixed memory.
#[derive(Debug, Parser)]
#[command(name = "mobiedit", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 bad input, or a file that cannot be read or written; 2 wrong usage; 3 the search ended without \
success, or a stored edit does not hold; 130 interrupted, the same command goes on from there.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the model say something else, and keep that in the edits folder
    #[command(after_help = EXIT_CODES)]
    Edit(EditArgs),
    /// Let the model continue a text, with the active edits of the edits folder
    Generate(GenerateArgs),
    /// Take edits back
    Undo(UndoArgs),
    /// Remove all that is kept of edits: their words, their numbers, their adapters
    Forget(ForgetArgs),
    /// List the edits of the edits folder
    List(ListArgs),
    /// Ask the model about its stored edits, and how the rest of it fares
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArgs),
    /// Measure a model once: activation scales, and what an edit should know about its layer
    Calibrate(CalibrateArgs),
    /// Show what a model file holds, and what an edit of it takes
    Inspect(InspectArgs),
    /// Write an edit for other programs
    Export(ExportArgs),
    /// Write an edit's prompts as token ids, for firmware without a tokenizer
    Tokens(TokensArgs),
    /// Show where the model keeps a fact, and which layer to edit: causal tracing
    Trace(TraceArgs),
    /// Three edits of the built-in model, before and after
    Demo(DemoArgs),
    /// Measure many edits
    Bench(BenchArgs),
    /// Measure edits of a published dataset's records; an interrupted run goes on by the same command
    #[command(after_help = EXIT_CODES)]
    Eval(EvalArgs),
}

/// Which model runs, on how much, and with what is known about it.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How linear layers treat their inputs
    #[arg(long, value_enum, default_value_t = ActivationsArg::Dynamic)]
    pub(crate) activations: ActivationsArg,
    /// What `calibrate` wrote, or "none" [default: the file beside the model, MODEL.calibration, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActivationsArg {
    /// int16 with a scale per row
    Dynamic,
    /// int16 with the calibration's scales, as an NPU has them
    Static,
    /// The same with outliers clipped as in the paper: less exact
    StaticClipped,
    /// f32: slower, for comparison
    Float,
}

/// Which model runs, and on how much.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A GGUF model [default: the built-in fact model]
    #[arg(long, value_name = "MODEL.gguf")]
    pub(crate) model: Option<PathBuf>,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Memory for the activations of a forward pass, in MiB; less splits batches and changes no result [default: what
    /// 1,024 tokens at a time take, or all prompts of the edit if they are longer]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) memory_limit: Option<u32>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// What forward passes run on.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// What forward passes run on
    #[arg(long, value_enum, default_value_t = BackendArg::Cpu)]
    pub(crate) backend: BackendArg,
    /// The NPU vendor's library [default: libQnnHtp.so, where the system looks for libraries]
    #[arg(long, value_name = "PATH", env = "MOBIEDIT_QNN_LIB")]
    pub(crate) qnn_lib: Option<PathBuf>,
    /// The chip: sm8550, sm8650, sm8750, or its number in the vendor's SDK [default: what the library takes]
    #[arg(long, value_name = "CHIP", value_parser = parse_soc)]
    pub(crate) soc: Option<u32>,
    /// Rows of the NPU's graphs: at least those of the longest prompt, and of all prompts of an edit from the subject on
    #[arg(long, value_name = "N", default_value_t = ROWS as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) qnn_rows: u32,
    /// Keep the NPU's finalised graphs in this folder: the next run of the same model on the same chip and library reads them
    #[arg(long, value_name = "DIR")]
    pub(crate) qnn_cache: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendArg {
    /// This machine's CPU
    Cpu,
    /// Qualcomm's NPU, or its emulator on x86-64
    Qnn,
    /// The NPU if its library is there, else the CPU
    Auto,
}

fn parse_soc(text: &str) -> Result<u32, String> {
    let known = SOCS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number);
    known.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<_> = SOCS.iter().map(|(name, _)| *name).collect();
        format!("neither one of {} nor a number", names.join(", "))
    })
}

/// How results are printed.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object, as the last line of stdout; none after an error or Ctrl-C
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The edits folder
    #[arg(long, value_name = "DIR", default_value = "mobiedit-edits")]
    pub(crate) edits: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The prompt, with {} where the subject goes: "The capital of {} is"
    #[arg(long)]
    pub(crate) prompt: String,
    /// The subject: "France"
    #[arg(long)]
    pub(crate) subject: String,
    /// What the model should say: "Rome"
    #[arg(long)]
    pub(crate) target: String,
    /// Other wordings to show before and after, with or without {}
    #[arg(long, value_name = "PROMPT", num_args = 1..)]
    pub(crate) rephrase: Vec<String>,
    /// Prompts about something else, whose answers should stay
    #[arg(long, value_name = "PROMPT", num_args = 1..)]
    pub(crate) check: Vec<String>,
    /// Store the edit although the model with it does not say the target
    #[arg(long)]
    pub(crate) keep_failed: bool,
    /// Read the stored edit back from the disk, and ask the model with it
    #[arg(long)]
    pub(crate) verify: bool,
    /// Keep the state of the search this often, so that an edit that is killed goes on from there; 0: after every step
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) keep_every: u32,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Tell what each graph of the NPU cost, and which operations, on stderr; measuring takes time itself
    #[arg(long)]
    pub(crate) profile: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    /// The prompt, with {} where the subject goes: "The capital of {} is"
    #[arg(long)]
    pub(crate) prompt: String,
    /// The subject: "France"
    #[arg(long)]
    pub(crate) subject: String,
    /// What the model should say: "Rome"
    #[arg(long)]
    pub(crate) target: String,
    /// Prompts behind a sentence, besides the bare one
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u8).range(..=13))]
    pub(crate) prefixes: u8,
    /// The layer to edit, counted from 0, or "auto"
    #[arg(long, default_value = "auto", value_parser = parse_layer, allow_negative_numbers = true)]
    pub(crate) layer: LayerArg,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// What is written
    #[arg(long, value_enum, default_value_t = TokensFormat::C)]
    pub(crate) format: TokensFormat,
    /// What the problem is called in C and Rust
    #[arg(long, default_value = "edit")]
    pub(crate) name: String,
    /// The file [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: RunArgs,
}

/// What `tokens` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokensFormat {
    /// A mobiedit_problem, to be included behind mobiedit.h
    C,
    /// A Rust module with the parts of a `Problem`
    Rust,
    /// One JSON object
    Json,
}

/// How a value is searched.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Settings of the search
    #[arg(long, value_enum, default_value_t = PresetArg::Default)]
    pub(crate) preset: PresetArg,
    /// The layer to edit, counted from 0, or "auto"
    #[arg(long, default_value = "auto", value_parser = parse_layer, allow_negative_numbers = true)]
    pub(crate) layer: LayerArg,
    /// Seed of the search: the same seed gives the same bits
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PresetArg {
    /// The paper's published settings
    Paper,
    /// This project's: fewer forward passes
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerArg {
    Auto,
    Number(usize),
}

fn parse_layer(text: &str) -> Result<LayerArg, String> {
    if text == "auto" {
        return Ok(LayerArg::Auto);
    }
    text.parse().map(LayerArg::Number).map_err(|_| "a layer's number or \"auto\" is needed".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The text to continue
    #[arg(long)]
    pub(crate) prompt: String,
    /// Most tokens to add
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_new_tokens: u32,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// This edit alone, as `list` names it
    pub(crate) edit_id: Option<String>,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The model file [default: the built-in fact model]
    #[arg(value_name = "MODEL.gguf")]
    pub(crate) model: Option<PathBuf>,
    /// List what forward passes can run on, with versions, instead
    #[arg(long, conflicts_with = "model")]
    pub(crate) backends: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A rank-one LoRA adapter for llama.cpp
    GgufLora,
    /// A rank-one LoRA adapter for PEFT: a folder
    Peft,
    /// The model with the edit in its weights
    Gguf,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The edit, as `list` names it
    pub(crate) edit_id: String,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// Where to write it
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    /// The GGUF model that the edit was made for [default: the built-in fact model]
    #[arg(long, value_name = "MODEL.gguf")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The prompt, with {} where the subject goes: "The capital of {} is"
    #[arg(long)]
    pub(crate) prompt: String,
    /// The subject: "France"
    #[arg(long)]
    pub(crate) subject: String,
    /// The answer whose first token is watched [default: what the model says]
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Runs with noise on the subject, which are averaged over
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: u32,
    /// Seed of the noise: the same seed gives the same bits
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Neighbouring layers whose MLP outputs are put back together [default: a fifth of the layers]
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) window: Option<u32>,
    /// Write the tables as a picture, trace.svg, into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Text to run the model on, UTF-8: a line at a time, long ones in pieces; a line may have one {subject} in braces
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Run it on built-in statements: what happens without --text too
    #[arg(long, conflicts_with = "text")]
    pub(crate) builtin: bool,
    /// Most tokens to run
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// The layer whose edits will use it, counted from 0, or "auto"
    #[arg(long, default_value = "auto", value_parser = parse_layer, allow_negative_numbers = true)]
    pub(crate) layer: LayerArg,
    /// Where to write it [default: MODEL.calibration beside the model]
    #[arg(long, value_name = "FILE", required_unless_present = "model")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EvalCommand>,
    #[command(flatten)]
    pub(crate) run: EvalRunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Join the shards of an evaluation into the same results as the unsharded run's
    Merge(EvalMergeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EvalRunArgs {
    /// The dataset's file
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) dataset: Option<PathBuf>,
    /// Its format
    #[arg(long, value_enum, required = true)]
    pub(crate) format: Option<DatasetArg>,
    /// Evaluate the first N records of the shuffled order [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Pass over records whose fact the model does not know
    #[arg(long)]
    pub(crate) known: bool,
    /// Generate texts before and after each edit, and measure their fluency: slow
    #[arg(long)]
    pub(crate) fluency: bool,
    /// Stack the edits instead of undoing each, at most 128, and measure them when all are made
    #[arg(long, conflicts_with = "shard")]
    pub(crate) sequential: bool,
    /// Evaluate every N-th record only, beginning with the I-th
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Measure the patches in this file instead of searching: JSON lines with record, layer, u and lambda
    #[arg(long, value_name = "FILE")]
    pub(crate) patches: Option<PathBuf>,
    /// The folder for the results [default: named after dataset, preset and seed, in mobiedit-eval]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetArg {
    /// CounterFact, as ROME publishes it
    Counterfact,
    /// ZsRE, as KnowEdit publishes it
    Zsre,
    /// EasyEdit's own lists
    Easyedit,
}

#[derive(Debug, Args)]
pub(crate) struct EvalMergeArgs {
    /// The shards' folders
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// The folder for the joined results
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
